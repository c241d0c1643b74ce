//! Finds parts of a manifest that the API server accepts, but that may not mean what their author thinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::object::Item;
use super::other::Unmodelled;
use crate::source::{Key, Node, Place, Segment, UnknownField, Value, path_to_string, quote};

/// Returns whether an unknown field of a policy may decide about packets. Fields of its metadata do not.
fn decides(field: &UnknownField) -> bool {
    field.path.split('.').next() != Some("metadata")
}

/// Unknown fields that a newer API server has written.
#[derive(Debug, Default)]
pub(super) struct UnknownFields {
    /// Fields that are only worth a warning, each with its first place and the number of objects that have it.
    minor: BTreeMap<String, (Place, usize)>,
    /// Fields without which a policy is not understood, by its kind.
    policies: BTreeMap<String, UnknownInPolicies>,
}

/// The unknown fields of the policies of a kind.
#[derive(Debug, Default)]
struct UnknownInPolicies {
    /// Number of policies with unknown fields.
    policies: usize,
    /// The fields, each with its first place.
    fields: BTreeMap<String, Place>,
}

/// Maximum number of fields in a message.
const MOST_FIELDS: usize = 5;

impl UnknownFields {
    /// Counts the unknown fields of an object.
    pub(super) fn add(&mut self, item: &Item<'_>) {
        let Item { object, place, full_kind, unknown_fields, .. } = item;
        let (deciding, minor): (Vec<_>, Vec<_>) =
            unknown_fields.iter().partition(|field| object.is_policy() && decides(field));
        let place_of = |field: &UnknownField| Place { location: Some(field.at), ..place.clone() };
        for field in minor {
            let name = format!("{full_kind}: unknown field {}", quote(&field.path));
            self.minor.entry(name).or_insert_with(|| (place_of(field), 0)).1 += 1;
        }
        if deciding.is_empty() {
            return;
        }
        let of_kind = self.policies.entry(full_kind.clone()).or_default();
        of_kind.policies += 1;
        for field in deciding {
            of_kind.fields.entry(field.path.clone()).or_insert_with(|| place_of(field));
        }
    }

    /// Returns one warning for each field, even if several objects have it.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.minor.iter().map(|(field, (place, count))| {
            let objects = match count - 1 {
                0 => String::new(),
                1 => ", and in 1 more object".to_owned(),
                more => format!(", and in {more} more objects"),
            };
            format!("{place}: {field}: a newer server has written it, and netproof does not know what it means{objects}")
        })
    }

    /// Returns the kinds of policies that netproof understands only in part.
    pub(super) fn unmodelled(&self) -> impl Iterator<Item = Unmodelled> {
        self.policies.iter().map(|(kind, UnknownInPolicies { policies, fields })| {
            let mut shown: Vec<_> = fields
                .iter()
                .take(MOST_FIELDS)
                .map(|(field, place)| format!("{} ({place})", quote(field)))
                .collect();
            if fields.len() > MOST_FIELDS {
                shown.push(format!("{} more", fields.len() - MOST_FIELDS));
            }
            let why = format!("netproof does not know what a newer server means by {}", shown.join(", "));
            Unmodelled { kind: kind.clone(), count: Some(*policies), why, is_accepted: false }
        })
    }
}

/// Returns a warning for each field of a policy that has no value or an empty list. Such a field often allows or
/// selects everything. `policy` is the policy's name in messages.
pub(super) fn empty_fields(policy: &str, file: &Arc<str>, node: &Node) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |at, path: &[Segment], meaning: &str| {
        let place = Place { name: Arc::clone(file), location: Some(at) };
        warnings.push(format!("{place}: {policy}: {} {meaning}", path_to_string(path)));
    };
    let mut path = vec![Segment::Field("spec".to_owned())];
    match node.get("spec") {
        Some(spec) if !spec.entries().is_empty() => {
            find_empty(spec, &mut path, &mut |key, path, meaning| warn(key.at, path, meaning));
        }
        Some(spec) => {
            warn(spec.at, &path, "is empty: it selects every pod of the namespace and lets nothing in");
        }
        None => warn(node.at, &path, "is missing: it selects every pod of the namespace and lets nothing in"),
    }
    warnings
}

fn find_empty(node: &Node, path: &mut Vec<Segment>, found: &mut impl FnMut(&Key, &[Segment], &str)) {
    for (key, value) in node.entries() {
        path.push(Segment::Field(key.value.clone()));
        match meaning(&key.value, value) {
            Some(meaning) => found(key, path, meaning),
            None => find_empty(value, path, found),
        }
        path.pop();
    }
    for (index, item) in node.items().iter().enumerate() {
        path.push(Segment::Index(index));
        find_empty(item, path, found);
        path.pop();
    }
}

/// Returns what an empty field means. Returns `None` if the field is not empty, or if its meaning is obvious.
fn meaning(field: &str, value: &Node) -> Option<&'static str> {
    let is_null = value.is_null();
    let is_empty = is_null || matches!(&value.value, Value::Sequence(items) if items.is_empty());
    match field {
        "from" if is_empty => Some("is empty: the rule allows every source, as if the field were left out"),
        "to" if is_empty => {
            Some("is empty: the rule allows every destination, as if the field were left out")
        }
        "ports" if is_empty => Some("is empty: the rule allows every port, as if the field were left out"),
        "matchLabels" | "matchExpressions" if is_null => Some("has no value: it asks for no label"),
        // No value and an empty list mean the same here: no rules.
        "ingress" | "egress" => None,
        _ if is_null => Some("has no value: it counts as left out"),
        _ => None,
    }
}
