//! Egress rules that see a Service's port in the place of the pod's.

use super::rewrite::one_direction;
use crate::policy::{
    Cluster, Direction, Endpoint, Engine, Expectation, Flow, Service, ServicePort, TargetPort,
};

/// The policies of one state, taken apart: what a sender's policies see of a packet to a Service is not what the
/// receiver's see.
pub(super) struct ServicePorts {
    /// Egress alone, at the Service's port.
    egress: Engine,
    /// Egress alone, at the pod's port.
    translated_egress: Engine,
    /// Ingress alone, at the pod's port.
    ingress: Engine,
}

impl ServicePorts {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let egress = one_direction(cluster, Direction::Egress);
        Self {
            egress: Engine::new(untranslated(egress.clone())),
            translated_egress: Engine::new(egress),
            ingress: Engine::new(one_direction(cluster, Direction::Ingress)),
        }
    }

    /// Returns what is promised of a packet that arrives at an end if egress sees the Service's port, or `None` if
    /// that makes no deviation to egress.
    pub(super) fn evaluate(&self, flow: &Flow, end: Endpoint) -> Option<Expectation> {
        let at_end = |engine: &Engine| {
            let mut arrivals = engine.evaluate_arrivals(flow).into_iter();
            arrivals.find(|(other, _)| *other == end).map(|(_, expectation)| expectation)
        };
        let egress = at_end(&self.egress)?;
        let is_other = egress.decision != at_end(&self.translated_egress)?.decision;
        if is_other { Some(egress.and(at_end(&self.ingress)?)) } else { None }
    }
}

/// The cluster with Services that translate addresses and no ports.
fn untranslated(cluster: Cluster) -> Cluster {
    let services = cluster.services.into_iter().map(|service| {
        let ports = service.ports.into_iter();
        let ports = ports.map(|port| ServicePort { target: TargetPort::Number(port.port), ..port });
        Service { ports: ports.collect(), ..service }
    });
    Cluster { services: services.collect(), ..cluster }
}
