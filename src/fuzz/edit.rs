//! Makes smaller scenarios. Each leaves out one piece, and the largest pieces come first.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::plan::Cell;
use crate::world::{EndpointName, Probe};

/// Returns all scenarios that have one piece less. Some of them are not valid.
pub(super) fn smaller(scenario: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let steps = list(scenario, "/steps").len();
    for at in 0..steps.saturating_sub(1) {
        all.extend(without(scenario, &format!("/steps/{at}")));
        all.extend(with_steps_merged(scenario, at));
    }
    for name in namespaces(scenario) {
        all.push(without_object(scenario, &|object| object.namespace() == name));
    }
    for (namespace, pod) in pods(scenario) {
        all.push(without_object(scenario, &|object| *object == Object::Pod(&namespace, &pod)));
    }
    for (kind, namespace, name) in manifests(scenario) {
        all.push(without_object(scenario, &|object| *object == Object::Applied(&kind, &namespace, &name)));
    }
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
    let is_end = |namespace: &str, name: &str| {
        [&cell.from, &cell.to].into_iter().any(|end| match end {
            EndpointName::Pod { namespace: its, name: own } => its == namespace && own == name,
            // All pods of its namespace, because it may lead to any of them.
            EndpointName::Service { namespace: its, .. } => its == namespace,
            EndpointName::Node(_) | EndpointName::External(_) => false,
        })
    };
    let mut focused = without_object(scenario, &|object| match object {
        Object::Pod(namespace, name) => !is_end(namespace, name),
        Object::Applied("Service", namespace, name) => cell.to != EndpointName::service(*namespace, *name),
        Object::Applied(..) | Object::Namespace(_) => false,
    });
    let externals = focused.pointer_mut("/topology/externals").and_then(Value::as_array_mut);
    let is_used = |external: &Value| {
        let name = EndpointName::External(text(external, "name").to_owned());
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
    for step in focused.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = step.as_object_mut() {
            // Open connections are reported, but never judged, so they cannot cause a disagreement.
            fields.remove("keepOpen");
        }
    }
    if let Some(object) = focused.as_object_mut() {
        object.insert("probes".to_owned(), probes);
    }
    if let Some(topology) = focused.get_mut("topology").and_then(Value::as_object_mut) {
        topology.insert("families".to_owned(), json!([cell.family.name()]));
    }
    focused
}

