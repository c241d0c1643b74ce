//! The one form of all kinds of policies: ordered rules, each with an action.
//!
//! Each kind of policy is converted to this form here. Nothing after the conversion depends on the kind.

use super::address::IpBlock;
use super::cluster::Cluster;
use super::cluster_policy::{ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterRule, PodSelector, Tier};
use super::label::LabelSelector;
use super::name::PolicyName;
use super::network_policy::{NamespaceScope, NetworkPolicy, Peer, Peers, Rule};
use super::rule::{Action, Direction, Ports};

/// The tiers of all policies, in the order in which they decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PolicyTier {
    Admin,
    NetworkPolicy,
    Baseline,
}

/// How the policies of a tier are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combination {
    /// The first rule that matches decides, in the order of priorities. If no rule matches, the next tier decides.
    FirstMatch,
    /// Every rule that matches accepts. If no rule matches, the policies that select the subject deny. The next tier
    /// decides only if no policy selects the subject.
    Union,
}

impl PolicyTier {
    pub(super) const ALL: [Self; 3] = [Self::Admin, Self::NetworkPolicy, Self::Baseline];

    pub(super) fn combination(self) -> Combination {
        match self {
            Self::Admin | Self::Baseline => Combination::FirstMatch,
            Self::NetworkPolicy => Combination::Union,
        }
    }
}

/// A policy of any kind. `P` is the form of its peers.
#[derive(Debug)]
pub(super) struct OrderedPolicy<P> {
    pub(super) name: PolicyName,
    pub(super) tier: PolicyTier,
    /// Priority among the policies of the same tier and kind. The lowest comes first.
    pub(super) priority: u16,
    pub(super) subjects: PodScope,
    /// Whether implementations may exempt connections of a pod to itself through a Service.
    pub(super) may_exempt_hairpins: bool,
    /// Rules for egress and ingress, or `None` if the policy says nothing about the direction.
    pub(super) rules: [Option<Vec<OrderedRule<P>>>; 2],
}

/// A rule of a policy of any kind.
#[derive(Debug)]
pub(super) struct OrderedRule<P> {
    pub(super) action: Action,
    /// `None` if the rule matches everything.
    pub(super) peers: Option<Vec<P>>,
    pub(super) ports: Ports,
    /// Whether an `ipBlock` may be meant only for addresses outside the cluster. Then implementations may not resolve
    /// a port name on a pod that only a block matches, or on a pod that counts as its node.
    pub(super) blocks_exclude_pods: bool,
}

/// A peer of a rule of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PeerSpec {
    Pods(PodScope),
    IpBlock(IpBlock),
    /// All nodes.
    Nodes,
    /// Nodes with certain labels. The labels of nodes are not known.
    SomeNodes,
    /// Domain names. Their addresses are not known.
    DomainNames,
}

/// Pods that a policy selects as subjects or as peers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PodScope {
    pub(super) namespaces: Namespaces,
    pub(super) pods: LabelSelector,
    /// Whether pods with `hostNetwork` can be selected, too.
    pub(super) with_hosts: bool,
}

/// Namespaces of a [`PodScope`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Namespaces {
    Named(String),
    Selected(LabelSelector),
}

impl<P> OrderedPolicy<P> {
    /// Returns the rules for a direction, or `None` if the policy says nothing about it.
    pub(super) fn rules(&self, direction: Direction) -> Option<&[OrderedRule<P>]> {
        direction.pick(self.rules.each_ref()).as_deref()
    }

    /// Returns the kind of a cluster-scoped policy. The specification does not order policies of different kinds.
    pub(super) fn kind(&self) -> Option<ClusterPolicyKind> {
        match &self.name {
            PolicyName::Cluster(name) => Some(name.kind),
            PolicyName::Namespaced { .. } => None,
        }
    }

    /// Returns the position among all policies.
    pub(super) fn order(&self) -> (PolicyTier, Option<ClusterPolicyKind>, u16, &PolicyName) {
        (self.tier, self.kind(), self.priority, &self.name)
    }

    fn all_rules(&self) -> impl Iterator<Item = &OrderedRule<P>> {
        self.rules.iter().flatten().flatten()
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = &P> {
        self.all_rules().flat_map(|rule| rule.peers.iter().flatten())
    }

    /// Returns the policy with its peers in another form.
    pub(super) fn map_peers<Q>(self, mut map: impl FnMut(P) -> Q) -> OrderedPolicy<Q> {
        let mut rule = |rule: OrderedRule<P>| OrderedRule {
            action: rule.action,
            peers: rule.peers.map(|peers| peers.into_iter().map(&mut map).collect()),
            ports: rule.ports,
            blocks_exclude_pods: rule.blocks_exclude_pods,
        };
        OrderedPolicy {
            name: self.name,
            tier: self.tier,
            priority: self.priority,
            subjects: self.subjects,
            may_exempt_hairpins: self.may_exempt_hairpins,
            rules: self.rules.map(|rules| Some(rules?.into_iter().map(&mut rule).collect())),
        }
    }
}

impl OrderedPolicy<PeerSpec> {
    /// Returns the selectors by which the policy and its peers select pods.
    pub(super) fn pod_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        let peers = self.peers().filter_map(|peer| match peer {
            PeerSpec::Pods(scope) => Some(&scope.pods),
            PeerSpec::IpBlock(_) | PeerSpec::Nodes | PeerSpec::SomeNodes | PeerSpec::DomainNames => None,
        });
        std::iter::once(&self.subjects.pods).chain(peers)
    }
}

