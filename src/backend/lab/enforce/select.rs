//! Selection of pods by labels. This code is deliberately independent of the policy engine.

use std::net::IpAddr;

use crate::deviation::EnforcerState;
use crate::policy::{Cluster, LabelSelector, Labels, NamespaceScope, NetworkPolicy, Pod, Requirement};

/// Returns whether a selector matches these labels: whether they violate none of its requirements.
pub(super) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    !selector.requirements().any(|requirement| breaks(labels, requirement))
}

fn breaks(labels: &Labels, requirement: &Requirement) -> bool {
    let has = |key: &String| labels.keys().any(|k| k == key);
    let has_any = |key: &String, values: &std::collections::BTreeSet<String>| {
        labels.iter().any(|(k, v)| k == key && values.iter().any(|value| value == v))
    };
    match requirement {
        Requirement::In(key, values) => !has_any(key, values),
        Requirement::NotIn(key, values) => has_any(key, values),
        Requirement::Exists(key) => !has(key),
        Requirement::DoesNotExist(key) => has(key),
    }
}

/// Returns whether a node filters the traffic of a pod. The pod must be in the pod network and must not have
/// ended.
pub(super) fn is_filtered(pod: &Pod) -> bool {
    !pod.host_network && !pod.ended
}

/// Returns the policies that select a pod, in the order of the cluster.
pub(super) fn policies_of<'a>(cluster: &'a Cluster, pod: &Pod) -> Vec<&'a NetworkPolicy> {
    let is_subject =
        |policy: &&NetworkPolicy| policy.namespace == pod.namespace && selects(&policy.subjects, &pod.labels);
    cluster.policies.iter().filter(is_subject).collect()
}

/// Returns the pods that a policy selects.
pub(super) fn subjects_of<'a>(
    cluster: &'a Cluster,
    policy: &'a NetworkPolicy,
) -> impl Iterator<Item = &'a Pod> {
    cluster.pods.iter().filter(|pod| {
        is_filtered(pod) && policy.namespace == pod.namespace && selects(&policy.subjects, &pod.labels)
    })
}

/// Returns the pods that a peer of a policy matches.
pub(super) fn pods_of_peer<'a>(
    view: &'a EnforcerState,
    policy: &NetworkPolicy,
    namespaces: &NamespaceScope,
    pods: &LabelSelector,
) -> impl Iterator<Item = &'a Pod> {
    let in_scope: Vec<&str> = match namespaces {
        NamespaceScope::Own => vec![policy.namespace.as_str()],
        NamespaceScope::Selected(selector) => {
            let selected =
                view.cluster.namespaces.iter().filter(|namespace| selects(selector, &namespace.labels));
            selected.map(|namespace| namespace.name.as_str()).collect()
        }
    };
    let named = |pod: &&Pod| {
        let is_known = is_filtered(pod) && view.knows(pod);
        is_known && in_scope.contains(&pod.namespace.as_str()) && selects(pods, &pod.labels)
    };
    let named: Vec<_> = view.cluster.pods.iter().filter(named).collect();
    named.into_iter()
}

/// Returns a pod's addresses of one family.
pub(super) fn addresses(pod: &Pod, ipv6: bool) -> impl Iterator<Item = &IpAddr> {
    pod.addresses.iter().filter(move |address| address.is_ipv6() == ipv6)
}
