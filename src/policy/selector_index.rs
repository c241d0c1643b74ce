//! Finds the selectors that match an object, without trying all of them.

use std::collections::BTreeSet;

use super::arena::Id;
use super::label::{LabelSelector, Labels, Requirement, Selection, UnknownLabels};
use super::map::HashMap;
use super::pool::Pool;

/// Selectors, each with what it is used for. Equal selectors are one.
///
/// A selector is found by a label that it requires. So the cost for an object grows with the count of selectors that
/// require one of its labels, and not with the count of all selectors.
#[derive(Debug)]
pub(super) struct SelectorIndex<T> {
    selectors: Pool<LabelSelector>,
    /// What each selector is used for, by the index of the selector.
    uses: Vec<Vec<T>>,
    by_key: HashMap<String, OfKey>,
    /// Selectors that require no label.
    others: Vec<SelectorId>,
}

type SelectorId = Id<LabelSelector>;

/// Selectors that require a key.
#[derive(Debug, Default)]
struct OfKey {
    by_value: HashMap<String, Vec<SelectorId>>,
    /// Selectors that accept any value.
    any_value: Vec<SelectorId>,
}

/// The label by which a selector is found.
enum Anchor<'a> {
    Values(&'a String, &'a BTreeSet<String>),
    Key(&'a String),
    Nothing,
}

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self { selectors: Pool::default(), uses: Vec::new(), by_key: HashMap::default(), others: Vec::new() }
    }
}

impl<T: Copy + PartialEq> SelectorIndex<T> {
    /// Adds a use of a selector.
    pub(super) fn insert(&mut self, selector: &LabelSelector, used: T) {
        let (id, is_new) = self.selectors.acquire(selector.clone());
        if is_new {
            self.uses.resize_with(self.selectors.bound(), Vec::new);
            self.lists(selector, |list| list.push(id));
        }
        if let Some(uses) = self.uses.get_mut(id.index()) {
            uses.push(used);
        }
    }

    /// Removes a use of a selector.
    pub(super) fn remove(&mut self, selector: &LabelSelector, used: T) {
        let Some(id) = self.selectors.find(selector) else { return };
        if let Some(uses) = self.uses.get_mut(id.index()) {
            uses.retain(|other| *other != used);
        }
        if self.selectors.release(id) {
            self.lists(selector, |list| list.retain(|other| *other != id));
        }
    }

    /// Calls `change` for each list in which a selector is.
    fn lists(&mut self, selector: &LabelSelector, mut change: impl FnMut(&mut Vec<SelectorId>)) {
        match anchor(selector) {
            Anchor::Values(key, values) => {
                let of_key = self.by_key.entry_ref(key.as_str()).or_default();
                for value in values {
                    change(of_key.by_value.entry_ref(value.as_str()).or_default());
                }
            }
            Anchor::Key(key) => change(&mut self.by_key.entry_ref(key.as_str()).or_default().any_value),
            Anchor::Nothing => change(&mut self.others),
        }
    }

    /// Calls `found` for each selector that matches or may match an object, with the keys on which the match depends
    /// and with what the selector is used for.
    pub(super) fn matching(
        &self,
        labels: &Labels,
        unknown: &UnknownLabels,
        mut found: impl FnMut(&BTreeSet<String>, &[T]),
    ) {
        let mut candidates = self.others.clone();
        for (key, value) in labels {
            let Some(of_key) = self.by_key.get(key) else { continue };
            candidates.extend(&of_key.any_value);
            candidates.extend(of_key.by_value.get(value).into_iter().flatten());
        }
        if !unknown.is_empty() {
            // A value that is not known may be any of those that selectors require.
            let is_open = |key: &String| !labels.contains_key(key);
            let keys = unknown.values.iter().chain(&unknown.perhaps).filter(|key| is_open(key));
            let named = keys.filter_map(|key| self.by_key.get(key)).filter(|_| !unknown.others);
            let others = self.by_key.iter().filter(|(key, _)| unknown.others && is_open(key));
            for of_key in named.chain(others.map(|(_, of_key)| of_key)) {
                candidates.extend(&of_key.any_value);
                candidates.extend(of_key.by_value.values().flatten());
            }
            candidates.sort_unstable();
            candidates.dedup();
        }
        let nothing = BTreeSet::new();
        for id in candidates {
            let uses = self.uses.get(id.index()).map_or(&[][..], Vec::as_slice);
            match self.selectors[id].select(labels, unknown) {
                Selection::Selected => found(&nothing, uses),
                Selection::NotSelected => {}
                Selection::DependsOn(keys) => found(&keys, uses),
            }
        }
    }
}

/// Returns the label by which a selector is found: of those that it requires, the one with the fewest values.
fn anchor(selector: &LabelSelector) -> Anchor<'_> {
    let mut best = Anchor::Nothing;
    for requirement in selector.requirements() {
        match (requirement, &best) {
            (Requirement::In(_, values), Anchor::Values(_, least)) if values.len() >= least.len() => {}
            (Requirement::In(key, values), Anchor::Values(..) | Anchor::Key(_) | Anchor::Nothing) => {
                best = Anchor::Values(key, values);
            }
            (Requirement::Exists(key), Anchor::Nothing) => best = Anchor::Key(key),
            (Requirement::Exists(_), Anchor::Values(..) | Anchor::Key(_))
            | (Requirement::NotIn(..) | Requirement::DoesNotExist(_), _) => {}
        }
    }
    best
}
