//! Compiling a cluster: pods that every policy treats alike become one class, and equal peers are
//! matched once.
//!
//! A large cluster has many pods and few kinds of them. Selectors are matched against distinct
//! label sets, never against pods, and the results are kept as bit sets over classes. All
//! questions to the engine are answered from these.

use std::collections::BTreeSet;

use super::address::{AddressSpace, IpBlock};
use super::arena::{Arena, Id, Interner};
use super::class::{Class, ClassId, Memberships};
use super::cluster_policy::{ClusterPeer, ClusterPolicy, Tier};
use super::compiled::{
    ClusterPolicyId, CompiledClusterPolicy, CompiledPeer, CompiledPolicy, FactsId, Matched, PolicyId,
};
use super::facts::Facts;
use super::label::LabelSelector;
use super::matcher::{Matcher, NamespaceIndex};
use super::model::{Cluster, Direction, NetworkPolicy, Node, Peer, Pod, Service};
use super::node_addresses::{self, NodeAddresses};
use super::unknown::PartialLabels;

/// Identifies a pod of an [`Engine`].
pub type PodId = Id<Pod>;
/// Identifies a node of an [`Engine`].
pub type NodeId = Id<Node>;
/// Identifies a Service of an [`Engine`].
pub type ServiceId = Id<Service>;

/// A cluster, compiled for questions about reachability.
#[derive(Debug)]
pub struct Engine {
    pub(super) pods: Arena<Pod>,
    pub(super) nodes: Arena<Node>,
    pub(super) services: Arena<Service>,
    pub(super) policies: Arena<CompiledPolicy>,
    pub(super) cluster_policies: Arena<CompiledClusterPolicy>,
    pub(super) peers: Arena<CompiledPeer>,
    pub(super) classes: Arena<Class>,
    pub(super) space: AddressSpace,
    pub(super) node_addresses: NodeAddresses,
    pub(super) facts: Facts,
    pod_classes: Vec<ClassId>,
    /// By class: on which nodes its pods run.
    places: Vec<Places>,
    /// By class.
    isolating: Vec<[Isolating; 2]>,
    /// By class: the cluster-scoped policies of which it is a subject, in the order of the arena.
    tiers: Vec<Vec<TierPolicy>>,
}

/// The policies that isolate the pods of a class for one direction, in the order of their names.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Isolating {
    pub(super) surely: Vec<PolicyId>,
    /// Those that do so depending on facts that are not known.
    pub(super) perhaps: Vec<(PolicyId, FactsId)>,
}

impl Isolating {
    const NONE: &'static Self = &Self { surely: Vec::new(), perhaps: Vec::new() };

    pub(super) fn is_empty(&self) -> bool {
        self.surely.is_empty() && self.perhaps.is_empty()
    }

    /// All policies, those that perhaps isolate included.
    pub(super) fn all(&self) -> impl Iterator<Item = PolicyId> {
        self.surely.iter().copied().chain(self.perhaps.iter().map(|(id, _)| *id))
    }

    /// The sets of policies that have to be looked at, because each may be those that really isolate: without
    /// those that perhaps do, and with each one of these. Several of these together allow what any of them
    /// allows, so that no more sets are needed.
    pub(super) fn alternatives(&self) -> impl Iterator<Item = Vec<PolicyId>> {
        let with = |(id, _): &(PolicyId, FactsId)| {
            let mut policies = self.surely.clone();
            policies.insert(policies.partition_point(|other| other < id), *id);
            policies
        };
        std::iter::once(self.surely.clone()).chain(self.perhaps.iter().map(with))
    }

    fn add(&mut self, id: PolicyId, how: Matched) {
        match how {
            Matched::Surely => self.surely.push(id),
            Matched::Perhaps(facts) => self.perhaps.push((id, facts)),
        }
    }
}

/// The nodes on which pods run.
#[derive(Debug, Default, Clone)]
struct Places {
    nodes: BTreeSet<String>,
    /// Whether the node of one of the pods is not known.
    is_any_unknown: bool,
}

