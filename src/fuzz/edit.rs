//! Makes smaller scenarios. Each leaves out one piece, and the largest pieces come first.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::plan::Cell;
use crate::snapshot::Identity;
use crate::world::{EndpointName, Probe};

/// Returns all scenarios that have one piece less. Some of them are not valid.
pub(super) fn smaller(scenario: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let steps = scenario.get("steps").and_then(Value::as_array).map_or(0, Vec::len);
    for at in 0..steps.saturating_sub(1) {
        all.extend(without(scenario, &format!("/steps/{at}")));
        all.extend(with_steps_merged(scenario, at));
    }
    let mut objects = BTreeSet::new();
    retain_objects(&mut scenario.clone(), &mut |object| {
        objects.insert(object);
        true
    });
    all.extend(objects.iter().map(|object| without_objects(scenario, |other| object.includes(other))));
    all.extend(on_one_node(scenario));
    let mut pointers = Vec::new();
    for root in ["/topology", "/probes", "/steps"] {
        if let Some(value) = scenario.pointer(root) {
            find_pieces(root, value, &mut pointers);
        }
    }
    // The shorter the pointer, the larger the piece.
    pointers.sort_by_key(|pointer| pointer.matches('/').count());
    all.extend(pointers.iter().filter_map(|pointer| without(scenario, pointer)));
    all
}

/// Returns the scenario with only what a cell needs: its ends and its probe.
pub(super) fn focused(scenario: &Value, cell: &Cell) -> Value {
    let is_end = |pod: &Identity| {
        [&cell.from, &cell.to].into_iter().any(|end| match end {
            EndpointName::Pod { namespace, name } => *pod == Identity::new(namespace, name),
            // All pods of its namespace, because it may lead to any of them.
            EndpointName::Service { namespace, .. } => pod.namespace == *namespace,
            EndpointName::Node(_) | EndpointName::External(_) => false,
        })
    };
    let mut focused = without_objects(scenario, |object| match object {
        Object::Pod(pod) => !is_end(pod),
        Object::Applied(kind, Identity { namespace, name }) => {
            kind == "Service" && cell.to != EndpointName::service(namespace, name)
        }
        Object::Namespace(_) => false,
    });
    let externals = focused.pointer_mut("/topology/externals").and_then(Value::as_array_mut);
    let is_used = |external: &Value| {
        let name = EndpointName::External(text(external, "/name").to_owned());
        cell.from == name || cell.to == name
    };
    if let Some(externals) = externals {
        externals.retain(is_used);
    }
    let probes = match (&cell.to, cell.probe) {
        // A Service is probed on its own ports.
        (EndpointName::Service { .. }, _) => json!([]),
        (_, Probe::Port { .. } | Probe::Dns { .. } | Probe::ByName { .. }) => json!([cell.probe.to_string()]),
    };
    for step in entries(&mut focused, "steps").filter_map(Value::as_object_mut) {
        // Open connections are reported, but never judged, so they cannot cause a disagreement.
        step.remove("keepOpen");
    }
    if let Some(object) = focused.as_object_mut() {
        object.insert("probes".to_owned(), probes);
    }
    if let Some(topology) = focused.get_mut("topology").and_then(Value::as_object_mut) {
        topology.insert("families".to_owned(), json!([cell.family.name()]));
    }
    focused
}

/// An object that a scenario may mention in several places. The larger objects come first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Namespace(String),
    Pod(Identity),
    /// An object in a manifest, with its kind, or a Service of the topology.
    Applied(String, Identity),
}

impl Object {
    /// Returns the object that an entry of a list is about. `list` is the name of the list, and `namespace` the one in
    /// which the topology has the list.
    fn of(list: &str, namespace: &str, entry: &Value) -> Option<Self> {
        let identity = |namespace, name| Identity::new(text(entry, namespace), text(entry, name));
        let pod = |name: &str| {
            let (namespace, name) = name.split_once('/')?;
            Some(Self::Pod(Identity::new(namespace, name)))
        };
        let object = match list {
            "namespaces" => Self::Namespace(text(entry, "/name").to_owned()),
            "pods" => Self::Pod(Identity::new(namespace, text(entry, "/name"))),
            "services" => Self::Applied("Service".to_owned(), Identity::new(namespace, text(entry, "/name"))),
            "apply" => match text(entry, "/kind") {
                "Namespace" => Self::Namespace(text(entry, "/metadata/name").to_owned()),
                kind => Self::Applied(kind.to_owned(), identity("/metadata/namespace", "/metadata/name")),
            },
            "delete" => Self::Applied(text(entry, "/kind").to_owned(), identity("/namespace", "/name")),
            "label" if entry.get("pod").is_none() => Self::Namespace(text(entry, "/namespace").to_owned()),
            "label" => return pod(text(entry, "/pod")),
            "addPod" => Self::Pod(identity("/namespace", "/name")),
            "removePod" | "endPod" => return pod(entry.as_str()?),
            // The address of a pod may be a peer, or an exception in a block.
            _ => {
                let address = entry.as_str().unwrap_or_else(|| text(entry, "/ipBlock/cidr"));
                return pod(address.strip_prefix('{')?.split(['}', ':']).next()?);
            }
        };
        Some(object)
    }

    /// Returns whether another object is this one, or is in this namespace.
    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespace(name), Self::Pod(inner) | Self::Applied(_, inner)) => inner.namespace == *name,
            (Self::Namespace(_) | Self::Pod(_) | Self::Applied(..), _) => self == other,
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn entries<'a>(value: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Returns the scenario without everything about some objects.
fn without_objects(scenario: &Value, is_gone: impl Fn(&Object) -> bool) -> Value {
    let mut smaller = scenario.clone();
    retain_objects(&mut smaller, &mut |object| !is_gone(&object));
    smaller
}

