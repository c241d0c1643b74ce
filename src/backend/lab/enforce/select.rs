//! Selection of pods by labels. This code is deliberately independent of the policy engine.

use crate::policy::{
    Cluster, LabelSelector, Labels, NamespaceScope, NetworkPolicy, Pod, PodSelector, Requirement,
};

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

/// Returns whether a policy selects a pod that the node filters.
pub(super) fn is_subject(policy: &NetworkPolicy, pod: &Pod) -> bool {
    is_filtered(pod) && policy.namespace == pod.namespace && selects(&policy.subjects, &pod.labels)
}

/// Returns the policies that select a pod, in the order of the cluster.
pub(super) fn policies_of<'a>(cluster: &'a Cluster, pod: &Pod) -> Vec<&'a NetworkPolicy> {
    cluster.policies.iter().filter(|policy| is_subject(policy, pod)).collect()
}

/// Returns whether a selector matches the namespace of a pod.
fn selects_namespace(cluster: &Cluster, selector: &LabelSelector, pod: &Pod) -> bool {
    let mut namespaces = cluster.namespaces.iter();
    namespaces.any(|namespace| namespace.name == pod.namespace && selects(selector, &namespace.labels))
}

/// Returns whether a peer of a policy matches a pod.
pub(super) fn is_peer(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    namespaces: &NamespaceScope,
    pods: &LabelSelector,
    pod: &Pod,
) -> bool {
    let in_scope = match namespaces {
        NamespaceScope::Own => policy.namespace == pod.namespace,
        NamespaceScope::Selected(selector) => selects_namespace(cluster, selector, pod),
    };
    in_scope && is_filtered(pod) && selects(pods, &pod.labels)
}

/// Returns whether a selector of a cluster-scoped policy matches a pod.
pub(super) fn means(cluster: &Cluster, selector: &PodSelector, pod: &Pod) -> bool {
    selects_namespace(cluster, &selector.namespaces, pod)
        && is_filtered(pod)
        && selects(&selector.pods, &pod.labels)
}
