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
use super::cluster_policy::{ClusterPeer, ClusterPolicy, ClusterRule, PodSelector, Tier};
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
pub(super) type ClusterPolicyId = Id<CompiledClusterPolicy>;
pub(super) type PeerId = Id<CompiledPeer>;
pub(super) type ClassId = Id<Class>;

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
    pod_classes: Vec<ClassId>,
    isolating: Vec<Isolating>,
    /// By class: the cluster-scoped policies of which it is a subject, in the order of the arena.
    tiers: Vec<Vec<ClusterPolicyId>>,
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

/// A cluster-scoped policy whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledClusterPolicy {
    pub(super) policy: ClusterPolicy,
    ingress: Vec<CompiledRule>,
    egress: Vec<CompiledRule>,
}

impl CompiledClusterPolicy {
    /// The compiled rules for a direction, as long as those of the policy.
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
    /// All nodes.
    Nodes,
    /// Nodes with certain labels, which are not known.
    SomeNodes,
    /// Names, of which it is not known what they are resolved to.
    DomainNames,
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
        let Cluster { namespaces, nodes, pods, services, mut policies, mut cluster_policies } = cluster;
        // Reasons list policies in the order of their names, whatever the order of the input.
        policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        // Those of a tier and a kind together, the most important first.
        cluster_policies.sort_by(|a, b| {
            let key = |policy: &ClusterPolicy| (policy.tier, policy.name.kind, policy.priority);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        let of_cluster = cluster_policies.iter().flat_map(blocks_of_cluster_policy);
        let blocks: Vec<_> = policies.iter().flat_map(blocks_of).chain(of_cluster).collect();
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
        let cluster_policies: Vec<_> =
            cluster_policies.into_iter().map(|policy| matcher.compile_cluster_policy(policy)).collect();
        let cluster_policies = Arena::from(cluster_policies);
        let mut tiers = vec![Vec::new(); matcher.classes.len()];
        for (id, compiled) in cluster_policies.iter() {
            for class in matcher.in_pod_network(&compiled.policy.subjects) {
                if let Some(tiers) = tiers.get_mut(class.index()) {
                    tiers.push(id);
                }
            }
        }
        let Matcher { classes, peers, .. } = matcher;
        Self {
            pods: pods.into(),
            nodes: nodes.into(),
            services: services.into(),
            policies,
            cluster_policies,
            peers,
            classes,
            space,
            pod_classes,
            isolating,
            tiers,
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

    /// The cluster-scoped policies with rules for a direction of which a class is a subject: by tier,
    /// and there by kind, priority and name.
    pub(super) fn cluster_policies(
        &self,
        class: ClassId,
        direction: Direction,
    ) -> impl Iterator<Item = ClusterPolicyId> {
        let all = self.tiers.get(class.index()).into_iter().flatten().copied();
        all.filter(move |id| !self.cluster_policies[*id].rules(direction).is_empty())
    }

    /// The policies of one tier, in lists of those that the specification puts at the same place:
    /// first by kind, because nothing orders policies of different kinds, then by priority.
    pub(super) fn in_tier(&self, policies: &[ClusterPolicyId], tier: Tier) -> Vec<Vec<Vec<ClusterPolicyId>>> {
        let policy = |id: &ClusterPolicyId| &self.cluster_policies[*id].policy;
        let of_tier: Vec<_> = policies.iter().copied().filter(|id| policy(id).tier == tier).collect();
        let kinds = of_tier.chunk_by(|a, b| policy(a).name.kind == policy(b).name.kind);
        let priorities = |of_kind: &[ClusterPolicyId]| {
            of_kind.chunk_by(|a, b| policy(a).priority == policy(b).priority).map(<[_]>::to_vec).collect()
        };
        kinds.map(priorities).collect()
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

fn blocks_of_cluster_policy(policy: &ClusterPolicy) -> impl Iterator<Item = &IpBlock> {
    policy.ingress.iter().chain(&policy.egress).flat_map(|rule| &rule.peers).filter_map(|peer| match peer {
        ClusterPeer::Network(block) => Some(block),
        ClusterPeer::Pods(_) | ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) => None,
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
    cluster_peer_ids: HashMap<ClusterPeer, PeerId>,
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
            cluster_peer_ids: HashMap::new(),
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
            Peer::IpBlock(block) => self.block(block),
        };
        let id = self.peers.push(compiled);
        self.peer_ids.insert(key, id);
        id
    }

    fn block(&self, block: &IpBlock) -> CompiledPeer {
        let inside = self.space.atoms().iter().filter(|(_, range)| block.contains(range.first()));
        let mut atoms = FixedBitSet::with_capacity(self.space.atoms().len());
        atoms.extend(inside.map(|(id, _)| id.index()));
        CompiledPeer::IpBlock(block.clone(), atoms)
    }

    fn compile_cluster_policy(&mut self, policy: ClusterPolicy) -> CompiledClusterPolicy {
        let mut compile =
            |rules: &[ClusterRule]| rules.iter().map(|rule| self.cluster_rule(rule)).collect::<Vec<_>>();
        let (ingress, egress) = (compile(&policy.ingress), compile(&policy.egress));
        CompiledClusterPolicy { policy, ingress, egress }
    }

    fn cluster_rule(&mut self, rule: &ClusterRule) -> CompiledRule {
        let peers = rule.peers.iter().map(|peer| self.cluster_peer(peer)).collect();
        CompiledRule { peers: Some(peers), ports: rule.ports.clone() }
    }

    fn cluster_peer(&mut self, peer: &ClusterPeer) -> PeerId {
        if let Some(id) = self.cluster_peer_ids.get(peer) {
            return *id;
        }
        let compiled = match peer {
            ClusterPeer::Pods(selector) => {
                let mut matched = FixedBitSet::with_capacity(self.classes.len());
                matched.extend(self.in_pod_network(selector).into_iter().map(Id::index));
                CompiledPeer::Pods(matched)
            }
            ClusterPeer::Network(block) => self.block(block),
            ClusterPeer::Nodes(selector) if selector.is_everything() => CompiledPeer::Nodes,
            ClusterPeer::Nodes(_) => CompiledPeer::SomeNodes,
            ClusterPeer::DomainNames(_) => CompiledPeer::DomainNames,
        };
        let id = self.peers.push(compiled);
        self.cluster_peer_ids.insert(peer.clone(), id);
        id
    }

    /// The classes that a cluster-scoped policy selects: it never means pods with `hostNetwork`.
    fn in_pod_network(&mut self, selector: &PodSelector) -> Vec<ClassId> {
        let namespaces = self.namespaces(&selector.namespaces);
        let selected = namespaces.into_iter().flat_map(|namespace| self.select(namespace, &selector.pods));
        let selected: Vec<_> = selected.collect();
        selected.into_iter().filter(|class| !self.classes[*class].host_network).collect()
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
