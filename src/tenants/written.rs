//! The tenants as they are written, before they are compared with a cluster.

use std::sync::Arc;

use ipnet::IpNet;

use super::intent::Mode;
use super::rule::{Action, PortSet, Scope, Sharing, Standing};
use super::tenancy::Access;
use crate::policy::LabelSelector;
use crate::source::{Located, Location, Place};

/// The tenants as a file or as labels describe them.
#[derive(Debug, Clone)]
pub struct Tenants {
    /// What the locations belong to. `None` if there is no file.
    pub(super) file: Option<Arc<str>>,
    pub(super) tenants: Vec<TenantSpec>,
    pub(super) services: Vec<ServiceSpec>,
    pub(super) zones: Vec<ZoneSpec>,
    /// In ascending precedence, like all lists of rules.
    pub(super) flows: Vec<FlowSpec>,
    pub(super) outside: Vec<OutsideSpec>,
    pub(super) standing: Standing,
    pub(super) scope: Scope,
}

impl Tenants {
    /// Returns the place of a location.
    pub(super) fn place(&self, at: Location) -> Option<Place> {
        let name = self.file.as_ref()?;
        Some(Place { name: Arc::clone(name), location: Some(at) })
    }
}

#[derive(Debug, Clone)]
pub(super) struct TenantSpec {
    pub(super) name: Located<String>,
    pub(super) namespaces: Vec<Owned>,
    pub(super) selector: Option<Located<LabelSelector>>,
    pub(super) ingress: Located<Access>,
    pub(super) egress: Located<Access>,
    pub(super) mode: Mode,
}

/// Namespaces that a tenant names.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    /// A name, in which `*` stands for any text.
    pub(super) pattern: Located<String>,
    /// Whether other tenants may own them, too.
    pub(super) shared: bool,
}

/// Pods of any namespaces.
#[derive(Debug, Clone)]
pub(super) struct PodSpec {
    /// Names, in which `*` stands for any text.
    pub(super) namespaces: Vec<Located<String>>,
    pub(super) namespace_selector: Option<Located<LabelSelector>>,
    pub(super) pod_selector: Option<Located<LabelSelector>>,
}

#[derive(Debug, Clone)]
pub(super) struct ServiceSpec {
    pub(super) name: Located<String>,
    pub(super) who: WhoSpec,
    pub(super) ports: PortSet,
    pub(super) sharing: Sharing,
    pub(super) action: Action,
    /// Names, in which `*` stands for any text. `None` is all tenants.
    pub(super) tenants: Option<Vec<Located<String>>>,
}

#[derive(Debug, Clone)]
pub(super) enum WhoSpec {
    Pods(PodSpec),
    Addresses(Vec<IpNet>),
    ApiServer,
}

#[derive(Debug, Clone)]
pub(super) struct ZoneSpec {
    pub(super) name: Located<String>,
    pub(super) pods: PodSpec,
}

#[derive(Debug, Clone)]
pub(super) struct FlowSpec {
    pub(super) at: Location,
    pub(super) from: Located<EndSpec>,
    pub(super) to: Located<EndSpec>,
    pub(super) same_tenant: bool,
    pub(super) action: Action,
    pub(super) ports: PortSet,
}

/// One end of a flow. At least one of the two is there. Each is a list of names, in which `*` stands for any text.
#[derive(Debug, Clone)]
pub(super) struct EndSpec {
    pub(super) tenants: Option<Vec<Located<String>>>,
    pub(super) zones: Option<Vec<Located<String>>>,
}

#[derive(Debug, Clone)]
pub(super) struct OutsideSpec {
    pub(super) name: Located<String>,
    pub(super) addresses: Vec<IpNet>,
    pub(super) ports: PortSet,
    pub(super) action: Action,
    pub(super) tenants: Option<Vec<Located<String>>>,
}
