//! The one form of all kinds of policies: ordered rules, each with an action.
//!
//! Each kind of policy is converted to this form here. Nothing after the conversion depends on the kind.

use super::address::IpBlock;
use super::arena::{Arena, Id, Interner};
use super::bounds::Truth;
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

impl PolicyTier {
    pub(super) const ALL: [Self; 3] = [Self::Admin, Self::NetworkPolicy, Self::Baseline];

    /// Returns whether the policies of the tier are a union: every rule that matches accepts. If no rule matches, the
    /// policies that select the subject deny. The next tier decides only if no policy selects the subject.
    ///
    /// In the other tiers, the first rule that matches decides, in the order of priorities. If no rule matches, the
    /// next tier decides.
    pub(super) fn is_union(self) -> bool {
        match self {
            Self::Admin | Self::Baseline => false,
            Self::NetworkPolicy => true,
        }
    }
}

pub(crate) type PeerId = Id<PeerSpec>;

/// All policies of a cluster. Equal peers are one peer.
pub(crate) struct Policies {
    pub(crate) list: Vec<OrderedPolicy>,
    pub(crate) peers: Arena<PeerSpec>,
}

/// A policy of any kind.
#[derive(Debug)]
pub(crate) struct OrderedPolicy {
    pub(crate) name: PolicyName,
    pub(super) tier: PolicyTier,
    /// Priority among the policies of the same tier and kind. The lowest comes first.
    pub(super) priority: u16,
    pub(crate) subjects: PodScope,
    /// Whether implementations may exempt connections of a pod to itself through a Service.
    pub(super) may_exempt_hairpins: bool,
    /// Rules for egress and ingress, or `None` if the policy says nothing about the direction.
    pub(super) rules: [Option<Vec<OrderedRule>>; 2],
}

/// A rule of a policy of any kind.
#[derive(Debug)]
pub(crate) struct OrderedRule {
    pub(super) action: Action,
    /// `None` if the rule matches everything.
    pub(crate) peers: Option<Vec<PeerId>>,
    pub(crate) ports: Ports,
    /// Whether an `ipBlock` may be meant only for addresses outside the cluster. Then implementations may not resolve
    /// a port name on a pod that only a block matches, or on a pod that counts as its node.
    pub(super) blocks_exclude_pods: bool,
}

/// A peer of a rule of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum PeerSpec {
    Pods(PodScope),
    IpBlock(IpBlock),
    /// Nodes: all of them (`Yes`), or those with certain labels (`Perhaps`). The labels of nodes are not known.
    Nodes(Truth),
    /// Domain names. Their addresses are not known.
    DomainNames,
}

/// Pods that a policy selects as subjects or as peers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PodScope {
    pub(crate) namespaces: Namespaces,
    pub(crate) pods: LabelSelector,
    /// Whether pods with `hostNetwork` can be selected, too.
    pub(super) with_hosts: bool,
}

/// Namespaces of a [`PodScope`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Namespaces {
    Named(String),
    Selected(LabelSelector),
}

impl OrderedPolicy {
    /// Returns the rules for a direction, or `None` if the policy says nothing about it.
    pub(crate) fn rules(&self, direction: Direction) -> Option<&[OrderedRule]> {
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
}

impl OrderedRule {
    /// Returns whether the rule lets traffic through.
    pub(crate) fn allows(&self) -> bool {
        match self.action {
            Action::Accept => true,
            Action::Deny | Action::Pass => false,
        }
    }
}

impl PeerSpec {
    /// Returns the pods that the peer selects, or `None` if it is not a selector of pods.
    pub(crate) fn pods(&self) -> Option<&PodScope> {
        match self {
            Self::Pods(scope) => Some(scope),
            Self::IpBlock(_) | Self::Nodes(_) | Self::DomainNames => None,
        }
    }
}

impl Policies {
    /// Returns the selectors by which the policies and their peers select pods.
    pub(super) fn pod_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        self.scopes().map(|scope| &scope.pods)
    }

