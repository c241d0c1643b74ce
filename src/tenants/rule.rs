//! The parts of which rules about connections consist.

use std::collections::BTreeSet;
use std::fmt;

use super::intent::Wish;
use crate::policy::{LabelSelector, Labels, Port, PortRange, Protocol, named};

named! {
    /// What a rule wants of the connections that it describes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Action {
        Allow = "allow",
        Deny = "deny",
        Ignore = "ignore",
    }
}

impl Action {
    pub(super) fn wish(self) -> Wish {
        match self {
            Self::Allow => Wish::Required,
            Self::Deny => Wish::Forbidden,
            Self::Ignore => Wish::Permitted,
        }
    }
}

named! {
    /// Who opens connections to whom.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Sharing {
        /// Tenants reach the shared service.
        FromTenants = "FromTenants",
        /// The shared service reaches tenants.
        ToTenants = "ToTenants",
    }
}

/// The ports of a rule. Without any, the rule is about all ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PortSet(pub(super) Vec<(Protocol, PortRange)>);

impl PortSet {
    pub(super) fn contains(&self, port: Port, protocol: Protocol) -> bool {
        self.0.is_empty() || self.0.iter().any(|(of, range)| *of == protocol && range.contains(port))
    }
}

/// `53/UDP, 53/TCP`, or `all ports`.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("all ports");
        }
        let ports: Vec<_> = self.0.iter().map(|(protocol, range)| format!("{range}/{protocol}")).collect();
        f.write_str(&ports.join(", "))
    }
}

/// The pods of some namespaces that a selector matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodSet {
    pub(super) namespaces: BTreeSet<String>,
    pub(super) pods: LabelSelector,
}

impl PodSet {
    pub(super) fn contains(&self, namespace: &str, labels: &Labels) -> bool {
        self.namespaces.contains(namespace) && self.pods.matches(labels)
    }
}

/// The targets that are forbidden without being named. `false` switches one of them off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The metadata service of clouds.
    pub(super) metadata: bool,
    pub(super) kubelets: bool,
    pub(super) etcd: bool,
    pub(super) api_server: bool,
    /// Node ports, as another way to the pods of other tenants.
    pub(super) node_ports: bool,
}

impl Standing {
    pub(super) const NONE: Self =
        Self { metadata: false, kubelets: false, etcd: false, api_server: false, node_ports: false };
}

/// Which connections are asked about at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Scope {
    /// All connections of which a tenant is an end.
    #[default]
    Everything,
    /// Connections between pods of tenants.
    BetweenTenants,
}
