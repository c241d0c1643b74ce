//! Compiling a cluster: pods that every policy treats alike become one class, and equal peers are
//! matched once.
//!
//! A large cluster has many pods and few kinds of them. Selectors are matched against distinct
//! label sets, never against pods, and the results are kept as bit sets over classes. All
//! questions to the engine are answered from these.

use std::collections::{BTreeMap, HashMap};

use fixedbitset::FixedBitSet;

use super::address::{AddressSpace, AtomId, IpBlock, IpFamily};
use super::arena::{Arena, Id, Interner};
use super::label::{LabelSelector, Labels};
use super::model::{
    Cluster, ContainerPort, Direction, Namespace, NamespaceScope, NetworkPolicy, Node, Peer, Peers, Pod,
    Ports, Rule, Service,
};

/// Identifies a pod of an [`Engine`].
pub type PodId = Id<Pod>;
/// Identifies a node of an [`Engine`].
pub type NodeId = Id<Node>;
/// Identifies a Service of an [`Engine`].
pub type ServiceId = Id<Service>;
pub(super) type PolicyId = Id<CompiledPolicy>;
pub(super) type PeerId = Id<CompiledPeer>;
pub(super) type ClassId = Id<Class>;

/// A cluster, compiled for questions about reachability.
#[derive(Debug)]
pub struct Engine {
    pub(super) pods: Arena<Pod>,
    pub(super) nodes: Arena<Node>,
    pub(super) services: Arena<Service>,
    pub(super) policies: Arena<CompiledPolicy>,
    pub(super) peers: Arena<CompiledPeer>,
    pub(super) classes: Arena<Class>,
    pub(super) space: AddressSpace,
    pod_classes: Vec<ClassId>,
    isolating: Vec<Isolating>,
}

/// Pods of one namespace that no policy can tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Class {
    namespace: Id<Namespace>,
    labels: Id<Labels>,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) host_network: bool,
    pub(super) ended: bool,
    addresses: [Membership; 2],
}

/// Where a class stands towards the `ipBlock`s of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Membership {
    /// Nothing is known about its addresses.
    Unknown,
    /// It has addresses, but none of this family.
    NoAddress,
    /// Its address of this family is in this part.
    In(AtomId),
}

impl Class {
    pub(super) fn membership(&self, family: IpFamily) -> Membership {
        let [v4, v6] = self.addresses;
        match family {
            IpFamily::V4 => v4,
            IpFamily::V6 => v6,
        }
    }
}

/// A policy whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledPolicy {
    pub(super) policy: NetworkPolicy,
    ingress: Vec<CompiledRule>,
    egress: Vec<CompiledRule>,
}

