//! The parts of live objects that netproof keeps.
//!
//! A snapshot is saved in files and sent with bug reports. So it has nothing that netproof does not read, such as the
//! commands and environment variables of pods. The `spec` of a policy or Service is kept as a whole: a field that a
//! newer server has written there must not disappear.

use serde_json::Value;

/// Fields of the metadata of kinds that netproof reads. An object with `uid`, `resourceVersion` and
/// `creationTimestamp` is one that a server has written.
const METADATA: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.ownerReferences.apiVersion",
    "metadata.ownerReferences.controller",
    "metadata.ownerReferences.kind",
    "metadata.ownerReferences.name",
    "metadata.resourceVersion",
    "metadata.uid",
];

const POD: &[&str] = &[
    "spec.containers.name",
    "spec.containers.ports",
    "spec.hostNetwork",
    "spec.initContainers.name",
    "spec.initContainers.ports",
    "spec.initContainers.restartPolicy",
    "spec.nodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

const NODE: &[&str] = &["spec.podCIDR", "spec.podCIDRs", "status.addresses"];

const SERVICE: &[&str] = &["spec", "status.loadBalancer.ingress.ip"];

const ENDPOINT_SLICE: &[&str] = &[
    "addressType",
    "endpoints.addresses",
    "endpoints.conditions",
    "endpoints.nodeName",
    "endpoints.targetRef.kind",
    "endpoints.targetRef.name",
    "endpoints.targetRef.namespace",
    "ports",
];

/// Kinds with the fields that are kept besides the metadata. Of all other kinds, only the names are kept.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("v1", "Namespace", &["status.phase"]),
    ("v1", "Node", NODE),
    ("v1", "Pod", POD),
    ("v1", "Service", SERVICE),
    ("discovery.k8s.io/v1", "EndpointSlice", ENDPOINT_SLICE),
    ("networking.k8s.io/v1", "NetworkPolicy", &["spec"]),
    ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", &["spec"]),
    ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy", &["spec"]),
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", &["spec"]),
];

const NAMES: &[&str] = &["apiVersion", "kind", "metadata.name", "metadata.namespace"];

/// Removes everything from an object that netproof does not read.
pub(super) fn keep(object: &mut Value) {
    let text = |field| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let known = KINDS.iter().find(|(version, name, _)| *version == api_version && *name == kind);
    match known {
        Some((.., fields)) => select(object, &[METADATA, fields].concat()),
        None => select(object, NAMES),
    }
}

/// Keeps the parts of a value at these paths. A path continues in every element of a list. A value that is neither a
/// list nor an object stays, because an object of the wrong shape must not look like one that lacks the field.
fn select(value: &mut Value, paths: &[&str]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| select(item, paths)),
        Value::Object(fields) => fields.retain(|key, value| {
            let rests = paths.iter().filter_map(|path| match path.split_once('.') {
                Some((first, rest)) => (first == key).then_some(rest),
                None => (path == key).then_some(""),
            });
            let below: Vec<&str> = rests.collect();
            if !below.contains(&"") && !below.is_empty() {
                select(value, &below);
            }
            !below.is_empty()
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
