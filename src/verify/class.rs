//! Classes: pods that every policy and the intent treat alike. One twin on each of their nodes stands for all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::cluster::RUN;
use crate::policy::{Cluster, LabelSelector, Labels, Pod};
use crate::snapshot::{Snapshot, Workload};
use crate::tenants::Tenancy;

/// Pods of one namespace and node that every selector of policies and of the tenants treats alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// Name of the first member's workload, for reports.
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) node: String,
    /// The labels of the members that some selector reads. No other label can matter.
    pub(super) labels: Labels,
    /// Indices of the members in [`Cluster::pods`]. Empty for pods that a tenant may still create.
    pub(super) members: Vec<usize>,
}

/// What tells classes apart: namespace, node, the selectors that match, and the declared ports.
type Key = (String, String, Vec<bool>, Vec<String>);

/// Returns the classes of the pods that are wanted. Each of `namespaces` in which no pod is without labels also gets a
/// class without members: its tenant may create such a pod at any time.
pub(super) fn classes(
    snapshot: &Snapshot,
    tenancy: &Tenancy,
    namespaces: &BTreeSet<String>,
    is_wanted: impl Fn(&Pod) -> bool,
    unusable: &BTreeSet<String>,
) -> Vec<Class> {
    let cluster = &snapshot.cluster;
    let selectors = selectors(cluster, tenancy);
    let keys: BTreeSet<&String> =
        selectors.iter().flat_map(LabelSelector::requirements).map(|requirement| requirement.key()).collect();
    let workloads = workload_names(snapshot);
    let mut classes = BTreeMap::<Key, Class>::new();
    // Other checks may run at the same time.
    let is_twin = |pod: &Pod| pod.labels.contains_key(RUN);
    let can_have_twin = |pod: &Pod| !pod.ended && !pod.host_network && !is_twin(pod) && is_wanted(pod);
    for (index, pod) in cluster.pods.iter().enumerate().filter(|(_, pod)| can_have_twin(pod)) {
        let Some(node) = pod.node.as_ref().filter(|node| !unusable.contains(*node)) else { continue };
        let key =
            (pod.namespace.clone(), node.clone(), matched(&selectors, &pod.labels), names_of_ports(pod));
        let class = classes.entry(key).or_insert_with(|| Class {
            name: workloads.get(&index).unwrap_or(&pod.name).clone(),
            namespace: pod.namespace.clone(),
            node: node.clone(),
            labels: restricted(&pod.labels, &keys),
            members: Vec::new(),
        });
        class.members.push(index);
    }
    let unlabelled = matched(&selectors, &Labels::new());
    for namespace in namespaces {
        let mut own = classes.keys().filter(|(of, ..)| of == namespace);
        let node = own.clone().next().map(|(_, node, ..)| node).or_else(|| first_node(cluster, unusable));
        let has_one = own.any(|(_, _, matched, _)| *matched == unlabelled);
        let Some(node) = node.cloned().filter(|_| !has_one) else { continue };
        let class = Class {
            name: UNLABELLED.to_owned(),
            namespace: namespace.clone(),
            node: node.clone(),
            labels: Labels::new(),
            members: Vec::new(),
        };
        classes.insert((namespace.clone(), node, unlabelled.clone(), Vec::new()), class);
    }
    classes.into_values().collect()
}

/// Name of a class of pods without labels, of which there is none yet.
const UNLABELLED: &str = "new-pod";

/// Returns the distinct selectors of pods that decide anything.
fn selectors(cluster: &Cluster, tenancy: &Tenancy) -> Vec<LabelSelector> {
    let all = cluster.pod_selectors().into_iter().chain(tenancy.pod_selectors().cloned());
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

fn matched(selectors: &[LabelSelector], labels: &Labels) -> Vec<bool> {
    selectors.iter().map(|selector| selector.matches(labels)).collect()
}

fn restricted(labels: &Labels, keys: &BTreeSet<&String>) -> Labels {
    let read = labels.iter().filter(|(key, _)| keys.contains(key));
    read.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns the named ports of a pod, which rules may mean by their names.
fn names_of_ports(pod: &Pod) -> Vec<String> {
    let named = pod.ports.iter().filter_map(|port| {
        let name = port.name.as_ref()?;
        Some(format!("{name}={}/{}", port.port, port.protocol))
    });
    named.collect()
}

fn workload_names(snapshot: &Snapshot) -> BTreeMap<usize, String> {
    let pods = |workload: &Workload| {
        let name = workload.identity.name.clone();
        workload.pods.iter().map(move |pod| (*pod, name.clone())).collect::<Vec<_>>()
    };
    snapshot.workloads.iter().flat_map(pods).collect()
}

fn first_node<'a>(cluster: &'a Cluster, unusable: &BTreeSet<String>) -> Option<&'a String> {
    cluster.nodes.iter().map(|node| &node.name).find(|node| !unusable.contains(*node))
}

/// Returns the twin of a class: the pod that netproof adds. `name` is its name in reports.
pub(super) fn twin(class: &Class, cluster: &Cluster, name: String) -> Pod {
    let first = class.members.first().and_then(|member| cluster.pods.get(*member));
    Pod {
        namespace: class.namespace.clone(),
        name,
        labels: class.labels.clone(),
        ports: first.map(|pod| pod.ports.clone()).unwrap_or_default(),
        node: Some(class.node.clone()),
        ..Pod::default()
    }
}
