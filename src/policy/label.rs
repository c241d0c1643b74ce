//! Labels and label selectors, as NetworkPolicy uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::joined;

/// The labels of a pod or a namespace, by key.
pub type Labels = BTreeMap<String, String>;

/// Unknown labels of a pod or a namespace. By default, all labels are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UnknownLabels {
    /// Keys that are present, with unknown values that a controller chooses.
    pub values: BTreeSet<String>,
    /// Keys that may be present, with any value.
    pub perhaps: BTreeSet<String>,
    /// Whether any other keys may be present, too.
    pub others: bool,
}

impl UnknownLabels {
    /// Creates the value for an object of which only the listed labels are known.
    pub fn others() -> Self {
        Self { others: true, ..Self::default() }
    }

    /// Returns whether all labels are known.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.perhaps.is_empty() && !self.others
    }
}

/// A label selector: every requirement must match.
///
/// Follows `metav1.LabelSelector`: `matchLabels` and `matchExpressions` are ANDed, and a selector
/// without requirements matches every object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct LabelSelector {
    // A sorted set, so that equal selectors are interned as one, however they are written.
    requirements: BTreeSet<Requirement>,
}

/// One requirement of a [`LabelSelector`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Requirement {
    /// The key is present and its value is one of these.
    In(String, BTreeSet<String>),
    /// The key is absent, or its value is none of these.
    NotIn(String, BTreeSet<String>),
    /// The key is present, with any value.
    Exists(String),
    /// The key is absent.
    DoesNotExist(String),
}

/// What an object may have for one label key.
#[derive(Clone, Copy)]
enum Candidate<'a> {
    Absent,
    Value(&'a String),
    /// A value that no requirement names.
    Unnamed,
}

impl Requirement {
    /// Returns the label key of the requirement.
    pub fn key(&self) -> &String {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => key,
        }
    }

    /// Returns whether an object with these labels meets the requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.admits(labels.get(self.key()).map_or(Candidate::Absent, Candidate::Value))
    }

    fn admits(&self, candidate: Candidate<'_>) -> bool {
        match (self, candidate) {
            (Self::In(_, values), Candidate::Value(value)) => values.contains(value),
            (Self::NotIn(_, values), Candidate::Value(value)) => !values.contains(value),
            (Self::In(..) | Self::Exists(_), Candidate::Absent)
            | (Self::In(..), Candidate::Unnamed)
            | (Self::DoesNotExist(_), Candidate::Value(_) | Candidate::Unnamed) => false,
            (Self::NotIn(..) | Self::DoesNotExist(_), Candidate::Absent)
            | (Self::NotIn(..), Candidate::Unnamed)
            | (Self::Exists(_), Candidate::Value(_) | Candidate::Unnamed) => true,
        }
    }

    /// Returns the values that the requirement names.
    pub fn values(&self) -> impl Iterator<Item = &String> {
        match self {
            Self::In(_, values) | Self::NotIn(_, values) => Some(values),
            Self::Exists(_) | Self::DoesNotExist(_) => None,
        }
        .into_iter()
        .flatten()
    }
}

/// Whether a selector matches an object whose labels may be known only in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The selector matches, whatever the unknown labels are.
    Selected,
    /// The selector does not match, whatever the unknown labels are.
    NotSelected,
    /// The result depends on the labels with these keys. Never empty.
    DependsOn(BTreeSet<String>),
}

impl LabelSelector {
    /// Creates the selector that matches every object (`{}`).
    pub fn everything() -> Self {
        Self::default()
    }

    /// Returns whether the selector matches an object with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// Returns whether the selector matches an object. `labels` are the known labels, and `unknown` describes the
    /// others.
    ///
    /// The result is exact: it depends on a key only if two values of that key have different results.
    pub fn select(&self, labels: &Labels, unknown: &UnknownLabels) -> Selection {
        if unknown.is_empty() {
            return if self.matches(labels) { Selection::Selected } else { Selection::NotSelected };
        }
        let mut by_key: BTreeMap<&String, Vec<&Requirement>> = BTreeMap::new();
        for requirement in &self.requirements {
            by_key.entry(requirement.key()).or_default().push(requirement);
        }
        let mut depends_on = BTreeSet::new();
        for (key, requirements) in by_key {
            // All values that no requirement names have the same result, so one candidate stands for all of them.
            let named = requirements.iter().flat_map(|requirement| requirement.values());
            let candidates: Vec<_> = match labels.get(key) {
                Some(value) => vec![Candidate::Value(value)],
                None if unknown.values.contains(key) => {
                    named.map(Candidate::Value).chain([Candidate::Unnamed]).collect()
                }
                None if unknown.others || unknown.perhaps.contains(key) => {
                    named.map(Candidate::Value).chain([Candidate::Unnamed, Candidate::Absent]).collect()
                }
                None => vec![Candidate::Absent],
            };
            let admitted = |candidate: &&Candidate<'_>| requirements.iter().all(|r| r.admits(**candidate));
            match candidates.iter().filter(admitted).count() {
                0 => return Selection::NotSelected,
                count if count == candidates.len() => {}
                _ => {
                    depends_on.insert(key.clone());
                }
            }
        }
        if depends_on.is_empty() { Selection::Selected } else { Selection::DependsOn(depends_on) }
    }

    /// Returns whether the selector has no requirements, so that it matches every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Returns the requirements, in a fixed order.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter()
    }
}

