//! Counts which fields of the API and of scenarios were generated.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields by path, with how often each was generated. If a field has few values, each value is counted separately.
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
/// The kinds of cluster-scoped policies.
const CLUSTER_SCOPED: [&str; 3] =
    ["AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Returns everything that can be generated, in the order of the report.
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
        for rest in ["", ".cidr=range", ".cidr=name", ".except"] {
            add(&format!("{rule}.{peers}.ipBlock{rest}"));
        }
        for rest in ["", ".port=number", ".port=name", ".endPort"] {
            add(&format!("{rule}.ports{rest}"));
        }
        PROTOCOLS.iter().for_each(|protocol| add(&format!("{rule}.ports.protocol={protocol}")));
    }
    CLUSTER_SCOPED.iter().for_each(|kind| add_cluster_scoped(kind, &mut add));
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
        "servicesByName",
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
        "endPod",
        "label",
        "label.pod",
        "label.namespace",
        "label.labels",
        "delete",
        "delete.kind=NetworkPolicy",
        "delete.kind=Service",
        "delete.kind=AdminNetworkPolicy",
        "delete.kind=BaselineAdminNetworkPolicy",
        "delete.kind=ClusterNetworkPolicy",
        "delete.name",
        "delete.namespace",
        "keepOpen",
        "keepOpen.from",
        "keepOpen.to",
        "keepOpen.probe",
    ] {
        add(change);
    }
    fields
}

fn add_cluster_scoped(kind: &str, add: &mut impl FnMut(&str)) {
    let is_baseline = kind == "BaselineAdminNetworkPolicy";
    let is_newer = kind == "ClusterNetworkPolicy";
    let mut add = |rest: &str| add(&format!("{kind}.spec.{rest}"));
    if is_newer {
        ["tier=Admin", "tier=Baseline"].into_iter().for_each(&mut add);
    }
    if !is_baseline {
        add("priority");
    }
    ["subject", "subject.namespaces", "subject.pods"].into_iter().for_each(&mut add);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let mut add = |rest: &str| add(&format!("{direction}{rest}"));
        let accept = if is_newer { "Accept" } else { "Allow" };
        ["", ".name", ".action=Deny"].into_iter().for_each(&mut add);
        add(&format!(".action={accept}"));
        if !is_baseline {
            add(".action=Pass");
        }
        ["", ".namespaces", ".pods"].iter().for_each(|rest| add(&format!(".{peers}{rest}")));
        if direction == "egress" {
            [".to.networks", ".to.nodes"].into_iter().for_each(&mut add);
            if !is_baseline {
                add(".to.domainNames");
            }
        }
        let ports: &[&str] = if is_newer {
            &[".protocols", ".protocols.destinationNamedPort", ".protocols.tcp", ".protocols.udp"]
        } else {
            &[".ports", ".ports.namedPort", ".ports.portNumber", ".ports.portRange"]
        };
        ports.iter().for_each(|rest| add(rest));
    }
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
    for change in ["addPod", "removePod", "endPod", "label", "delete", "keepOpen"] {
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
        ("operator" | "protocol" | "kind" | "action" | "tier", Value::String(text)) => {
            format!("{path}={text}")
        }
        ("cidr", Value::String(text)) if text.starts_with('{') => format!("{path}=name"),
        ("cidr", Value::String(_)) => format!("{path}=range"),
        ("port" | "targetPort", Value::Number(_)) => format!("{path}=number"),
        ("port" | "targetPort", Value::String(_)) => format!("{path}=name"),
        (_, _) => path.to_owned(),
    };
    *counts.entry(shown).or_default() += 1;
    // The names below are labels, not fields.
    if matches!(name, "labels" | "matchLabels" | "selector") {
        return;
    }
    // The selectors and numbers below are like those of NetworkPolicies, where all fields are counted.
    let is_cluster_scoped = CLUSTER_SCOPED.iter().any(|kind| path.starts_with(kind));
    let is_known =
        matches!(name, "namespaces" | "pods" | "nodes" | "portNumber" | "portRange" | "tcp" | "udp");
    if is_cluster_scoped && is_known {
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
