//! Cluster-scoped policies (`policy.networking.k8s.io`): rules for the whole cluster that apply before or after
//! NetworkPolicies.

use std::fmt;

use super::address::IpBlock;
use super::label::LabelSelector;
use super::rule::{Action, Direction, Ports};

/// A cluster-scoped policy. It does not isolate pods by itself: if no rule matches a flow, evaluation continues as if
/// the policy did not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Kind and name.
    pub name: ClusterPolicyName,
    /// Whether the policy applies before or after NetworkPolicies.
    pub tier: Tier,
    /// Priority from 0 to 1000. The lowest comes first. 0 for the BaselineAdminNetworkPolicy, which has no priority.
    pub priority: u16,
    /// Pods to which the rules apply. Pods with `hostNetwork` are never subjects.
    pub subjects: PodSelector,
    /// `spec.ingress`: the first rule that matches decides.
    pub ingress: Vec<ClusterRule>,
    /// `spec.egress`: the first rule that matches decides.
    pub egress: Vec<ClusterRule>,
}

impl ClusterPolicy {
    /// Returns the rules for a direction.
    pub fn rules(&self, direction: Direction) -> &[ClusterRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

named! {
    /// Kind of a cluster-scoped policy.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum ClusterPolicyKind {
        /// `policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy`, always in the Admin tier.
        AdminNetworkPolicy = "AdminNetworkPolicy",
        /// `policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy`, always in the Baseline tier.
        /// A cluster has at most one, with the name `default`.
        BaselineAdminNetworkPolicy = "BaselineAdminNetworkPolicy",
        /// `policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy`, in either tier.
        ClusterNetworkPolicy = "ClusterNetworkPolicy",
    }
}

impl ClusterPolicyKind {
    /// Returns the kind with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A cluster-scoped policy, by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterPolicyName {
    /// Kind of the policy.
    pub kind: ClusterPolicyKind,
    /// `metadata.name`
    pub name: String,
}

/// `AdminNetworkPolicy deny-all`
impl fmt::Display for ClusterPolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Position of cluster-scoped policies in the order of all policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Before NetworkPolicies. They cannot override this tier.
    Admin,
    /// After NetworkPolicies, for pods that no NetworkPolicy selects.
    Baseline,
}

/// Selector for pods of some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodSelector {
    /// Selector for namespaces.
    pub namespaces: LabelSelector,
    /// Selector for the pods of those namespaces.
    pub pods: LabelSelector,
}

/// A rule of a cluster-scoped policy. It applies to traffic with any of its peers on any of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRule {
    /// What the rule does with this traffic.
    pub action: Action,
    /// `from` or `to`. Never empty.
    pub peers: Vec<ClusterPeer>,
    /// `ports` or `protocols`. A named port has one entry for each protocol, because the API does not say which
    /// protocol it means.
    pub ports: Ports,
}

/// A peer of a rule of a cluster-scoped policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClusterPeer {
    /// Pods, never those with `hostNetwork`.
    Pods(PodSelector),
    /// The addresses of nodes with these labels.
    Nodes(LabelSelector),
    /// Addresses, including those of pods and nodes.
    Network(IpBlock),
    /// The addresses of these domain names.
    DomainNames(Vec<String>),
}
