//! Matches selectors and peers against distinct label sets and classes, never against pods.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fixedbitset::FixedBitSet;

use super::address::{AddressSpace, IpBlock};
use super::arena::{Arena, Id};
use super::bounds::Truth;
use super::class::{AddressSet, Class, ClassId, MatchedAtoms};
use super::label::{LabelSelector, PartialLabels, Selection};
use super::model::Namespace;
use super::name::RuleName;
use super::ordered::{Namespaces, OrderedPolicy, OrderedRule, PeerSpec, PodScope};
use super::rule::Direction;
use super::unknown::{Facts, FactsId, UnknownFact, UnknownFacts};

pub(super) type PolicyId = Id<OrderedPolicy>;

/// A peer, and what it matches.
#[derive(Debug)]
pub(super) enum CompiledPeer {
    /// Classes whose labels and namespace match.
    Pods(MatchedClasses),
    /// A block, and the parts of the address space (atoms) inside it.
    IpBlock(IpBlock, MatchedAtoms),
    /// Nodes: all of them (`Yes`), or those with certain labels (`Perhaps`). The labels of nodes are not known.
    Nodes(Truth),
    /// Domain names. Their addresses are not known.
    DomainNames,
}

impl CompiledPeer {
    /// Returns the block, or `None` if the peer is not an `ipBlock`.
    pub(super) fn block(&self) -> Option<&IpBlock> {
        match self {
            Self::IpBlock(block, _) => Some(block),
            Self::Pods(_) | Self::Nodes(_) | Self::DomainNames => None,
        }
    }
}

/// A rule, and its place in its policy.
#[derive(Clone, Copy)]
pub(super) struct RuleRef<'a> {
    pub(super) id: PolicyId,
    pub(super) policy: &'a OrderedPolicy,
    pub(super) direction: Direction,
    pub(super) index: usize,
    pub(super) rule: &'a OrderedRule,
}

impl RuleRef<'_> {
    pub(super) fn name(self) -> RuleName {
        RuleName { policy: self.policy.name.clone(), direction: self.direction, index: self.index }
    }
}

/// A policy that selects a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Selecting {
    pub(super) policy: PolicyId,
    pub(super) how: Matched,
}

/// Whether a match of a peer or a subject selector is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Matched {
    /// It matches, whatever the unknown facts are.
    Surely,
    /// It may match, depending on these unknown facts.
    Perhaps(FactsId),
}

impl Matched {
    /// Returns the unknown facts on which the match depends.
    pub(super) fn facts(self) -> Option<FactsId> {
        match self {
            Self::Surely => None,
            Self::Perhaps(facts) => Some(facts),
        }
    }
}

/// Classes that a selector matches.
#[derive(Debug, Default)]
pub(super) struct MatchedClasses {
    pub(super) surely: FixedBitSet,
    /// Unknown facts on which the match depends, by the index of the class.
    pub(super) perhaps: BTreeMap<usize, FactsId>,
}

impl MatchedClasses {
    /// Returns whether a class matches for certain, or `None` if it does not match.
    pub(super) fn of(&self, class: ClassId) -> Option<Matched> {
        if self.surely.contains(class.index()) {
            return Some(Matched::Surely);
        }
        self.perhaps.get(&class.index()).map(|facts| Matched::Perhaps(*facts))
    }
}

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

/// Matches selectors and peers. Each distinct selector is matched once.
pub(super) struct Matcher<'a> {
    names: NamespaceIndex,
    labels: Arena<PartialLabels>,
    pub(super) classes: Arena<Class>,
    classes_by_namespace: HashMap<Id<Namespace>, Vec<ClassId>>,
    space: &'a AddressSpace,
    /// Sets of atoms in which unknown addresses may be.
    address_sets: Arena<AddressSet>,
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
            selected_labels: HashMap::new(),
            facts: Facts::default(),
        }
    }

    pub(super) fn compile(&mut self, peer: PeerSpec) -> CompiledPeer {
        match peer {
            PeerSpec::Pods(scope) => CompiledPeer::Pods(self.matched(&scope)),
            PeerSpec::IpBlock(block) => {
                let sets = self.address_sets.iter().map(|(_, set)| set);
                let atoms = MatchedAtoms::new(self.space.atoms_of(&block), sets);
                CompiledPeer::IpBlock(block, atoms)
            }
            PeerSpec::Nodes(are_all) => CompiledPeer::Nodes(are_all),
            PeerSpec::DomainNames => CompiledPeer::DomainNames,
        }
    }

    fn matched(&mut self, scope: &PodScope) -> MatchedClasses {
        let surely = FixedBitSet::with_capacity(self.classes.len());
        let mut matched = MatchedClasses { surely, perhaps: BTreeMap::new() };
        for (class, how) in self.select(scope) {
            match how {
                Matched::Surely => matched.surely.insert(class.index()),
                Matched::Perhaps(facts) => {
                    matched.perhaps.insert(class.index(), facts);
                }
            }
        }
        matched
    }

    /// Returns the classes that a scope selects.
    pub(super) fn select(&mut self, scope: &PodScope) -> Vec<(ClassId, Matched)> {
        let mut found = Vec::new();
        for (namespace, depends_on) in self.namespaces(&scope.namespaces) {
            found.extend(self.select_in(namespace, depends_on.as_ref(), &scope.pods));
        }
        found.retain(|(class, _)| scope.with_hosts || !self.classes[*class].host_network);
        found
    }

    /// Returns the namespaces that match or may match. In the second case, the unknown fact on which the match depends
    /// is included.
    fn namespaces(&self, namespaces: &Namespaces) -> Vec<(Id<Namespace>, Option<UnknownFact>)> {
        let selector = match namespaces {
            Namespaces::Named(name) => {
                return self.names.by_name.get(name).map(|id| (*id, None)).into_iter().collect();
            }
            Namespaces::Selected(selector) => selector,
        };
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

    /// Returns the classes of a namespace that `pods` selects. `depends_on` is the unknown fact that decides whether
    /// the namespace itself is selected.
    fn select_in(
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
