//! Capabilities that a scenario may require of its environment.

use std::fmt;
use std::str::FromStr;

use super::endpoint::EndpointName;
use super::error::ParseError;

/// The reason why the environment does not have an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// The capability that the environment lacks. `None` if scenarios cannot declare it.
    pub capability: Option<Capability>,
    /// The reason as a text for users.
    pub why: String,
}

/// Something that not every environment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Sockets of the Stream Control Transmission Protocol.
    Sctp,
    /// IPv4 addresses for pods.
    Ipv4,
    /// IPv6 addresses for pods.
    Ipv6,
    /// Agents at addresses outside the cluster.
    Externals,
    /// Agents on nodes.
    NodeEndpoints,
    /// Pods with `hostNetwork`.
    HostNetwork,
    /// The kinds of cluster-scoped policies that the scenario applies.
    ClusterPolicies,
    /// One node for each logical node of the scenario.
    Nodes,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Self; 8] = [
        Self::Sctp,
        Self::Ipv4,
        Self::Ipv6,
        Self::Externals,
        Self::NodeEndpoints,
        Self::HostNetwork,
        Self::ClusterPolicies,
        Self::Nodes,
    ];

    /// Returns the name that scenarios and `--require` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sctp => "sctp",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Externals => "externals",
            Self::NodeEndpoints => "nodeEndpoints",
            Self::HostNetwork => "hostNetwork",
            Self::ClusterPolicies => "cluster-policies",
            Self::Nodes => "nodes",
        }
    }

    /// Returns the capability that an endpoint needs and an environment may lack. Of pods, only those with
    /// `hostNetwork` may be absent.
    pub fn of_endpoint(endpoint: &EndpointName) -> Option<Self> {
        match endpoint {
            EndpointName::External(_) => Some(Self::Externals),
            EndpointName::Node(_) => Some(Self::NodeEndpoints),
            EndpointName::Pod { .. } => Some(Self::HostNetwork),
            EndpointName::Service { .. } => None,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let known = Self::ALL.into_iter().find(|capability| capability.name() == text);
        known.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            ParseError(format!("`{text}` is not something that can be required: write one of {known}"))
        })
    }
}
