//! Compiles a cluster: pods that every policy treats alike become one class, and equal peers are matched once.
//!
//! A large cluster has many pods, but few kinds of pods. So selectors are matched against distinct label sets and
//! never against pods. The results are bit sets over classes, and all queries use them.

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

/// A compiled cluster, which answers queries about reachability.
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
    /// Nodes of the pods of each class, by class.
    places: Vec<Places>,
    /// Policies that isolate each class, by class, for egress and ingress.
    isolating: Vec<[Isolating; 2]>,
    /// Cluster-scoped policies that select each class, by class, in the order of the arena.
    tiers: Vec<Vec<TierPolicy>>,
}

/// NetworkPolicies that isolate the pods of a class for one direction, in the order of their names.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Isolating {
    pub(super) surely: Vec<PolicyId>,
    /// Policies that may isolate the class, each with the unknown facts on which that depends.
    pub(super) perhaps: Vec<(PolicyId, FactsId)>,
}

impl Isolating {
    const NONE: &'static Self = &Self { surely: Vec::new(), perhaps: Vec::new() };

    pub(super) fn is_empty(&self) -> bool {
        self.surely.is_empty() && self.perhaps.is_empty()
    }

    /// Returns all policies, including those that only may isolate.
    pub(super) fn all(&self) -> impl Iterator<Item = PolicyId> {
        self.surely.iter().copied().chain(self.perhaps.iter().map(|(id, _)| *id))
    }

    /// Returns the sets of policies to evaluate, because the policies that really isolate may be any of these sets.
    /// The first set has none of the policies that only may isolate. Each further set adds one of them. Combinations
    /// are not needed: policies are a union, so several of them together allow what any one of them allows.
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

/// Nodes on which the pods of a class run.
#[derive(Debug, Default, Clone)]
struct Places {
    nodes: BTreeSet<String>,
    /// Whether the node of any of the pods is unknown.
    is_any_unknown: bool,
}

/// Whether pods of two classes run on the same node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShareNode {
    No,
    /// Some pods of one class run on the same node as pods of the other.
    Yes,
    /// No known nodes are the same, but the node of some pod is unknown.
    Perhaps,
}

/// A cluster-scoped policy, and whether it selects its subject for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TierPolicy {
    pub(super) id: ClusterPolicyId,
    pub(super) selects: Matched,
}

impl Engine {
    /// Compiles a cluster. A namespace that only pods or policies name counts as existing.
    pub fn new(cluster: Cluster) -> Self {
        let Cluster { namespaces, nodes, node_ranges, pods, services, mut policies, mut cluster_policies } =
            cluster;
        // Reasons list policies in the order of their names, which must not depend on the order of the input.
        policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        // By tier, then by kind, then by priority with the most important first. `in_tier` relies on this order.
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

    /// Returns all pods, in the order of the cluster's list.
    pub fn pods(&self) -> impl Iterator<Item = (PodId, &Pod)> {
        self.pods.iter()
    }

    /// Returns the pod with this id.
    pub fn pod(&self, id: PodId) -> &Pod {
        &self.pods[id]
    }

    /// Returns all nodes, in the order of the cluster's list.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter()
    }

    /// Returns all Services, in the order of the cluster's list.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        self.services.iter()
    }

    pub(super) fn class_of(&self, pod: PodId) -> Option<ClassId> {
        self.pod_classes.get(pod.index()).copied()
    }

    /// Returns whether pods of two classes run on the same node.
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

    /// Returns the NetworkPolicies that isolate a class for a direction.
    pub(super) fn isolating(&self, class: ClassId, direction: Direction) -> &Isolating {
        let Some([egress, ingress]) = self.isolating.get(class.index()) else { return Isolating::NONE };
        match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        }
    }

    /// Returns the cluster-scoped policies that select a class and have rules for a direction. They are ordered by
    /// tier, kind, priority and name.
    pub(super) fn cluster_policies(
        &self,
        class: ClassId,
        direction: Direction,
    ) -> impl Iterator<Item = TierPolicy> {
        let all = self.tiers.get(class.index()).into_iter().flatten().copied();
        all.filter(move |policy| !self.cluster_policies[policy.id].rules(direction).is_empty())
    }

    /// Returns the policies of one tier, grouped by kind and then by priority. The specification does not order
    /// policies of different kinds, and it does not order policies of one kind with equal priority.
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

/// Returns the keys of all labels by which policies select pods.
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
