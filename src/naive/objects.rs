//! Functions that read Kubernetes objects.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};

use super::model::{Answer, End, Objects};

pub(super) fn pod(world: &Objects, end: End) -> Option<&Pod> {
    if let End::Pod(index) = end { world.pods.get(index) } else { None }
}

pub(super) fn addresses(world: &Objects, end: End) -> Vec<IpAddr> {
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

/// Returns the labels of a namespace, with the label of its name (spec rule 25). A namespace that is not listed has
/// only this label.
pub(super) fn namespace_labels(world: &Objects, name: &str) -> BTreeMap<String, String> {
    let found = world.namespaces.iter().find(|namespace| namespace.metadata.name.as_deref() == Some(name));
    let mut labels = found.map(|namespace| labels(&namespace.metadata)).unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    labels
}

/// Returns whether a selector matches labels. Spec rule 24: everything in a selector must match.
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

/// Returns a list that may be missing. Missing equals empty (spec rules 4, 5 and 6).
pub(super) fn list<T>(list: &Option<Vec<T>>) -> &[T] {
    list.as_deref().unwrap_or_default()
}

/// Returns the ports of its node that lead to a pod, each with its protocol. Empty if the pod uses the node's
/// network, or has ended.
pub(super) fn host_ports(pod: &Pod) -> Vec<(&str, i32)> {
    let Some(spec) = pod.spec.as_ref().filter(|_| !is_host_network(pod) && !is_finished(pod)) else {
        return Vec::new();
    };
    let ports = spec.containers.iter().flat_map(|container| list(&container.ports));
    ports.filter_map(|port| Some((or_tcp(&port.protocol), port.host_port?))).collect()
}

/// Returns the numbers of a port name in a pod, in the order of the containers.
pub(super) fn named_ports(pod: &Pod, name: &str, protocol: &str) -> Vec<i32> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().chain(list(&spec.init_containers).iter().filter(is_sidecar));
    let ports = containers.flat_map(|container| list(&container.ports));
    let named = ports.filter(|it| it.name.as_deref() == Some(name) && or_tcp(&it.protocol) == protocol);
    named.map(|port| port.container_port).collect()
}

/// Returns whether a port name stands for this port in a pod. None (unknown) if an earlier container gives the name
/// to another port.
pub(super) fn is_named_port(pod: &Pod, name: &str, protocol: &str, port: i32) -> Option<bool> {
    let numbers = named_ports(pod, name, protocol);
    if numbers.first() == Some(&port) { Some(true) } else { maybe(numbers.contains(&port)) }
}

/// Returns None (unknown) if `is_open`, and false if not.
fn maybe(is_open: bool) -> Option<bool> {
    if is_open { None } else { Some(false) }
}

/// Returns whether both are true. The result is None (unknown) if one is unknown and the other is not false.
pub(super) fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    if one == Some(false) || other == Some(false) { Some(false) } else { one.and(other) }
}

/// Returns whether any is true. The result is None (unknown) if one is unknown and none is true.
pub(super) fn any(all: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let all: Vec<_> = all.into_iter().collect();
    if all.contains(&Some(true)) { Some(true) } else { maybe(all.contains(&None)) }
}

/// Returns the answer that all have in common, or Undefined if they differ or there is none.
pub(super) fn common(answers: impl IntoIterator<Item = Answer>) -> Answer {
    let mut answers = answers.into_iter();
    match answers.next() {
        Some(first) if answers.all(|answer| answer == first) => first,
        Some(_) | None => Answer::Undefined,
    }
}
