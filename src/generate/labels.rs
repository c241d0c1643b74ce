//! Generates random labels and label selectors.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::universe::Universe;

/// Sets a field of a JSON object.
pub(super) fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// Label keys, each with its possible values.
pub(super) type Keys = [(&'static str, Vec<String>)];

/// Returns one of the values. The first values are more frequent, so that objects and selectors often match.
fn value<'a>(rng: &mut Rng, values: &'a [String]) -> Option<&'a String> {
    let at = rng.usize(..values.len().max(1)).min(rng.usize(..values.len().max(1)));
    values.get(at)
}

/// Returns random labels. Each key has one of its values, or is missing.
pub(super) fn labels(rng: &mut Rng, keys: &Keys) -> Map<String, Value> {
    let mut labels = Map::new();
    for (key, values) in keys {
        if rng.u8(..4) > 0
            && let Some(value) = value(rng, values)
        {
            labels.insert((*key).to_owned(), json!(value));
        }
    }
    labels
}

/// Returns a random label selector.
pub(super) fn selector(rng: &mut Rng, keys: &Keys) -> Value {
    let mut selector = json!({});
    if rng.u8(..4) == 0 {
        return selector;
    }
    let has_labels = rng.bool();
    if has_labels {
        let mut wanted = Map::new();
        for _ in 0..if rng.u8(..6) == 0 { 2 } else { 1 } {
            if let Some((key, values)) = rng.choice(keys)
                && let Some(value) = value(rng, values)
            {
                wanted.insert((*key).to_owned(), json!(value));
            }
        }
        set(&mut selector, "matchLabels", Value::Object(wanted));
    }
    let count = if has_labels { rng.usize(..2) } else { rng.usize(1..3) };
    let expressions: Vec<_> = (0..count).filter_map(|_| expression(rng, keys)).collect();
    if !expressions.is_empty() {
        set(&mut selector, "matchExpressions", json!(expressions));
    }
    selector
}

/// Returns a random namespace selector, sometimes by name.
pub(super) fn namespace_selector(rng: &mut Rng, universe: &Universe) -> Value {
    match rng.u8(..8) {
        0 => json!({ "matchLabels": { "kubernetes.io/metadata.name": rng.choice(&universe.namespaces) } }),
        1 => json!({ "matchExpressions": [{
            "key": "kubernetes.io/metadata.name",
            "operator": rng.choice(["In", "NotIn"]),
            "values": [rng.choice(&universe.namespaces)],
        }] }),
        _ => selector(rng, &universe.namespace_labels),
    }
}

fn expression(rng: &mut Rng, keys: &Keys) -> Option<Value> {
    let (key, values) = rng.choice(keys)?;
    // Sometimes uses a key that no object has.
    let key = if rng.u8(..8) == 0 { "nobody-has-this" } else { key };
    let operator = rng.choice(["In", "NotIn", "Exists", "DoesNotExist"])?;
    let mut expression = json!({ "key": key, "operator": operator });
    if matches!(operator, "In" | "NotIn") {
        let mut chosen: Vec<_> = values.iter().filter(|_| rng.bool()).cloned().collect();
        if chosen.is_empty() {
            chosen.push(value(rng, values)?.clone());
        }
        set(&mut expression, "values", json!(chosen));
    }
    Some(expression)
}