/// Removes the entries of all lists that are about an object that does not stay.
fn retain_objects(value: &mut Value, stays: &mut dyn FnMut(Object) -> bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| retain_objects(item, stays)),
        Value::Object(fields) => {
            // The topology has a list of the pods and one of the Services in each namespace.
            let namespace = fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            for (field, value) in fields {
                if let Some(items) = value.as_array_mut() {
                    items.retain(|item| Object::of(field, &namespace, item).is_none_or(&mut *stays));
                }
                retain_objects(value, stays);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the scenario without the part that a pointer leads to.
fn without(scenario: &Value, pointer: &str) -> Option<Value> {
    let mut smaller = scenario.clone();
    let (parent, last) = pointer.rsplit_once('/')?;
    match smaller.pointer_mut(parent)? {
        Value::Array(items) => {
            let at: usize = last.parse().ok()?;
            (at < items.len()).then(|| items.remove(at))?;
        }
        Value::Object(fields) => {
            // JSON pointers escape `/` and `~`.
            fields.remove(&last.replace("~1", "/").replace("~0", "~"))?;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    Some(smaller)
}

/// Returns the scenario with a step merged into the next one.
fn with_steps_merged(scenario: &Value, at: usize) -> Option<Value> {
    let mut smaller = scenario.clone();
    let steps = smaller.get_mut("steps")?.as_array_mut()?;
    let first = steps.remove(at);
    let next = steps.get_mut(at)?.as_object_mut()?;
    for (field, value) in first.as_object()? {
        let (Some(earlier), false) = (value.as_array(), field == "expect") else { continue };
        let later = next.entry(field.clone()).or_insert_with(|| json!([])).as_array_mut()?;
        let mut both = earlier.clone();
        both.append(later);
        *later = both;
    }
    Some(smaller)
}

/// Returns the scenario with everything on one node.
fn on_one_node(scenario: &Value) -> Option<Value> {
    let mut smaller = scenario.clone();
    let nodes = smaller.pointer_mut("/topology/nodes").filter(|nodes| **nodes != json!(1))?;
    *nodes = json!(1);
    let forget = |pod: &mut Value| drop(pod.as_object_mut().and_then(|pod| pod.remove("node")));
    for namespace in entries(smaller.get_mut("topology")?, "namespaces") {
        entries(namespace, "pods").for_each(forget);
    }
    for step in entries(&mut smaller, "steps") {
        entries(step, "addPod").for_each(forget);
    }
    Some(smaller)
}

/// Parts that must stay: if they are missing, the defaults add more nodes or namespaces.
const MEANT_WHEN_ABSENT: [&str; 2] = ["/topology/nodes", "/topology/namespaces"];

/// Collects pointers to the parts of a value that can be left out: entries of lists and fields, but no steps.
fn find_pieces(at: &str, value: &Value, pointers: &mut Vec<String>) {
    let mut add = |piece: &str, value: &Value| {
        let pointer = format!("{at}/{piece}");
        find_pieces(&pointer, value, pointers);
        if at != "/steps" && !MEANT_WHEN_ABSENT.contains(&pointer.as_str()) {
            pointers.push(pointer);
        }
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| add(&i.to_string(), item)),
        Value::Object(fields) => {
            fields.iter().for_each(|(field, value)| add(&field.replace('~', "~0").replace('/', "~1"), value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::dry_run::read;
    use crate::generate::{self, Ground};

    #[test]
    fn many_of_the_smaller_scenarios_are_scenarios() {
        let scenario = generate::scenario(3, 4, Ground::Lab);
        let size = |value: &Value| value.to_string().len();
        let smaller = smaller(&scenario);
        assert!(smaller.iter().all(|other| size(other) <= size(&scenario)));
        let valid = smaller.iter().filter(|value| read(value).is_ok()).count();
        assert!(valid * 4 > smaller.len(), "{valid} of {}", smaller.len());
    }

    #[test]
    fn an_object_goes_with_everything_that_is_about_it() {
        let scenario = json!({
            "topology": {"namespaces": [{"name": "x", "pods": [{"name": "a"}, {"name": "b"}]}]},
            "steps": [
                {"name": "1", "label": [{"pod": "x/a", "labels": {}}, {"namespace": "x", "labels": {}}]},
                {"name": "2", "removePod": ["x/a"], "addPod": [{"namespace": "x", "name": "a"}]},
                {"name": "3", "endPod": ["x/a", "x/b"], "apply": [{"kind": "NetworkPolicy", "spec": {"to": [
                    {"ipBlock": {"cidr": "{x/a}/32"}}, {"ipBlock": {"cidr": "{x/b}/32"}}, {"ipBlock": {"cidr": "::/0", "except": ["{x/a:IPv6}/128"]}},
                ]}}]},
            ],
        });
        let smaller = without_objects(&scenario, |object| *object == Object::Pod(Identity::new("x", "a")));
        let expected = json!({
            "topology": {"namespaces": [{"name": "x", "pods": [{"name": "b"}]}]},
            "steps": [
                {"name": "1", "label": [{"namespace": "x", "labels": {}}]},
                {"name": "2", "removePod": [], "addPod": []},
                {"name": "3", "endPod": ["x/b"], "apply": [{"kind": "NetworkPolicy", "spec": {"to": [
                    {"ipBlock": {"cidr": "{x/b}/32"}}, {"ipBlock": {"cidr": "::/0", "except": []}},
                ]}}]},
            ],
        });
        assert_eq!(smaller, expected);
    }
}