impl Cluster {
    /// Returns all policies in their order.
    pub(super) fn ordered_policies(&self) -> Vec<OrderedPolicy<PeerSpec>> {
        let of_namespaces = self.policies.iter().map(OrderedPolicy::from);
        let of_cluster = self.cluster_policies.iter().map(OrderedPolicy::from);
        let mut all: Vec<_> = of_namespaces.chain(of_cluster).collect();
        all.sort_by(|a, b| a.order().cmp(&b.order()));
        all
    }

    /// Returns the selectors by which the policies and their peers select pods.
    pub fn pod_selectors(&self) -> Vec<LabelSelector> {
        let policies = self.ordered_policies();
        policies.iter().flat_map(OrderedPolicy::pod_selectors).cloned().collect()
    }

    /// Returns the ports of all rules of the policies.
    pub fn rule_ports(&self) -> Vec<Ports> {
        let policies = self.ordered_policies();
        policies.iter().flat_map(OrderedPolicy::all_rules).map(|rule| rule.ports.clone()).collect()
    }
}

impl From<&NetworkPolicy> for OrderedPolicy<PeerSpec> {
    fn from(policy: &NetworkPolicy) -> Self {
        let in_namespaces = |namespaces: &NamespaceScope, pods: &LabelSelector| PodScope {
            namespaces: match namespaces {
                NamespaceScope::Own => Namespaces::Named(policy.namespace.clone()),
                NamespaceScope::Selected(selector) => Namespaces::Selected(selector.clone()),
            },
            pods: pods.clone(),
            with_hosts: true,
        };
        let peer = |peer: &Peer| match peer {
            Peer::Pods { namespaces, pods } => PeerSpec::Pods(in_namespaces(namespaces, pods)),
            Peer::IpBlock(block) => PeerSpec::IpBlock(block.clone()),
        };
        let rule = |rule: &Rule| OrderedRule {
            action: Action::Accept,
            peers: match &rule.peers {
                Peers::Any => None,
                Peers::Only(peers) => Some(peers.iter().map(peer).collect()),
            },
            ports: rule.ports.clone(),
            blocks_exclude_pods: true,
        };
        let rules = |rules: &Option<Vec<Rule>>| Some(rules.as_ref()?.iter().map(rule).collect());
        Self {
            name: PolicyName::from(policy),
            tier: PolicyTier::NetworkPolicy,
            priority: 0,
            subjects: in_namespaces(&NamespaceScope::Own, &policy.subjects),
            may_exempt_hairpins: true,
            rules: [rules(&policy.egress), rules(&policy.ingress)],
        }
    }
}

impl From<&ClusterPolicy> for OrderedPolicy<PeerSpec> {
    fn from(policy: &ClusterPolicy) -> Self {
        let scope = |PodSelector { namespaces, pods }: &PodSelector| PodScope {
            namespaces: Namespaces::Selected(namespaces.clone()),
            pods: pods.clone(),
            with_hosts: false,
        };
        let peer = |peer: &ClusterPeer| match peer {
            ClusterPeer::Pods(selector) => PeerSpec::Pods(scope(selector)),
            ClusterPeer::Network(block) => PeerSpec::IpBlock(block.clone()),
            ClusterPeer::Nodes(selector) if selector.is_everything() => PeerSpec::Nodes,
            ClusterPeer::Nodes(_) => PeerSpec::SomeNodes,
            ClusterPeer::DomainNames(_) => PeerSpec::DomainNames,
        };
        let rule = |rule: &ClusterRule| OrderedRule {
            action: rule.action,
            peers: Some(rule.peers.iter().map(peer).collect()),
            ports: rule.ports.clone(),
            blocks_exclude_pods: false,
        };
        let rules = |rules: &[ClusterRule]| (!rules.is_empty()).then(|| rules.iter().map(rule).collect());
        Self {
            name: PolicyName::from(policy),
            tier: match policy.tier {
                Tier::Admin => PolicyTier::Admin,
                Tier::Baseline => PolicyTier::Baseline,
            },
            priority: policy.priority,
            subjects: scope(&policy.subjects),
            may_exempt_hairpins: match policy.name.kind {
                ClusterPolicyKind::AdminNetworkPolicy | ClusterPolicyKind::BaselineAdminNetworkPolicy => true,
                ClusterPolicyKind::ClusterNetworkPolicy => false,
            },
            rules: [rules(&policy.egress), rules(&policy.ingress)],
        }
    }
}