impl CompiledPolicy {
    pub(super) fn rules(&self, direction: Direction) -> &[CompiledRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A rule whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledRule {
    /// `None` is everybody.
    pub(super) peers: Option<Vec<PeerId>>,
    pub(super) ports: Ports,
}

/// A peer, matched against everything that it can name.
#[derive(Debug)]
pub(super) enum CompiledPeer {
    /// The classes whose labels and namespace match.
    Pods(FixedBitSet),
    /// The block, and the parts of the address space inside it.
    IpBlock(IpBlock, FixedBitSet),
}

/// The policies that isolate the pods of a class.
#[derive(Debug, Default, Clone)]
struct Isolating {
    ingress: Vec<PolicyId>,
    egress: Vec<PolicyId>,
}

impl Engine {
    /// Compiles a cluster. Namespaces that only pods or policies mention are taken to exist.
    pub fn new(cluster: Cluster) -> Self {
        let Cluster { namespaces, nodes, pods, services, mut policies } = cluster;
        // Reasons list policies in the order of their names, whatever the order of the input.
        policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let blocks: Vec<_> = policies.iter().flat_map(blocks_of).collect();
        let space = AddressSpace::new(&blocks);
        let mut names = NamespaceIndex::new(namespaces);
        for name in pods.iter().map(|pod| &pod.namespace).chain(policies.iter().map(|p| &p.namespace)) {
            names.ensure(name);
        }

        let mut labels = Interner::default();
        let mut classes = Interner::default();
        let pod_classes = pods
            .iter()
            .map(|pod| {
                classes.intern(Class {
                    namespace: names.ensure(&pod.namespace),
                    labels: labels.intern(pod.labels.clone()),
                    ports: pod.ports.clone(),
                    host_network: pod.host_network,
                    ended: pod.ended,
                    addresses: IpFamily::ALL.map(|family| membership(pod, family, &space)),
                })
            })
            .collect();

        let mut matcher = Matcher::new(names, labels.into_arena(), classes.into_arena(), &space);
        let mut isolating = vec![Isolating::default(); matcher.classes.len()];
        let policies: Vec<_> = policies.into_iter().map(|policy| matcher.compile(policy)).collect();
        let policies = Arena::from(policies);
        for (id, compiled) in policies.iter() {
            for class in matcher.subjects(&compiled.policy) {
                if let Some(isolating) = isolating.get_mut(class.index()) {
                    isolating.add(id, &compiled.policy);
                }
            }
        }
        let Matcher { classes, peers, .. } = matcher;
        Self {
            pods: pods.into(),
            nodes: nodes.into(),
            services: services.into(),
            policies,
            peers,
            classes,
            space,
            pod_classes,
            isolating,
        }
    }

    /// All pods, in the order in which the cluster listed them.
    pub fn pods(&self) -> impl Iterator<Item = (PodId, &Pod)> {
        self.pods.iter()
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

    /// The policies that isolate a class for a direction, in the order of their names.
    pub(super) fn isolating(&self, class: ClassId, direction: Direction) -> &[PolicyId] {
        self.isolating.get(class.index()).map_or(&[], |isolating| isolating.policies(direction))
    }
}

impl Isolating {
    fn add(&mut self, id: PolicyId, policy: &NetworkPolicy) {
        if policy.ingress.is_some() {
            self.ingress.push(id);
        }
        if policy.egress.is_some() {
            self.egress.push(id);
        }
    }

    fn policies(&self, direction: Direction) -> &[PolicyId] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

fn blocks_of(policy: &NetworkPolicy) -> impl Iterator<Item = &IpBlock> {
    [&policy.ingress, &policy.egress]
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|rule| match &rule.peers {
            Peers::Any => &[],
            Peers::Only(peers) => peers.as_slice(),
        })
        .filter_map(|peer| match peer {
            Peer::IpBlock(block) => Some(block),
            Peer::Pods { .. } => None,
        })
}

fn membership(pod: &Pod, family: IpFamily, space: &AddressSpace) -> Membership {
    match pod.address(family) {
        Some(address) => space.atom(address).map_or(Membership::NoAddress, Membership::In),
        None if pod.addresses.is_empty() => Membership::Unknown,
        None => Membership::NoAddress,
    }
}

/// Namespaces by name.
struct NamespaceIndex {
    namespaces: Arena<Namespace>,
    by_name: BTreeMap<String, Id<Namespace>>,
}

impl NamespaceIndex {
    fn new(namespaces: Vec<Namespace>) -> Self {
        let namespaces = Arena::from(namespaces);
        let by_name = namespaces.iter().map(|(id, namespace)| (namespace.name.clone(), id)).collect();
        Self { namespaces, by_name }
    }

    fn ensure(&mut self, name: &str) -> Id<Namespace> {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = self.namespaces.push(Namespace::new(name, Labels::new()));
        self.by_name.insert(name.to_owned(), id);
        id
    }
}

/// Matches selectors and peers, each distinct one once.
struct Matcher<'a> {
    names: NamespaceIndex,
    labels: Arena<Labels>,
    classes: Arena<Class>,
    classes_by_namespace: HashMap<Id<Namespace>, Vec<ClassId>>,
    space: &'a AddressSpace,
    peers: Arena<CompiledPeer>,
    /// By peer, and by namespace for peers that mean the policy's own.
    peer_ids: HashMap<(Option<Id<Namespace>>, Peer), PeerId>,
    /// The label sets that a pod selector matches.
    selected_labels: HashMap<LabelSelector, FixedBitSet>,
}

impl<'a> Matcher<'a> {
    fn new(
        names: NamespaceIndex,
        labels: Arena<Labels>,
        classes: Arena<Class>,
        space: &'a AddressSpace,
    ) -> Self {
        let mut classes_by_namespace = HashMap::<_, Vec<_>>::new();
        // A pod that has ended is nobody's subject and nobody's peer.
        for (id, class) in classes.iter().filter(|(_, class)| !class.ended) {
            classes_by_namespace.entry(class.namespace).or_default().push(id);
        }
        Self {
            names,
            labels,
            classes,
            classes_by_namespace,
            space,
            peers: Arena::default(),
            peer_ids: HashMap::new(),
            selected_labels: HashMap::new(),
        }
    }

    fn compile(&mut self, policy: NetworkPolicy) -> CompiledPolicy {
        let namespace = self.names.ensure(&policy.namespace);
        let mut compile = |direction| {
            let rules: &[Rule] = policy.rules(direction).unwrap_or_default();
            rules.iter().map(|rule| self.rule(namespace, rule)).collect()
        };
        let (ingress, egress) = (compile(Direction::Ingress), compile(Direction::Egress));
        CompiledPolicy { policy, ingress, egress }
    }

    fn rule(&mut self, namespace: Id<Namespace>, rule: &Rule) -> CompiledRule {
        let peers = match &rule.peers {
            Peers::Any => None,
            Peers::Only(peers) => Some(peers.iter().map(|peer| self.peer(namespace, peer)).collect()),
        };
        CompiledRule { peers, ports: rule.ports.clone() }
    }

    fn peer(&mut self, own: Id<Namespace>, peer: &Peer) -> PeerId {
        let scope = match peer {
            Peer::Pods { namespaces: NamespaceScope::Own, .. } => Some(own),
            Peer::Pods { namespaces: NamespaceScope::Selected(_), .. } | Peer::IpBlock(_) => None,
        };
        let key = (scope, peer.clone());
        if let Some(id) = self.peer_ids.get(&key) {
            return *id;
        }
        let compiled = match peer {
            Peer::Pods { namespaces, pods } => {
                let namespaces = match namespaces {
                    NamespaceScope::Own => vec![own],
                    NamespaceScope::Selected(selector) => self.namespaces(selector),
                };
                let mut matched = FixedBitSet::with_capacity(self.classes.len());
                for namespace in namespaces {
                    matched.extend(self.select(namespace, pods).into_iter().map(Id::index));
                }
                CompiledPeer::Pods(matched)
            }
            Peer::IpBlock(block) => {
                let inside = self.space.atoms().iter().filter(|(_, range)| block.contains(range.first()));
                let mut atoms = FixedBitSet::with_capacity(self.space.atoms().len());
                atoms.extend(inside.map(|(id, _)| id.index()));
                CompiledPeer::IpBlock(block.clone(), atoms)
            }
        };
        let id = self.peers.push(compiled);
        self.peer_ids.insert(key, id);
        id
    }

    fn namespaces(&self, selector: &LabelSelector) -> Vec<Id<Namespace>> {
        let matching =
            self.names.namespaces.iter().filter(|(_, namespace)| selector.matches(&namespace.labels));
        matching.map(|(id, _)| id).collect()
    }

    fn subjects(&mut self, policy: &NetworkPolicy) -> Vec<ClassId> {
        let namespace = self.names.ensure(&policy.namespace);
        self.select(namespace, &policy.subjects)
    }

    fn select(&mut self, namespace: Id<Namespace>, pods: &LabelSelector) -> Vec<ClassId> {
        let Some(candidates) = self.classes_by_namespace.get(&namespace) else { return Vec::new() };
        let selected = match self.selected_labels.get(pods) {
            Some(selected) => selected,
            None => {
                let matching = self.labels.iter().filter(|(_, labels)| pods.matches(labels));
                let mut selected = FixedBitSet::with_capacity(self.labels.len());
                selected.extend(matching.map(|(id, _)| id.index()));
                self.selected_labels.entry(pods.clone()).or_insert(selected)
            }
        };
        let matches = |class: &&ClassId| selected.contains(self.classes[**class].labels.index());
        candidates.iter().filter(matches).copied().collect()
    }
}