/// Labels of an object, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PartialLabels {
    pub(super) known: Labels,
    pub(super) unknown: UnknownLabels,
}

impl PartialLabels {
    /// Returns only the labels whose keys are read. Labels that no selector names cannot distinguish objects.
    pub(super) fn restricted(
        labels: &Labels,
        unknown: &UnknownLabels,
        is_read: impl Fn(&str) -> bool,
    ) -> Self {
        let known = labels.iter().filter(|(key, _)| is_read(key));
        let keys = |keys: &BTreeSet<String>| keys.iter().filter(|key| is_read(key)).cloned().collect();
        Self {
            known: known.map(|(key, value)| (key.clone(), value.clone())).collect(),
            unknown: UnknownLabels {
                values: keys(&unknown.values),
                perhaps: keys(&unknown.perhaps),
                others: unknown.others,
            },
        }
    }
}

impl FromIterator<Requirement> for LabelSelector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        Self { requirements: requirements.into_iter().collect() }
    }
}

/// As `kubectl` prints selectors: `app=web,tier in (a, b),!legacy`.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("everything");
        }
        f.write_str(&joined(&self.requirements, ","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(key, values) => match values.first() {
                Some(value) if values.len() == 1 => write!(f, "{key}={value}"),
                Some(_) | None => write!(f, "{key} in ({})", joined(values, ", ")),
            },
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", joined(values, ", ")),
            Self::Exists(key) => f.write_str(key),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn values(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|v| (*v).to_owned()).collect()
    }

    #[test]
    fn a_selector_without_requirements_matches_every_object() {
        assert!(LabelSelector::everything().matches(&labels(&[])));
        assert!(LabelSelector::everything().matches(&labels(&[("a", "b")])));
    }

    #[test]
    fn not_in_and_does_not_exist_match_objects_that_lack_the_key() {
        let bare = labels(&[]);
        assert!(Requirement::NotIn("k".into(), values(&["v"])).matches(&bare));
        assert!(Requirement::DoesNotExist("k".into()).matches(&bare));
        assert!(!Requirement::In("k".into(), values(&["v"])).matches(&bare));
        assert!(!Requirement::Exists("k".into()).matches(&bare));
    }

    #[test]
    fn an_empty_value_is_not_an_absent_key() {
        let wants_empty = Requirement::In("k".into(), values(&[""]));
        assert!(wants_empty.matches(&labels(&[("k", "")])));
        assert!(!wants_empty.matches(&labels(&[])));
    }

    #[test]
    fn keys_and_values_are_case_sensitive() {
        let web = Requirement::In("app".into(), values(&["web"]));
        assert!(!web.matches(&labels(&[("app", "Web")])));
        assert!(!web.matches(&labels(&[("App", "web")])));
    }

    #[test]
    fn selectors_print_as_kubectl_writes_them() {
        let selector: LabelSelector = [
            Requirement::DoesNotExist("legacy".into()),
            Requirement::In("app".into(), values(&["web"])),
            Requirement::NotIn("tier".into(), values(&["a", "b"])),
        ]
        .into_iter()
        .collect();
        assert_eq!(selector.to_string(), "app=web,tier notin (a, b),!legacy");
    }

    /// A key may be known, be present with an unknown value, or be unknown.
    #[test]
    fn a_selector_depends_only_on_keys_that_decide() {
        let known = labels(&[("app", "web")]);
        let hash = UnknownLabels { values: values(&["hash"]), ..UnknownLabels::default() };
        let perhaps = UnknownLabels { perhaps: values(&["hash", "team"]), ..UnknownLabels::default() };
        let others = UnknownLabels::others();
        let is = |key: &str, value: &str| Requirement::In(key.to_owned(), values(&[value]));
        let is_not = |key: &str, value: &str| Requirement::NotIn(key.to_owned(), values(&[value]));
        let exists = |key: &str| Requirement::Exists(key.to_owned());
        let lacks = |key: &str| Requirement::DoesNotExist(key.to_owned());
        let depends = |keys: &[&str]| Selection::DependsOn(values(keys));
        let (yes, no) = (Selection::Selected, Selection::NotSelected);
        for (requirements, with_hash, with_others) in [
            (vec![], yes.clone(), yes.clone()),
            (vec![is("app", "web")], yes.clone(), yes.clone()),
            (vec![is("app", "db"), is("hash", "1")], no.clone(), no.clone()),
            (vec![is("hash", "1")], depends(&["hash"]), depends(&["hash"])),
            (vec![exists("hash")], yes.clone(), depends(&["hash"])),
            (vec![lacks("hash")], no.clone(), depends(&["hash"])),
            (vec![is_not("hash", "1")], depends(&["hash"]), depends(&["hash"])),
            // Requirements that no value can meet, and requirements that every value meets.
            (vec![is("hash", "1"), is_not("hash", "1")], no.clone(), no.clone()),
            (vec![is("hash", "1"), lacks("hash")], no.clone(), no.clone()),
            (vec![exists("hash"), is_not("team", "a")], yes, depends(&["hash", "team"])),
            (vec![is("team", "a")], no, depends(&["team"])),
        ] {
            let selector: LabelSelector = requirements.into_iter().collect();
            assert_eq!(selector.select(&known, &hash), with_hash, "{selector}");
            assert_eq!(selector.select(&known, &others), with_others, "{selector}");
            assert_eq!(selector.select(&known, &perhaps), with_others, "{selector}");
        }
    }
}
