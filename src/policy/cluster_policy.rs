//! Cluster-scoped policies (`policy.networking.k8s.io`): rules for the whole cluster, before and
//! after the NetworkPolicies of its namespaces.

use std::fmt;

use super::address::IpBlock;
use super::label::LabelSelector;
use super::model::{Direction, Ports};

/// A cluster-scoped policy. It isolates nobody by itself: what no rule of it matches goes on as if
/// it were not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Its kind and name.
    pub name: ClusterPolicyName,
    /// Whether it comes before NetworkPolicies or after them.
    pub tier: Tier,
    /// 0 to 1000; the lowest comes first. 0 for the BaselineAdminNetworkPolicy, which has none.
    pub priority: u16,
    /// The pods to which its rules apply. Those with `hostNetwork` are never among them.
    pub subjects: PodSelector,
    /// `spec.ingress`: the first rule that matches decides.
    pub ingress: Vec<ClusterRule>,
    /// `spec.egress`: the first rule that matches decides.
    pub egress: Vec<ClusterRule>,
}

impl ClusterPolicy {
    /// All peers of its rules.
    pub(super) fn peers(&self) -> impl Iterator<Item = &ClusterPeer> {
        self.ingress.iter().chain(&self.egress).flat_map(|rule| &rule.peers)
    }

    /// The selectors by which it and its peers select pods.
    pub fn pod_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        let peers = self.peers().filter_map(|peer| match peer {
            ClusterPeer::Pods(selector) => Some(&selector.pods),
            ClusterPeer::Nodes(_) | ClusterPeer::Network(_) | ClusterPeer::DomainNames(_) => None,
        });
        std::iter::once(&self.subjects.pods).chain(peers)
    }

    /// The ports of all its rules.
    pub fn ports(&self) -> impl Iterator<Item = &Ports> {
        self.ingress.iter().chain(&self.egress).map(|rule| &rule.ports)
    }

    /// The rules for a direction.
    pub fn rules(&self, direction: Direction) -> &[ClusterRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// The kinds of cluster-scoped policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClusterPolicyKind {
    /// `policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy`, always in the Admin tier.
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy`, always in the Baseline tier.
    /// A cluster has one at most, and it is called `default`.
    BaselineAdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy`, in either tier.
    ClusterNetworkPolicy,
}

impl ClusterPolicyKind {
    /// All kinds.
    pub const ALL: [Self; 3] =
        [Self::AdminNetworkPolicy, Self::BaselineAdminNetworkPolicy, Self::ClusterNetworkPolicy];

    /// The name that the Kubernetes API uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }

    /// The kind of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ClusterPolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A cluster-scoped policy, by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterPolicyName {
    /// Its kind.
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

/// Where cluster-scoped policies stand in the order of all policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Before NetworkPolicies, which cannot override it.
    Admin,
    /// After NetworkPolicies: for pods that none of them selects.
    Baseline,
}

/// Pods of some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodSelector {
    /// The namespaces.
    pub namespaces: LabelSelector,
    /// The pods of those namespaces.
    pub pods: LabelSelector,
}

/// A rule of a cluster-scoped policy: what happens to traffic with any of its peers, on any of its
/// ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRule {
    /// What happens.
    pub action: Action,
    /// `from` or `to`; never empty.
    pub peers: Vec<ClusterPeer>,
    /// `ports` or `protocols`. A named port is there once for every protocol: the API does not say
    /// which it means.
    pub ports: Ports,
}

/// What a rule of a cluster-scoped policy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Allows in this direction, whatever comes after (`Allow` in v1alpha1).
    Accept,
    /// Denies, whatever comes after.
    Deny,
    /// Leaves the tier: the next one decides.
    Pass,
}

/// Whom a rule of a cluster-scoped policy is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClusterPeer {
    /// Pods, never those with `hostNetwork`.
    Pods(PodSelector),
    /// The addresses of nodes with these labels.
    Nodes(LabelSelector),
    /// Addresses, those of pods and nodes among them.
    Network(IpBlock),
    /// Whatever these names are resolved to.
    DomainNames(Vec<String>),
}
