//! What random policies may talk about. Small, so that selectors often match.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// The names, labels, ports and addresses that policies choose from.
#[derive(Debug, Clone)]
pub struct Universe {
    /// The namespaces in which policies may be.
    pub namespaces: Vec<String>,
    /// Labels of namespaces, each with its values.
    pub namespace_labels: Vec<(&'static str, Vec<String>)>,
    /// Labels of pods, each with its values.
    pub pod_labels: Vec<(&'static str, Vec<String>)>,
    /// Port numbers, ascending.
    pub ports: Vec<u16>,
    /// Names of container ports.
    pub port_names: Vec<&'static str>,
    /// Protocols that are probed. Rules may name any.
    pub protocols: Vec<&'static str>,
    /// Address ranges of both families, each with ranges inside it.
    pub blocks: Vec<(String, Vec<String>)>,
}

/// A random choice that is `Some`, for lists that are never empty.
pub(super) fn choose<'a, T>(rng: &mut Rng, items: &'a [T]) -> Option<&'a T> {
    rng.choice(items)
}

/// Random labels: of each key one of its values, or none.
pub(super) fn labels(rng: &mut Rng, keys: &[(&'static str, Vec<String>)]) -> Value {
    let mut labels = Map::new();
    for (key, values) in keys {
        if rng.u8(..4) > 0
            && let Some(value) = choose(rng, values)
        {
            labels.insert((*key).to_owned(), json!(value));
        }
    }
    Value::Object(labels)
}

/// A random label selector.
pub(super) fn selector(rng: &mut Rng, keys: &[(&'static str, Vec<String>)]) -> Value {
    let mut selector = Map::new();
    if rng.u8(..4) == 0 {
        return Value::Object(selector);
    }
    if rng.bool()
        && let Some((key, values)) = choose(rng, keys)
        && let Some(value) = choose(rng, values)
    {
        selector.insert("matchLabels".to_owned(), json!({ *key: value }));
    }
    let count = if selector.is_empty() { rng.usize(1..3) } else { rng.usize(..2) };
    let expressions: Vec<_> = (0..count).filter_map(|_| expression(rng, keys)).collect();
    if !expressions.is_empty() {
        selector.insert("matchExpressions".to_owned(), Value::Array(expressions));
    }
    Value::Object(selector)
}

/// A random selector of namespaces, now and then by name.
pub(super) fn namespace_selector(rng: &mut Rng, universe: &Universe) -> Value {
    if rng.u8(..4) == 0 {
        return json!({ "matchLabels": { "kubernetes.io/metadata.name": choose(rng, &universe.namespaces) } });
    }
    selector(rng, &universe.namespace_labels)
}

fn expression(rng: &mut Rng, keys: &[(&'static str, Vec<String>)]) -> Option<Value> {
    let (key, values) = choose(rng, keys)?;
    // Now and then a key that nobody has.
    let key = if rng.u8(..8) == 0 { "nobody-has-this" } else { key };
    let operator = *choose(rng, &["In", "NotIn", "Exists", "DoesNotExist"])?;
    let mut expression = json!({ "key": key, "operator": operator });
    if matches!(operator, "In" | "NotIn") {
        let mut chosen: Vec<_> = values.iter().filter(|_| rng.bool()).cloned().collect();
        if chosen.is_empty() {
            chosen.push(choose(rng, values)?.clone());
        }
        expression.as_object_mut()?.insert("values".to_owned(), json!(chosen));
    }
    Some(expression)
}