    /// Returns the selectors by which the policies and their peers select namespaces.
    pub(crate) fn namespace_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        self.scopes().filter_map(|scope| match &scope.namespaces {
            Namespaces::Selected(selector) => Some(selector),
            Namespaces::Named(_) => None,
        })
    }

    fn scopes(&self) -> impl Iterator<Item = &PodScope> {
        let peers = self.peers.iter().filter_map(|(_, peer)| peer.pods());
        self.list.iter().map(|policy| &policy.subjects).chain(peers)
    }
}

impl Cluster {
    /// Returns all policies in one form, in the order of the cluster's lists.
    pub(crate) fn all_policies(&self) -> Policies {
        let mut peers = Interner::default();
        let mut intern = |peer| peers.intern(peer);
        let of_namespaces = self.policies.iter().map(|policy| namespaced(policy, &mut intern));
        let mut list: Vec<_> = of_namespaces.collect();
        list.extend(self.cluster_policies.iter().map(|policy| cluster_scoped(policy, &mut intern)));
        Policies { list, peers: peers.into_arena() }
    }

    /// Returns the selectors by which the policies and their peers select pods.
    pub fn pod_selectors(&self) -> Vec<LabelSelector> {
        self.all_policies().pod_selectors().cloned().collect()
    }

    /// Returns the ports of all rules of the policies.
    pub fn rule_ports(&self) -> Vec<Ports> {
        let policies = self.all_policies().list.into_iter();
        policies.flat_map(|policy| policy.rules).flatten().flatten().map(|rule| rule.ports).collect()
    }
}

/// Converts a NetworkPolicy. `intern` returns the id of a peer.
pub(super) fn namespaced(
    policy: &NetworkPolicy,
    intern: &mut impl FnMut(PeerSpec) -> PeerId,
) -> OrderedPolicy {
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
    let mut rule = |rule: &Rule| OrderedRule {
        action: Action::Accept,
        peers: match &rule.peers {
            Peers::Any => None,
            Peers::Only(only) => Some(only.iter().map(|each| intern(peer(each))).collect()),
        },
        ports: rule.ports.clone(),
        blocks_exclude_pods: true,
    };
    let mut rules = |rules: &Option<Vec<Rule>>| Some(rules.as_ref()?.iter().map(&mut rule).collect());
    OrderedPolicy {
        name: PolicyName::from(policy),
        tier: PolicyTier::NetworkPolicy,
        priority: 0,
        subjects: in_namespaces(&NamespaceScope::Own, &policy.subjects),
        may_exempt_hairpins: true,
        rules: [rules(&policy.egress), rules(&policy.ingress)],
    }
}

/// Converts a cluster-scoped policy. `intern` returns the id of a peer.
pub(super) fn cluster_scoped(
    policy: &ClusterPolicy,
    intern: &mut impl FnMut(PeerSpec) -> PeerId,
) -> OrderedPolicy {
    let scope = |PodSelector { namespaces, pods }: &PodSelector| PodScope {
        namespaces: Namespaces::Selected(namespaces.clone()),
        pods: pods.clone(),
        with_hosts: false,
    };
    let peer = |peer: &ClusterPeer| match peer {
        ClusterPeer::Pods(selector) => PeerSpec::Pods(scope(selector)),
        ClusterPeer::Network(block) => PeerSpec::IpBlock(block.clone()),
        ClusterPeer::Nodes(selector) => PeerSpec::Nodes(Truth::of(selector.is_everything(), true)),
        ClusterPeer::DomainNames(_) => PeerSpec::DomainNames,
    };
    let mut rule = |rule: &ClusterRule| OrderedRule {
        action: rule.action,
        peers: Some(rule.peers.iter().map(|each| intern(peer(each))).collect()),
        ports: rule.ports.clone(),
        blocks_exclude_pods: false,
    };
    let mut rules =
        |rules: &[ClusterRule]| (!rules.is_empty()).then(|| rules.iter().map(&mut rule).collect());
    OrderedPolicy {
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
