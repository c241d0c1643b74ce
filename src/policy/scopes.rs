//! The selectors of all policies, and which of them match a pod.

use std::collections::BTreeSet;

use super::arena::Id;
use super::label::LabelSelector;
use super::map::HashMap;
use super::matched::Matched;
use super::model::{Namespace, Pod};
use super::ordered::{Namespaces, PeerId, PodScope};
use super::pool::Pool;
use super::selector_index::SelectorIndex;
use super::unknown::{Facts, UnknownFact, UnknownFacts};

/// Identifies the selector by which policies select their subjects. Policies with equal selectors have the same.
pub(super) type SubjectId = Id<PodScope>;

/// The subject selectors that match a pod, ascending.
pub(super) type SubjectSet = Vec<(SubjectId, Matched)>;

/// The peers that match a pod by its labels and its namespace, ascending.
pub(super) type PeerSet = Vec<(PeerId, Matched)>;

/// Identifies the namespaces of some scopes.
pub(super) type AreaId = Id<Namespaces>;

/// What a selector is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// To select the subjects of policies.
    Subject(SubjectId),
    /// As a peer.
    Peer(PeerId),
}

/// The selectors of all policies: first by the namespaces that they are about, then by the labels that they require.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    areas: Pool<Namespaces>,
    /// Selectors for pods, by the index of their area. The flag says whether they select pods with `hostNetwork`.
    selectors: Vec<SelectorIndex<(Use, bool)>>,
    named: HashMap<String, AreaId>,
    selected: SelectorIndex<AreaId>,
}

/// An area to which a namespace belongs, or may belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InArea {
    area: AreaId,
    /// The unknown fact that decides whether the namespace belongs to the area.
    depends_on: Option<UnknownFact>,
}

impl Scopes {
    /// Adds a use of a scope. Returns whether its area is new, so that namespaces do not know yet that they belong to it.
    pub(super) fn insert(&mut self, scope: &PodScope, used: Use) -> bool {
        let (area, is_new) = self.areas.acquire(scope.namespaces.clone());
        if is_new {
            self.selectors.resize_with(self.areas.bound(), SelectorIndex::default);
            match &scope.namespaces {
                Namespaces::Named(name) => drop(self.named.insert(name.clone(), area)),
                Namespaces::Selected(selector) => self.selected.insert(selector, area),
            }
        }
        if let Some(selectors) = self.selectors.get_mut(area.index()) {
            selectors.insert(&scope.pods, (used, scope.with_hosts));
        }
        is_new
    }

    /// Removes a use of a scope. Returns whether its area is gone, so that its id may soon mean another area.
    pub(super) fn remove(&mut self, scope: &PodScope, used: Use) -> bool {
        let Some(area) = self.areas.find(&scope.namespaces) else { return false };
        if let Some(selectors) = self.selectors.get_mut(area.index()) {
            selectors.remove(&scope.pods, (used, scope.with_hosts));
        }
        let is_gone = self.areas.release(area);
        if is_gone {
            match &scope.namespaces {
                Namespaces::Named(name) => drop(self.named.remove(name)),
                Namespaces::Selected(selector) => self.selected.remove(selector, area),
            }
        }
        is_gone
    }

    /// Returns the areas to which a namespace belongs, or may belong.
    pub(super) fn areas_of(&self, namespace: &Namespace) -> Vec<InArea> {
        let Namespace { name, labels, unknown_labels } = namespace;
        let named = self.named.get(name).map(|area| InArea { area: *area, depends_on: None });
        let mut all: Vec<_> = named.into_iter().collect();
        self.selected.matching(labels, unknown_labels, |keys, areas| {
            let fact = || UnknownFact::NamespaceLabels { namespace: name.clone() };
            let depends_on = (!keys.is_empty()).then(fact);
            all.extend(areas.iter().map(|area| InArea { area: *area, depends_on: depends_on.clone() }));
        });
        all
    }

    /// Returns whether a scope is about a namespace for which [`Scopes::areas_of`] returned these areas.
    pub(super) fn concerns(&self, scope: &PodScope, areas: &[InArea]) -> bool {
        let area = self.areas.find(&scope.namespaces);
        area.is_some_and(|area| areas.iter().any(|other| other.area == area))
    }

    /// Returns the subject selectors and the peers that match a pod of a namespace in these areas, or may match it.
    pub(super) fn matching(&self, areas: &[InArea], pod: &Pod, facts: &mut Facts) -> (SubjectSet, PeerSet) {
        let (mut subjects, mut peers) = (SubjectSet::new(), PeerSet::new());
        for InArea { area, depends_on } in areas {
            let Some(selectors) = self.selectors.get(area.index()) else { continue };
            selectors.matching(&pod.labels, &pod.unknown_labels, |keys, uses| {
                let how = how(keys, depends_on.as_ref(), facts);
                for (used, with_hosts) in uses {
                    match used {
                        _ if pod.host_network && !with_hosts => {}
                        Use::Subject(id) => subjects.push((*id, how)),
                        Use::Peer(id) => peers.push((*id, how)),
                    }
                }
            });
        }
        subjects.sort_unstable_by_key(|(id, _)| *id);
        peers.sort_unstable_by_key(|(id, _)| *id);
        (subjects, peers)
    }
}

fn how(keys: &BTreeSet<String>, depends_on: Option<&UnknownFact>, facts: &mut Facts) -> Matched {
    if keys.is_empty() && depends_on.is_none() {
        return Matched::Surely;
    }
    let keys = keys.iter().map(|key| UnknownFact::PodLabel { key: key.clone() });
    let all: UnknownFacts = keys.chain(depends_on.cloned()).collect();
    Matched::Perhaps(facts.intern(all))
}

/// Counts of users, by name.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<String, usize>);

impl Counts {
    /// Adds a user. Returns whether it is the first one.
    pub(super) fn add(&mut self, name: &str) -> bool {
        let count = self.0.entry_ref(name).or_default();
        *count += 1;
        *count == 1
    }

    /// Removes a user. Returns whether it was the last one.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(count) = self.0.get_mut(name) else { return false };
        *count = count.saturating_sub(1);
        let is_last = *count == 0;
        if is_last {
            self.0.remove(name);
        }
        is_last
    }

    /// Returns whether a name has users.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Returns the keys that a selector reads, each once.
pub(super) fn keys(selector: &LabelSelector) -> BTreeSet<&str> {
    selector.requirements().map(|requirement| requirement.key().as_str()).collect()
}