/// An object that a scenario may mention in several places.
#[derive(PartialEq)]
enum Object<'a> {
    Namespace(&'a str),
    Pod(&'a str, &'a str),
    /// Kind, namespace and name of an object in a manifest.
    Applied(&'a str, &'a str, &'a str),
}

impl Object<'_> {
    fn namespace(&self) -> &str {
        match self {
            Self::Namespace(namespace) | Self::Pod(namespace, _) | Self::Applied(_, namespace, _) => {
                namespace
            }
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn namespaces(scenario: &Value) -> Vec<String> {
    list(scenario, "/topology/namespaces").iter().map(|n| text(n, "name").to_owned()).collect()
}

/// Returns the pods of the topology and of all steps.
fn pods(scenario: &Value) -> BTreeSet<(String, String)> {
    let namespaces = list(scenario, "/topology/namespaces").iter();
    let own = namespaces.flat_map(|namespace| {
        list(namespace, "/pods").iter().map(move |pod| (text(namespace, "name"), text(pod, "name")))
    });
    let steps = list(scenario, "/steps").iter();
    let added =
        steps.flat_map(|step| list(step, "/addPod")).map(|pod| (text(pod, "namespace"), text(pod, "name")));
    own.chain(added).map(|(namespace, name)| (namespace.to_owned(), name.to_owned())).collect()
}

/// Returns the objects in the manifests of all steps, and the Services of the topology.
fn manifests(scenario: &Value) -> BTreeSet<(String, String, String)> {
    let namespaces = list(scenario, "/topology/namespaces").iter();
    let services = namespaces.flat_map(|namespace| {
        let names = list(namespace, "/services").iter().map(|service| text(service, "name"));
        names.map(move |name| ("Service".to_owned(), text(namespace, "name").to_owned(), name.to_owned()))
    });
    let steps = list(scenario, "/steps").iter();
    let applied = steps.flat_map(|step| list(step, "/apply")).map(|manifest| {
        let metadata = manifest.get("metadata").unwrap_or(&Value::Null);
        let owned = |text: &str| text.to_owned();
        (owned(text(manifest, "kind")), owned(text(metadata, "namespace")), owned(text(metadata, "name")))
    });
    services.chain(applied).collect()
}

/// Returns the scenario without everything about some objects.
fn without_object(scenario: &Value, is_gone: &dyn Fn(&Object<'_>) -> bool) -> Value {
    let mut smaller = scenario.clone();
    let retain = |value: &mut Value, field: &str, stays: &dyn Fn(&Value) -> bool| {
        if let Some(list) = value.get_mut(field).and_then(Value::as_array_mut) {
            list.retain(stays);
        }
    };
    if let Some(topology) = smaller.get_mut("topology") {
        retain(topology, "namespaces", &|namespace| !is_gone(&Object::Namespace(text(namespace, "name"))));
        for namespace in topology.get_mut("namespaces").and_then(Value::as_array_mut).into_iter().flatten() {
            let name = text(namespace, "name").to_owned();
            retain(namespace, "pods", &|pod| !is_gone(&Object::Pod(&name, text(pod, "name"))));
            retain(namespace, "services", &|service| {
                !is_gone(&Object::Applied("Service", &name, text(service, "name")))
            });
        }
    }
    let named = |pod: &str| {
        pod.split_once('/').is_some_and(|(namespace, name)| is_gone(&Object::Pod(namespace, name)))
    };
    for step in smaller.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(manifests) = step.get_mut("apply") {
            forget_addresses(manifests, &named);
        }
        retain(step, "apply", &|manifest| {
            let metadata = manifest.get("metadata").unwrap_or(&Value::Null);
            match text(manifest, "kind") {
                "Namespace" => !is_gone(&Object::Namespace(text(metadata, "name"))),
                kind => !is_gone(&Object::Applied(kind, text(metadata, "namespace"), text(metadata, "name"))),
            }
        });
        retain(step, "delete", &|deleted| {
            let (kind, namespace, name) =
                (text(deleted, "kind"), text(deleted, "namespace"), text(deleted, "name"));
            !is_gone(&Object::Applied(kind, namespace, name))
        });
        retain(step, "label", &|label| match label.get("pod").and_then(Value::as_str) {
            Some(pod) => !named(pod),
            None => !is_gone(&Object::Namespace(text(label, "namespace"))),
        });
        for field in ["removePod", "endPod"] {
            retain(step, field, &|pod| !named(pod.as_str().unwrap_or_default()));
        }
        retain(step, "addPod", &|pod| !is_gone(&Object::Pod(text(pod, "namespace"), text(pod, "name"))));
    }
    smaller
}

/// Removes the named addresses of some pods from manifests.
fn forget_addresses(value: &mut Value, named: &dyn Fn(&str) -> bool) {
    let is_named = |cidr: &Value| {
        let holder = cidr.as_str().and_then(|cidr| cidr.strip_prefix('{')?.split(['}', ':']).next());
        holder.is_some_and(named)
    };
    match value {
        Value::Array(items) => {
            items.retain(|item| !is_named(item) && !item.pointer("/ipBlock/cidr").is_some_and(is_named));
            items.iter_mut().for_each(|item| forget_addresses(item, named));
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| forget_addresses(field, named)),
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
    let topology = smaller.get_mut("topology")?.as_object_mut()?;
    let nodes = topology.get_mut("nodes").filter(|nodes| **nodes != json!(1))?;
    *nodes = json!(1);
    let forget = |pods: Option<&mut Value>| {
        for pod in pods.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            pod.remove("node");
        }
    };
    for namespace in topology.get_mut("namespaces")?.as_array_mut()? {
        forget(namespace.get_mut("pods"));
    }
    for step in smaller.get_mut("steps")?.as_array_mut()? {
        forget(step.get_mut("addPod"));
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
        let smaller = without_object(&scenario, &|object| *object == Object::Pod("x", "a"));
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
