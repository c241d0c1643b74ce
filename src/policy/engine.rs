//! A compiled cluster: pods that every policy treats alike are one class, and each class knows the selectors that match
//! it.
//!
//! A large cluster has many pods, but few kinds of pods. Selectors are matched against distinct label sets and never
//! against pods. [`compile`](super::compile) makes this form, and keeps it up to date.

use std::net::IpAddr;
use std::sync::OnceLock;

use super::address::AddressSpace;
use super::arena::{Arena, Id};
use super::bounds::Truth;
use super::class::{Class, ClassId, CohortId, Cohorts};
use super::map::HashMap;
use super::matched::{CompiledPeer, Matched, PolicyId, RuleRef, Selecting};
use super::model::{ContainerPort, Node, Pod, Service};
use super::node_addresses::NodeAddresses;
use super::ordered::{OrderedPolicy, PeerId};
use super::pool::Pool;
use super::rule::Direction;
use super::scopes::{PeerSet, SubjectSet};
use super::unknown::Facts;

/// Identifies a pod of an [`Engine`].
pub type PodId = Id<Pod>;
/// Identifies a node of an [`Engine`].
pub type NodeId = Id<Node>;
/// Identifies a Service of an [`Engine`].
pub type ServiceId = Id<Service>;

/// Policies that select a class and have a say about a direction, in their order.
pub(super) type PolicyList = Vec<Selecting>;

/// A compiled cluster, which answers queries about reachability.
#[derive(Debug, Default)]
pub struct Engine {
    pub(super) pods: Arena<Pod>,
    pub(super) nodes: Arena<Node>,
    pub(super) services: Arena<Service>,
    /// Policies, in no order.
    pub(super) policies: Arena<OrderedPolicy>,
    /// What each peer matches, by the index of the peer.
    pub(super) peers: Vec<CompiledPeer>,
    pub(super) classes: Pool<Class>,
    pub(super) subject_sets: Pool<SubjectSet>,
    pub(super) peer_sets: Pool<PeerSet>,
    pub(super) ports: Pool<Vec<ContainerPort>>,
    /// For egress and ingress, the policies of each set of subject selectors, by the index of the set.
    pub(super) lists_of: Vec<[Id<PolicyList>; 2]>,
    pub(super) lists: Pool<PolicyList>,
    pub(super) cohorts: Cohorts,
    /// The cohort of each pod, by the index of the pod.
    pub(super) cohort_of: Vec<CohortId>,
    pub(super) space: AddressSpace,
    pub(super) node_addresses: NodeAddresses,
    pub(super) facts: Facts,
    pub(super) index: OnceLock<PodIndex>,
}

/// Finds pods without going through all of them. Pods that have ended are not included.
#[derive(Debug, Default)]
pub(super) struct PodIndex {
    by_namespace: HashMap<String, Vec<PodId>>,
    /// The first pod of each address.
    by_address: HashMap<IpAddr, PodId>,
    with_host_ports: Vec<PodId>,
}

impl PodIndex {
    fn new(pods: &Arena<Pod>) -> Self {
        let mut index = Self::default();
        for (id, pod) in pods.iter().filter(|(_, pod)| !pod.ended) {
            index.by_namespace.entry_ref(pod.namespace.as_str()).or_default().push(id);
            for address in &pod.addresses {
                index.by_address.entry(*address).or_insert(id);
            }
            if !pod.host_ports.is_empty() {
                index.with_host_ports.push(id);
            }
        }
        index
    }
}

impl Engine {
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

    /// Returns the count of classes: groups of pods that no policy can distinguish.
    pub fn class_count(&self) -> usize {
        self.classes.iter().count()
    }

    fn index(&self) -> &PodIndex {
        self.index.get_or_init(|| PodIndex::new(&self.pods))
    }

    /// Returns the pods of a namespace that have not ended, in their order.
    pub(super) fn pods_in(&self, namespace: &str) -> impl Iterator<Item = (PodId, &Pod)> {
        let ids = self.index().by_namespace.get(namespace).into_iter().flatten();
        ids.map(|id| (*id, &self.pods[*id]))
    }

    /// Returns the first pod with this address that has not ended.
    pub(super) fn pod_with(&self, address: IpAddr) -> Option<PodId> {
        self.index().by_address.get(&address).copied()
    }

    /// Returns the pods with `hostPort`s that have not ended, in their order.
    pub(super) fn pods_with_host_ports(&self) -> impl Iterator<Item = &Pod> {
        self.index().with_host_ports.iter().map(|id| &self.pods[*id])
    }

    pub(super) fn cohort_of(&self, pod: PodId) -> Option<CohortId> {
        self.cohort_of.get(pod.index()).copied()
    }

    pub(super) fn class_id(&self, cohort: CohortId) -> ClassId {
        self.cohorts.pool[cohort].class
    }

    pub(super) fn class(&self, cohort: CohortId) -> &Class {
        &self.classes[self.class_id(cohort)]
    }

    /// Returns the ports of a class whose names some rule reads.
    pub(super) fn ports_of(&self, class: &Class) -> &[ContainerPort] {
        &self.ports[class.ports]
    }

    /// Returns whether any pods of two cohorts run on the same node.
    pub(super) fn share_node(&self, one: CohortId, other: CohortId) -> Truth {
        self.cohorts.share_node(one, other)
    }

    /// Returns the id of the list of policies that select a class and have a say about a direction.
    pub(super) fn list_of(&self, class: &Class, direction: Direction) -> Option<Id<PolicyList>> {
        self.lists_of.get(class.subjects.index()).map(|lists| direction.pick(*lists))
    }

    /// Returns the policies that select a class and have a say about a direction, in the order of the policies.
    pub(super) fn selecting(&self, class: &Class, direction: Direction) -> &[Selecting] {
        self.list_of(class, direction).map_or(&[], |list| &self.lists[list])
    }

    /// Returns a peer of a rule, with what it matches.
    pub(super) fn peer(&self, id: PeerId) -> &CompiledPeer {
        #[expect(
            clippy::indexing_slicing,
            reason = "each peer of a rule is compiled, in the order of their ids"
        )]
        &self.peers[id.index()]
    }

    /// Returns whether a peer matches a class by labels and namespace, or `None` if it does not.
    pub(super) fn matches(&self, peer: PeerId, class: &Class) -> Option<Matched> {
        let set = &self.peer_sets[class.peers];
        let at = set.binary_search_by_key(&peer, |(id, _)| *id).ok()?;
        set.get(at).map(|(_, how)| *how)
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
