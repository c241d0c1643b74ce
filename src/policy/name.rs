//! Names of policies and of their rules.

use std::fmt;

use super::cluster_policy::{ClusterPolicy, ClusterPolicyName};
use super::network_policy::NetworkPolicy;
use super::rule::Direction;

/// Name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyName {
    /// A NetworkPolicy.
    Namespaced {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// A cluster-scoped policy.
    Cluster(ClusterPolicyName),
}

impl From<&NetworkPolicy> for PolicyName {
    fn from(policy: &NetworkPolicy) -> Self {
        Self::Namespaced { namespace: policy.namespace.clone(), name: policy.name.clone() }
    }
}

impl From<&ClusterPolicy> for PolicyName {
    fn from(policy: &ClusterPolicy) -> Self {
        Self::Cluster(policy.name.clone())
    }
}

/// `namespace/name`, or `AdminNetworkPolicy name`.
impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaced { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Cluster(name) => name.fmt(f),
        }
    }
}

/// Name of a rule: its policy, direction and index.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName {
    /// The policy.
    pub policy: PolicyName,
    /// The list that contains the rule.
    pub direction: Direction,
    /// Index of the rule in that list, counted from 0 as in `spec.ingress[0]`.
    pub index: usize,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]", self.policy, self.direction, self.index)
    }
}
