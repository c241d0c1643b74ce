//! Counts which fields of the API and of scenarios were generated.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields by path, with how often each was generated. If a field has few values, each value is counted separately.
pub(super) type Counts = BTreeMap<String, usize>;

/// The kinds of cluster-scoped policies.
const CLUSTER_SCOPED: [&str; 3] =
    ["AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"];

/// Everything that can be generated, in the order of the report. Braces contain alternatives, and white space does
/// not count.
const FIELDS: &str = "{
    NetworkPolicy.spec.{
        podSelectorSELECTOR|policyTypes={|Ingress|Egress|Ingress,Egress}
        |ingress{|.fromPEERS|.portsPORTS}|egress{|.toPEERS|.portsPORTS}
    }
    |AdminNetworkPolicy.spec.{
        priority|subject{|.namespaces|.pods}
        |ingress{|.name|.action={Deny|Allow|Pass}|.from{|.namespaces|.pods}
            |.ports{|.namedPort|.portNumber|.portRange}}
        |egress{|.name|.action={Deny|Allow|Pass}|.to{|.namespaces|.pods|.networks|.nodes|.domainNames}
            |.ports{|.namedPort|.portNumber|.portRange}}
    }
    |BaselineAdminNetworkPolicy.spec.{
        subject{|.namespaces|.pods}
        |ingress{|.name|.action={Deny|Allow}|.from{|.namespaces|.pods}
            |.ports{|.namedPort|.portNumber|.portRange}}
        |egress{|.name|.action={Deny|Allow}|.to{|.namespaces|.pods|.networks|.nodes}
            |.ports{|.namedPort|.portNumber|.portRange}}
    }
    |ClusterNetworkPolicy.spec.{
        tier={Admin|Baseline}|priority|subject{|.namespaces|.pods}
        |ingress{|.name|.action={Deny|Accept|Pass}|.from{|.namespaces|.pods}
            |.protocols{|.destinationNamedPort|.tcp|.udp}}
        |egress{|.name|.action={Deny|Accept|Pass}|.to{|.namespaces|.pods|.networks|.nodes|.domainNames}
            |.protocols{|.destinationNamedPort|.tcp|.udp}}
    }
    |{Service.spec|topology.namespaces.services}{
        .selector|.ports{|.name|.port=number|.targetPort={number|name}|.protocol={TCP|UDP}}
    }
    |Service.spec.{type|ports.nodePort}
    |Namespace.metadata.labels
    |topology.{
        nodes|families|nodeEndpoints|servicesByName|externals{|.name|.ip}
        |namespaces{|.name|.labels|.pods|.services{|.name}|.pods.hostNetwork|.pods.dns{|.port=number}}
    }
    |{topology.namespaces.pods|addPod}.{name|labels|node|ports{|.name|.port=number|.protocol={TCP|UDP}}}
    |addPod{|.namespace}|removePod|endPod|label{|.pod|.namespace|.labels}
    |delete{|.kind={NetworkPolicy|Service|AdminNetworkPolicy|BaselineAdminNetworkPolicy|ClusterNetworkPolicy}
        |.name|.namespace}
    |keepOpen{|.from|.to|.probe}
}";
/// The values of the names in capital letters.
const GROUPS: [(&str, &str); 3] = [
    ("PEERS", "{|.podSelectorSELECTOR|.namespaceSelectorSELECTOR|.ipBlock{|.cidr={range|name}|.except}}"),
    ("PORTS", "{|.port={number|name}|.endPort|.protocol={TCP|UDP|SCTP}}"),
    ("SELECTOR", "{|.matchLabels|.matchExpressions{|.key|.operator={In|NotIn|Exists|DoesNotExist}|.values}}"),
];

/// Returns everything that can be generated, in the order of the report.
pub(super) fn fields() -> Vec<String> {
    let pattern: String = FIELDS.split_whitespace().collect();
    let pattern = GROUPS.iter().fold(pattern, |pattern, (name, group)| pattern.replace(name, group));
    let mut fields = Vec::new();
    expand("", &pattern, &mut fields);
    fields
}

/// Adds the texts for which a pattern stands, each after `prefix`.
fn expand(prefix: &str, pattern: &str, texts: &mut Vec<String>) {
    let Some((before, braces)) = pattern.split_once('{') else {
        return texts.push(format!("{prefix}{pattern}"));
    };
    let (mut depth, mut start, mut alternatives) = (0, 0, Vec::new());
    for (at, c) in braces.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | '|' if depth == 0 => {
                alternatives.push(braces.get(start..at).unwrap_or_default());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    let after = braces.get(start..).unwrap_or_default();
    for alternative in alternatives {
        expand(&format!("{prefix}{before}"), &format!("{alternative}{after}"), texts);
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
