//! Services that clients outside the cluster reach through nodes.

use std::collections::HashSet;

use super::end::{End, Pods};
use crate::policy::{
    Connections, Engine, Exposure, Group, LabelSelector, Pod, PortRange, Protocol, Selection, Service,
};

/// A Service that selects pods, and its name in the matrix.
#[derive(Debug)]
pub(super) struct Exposed<'a> {
    /// `namespace/name[NodePort]` or `namespace/name[LoadBalancer]`
    pub(super) name: String,
    service: &'a Service,
    selector: LabelSelector,
}

/// The way through a Service to one workload or pod.
pub(super) struct Way<'a> {
    /// Name of the workload or pod.
    pub(super) to: &'a str,
    /// Groups of its pods, each with the ports to which the Service leads.
    pub(super) pods: Vec<(Group, Connections)>,
}

/// Returns every Service that is reached through nodes and selects pods, in the order of their names.
pub(super) fn all(engine: &Engine) -> Vec<Exposed<'_>> {
    let exposed = engine.services().filter(|(_, service)| service.exposure.is_some());
    let mut all: Vec<_> = exposed.filter_map(|(_, service)| Exposed::new(service)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

impl<'a> Exposed<'a> {
    /// Creates the value for a Service, or returns `None` if the Service selects no pods.
    pub(super) fn new(service: &'a Service) -> Option<Self> {
        let selector = service.backends.selector()?;
        let kind = service.exposure.map_or("Service", Exposure::name);
        let name = format!("{}/{}[{kind}]", service.namespace, service.name);
        Some(Self { name, service, selector })
    }

    /// Returns the ports of the Service, each with the port of the end's pods to which it leads.
    pub(super) fn translations(&self, end: &End, pods: &Pods<'_>) -> Vec<(Protocol, PortRange, PortRange)> {
        let mut all = Vec::new();
        if end.namespace != self.service.namespace {
            return all;
        }
        let of_end = end.pods.iter().filter_map(|at| pods.get(*at));
        for (_, pod) in of_end.filter(|(_, pod)| self.may_lead_to(pod)) {
            for way in self.translations_to(pod) {
                if !all.contains(&way) {
                    all.push(way);
                }
            }
        }
        all
    }

    /// Returns the ports of the Service, each with the port of a pod to which it leads.
    fn translations_to(&self, pod: &Pod) -> impl Iterator<Item = (Protocol, PortRange, PortRange)> {
        self.service.ports.iter().filter_map(|port| {
            let target = port.target.resolve(pod, port.protocol)?;
            Some((port.protocol, PortRange::single(port.port), PortRange::single(target)))
        })
    }

    /// Returns the ways to each end to which the Service may lead. The ends must be in the order of their namespaces.
    /// The ways are not collected in a vector, because there may be as many as Services times pods.
    pub(super) fn ways<'b>(&self, ends: &'b [End], pods: &Pods<'_>) -> impl Iterator<Item = Way<'b>> {
        let namespace = self.service.namespace.as_str();
        let first = ends.partition_point(|end| end.namespace.as_str() < namespace);
        let of_namespace = ends.iter().skip(first).take_while(move |end| end.namespace == namespace);
        of_namespace.map(|end| self.way(end, pods)).filter(|way| !way.pods.is_empty())
    }

    fn way<'b>(&self, end: &'b End, pods: &Pods<'_>) -> Way<'b> {
        let (mut seen, mut found) = (HashSet::new(), Vec::<(Group, Connections)>::new());
        for (group, pod) in end.pods.iter().filter_map(|at| pods.get(*at)) {
            let Some(group) = group.filter(|_| self.may_lead_to(pod)) else { continue };
            let ports = self.translations_to(pod).map(|(protocol, _, target)| (protocol, target));
            let way = (group, ports.collect());
            // The pods of an end are usually all the same.
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
        let selection = self.selector.select(&pod.labels, &pod.unknown_labels);
        !pod.ended && selection != Selection::NotSelected
    }
}
