//! The quirk `ServicePortDiffers`: egress rules see a Service's port instead of the pod's.

use super::rewrite::one_direction;
use crate::policy::{
    Cluster, Direction, Endpoint, Engine, Expectation, Flow, Service, ServicePort, TargetPort,
};

/// The policies of one state, split by direction, because the sender's and the receiver's policies see different
/// ports of a packet to a Service.
pub(super) struct ServicePorts {
    /// Egress only, at the Service's port.
    egress: Engine,
    /// Egress only, at the pod's port.
    translated_egress: Engine,
    /// Ingress only, at the pod's port.
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

    /// Returns the expectation for a packet that arrives at an end if egress sees the Service's port, or `None` if
    /// that does not change the decision of egress.
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

/// Returns the cluster with Services that translate addresses, but not ports.
fn untranslated(cluster: Cluster) -> Cluster {
    let services = cluster.services.into_iter().map(|service| {
        let ports = service.ports.into_iter();
        let ports = ports.map(|port| ServicePort { target: TargetPort::Number(port.port), ..port });
        Service { ports: ports.collect(), ..service }
    });
    Cluster { services: services.collect(), ..cluster }
}