/// Whether a pod of one kind and a pod of another run on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShareNode {
    No,
    /// Some of them do.
    Yes,
    /// As far as their nodes are known, none do.
    Perhaps,
}

/// A cluster-scoped policy, and how surely it selects the subject in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TierPolicy {
    pub(super) id: ClusterPolicyId,
    pub(super) selects: Matched,
}

impl Engine {
    /// Compiles a cluster. Namespaces that only pods or policies mention are taken to exist.
    pub fn new(cluster: Cluster) -> Self {
        let Cluster { namespaces, nodes, node_ranges, pods, services, mut policies, mut cluster_policies } =
            cluster;
        // Reasons list policies in the order of their names, whatever the order of the input.
        policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        // Those of a tier and a kind together, the most important first.
        cluster_policies.sort_by(|a, b| {
            let key = |policy: &ClusterPolicy| (policy.tier, policy.name.kind, policy.priority);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        let of_cluster = cluster_policies.iter().flat_map(blocks_of_cluster_policy);
        let of_nodes = node_addresses::blocks(&nodes, &node_ranges, &cluster_policies);
        let blocks: Vec<_> = policies.iter().flat_map(blocks_of).chain(of_cluster).chain(&of_nodes).collect();
        let space = AddressSpace::new(&blocks);
        let node_addresses = NodeAddresses::new(&space, &nodes, node_ranges);
        let mut names = NamespaceIndex::new(namespaces);
        for name in pods.iter().map(|pod| &pod.namespace).chain(policies.iter().map(|p| &p.namespace)) {
            names.ensure(name);
        }

        let keys = pod_label_keys(&policies, &cluster_policies);
        let mut labels = Interner::default();
        let mut classes = Interner::default();
        let mut memberships = Memberships::new(&space);
        let pod_classes: Vec<ClassId> = pods
            .iter()
            .map(|pod| {
                classes.intern(Class {
                    namespace: names.ensure(&pod.namespace),
                    labels: labels.intern(PartialLabels::restricted(&pod.labels, &pod.unknown_labels, &keys)),
                    ports: pod.ports.clone(),
                    host_network: pod.host_network,
                    ended: pod.ended,
                    addresses: memberships.of(pod),
                })
            })
            .collect();

        let sets = memberships.into_sets();
        let mut matcher = Matcher::new(names, labels.into_arena(), classes.into_arena(), &space, sets);
        let mut isolating = vec![<[Isolating; 2]>::default(); matcher.classes.len()];
        let policies: Vec<_> = policies.into_iter().map(|policy| matcher.compile(policy)).collect();
        let policies = Arena::from(policies);
        for (id, compiled) in policies.iter() {
            for (class, how) in matcher.subjects(&compiled.policy) {
                let Some(isolating) = isolating.get_mut(class.index()) else { continue };
                for (isolating, direction) in isolating.iter_mut().zip(Direction::ALL) {
                    if compiled.policy.rules(direction).is_some() {
                        isolating.add(id, how);
                    }
                }
            }
        }
        let cluster_policies: Vec<_> =
            cluster_policies.into_iter().map(|policy| matcher.compile_cluster_policy(policy)).collect();
        let cluster_policies = Arena::from(cluster_policies);
        let mut tiers = vec![Vec::new(); matcher.classes.len()];
        for (id, compiled) in cluster_policies.iter() {
            let subjects = matcher.in_pod_network(&compiled.policy.subjects);
            for (class, tiers) in matcher.classes.ids().zip(&mut tiers) {
                tiers.extend(subjects.of(class).map(|selects| TierPolicy { id, selects }));
            }
        }
        let Matcher { classes, peers, facts, .. } = matcher;
        let mut places = vec![Places::default(); classes.len()];
        for (pod, class) in pods.iter().zip(&pod_classes) {
            let Some(places) = places.get_mut(class.index()).filter(|_| !pod.ended) else { continue };
            match &pod.node {
                Some(node) => drop(places.nodes.insert(node.clone())),
                None => places.is_any_unknown = true,
            }
        }
        Self {
            pods: pods.into(),
            nodes: nodes.into(),
            services: services.into(),
            policies,
            cluster_policies,
            peers,
            classes,
            space,
            node_addresses,
            facts,
            pod_classes,
            places,
            isolating,
            tiers,
        }
    }

    /// All pods, in the order in which the cluster listed them.
    pub fn pods(&self) -> impl Iterator<Item = (PodId, &Pod)> {
        self.pods.iter()
    }

    /// The pod of an id of this engine.
    pub fn pod(&self, id: PodId) -> &Pod {
        &self.pods[id]
    }

    /// All nodes, in the order in which the cluster listed them.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter()
    }

    /// All Services, in the order in which the cluster listed them.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        self.services.iter()
    }

