//! Compiles a cluster: pods that every policy treats alike become one class, and equal peers are matched once.
//!
//! A large cluster has many pods, but few kinds of pods. So selectors are matched against distinct label sets and
//! never against pods. The results are bit sets over classes, and all queries use them.

use std::collections::BTreeSet;

use super::address::AddressSpace;
use super::arena::{Arena, Id, Interner};
use super::bounds::Truth;
use super::class::{Class, ClassId, Memberships};
use super::cluster::Cluster;
use super::label::{LabelSelector, PartialLabels};
use super::matcher::{CompiledPeer, Matched, Matcher, NamespaceIndex, PolicyId, RuleRef, Selecting};
use super::model::{Node, Pod, Service};
use super::node_addresses::{self, NodeAddresses};
use super::ordered::{OrderedPolicy, PeerId, PeerSpec};
use super::rule::Direction;
use super::unknown::Facts;

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
    /// All policies in their order.
    pub(super) policies: Arena<OrderedPolicy>,
    peers: Vec<CompiledPeer>,
    pub(super) classes: Arena<Class>,
    pub(super) space: AddressSpace,
    pub(super) node_addresses: NodeAddresses,
    pub(super) facts: Facts,
    pod_classes: Vec<ClassId>,
    /// Nodes of the pods of each class, by class.
    places: Vec<Places>,
    /// Policies that select each class and have a say about a direction, by class, in the order of the policies.
    selecting: Vec<[Vec<Selecting>; 2]>,
}

/// Nodes on which the pods of a class run.
#[derive(Debug, Default, Clone)]
struct Places {
    nodes: BTreeSet<String>,
    /// Whether the node of any of the pods is unknown.
    is_any_unknown: bool,
}

impl Engine {
    /// Compiles a cluster. A namespace that only pods name counts as existing.
    pub fn new(cluster: Cluster) -> Self {
        let policies = cluster.all_policies().ordered();
        let Cluster { namespaces, nodes, node_ranges, pods, services, .. } = cluster;
        let names_nodes = policies.peers.iter().any(|(_, peer)| match peer {
            PeerSpec::Nodes(_) => true,
            PeerSpec::Pods(_) | PeerSpec::IpBlock(_) | PeerSpec::DomainNames => false,
        });
        let of_nodes = match names_nodes {
            true => node_addresses::blocks(&nodes, &node_ranges),
            // Parts of the address space are costly, because each part is evaluated for every workload.
            false => Vec::new(),
        };
        let of_peers = policies.peers.iter().filter_map(|(_, peer)| peer.block());
        let blocks: Vec<_> = of_peers.chain(&of_nodes).collect();
        let space = AddressSpace::new(&blocks);
        let node_addresses = NodeAddresses::new(&space, &nodes, node_ranges);
        let mut names = NamespaceIndex::new(namespaces);

        let requirements = policies.pod_selectors().flat_map(LabelSelector::requirements);
        let keys: BTreeSet<_> = requirements.map(|requirement| requirement.key().clone()).collect();
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
        let peers = policies.peers.into_vec().into_iter().map(|peer| matcher.compile(peer)).collect();
        let policies = Arena::from(policies.list);
        let mut selecting = vec![<[Vec<Selecting>; 2]>::default(); matcher.classes.len()];
        for (policy, compiled) in policies.iter() {
            for (class, how) in matcher.select(&compiled.subjects) {
                let Some(selecting) = selecting.get_mut(class.index()) else { continue };
                for (selecting, direction) in selecting.iter_mut().zip(Direction::ALL) {
                    if compiled.rules(direction).is_some() {
                        selecting.push(Selecting { policy, how });
                    }
                }
            }
        }
        let Matcher { classes, facts, .. } = matcher;
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
            peers,
            classes,
            space,
            node_addresses,
            facts,
            pod_classes,
            places,
            selecting,
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

    /// Returns whether any pods of two classes run on the same node.
    pub(super) fn share_node(&self, one: ClassId, other: ClassId) -> Truth {
        let places = |class: ClassId| self.places.get(class.index());
        let (Some(one), Some(other)) = (places(one), places(other)) else { return Truth::Perhaps };
        Truth::of(!one.nodes.is_disjoint(&other.nodes), one.is_any_unknown || other.is_any_unknown)
    }

    /// Returns the policies that select a class and have a say about a direction, in the order of the policies.
    pub(super) fn selecting(&self, class: ClassId, direction: Direction) -> &[Selecting] {
        self.selecting.get(class.index()).map_or(&[], |[egress, ingress]| direction.pick([egress, ingress]))
    }

    /// Returns a peer of a rule, with what it matches.
    pub(super) fn peer(&self, id: PeerId) -> &CompiledPeer {
        #[expect(
            clippy::indexing_slicing,
            reason = "each peer of a rule is compiled, in the order of their ids"
        )]
        &self.peers[id.index()]
    }

    /// Returns the rules of a policy for a direction.
    pub(super) fn rules(&self, id: PolicyId, direction: Direction) -> impl Iterator<Item = RuleRef<'_>> {
        let policy = &self.policies[id];
        let rules = policy.rules(direction).unwrap_or_default().iter().enumerate();
        rules.map(move |(index, rule)| RuleRef { id, policy, direction, index, rule })
    }

    /// Returns whether the policy is in a tier whose policies are a union.
    pub(super) fn is_in_union(&self, policy: PolicyId) -> bool {
        self.policies[policy].tier.is_union()
    }

    /// Returns the lists of policies to evaluate, because the policies of a union that really select may be those of
    /// any list. The first list has none of the policies that only may select. Each further list adds one of them.
    /// Combinations are not needed: several of them together allow what any one of them allows.
    pub(super) fn alternatives(&self, selecting: &[Selecting]) -> impl Iterator<Item = Vec<Selecting>> {
        let is_open = |each: &Selecting| each.how != Matched::Surely && self.is_in_union(each.policy);
        let with = move |added: Option<PolicyId>| {
            let kept = selecting.iter().filter(|each| !is_open(each) || Some(each.policy) == added);
            kept.map(|each| match is_open(each) {
                true => Selecting { how: Matched::Surely, ..*each },
                false => *each,
            })
            .collect()
        };
        let open = selecting.iter().copied().filter(is_open).map(|each| Some(each.policy));
        std::iter::once(None).chain(open).map(with)
    }
}
