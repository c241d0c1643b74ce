//! Matching selectors and peers against distinct label sets and classes, never against pods.

use std::collections::{BTreeMap, HashMap};

use fixedbitset::FixedBitSet;

use super::address::{AddressSpace, IpBlock};
use super::arena::{Arena, Id};
use super::class::{Class, ClassId};
use super::cluster_policy::{ClusterPeer, ClusterPolicy, ClusterRule, PodSelector};
use super::compiled::{CompiledClusterPolicy, CompiledPeer, CompiledPolicy, CompiledRule, PeerId};
use super::label::{LabelSelector, Labels};
use super::model::{Direction, Namespace, NamespaceScope, NetworkPolicy, Peer, Peers, Rule};

/// Namespaces by name.
pub(super) struct NamespaceIndex {
    namespaces: Arena<Namespace>,
    by_name: BTreeMap<String, Id<Namespace>>,
}

impl NamespaceIndex {
    pub(super) fn new(namespaces: Vec<Namespace>) -> Self {
        let namespaces = Arena::from(namespaces);
        let by_name = namespaces.iter().map(|(id, namespace)| (namespace.name.clone(), id)).collect();
        Self { namespaces, by_name }
    }

    pub(super) fn ensure(&mut self, name: &str) -> Id<Namespace> {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = self.namespaces.push(Namespace::new(name, Labels::new()));
        self.by_name.insert(name.to_owned(), id);
        id
    }
}

/// Matches selectors and peers, each distinct one once.
pub(super) struct Matcher<'a> {
    names: NamespaceIndex,
    labels: Arena<Labels>,
    pub(super) classes: Arena<Class>,
    classes_by_namespace: HashMap<Id<Namespace>, Vec<ClassId>>,
    space: &'a AddressSpace,
    pub(super) peers: Arena<CompiledPeer>,
    /// By peer, and by namespace for peers that mean the policy's own.
    peer_ids: HashMap<(Option<Id<Namespace>>, Peer), PeerId>,
    cluster_peer_ids: HashMap<ClusterPeer, PeerId>,
    /// The label sets that a pod selector matches.
    selected_labels: HashMap<LabelSelector, FixedBitSet>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(
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

    pub(super) fn compile(&mut self, policy: NetworkPolicy) -> CompiledPolicy {
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
        CompiledPeer::IpBlock(block.clone(), self.space.atoms_of(block))
    }

    pub(super) fn compile_cluster_policy(&mut self, policy: ClusterPolicy) -> CompiledClusterPolicy {
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
    pub(super) fn in_pod_network(&mut self, selector: &PodSelector) -> Vec<ClassId> {
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

    pub(super) fn subjects(&mut self, policy: &NetworkPolicy) -> Vec<ClassId> {
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
