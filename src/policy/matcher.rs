//! Matches selectors and peers against distinct label sets and classes, never against pods.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fixedbitset::FixedBitSet;

use super::address::{AddressSpace, IpBlock};
use super::arena::{Arena, Id};
use super::class::{AddressSet, Class, ClassId};
use super::cluster_policy::{ClusterPeer, ClusterPolicy, ClusterRule, PodSelector};
use super::compiled::{
    CompiledClusterPolicy, CompiledPeer, CompiledPolicy, CompiledRule, Matched, MatchedAtoms, MatchedClasses,
    PeerId,
};
use super::facts::Facts;
use super::label::{LabelSelector, Selection};
use super::model::{Direction, Namespace, NamespaceScope, NetworkPolicy, Peer, Peers, Rule};
use super::unknown::{PartialLabels, UnknownFact, UnknownFacts};

/// Namespaces, indexed by name.
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
        let id = self.namespaces.push(Namespace::mentioned(name));
        self.by_name.insert(name.to_owned(), id);
        id
    }
}

/// Label sets that a pod selector matches.
#[derive(Default)]
struct SelectedLabels {
    surely: FixedBitSet,
    /// Unknown keys on which the match depends, by the index of the label set.
    perhaps: HashMap<usize, BTreeSet<String>>,
}

