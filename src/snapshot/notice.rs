//! What in a manifest is no mistake for the API server, and may still mean something else than its author
//! thinks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::object::Identity;
use crate::source::{Key, Node, Place, Segment, Value, path_to_string};

/// Fields that a newer API server has written, each with its first place.
#[derive(Debug, Default)]
pub(super) struct UnknownFields(BTreeMap<String, (Place, usize)>);

impl UnknownFields {
    /// Counts the fields of an object.
    pub(super) fn add(&mut self, fields: BTreeSet<String>, place: &Place) {
        for field in fields {
            self.0.entry(field).or_insert_with(|| (place.clone(), 0)).1 += 1;
        }
    }

    /// One warning for each field, however many objects have it.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(field, (place, count))| {
            let objects = match count - 1 {
                0 => String::new(),
                1 => ", and in 1 more object".to_owned(),
                more => format!(", and in {more} more objects"),
            };
            format!("{place}: {field}: a newer server has written it, and netproof does not know what it means{objects}")
        })
    }
}

/// The fields of a policy that have no value or an empty list, and so allow or select everything.
pub(super) fn empty_fields(identity: &Identity, file: &Arc<str>, policy: &Node) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(spec) = policy.get("spec") {
        let mut path = vec![Segment::Field("spec".to_owned())];
        find_empty(spec, &mut path, &mut |key, path, meaning| {
            let (place, field) =
                (Place { name: Arc::clone(file), location: Some(key.at) }, path_to_string(path));
            warnings.push(format!("{place}: NetworkPolicy {identity}: {field} {meaning}"));
        });
    }
    warnings
}

fn find_empty(node: &Node, path: &mut Vec<Segment>, found: &mut impl FnMut(&Key, &[Segment], &str)) {
    match &node.value {
        Value::Mapping(entries) => {
            for (key, value) in entries {
                path.push(Segment::Field(key.name.clone()));
                match meaning(&key.name, value) {
                    Some(meaning) => found(key, path, meaning),
                    None => find_empty(value, path, found),
                }
                path.pop();
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Segment::Index(index));
                find_empty(item, path, found);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::String(_) => {}
    }
}

/// What a field means that is there and says nothing; `None` if it says something, or means what it looks like.
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
        // Without rules, nothing is allowed: with a value or without.
        "ingress" | "egress" => None,
        _ if is_null => Some("has no value: it counts as left out"),
        _ => None,
    }
}
