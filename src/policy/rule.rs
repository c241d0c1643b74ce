//! The parts of a rule that all kinds of policies share.

use serde::{Deserialize, Serialize};

use super::port::{PortRange, Protocol};

named! {
    /// Direction of traffic, from the point of view of a policy's subject. Packets pass egress first.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Direction {
        /// Traffic that a pod sends.
        Egress = "egress",
        /// Traffic that a pod receives.
        Ingress = "ingress",
    }
}

impl Direction {
    /// Returns the other direction.
    pub(crate) fn reverse(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }

    /// Returns the element for this direction, of one for each direction in the order of [`Self::ALL`].
    pub(super) fn pick<T>(self, [egress, ingress]: [T; 2]) -> T {
        match self {
            Self::Egress => egress,
            Self::Ingress => ingress,
        }
    }
}

/// Action of a rule. Rules of NetworkPolicies only accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Allows the flow in this direction. Later policies do not matter (`Allow` in v1alpha1).
    Accept,
    /// Denies the flow. Later policies do not matter.
    Deny,
    /// Leaves the tier. The next tier decides.
    Pass,
}

/// Ports that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Every port of every protocol: the list is missing or empty.
    Any,
    /// Any of these ports.
    Only(Vec<PortMatch>),
}

impl Ports {
    /// Returns whether the rule has port names, so that its ports depend on the receiver.
    pub(super) fn have_names(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Only(matches) => matches.iter().any(|m| matches!(m.ports, PortSpec::Named(_))),
        }
    }
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMatch {
    /// `protocol`, TCP by default.
    pub protocol: Protocol,
    /// `port` and `endPort`
    pub ports: PortSpec,
}

/// Ports of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortSpec {
    /// Every port of the protocol: `port` is missing.
    Any,
    /// One port, or the range up to `endPort`.
    Range(PortRange),
    /// The container port of this name, in the receiving pod.
    Named(String),
}
