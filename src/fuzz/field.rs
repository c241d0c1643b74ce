//! Which fields of the API and of scenarios were generated, and how often.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields by their paths, with how often each was generated. Where a field has few values, each value
/// counts by itself.
pub(super) type Counts = BTreeMap<String, usize>;

const SELECTOR: [&str; 9] = [
    "",
    ".matchLabels",
    ".matchExpressions",
    ".matchExpressions.key",
    ".matchExpressions.operator=In",
    ".matchExpressions.operator=NotIn",
    ".matchExpressions.operator=Exists",
    ".matchExpressions.operator=DoesNotExist",
    ".matchExpressions.values",
];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Everything that can be generated, in the order in which it is shown.
pub fn fields() -> Vec<String> {
    let mut fields = Vec::new();
    let mut add = |path: &str| fields.push(path.to_owned());
    let policy = "NetworkPolicy.spec";
    SELECTOR.iter().for_each(|rest| add(&format!("{policy}.podSelector{rest}")));
    for types in ["", "Ingress", "Egress", "Ingress,Egress"] {
        add(&format!("{policy}.policyTypes={types}"));
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let rule = format!("{policy}.{direction}");
        add(&rule);
        add(&format!("{rule}.{peers}"));
        for selector in ["podSelector", "namespaceSelector"] {
            SELECTOR.iter().for_each(|rest| add(&format!("{rule}.{peers}.{selector}{rest}")));
        }
        for rest in ["", ".cidr", ".except"] {
            add(&format!("{rule}.{peers}.ipBlock{rest}"));
        }
        for rest in ["", ".port=number", ".port=name", ".endPort"] {
            add(&format!("{rule}.ports{rest}"));
        }
        PROTOCOLS.iter().for_each(|protocol| add(&format!("{rule}.ports.protocol={protocol}")));
    }
    for service in ["Service.spec", "topology.namespaces.services"] {
        add(&format!("{service}.selector"));
        for rest in ["", ".name", ".port=number", ".targetPort=number", ".targetPort=name"] {
            add(&format!("{service}.ports{rest}"));
        }
        ["TCP", "UDP"].iter().for_each(|protocol| add(&format!("{service}.ports.protocol={protocol}")));
    }
    ["type", "ports.nodePort"].iter().for_each(|rest| add(&format!("Service.spec.{rest}")));
    add("Namespace.metadata.labels");
    for rest in [
        "nodes",
        "families",
        "nodeEndpoints",
        "externals",
        "externals.name",
        "externals.ip",
        "namespaces",
        "namespaces.name",
        "namespaces.labels",
        "namespaces.pods",
        "namespaces.services",
        "namespaces.services.name",
        "namespaces.pods.hostNetwork",
        "namespaces.pods.dns",
        "namespaces.pods.dns.port=number",
    ] {
        add(&format!("topology.{rest}"));
    }
    for pod in ["topology.namespaces.pods", "addPod"] {
        for rest in ["name", "labels", "node", "ports", "ports.name", "ports.port=number"] {
            add(&format!("{pod}.{rest}"));
        }
        ["TCP", "UDP"].iter().for_each(|protocol| add(&format!("{pod}.ports.protocol={protocol}")));
    }
    for change in [
        "addPod",
        "addPod.namespace",
        "removePod",
        "label",
        "label.pod",
        "label.namespace",
        "label.labels",
        "delete",
        "delete.kind=NetworkPolicy",
        "delete.kind=Service",
        "delete.name",
        "delete.namespace",
    ] {
        add(change);
    }
    fields
}

/// Counts the fields of a topology.
pub(super) fn count_topology(topology: &Value, counts: &mut Counts) {
    for (field, value) in topology.as_object().into_iter().flatten() {
        count(&format!("topology.{field}"), value, counts);
    }
}

/// Counts the fields of a step.
pub(super) fn count_step(step: &Value, counts: &mut Counts) {
    for manifest in step.get("apply").and_then(Value::as_array).into_iter().flatten() {
        let kind = manifest.get("kind").and_then(Value::as_str).unwrap_or_default();
        for (field, value) in manifest.get("spec").and_then(Value::as_object).into_iter().flatten() {
            count(&format!("{kind}.spec.{field}"), value, counts);
        }
        if let Some(labels) = manifest.pointer("/metadata/labels") {
            count(&format!("{kind}.metadata.labels"), labels, counts);
        }
    }
    for change in ["addPod", "removePod", "label", "delete"] {
        if let Some(value) = step.get(change) {
            count(change, value, counts);
        }
    }
}

fn count(path: &str, value: &Value, counts: &mut Counts) {
    let name = path.rsplit('.').next().unwrap_or_default();
    let shown = match (name, value) {
        ("policyTypes", Value::Array(types)) => {
            let types: Vec<_> = types.iter().filter_map(Value::as_str).collect();
            format!("{path}={}", types.join(","))
        }
        ("operator" | "protocol" | "kind", Value::String(text)) => format!("{path}={text}"),
        ("port" | "targetPort", Value::Number(_)) => format!("{path}=number"),
        ("port" | "targetPort", Value::String(_)) => format!("{path}=name"),
        (_, _) => path.to_owned(),
    };
    *counts.entry(shown).or_default() += 1;
    // What is below has names that somebody chose.
    if matches!(name, "labels" | "matchLabels" | "selector") {
        return;
    }
    let entries: Vec<&serde_json::Map<String, Value>> = match value {
        Value::Object(fields) => vec![fields],
        Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (field, value) in entries.into_iter().flatten() {
        count(&format!("{path}.{field}"), value, counts);
    }
}