    pub(super) fn class_of(&self, pod: PodId) -> Option<ClassId> {
        self.pod_classes.get(pod.index()).copied()
    }

    /// Whether pods of two classes run on one node.
    pub(super) fn share_node(&self, one: ClassId, other: ClassId) -> ShareNode {
        let places = |class: ClassId| self.places.get(class.index());
        let (Some(one), Some(other)) = (places(one), places(other)) else { return ShareNode::Perhaps };
        if !one.nodes.is_disjoint(&other.nodes) {
            ShareNode::Yes
        } else if one.is_any_unknown || other.is_any_unknown {
            ShareNode::Perhaps
        } else {
            ShareNode::No
        }
    }

    /// The policies that isolate a class for a direction.
    pub(super) fn isolating(&self, class: ClassId, direction: Direction) -> &Isolating {
        let Some([egress, ingress]) = self.isolating.get(class.index()) else { return Isolating::NONE };
        match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        }
    }

    /// The cluster-scoped policies with rules for a direction of which a class is a subject: by tier,
    /// and there by kind, priority and name.
    pub(super) fn cluster_policies(
        &self,
        class: ClassId,
        direction: Direction,
    ) -> impl Iterator<Item = TierPolicy> {
        let all = self.tiers.get(class.index()).into_iter().flatten().copied();
        all.filter(move |policy| !self.cluster_policies[policy.id].rules(direction).is_empty())
    }

    /// The policies of one tier, in lists of those that the specification puts at the same place:
    /// first by kind, because nothing orders policies of different kinds, then by priority.
    pub(super) fn in_tier(&self, policies: &[TierPolicy], tier: Tier) -> Vec<Vec<Vec<TierPolicy>>> {
        let policy = |policy: &TierPolicy| &self.cluster_policies[policy.id].policy;
        let of_tier: Vec<_> = policies.iter().copied().filter(|each| policy(each).tier == tier).collect();
        let kinds = of_tier.chunk_by(|a, b| policy(a).name.kind == policy(b).name.kind);
        let priorities = |of_kind: &[TierPolicy]| {
            of_kind.chunk_by(|a, b| policy(a).priority == policy(b).priority).map(<[_]>::to_vec).collect()
        };
        kinds.map(priorities).collect()
    }
}

/// The keys of all labels by which policies select pods.
fn pod_label_keys(policies: &[NetworkPolicy], cluster_policies: &[ClusterPolicy]) -> BTreeSet<String> {
    let of_policies = policies.iter().flat_map(NetworkPolicy::pod_selectors);
    let selectors = of_policies.chain(cluster_policies.iter().flat_map(ClusterPolicy::pod_selectors));
    selectors.flat_map(LabelSelector::requirements).map(|requirement| requirement.key().clone()).collect()
}

fn blocks_of(policy: &NetworkPolicy) -> impl Iterator<Item = &IpBlock> {
    policy.peers().filter_map(|peer| match peer {
        Peer::IpBlock(block) => Some(block),
        Peer::Pods { .. } => None,
    })
}

fn blocks_of_cluster_policy(policy: &ClusterPolicy) -> impl Iterator<Item = &IpBlock> {
    policy.peers().filter_map(|peer| match peer {
        ClusterPeer::Network(block) => Some(block),
        ClusterPeer::Pods(_) | ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) => None,
    })
}
