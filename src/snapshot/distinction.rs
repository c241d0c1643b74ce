//! The labels and port names by which policies and Services distinguish the pods of one workload.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::controller_labels::{self, POD_INDEX, STATEFUL_SET_POD};
use super::workload_kind::WorkloadKind;
use crate::policy::{
    Backends, Cluster, ContainerPort, LabelSelector, Pod, PortSpec, Ports, Requirement, TargetPort,
};

/// The labels and port names that occur in policies and Services.
#[derive(Debug, Default)]
pub(super) struct Distinctions {
    /// Keys of labels.
    keys: BTreeSet<String>,
    /// Names of ports.
    ports: BTreeSet<String>,
    /// Pod numbers from `apps.kubernetes.io/pod-index`, which apply to every StatefulSet.
    of_all: BTreeSet<u32>,
    /// Pod numbers from `statefulset.kubernetes.io/pod-name`, by the name of the StatefulSet.
    by_name: HashMap<String, BTreeSet<u32>>,
}

impl Distinctions {
    /// Collects the labels and port names in the policies and Services of a cluster.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let mut found = Self::default();
        for requirement in cluster.pod_selectors().iter().flat_map(LabelSelector::requirements) {
            found.add(requirement);
        }
        cluster.rule_ports().iter().for_each(|ports| found.add_ports(ports));
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

    /// Returns the numbers of a StatefulSet's pods that occur in policies and Services. Nothing distinguishes pods
    /// with other numbers.
    pub(super) fn among(&self, name: &str, numbers: &Range<u32>) -> BTreeSet<u32> {
        let by_name = self.by_name.get(name).into_iter().flat_map(|all| all.range(numbers.clone()));
        self.of_all.range(numbers.clone()).chain(by_name).copied().collect()
    }

    /// Returns whether `pod` represents `made`, which a template of this kind makes: nothing distinguishes them. If a
    /// label of `made` has an unknown value, any value of `pod` is accepted, because the next pod usually has the
    /// same.
    pub(super) fn covers(&self, pod: &Pod, made: &Pod, kind: WorkloadKind) -> bool {
        pod.host_network == made.host_network
            && self.named_ports(pod).eq(self.named_ports(made))
            && self.keys.iter().all(|key| match (made.labels.get(key), pod.labels.get(key)) {
                (Some(value), other) => other == Some(value),
                (None, other) if made.unknown_labels.values.contains(key) => {
                    let has_key = other.is_some() || pod.unknown_labels.values.contains(key);
                    has_key && !controller_labels::differs_in_every_pod(kind, key)
                }
                // The node decides about this label. A pod in the input shows how nodes are labelled.
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

/// Splits the name of a pod into the name of its StatefulSet and its number.
pub(super) fn split_number(name: &str) -> Option<(&str, u32)> {
    name.rsplit_once('-').and_then(|(set, text)| Some((set, number(text)?)))
}

/// Parses a number as controllers write it. No pod has the label `07`.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}
