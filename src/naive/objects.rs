//! What the evaluator reads in Kubernetes' objects.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};

use super::evaluate::{End, World};

pub(super) fn pod(world: &World, end: End) -> Option<&Pod> {
    if let End::Pod(index) = end { world.pods.get(index) } else { None }
}

pub(super) fn addresses(world: &World, end: End) -> Vec<IpAddr> {
    match end {
        End::Pod(_) => pod(world, end).map(pod_addresses).unwrap_or_default(),
        End::Node(index) => world.nodes.get(index).map(|(_, known)| known.clone()).unwrap_or_default(),
        End::External(address) => vec![address],
    }
}

fn pod_addresses(pod: &Pod) -> Vec<IpAddr> {
    let status = pod.status.clone().unwrap_or_default();
    let listed: Vec<String> = status.pod_ips.into_iter().flatten().map(|item| item.ip).collect();
    let texts = if listed.is_empty() { status.pod_ip.into_iter().collect() } else { listed };
    texts.iter().flat_map(|text| text.parse()).collect()
}

pub(super) fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

pub(super) fn is_finished(pod: &Pod) -> bool {
    pod.status.iter().flat_map(|it| &it.phase).any(|phase| phase == "Succeeded" || phase == "Failed")
}

pub(super) fn namespace(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or("default")
}

pub(super) fn labels(metadata: &ObjectMeta) -> BTreeMap<String, String> {
    metadata.labels.clone().unwrap_or_default()
}

/// Item 25; a namespace that is not listed has that label only.
pub(super) fn namespace_labels(world: &World, name: &str) -> BTreeMap<String, String> {
    let found = world.namespaces.iter().find(|namespace| namespace.metadata.name.as_deref() == Some(name));
    let mut labels = found.map(|namespace| labels(&namespace.metadata)).unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    labels
}

/// Item 24: everything in a selector must hold.
pub(super) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && list(&selector.match_expressions).iter().all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let is_listed = value.is_some_and(|value| list(&requirement.values).contains(value));
    match requirement.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        _ => value.is_none(), // DoesNotExist
    }
}

pub(super) fn or_tcp(protocol: &Option<String>) -> &str {
    protocol.as_deref().unwrap_or("TCP")
}

/// A list that may be missing: missing equals empty (items 4, 5 and 6).
pub(super) fn list<T>(list: &Option<Vec<T>>) -> &[T] {
    list.as_deref().unwrap_or_default()
}

pub(super) fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().chain(list(&spec.init_containers).iter().filter(is_sidecar));
    let mut ports = containers.flat_map(|container| list(&container.ports));
    let found = ports.find(|it| it.name.as_deref() == Some(name) && or_tcp(&it.protocol) == protocol)?;
    Some(found.container_port)
}
