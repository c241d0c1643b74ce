//! The tenants of a cluster.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use super::intent::{Intent, Mode, Party, Wish};
use crate::policy::{Connections, LabelSelector, Port, Protocol};
use crate::source::Place;

/// Which connections a tenant allows in one direction, unless a flow or a shared service says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// All connections.
    AllowAll,
    /// Connections within a namespace.
    AllowSameNamespace,
    /// Connections within the tenant.
    AllowSameTenant,
    /// No connections.
    DenyAll,
}

impl Access {
    /// All values.
    pub const ALL: [Self; 4] =
        [Self::AllowAll, Self::AllowSameNamespace, Self::AllowSameTenant, Self::DenyAll];

    /// Returns the name that the tenants file uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllowAll => "AllowAll",
            Self::AllowSameNamespace => "AllowSameNamespace",
            Self::AllowSameTenant => "AllowSameTenant",
            Self::DenyAll => "DenyAll",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tenant and its namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its namespaces; at least one. Other tenants may own some of them, too.
    pub namespaces: BTreeSet<String>,
    /// What may reach its pods.
    pub ingress: Access,
    /// What its pods may reach.
    pub egress: Access,
    /// Whether differences fail the check.
    pub mode: Mode,
    /// Where the tenants file describes it.
    pub at: Option<Place>,
}

/// Addresses that pods of tenants must, may or must not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its addresses; at least one.
    pub addresses: Vec<IpNet>,
    /// Its ports; at least one.
    pub ports: Connections,
    /// What is wanted.
    pub wish: Wish,
    /// The tenants for whose pods this holds; at least one.
    pub tenants: BTreeSet<String>,
    /// Where the tenants file names it. `None` for targets that are forbidden without being named.
    pub at: Option<Place>,
}

/// The tenants of a cluster, and what they want.
#[derive(Debug, Clone, Default)]
pub struct Tenancy {
    tenants: Vec<Tenant>,
    namespace_selectors: BTreeSet<LabelSelector>,
    pod_selectors: BTreeSet<LabelSelector>,
    ports: Connections,
    targets: Vec<Target>,
}

impl Tenancy {
    /// Returns what is wanted of a connection. `port` is the destination's own port: for a Service that of the Service.
    /// `None` if nothing is said about it.
    pub fn intent(
        &self,
        _from: Party<'_>,
        _to: Party<'_>,
        _port: Port,
        _protocol: Protocol,
    ) -> Option<Intent> {
        None
    }

    /// Returns all tenants, in the order of the file.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// Returns the tenants that own a namespace, in the order of the file. Empty if it belongs to no tenant.
    pub fn tenants_of(&self, namespace: &str) -> impl Iterator<Item = &Tenant> {
        self.tenants.iter().filter(move |tenant| tenant.namespaces.contains(namespace))
    }

    /// Returns the namespaces that several tenants own.
    pub fn co_owned(&self) -> BTreeSet<&str> {
        let namespaces = self.tenants.iter().flat_map(|tenant| &tenant.namespaces);
        namespaces.map(String::as_str).filter(|name| self.tenants_of(name).nth(1).is_some()).collect()
    }

    /// Returns the selectors of namespaces that decide about intents. Pods whose namespaces differ in one of them may
    /// differ in their intents.
    pub fn namespace_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        self.namespace_selectors.iter()
    }

    /// Returns the selectors of pods that decide about intents.
    pub fn pod_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        self.pod_selectors.iter()
    }

    /// Returns the ports that the tenants name. Everything else holds for all ports alike.
    pub fn ports(&self) -> &Connections {
        &self.ports
    }

    /// Returns the addresses outside the cluster about which something is said, with the targets that are always
    /// forbidden.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }
}
