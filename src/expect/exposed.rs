//! Services that are reached from outside the cluster through nodes.

use std::collections::HashSet;

use super::end::{End, Pods};
use crate::policy::{Connections, Engine, Group, LabelSelector, Pod, PortRange, Selection, Service};

/// A Service that is reached through nodes.
#[derive(Debug)]
pub(super) struct Exposed<'a> {
    /// `namespace/name[NodePort]` or `namespace/name[LoadBalancer]`
    pub(super) name: String,
    service: &'a Service,
    selector: LabelSelector,
}

/// What comes through a Service to one workload or pod.
pub(super) struct Way<'a> {
    /// The name of the workload or pod.
    pub(super) to: &'a str,
    /// The groups of its pods, each with the ports to which the Service leads there.
    pub(super) pods: Vec<(Group, Connections)>,
}

/// Every Service that is reached through nodes and selects pods, by name.
pub(super) fn all(engine: &Engine) -> Vec<Exposed<'_>> {
    let exposed = engine.services().filter_map(|(_, service)| {
        let (exposure, selector) = service.exposure.zip(service.backends.selector())?;
        let name = format!("{}/{}[{}]", service.namespace, service.name, exposure.name());
        Some(Exposed { name, service, selector })
    });
    let mut all: Vec<_> = exposed.collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

impl Exposed<'_> {
    /// The ways to each end to which the Service may lead. The ends have to be in the order of their namespaces.
    /// Not collected: there may be as many as Services times pods.
    pub(super) fn ways<'b>(&self, ends: &'b [End], pods: &Pods<'_>) -> impl Iterator<Item = Way<'b>> {
        let namespace = self.service.namespace.as_str();
        let first = ends.partition_point(|end| end.namespace.as_str() < namespace);
        let of_namespace = ends.iter().skip(first).take_while(move |end| end.namespace == namespace);
        of_namespace.map(|end| self.way(end, pods)).filter(|way| !way.pods.is_empty())
    }

    fn way<'b>(&self, end: &'b End, pods: &Pods<'_>) -> Way<'b> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for (group, pod) in end.pods.iter().filter_map(|at| pods.get(*at)) {
            let Some(group) = group.filter(|_| self.may_lead_to(pod)) else { continue };
            let way = (group, self.ports(pod));
            // Mostly the pods of an end are all the same.
            let is_known = found.last() == Some(&way) || seen.contains(&way);
            if is_known || way.1.is_empty() {
                continue;
            }
            if end.pods.len() > 1 {
                seen.insert(way.clone());
            }
            found.push(way);
        }
        Way { to: &end.name, pods: found }
    }

    fn may_lead_to(&self, pod: &Pod) -> bool {
        match self.selector.select(&pod.labels, &pod.unknown_labels) {
            Selection::Selected | Selection::DependsOn(_) => !pod.ended,
            Selection::NotSelected => false,
        }
    }

    /// The ports of a pod to which the Service leads.
    fn ports(&self, pod: &Pod) -> Connections {
        let targets = self.service.ports.iter().filter_map(|port| {
            let target = port.target.resolve(pod, port.protocol)?;
            Some((port.protocol, PortRange::single(target)))
        });
        targets.collect()
    }
}
