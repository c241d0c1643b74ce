//! What policies and Services tell the pods of one workload apart by: the labels and port names that they name.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::controller_labels::{self, POD_INDEX, STATEFUL_SET_POD};
use super::workload::WorkloadKind;
use crate::policy::{
    Backends, Cluster, ContainerPort, LabelSelector, Pod, PortSpec, Ports, Requirement, TargetPort,
};

/// The labels and port names that anything names which selects pods.
#[derive(Debug, Default)]
pub(super) struct Distinctions {
    /// The keys of labels.
    keys: BTreeSet<String>,
    /// The names of ports.
    ports: BTreeSet<String>,
    /// The numbers of StatefulSets' pods by `apps.kubernetes.io/pod-index`, of any StatefulSet.
    of_all: BTreeSet<u32>,
    /// The same by `statefulset.kubernetes.io/pod-name`: those of the StatefulSets with this name.
    by_name: HashMap<String, BTreeSet<u32>>,
}

impl Distinctions {
    /// Collects what the policies and Services of a cluster name.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let mut found = Self::default();
        let of_policies = cluster.policies.iter().flat_map(|policy| policy.pod_selectors());
        let of_cluster = cluster.cluster_policies.iter().flat_map(|policy| policy.pod_selectors());
        let requirements = of_policies.chain(of_cluster).flat_map(LabelSelector::requirements);
        for requirement in requirements {
            found.add(requirement);
        }
        let of_policies = cluster.policies.iter().flat_map(|policy| policy.ports());
        let of_cluster = cluster.cluster_policies.iter().flat_map(|policy| policy.ports());
        of_policies.chain(of_cluster).for_each(|ports| found.add_ports(ports));
        for service in &cluster.services {
            match &service.backends {
                Backends::Selected(labels) => {
                    labels.iter().for_each(|(key, value)| found.add_value(key, value));
                }
                Backends::Addresses(_) | Backends::Unknown => {}
            }
            found.ports.extend(service.ports.iter().filter_map(|port| match &port.target {
                TargetPort::Name(name) => Some(name.clone()),
                TargetPort::Number(_) => None,
            }));
        }
        found
    }

    fn add(&mut self, requirement: &Requirement) {
        self.keys.insert(requirement.key().clone());
        for value in requirement.values() {
            self.add_value(requirement.key(), value);
        }
    }

    fn add_value(&mut self, key: &str, value: &str) {
        self.keys.insert(key.to_owned());
        match key {
            POD_INDEX => self.of_all.extend(number(value)),
            STATEFUL_SET_POD => {
                if let Some((name, number)) = split_number(value) {
                    self.by_name.entry(name.to_owned()).or_default().insert(number);
                }
            }
            _ => {}
        }
    }

    fn add_ports(&mut self, ports: &Ports) {
        match ports {
            Ports::Any => {}
            Ports::Only(matches) => self.ports.extend(matches.iter().filter_map(|m| match &m.ports {
                PortSpec::Named(name) => Some(name.clone()),
                PortSpec::Any | PortSpec::Range(_) => None,
            })),
        }
    }

    /// Those of the numbers of a StatefulSet's pods that something names. Nothing tells pods with other numbers
    /// apart.
    pub(super) fn among(&self, name: &str, numbers: &Range<u32>) -> BTreeSet<u32> {
        let by_name = self.by_name.get(name).into_iter().flat_map(|all| all.range(numbers.clone()));
        self.of_all.range(numbers.clone()).chain(by_name).copied().collect()
    }

    /// Whether a pod stands for another one that a template of this kind makes: nothing tells them apart. A label
    /// with a value that is not known is covered by any value, as the next pod mostly has the same.
    pub(super) fn covers(&self, pod: &Pod, made: &Pod, kind: WorkloadKind) -> bool {
        pod.host_network == made.host_network
            && self.named_ports(pod).eq(self.named_ports(made))
            && self.keys.iter().all(|key| match (made.labels.get(key), pod.labels.get(key)) {
                (Some(value), other) => other == Some(value),
                (None, other) if made.unknown_labels.values.contains(key) => {
                    let has_key = other.is_some() || pod.unknown_labels.values.contains(key);
                    has_key && !controller_labels::differs_in_every_pod(kind, key)
                }
                // The node decides, and a pod in the input shows how nodes are labelled.
                (None, _) if made.unknown_labels.perhaps.contains(key) => true,
                (None, other) => other.is_none() && !pod.unknown_labels.values.contains(key),
            })
    }

    fn named_ports<'a>(&self, pod: &'a Pod) -> impl Iterator<Item = &'a ContainerPort> {
        let is_named =
            |port: &&ContainerPort| port.name.as_ref().is_some_and(|name| self.ports.contains(name));
        pod.ports.iter().filter(is_named)
    }
}

/// The name of the StatefulSet and the number in the name of a pod.
pub(super) fn split_number(name: &str) -> Option<(&str, u32)> {
    name.rsplit_once('-').and_then(|(set, text)| Some((set, number(text)?)))
}

/// A number as controllers write it: `07` is the label of no pod.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}