/// Matches selectors and peers. Each distinct selector and peer is matched once.
pub(super) struct Matcher<'a> {
    names: NamespaceIndex,
    labels: Arena<PartialLabels>,
    pub(super) classes: Arena<Class>,
    classes_by_namespace: HashMap<Id<Namespace>, Vec<ClassId>>,
    space: &'a AddressSpace,
    /// Sets of atoms in which unknown addresses may be.
    address_sets: Arena<AddressSet>,
    pub(super) peers: Arena<CompiledPeer>,
    /// Compiled peers, by peer. Peers that select pods in the policy's own namespace are also keyed by that
    /// namespace.
    peer_ids: HashMap<(Option<Id<Namespace>>, Peer), PeerId>,
    cluster_peer_ids: HashMap<ClusterPeer, PeerId>,
    selected_labels: HashMap<LabelSelector, SelectedLabels>,
    pub(super) facts: Facts,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(
        names: NamespaceIndex,
        labels: Arena<PartialLabels>,
        classes: Arena<Class>,
        space: &'a AddressSpace,
        address_sets: Arena<AddressSet>,
    ) -> Self {
        let mut classes_by_namespace = HashMap::<_, Vec<_>>::new();
        // A pod that has ended is neither a subject nor a peer.
        for (id, class) in classes.iter().filter(|(_, class)| !class.ended) {
            classes_by_namespace.entry(class.namespace).or_default().push(id);
        }
        Self {
            names,
            labels,
            classes,
            classes_by_namespace,
            space,
            address_sets,
            peers: Arena::default(),
            peer_ids: HashMap::new(),
            cluster_peer_ids: HashMap::new(),
            selected_labels: HashMap::new(),
            facts: Facts::default(),
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
                    NamespaceScope::Own => vec![(own, None)],
                    NamespaceScope::Selected(selector) => self.namespaces(selector),
                };
                CompiledPeer::Pods(self.matched(&namespaces, pods, |_| true))
            }
            Peer::IpBlock(block) => self.block(block),
        };
        let id = self.peers.push(compiled);
        self.peer_ids.insert(key, id);
        id
    }

    fn block(&self, block: &IpBlock) -> CompiledPeer {
        let sets = self.address_sets.iter().map(|(_, set)| set);
        CompiledPeer::IpBlock(block.clone(), MatchedAtoms::new(self.space.atoms_of(block), sets))
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
            ClusterPeer::Pods(selector) => CompiledPeer::Pods(self.in_pod_network(selector)),
            ClusterPeer::Network(block) => self.block(block),
            ClusterPeer::Nodes(selector) if selector.is_everything() => CompiledPeer::Nodes,
            ClusterPeer::Nodes(_) => CompiledPeer::SomeNodes,
            ClusterPeer::DomainNames(_) => CompiledPeer::DomainNames,
        };
        let id = self.peers.push(compiled);
        self.cluster_peer_ids.insert(peer.clone(), id);
        id
    }

    /// Returns the classes that a selector of a cluster-scoped policy matches. It never matches pods with
    /// `hostNetwork`.
    pub(super) fn in_pod_network(&mut self, selector: &PodSelector) -> MatchedClasses {
        let namespaces = self.namespaces(&selector.namespaces);
        self.matched(&namespaces, &selector.pods, |class| !class.host_network)
    }

    /// Returns the namespaces that a selector matches or may match. In the second case, the unknown fact on which the
    /// match depends is included.
    fn namespaces(&self, selector: &LabelSelector) -> Vec<(Id<Namespace>, Option<UnknownFact>)> {
        let namespaces = self.names.namespaces.iter();
        let matching =
            namespaces.filter_map(|(id, Namespace { name, labels, unknown_labels })| {
                match selector.select(labels, unknown_labels) {
                    Selection::Selected => Some((id, None)),
                    Selection::NotSelected => None,
                    Selection::DependsOn(_) => {
                        Some((id, Some(UnknownFact::NamespaceLabels { namespace: name.clone() })))
                    }
                }
            });
        matching.collect()
    }

    pub(super) fn subjects(&mut self, policy: &NetworkPolicy) -> Vec<(ClassId, Matched)> {
        let namespace = self.names.ensure(&policy.namespace);
        self.select(namespace, None, &policy.subjects)
    }

    fn matched(
        &mut self,
        namespaces: &[(Id<Namespace>, Option<UnknownFact>)],
        pods: &LabelSelector,
        is_meant: impl Fn(&Class) -> bool,
    ) -> MatchedClasses {
        let surely = FixedBitSet::with_capacity(self.classes.len());
        let mut matched = MatchedClasses { surely, perhaps: BTreeMap::new() };
        for (namespace, depends_on) in namespaces {
            for (class, how) in self.select(*namespace, depends_on.as_ref(), pods) {
                if !is_meant(&self.classes[class]) {
                    continue;
                }
                match how {
                    Matched::Surely => matched.surely.insert(class.index()),
                    Matched::Perhaps(facts) => {
                        matched.perhaps.insert(class.index(), facts);
                    }
                }
            }
        }
        matched
    }

    /// Returns the classes of a namespace that `pods` selects. `depends_on` is the unknown fact that decides whether
    /// the namespace itself is selected.
    fn select(
        &mut self,
        namespace: Id<Namespace>,
        depends_on: Option<&UnknownFact>,
        pods: &LabelSelector,
    ) -> Vec<(ClassId, Matched)> {
        let Some(candidates) = self.classes_by_namespace.get(&namespace) else { return Vec::new() };
        let selected = match self.selected_labels.get(pods) {
            Some(selected) => selected,
            None => {
                let selected = SelectedLabels::new(pods, &self.labels);
                self.selected_labels.entry(pods.clone()).or_insert(selected)
            }
        };
        let facts = &mut self.facts;
        let mut how = |keys: Option<&BTreeSet<String>>| -> Matched {
            let keys = keys.into_iter().flatten().map(|key| UnknownFact::PodLabel { key: key.clone() });
            let all: UnknownFacts = keys.chain(depends_on.cloned()).collect();
            if all.is_empty() { Matched::Surely } else { Matched::Perhaps(facts.intern(all)) }
        };
        let mut found = Vec::new();
        for class in candidates {
            let labels = self.classes[*class].labels.index();
            if selected.surely.contains(labels) {
                found.push((*class, how(None)));
            } else if let Some(keys) = selected.perhaps.get(&labels) {
                found.push((*class, how(Some(keys))));
            }
        }
        found
    }
}

impl SelectedLabels {
    fn new(selector: &LabelSelector, all: &Arena<PartialLabels>) -> Self {
        let mut selected = Self { surely: FixedBitSet::with_capacity(all.len()), perhaps: HashMap::new() };
        for (id, PartialLabels { known, unknown }) in all.iter() {
            match selector.select(known, unknown) {
                Selection::Selected => selected.surely.insert(id.index()),
                Selection::NotSelected => {}
                Selection::DependsOn(keys) => {
                    selected.perhaps.insert(id.index(), keys);
                }
            }
        }
        selected
    }
}
