//! The quirk `service-port-differs`: egress rules see a Service's port instead of the pod's.

use super::unenforced::one_direction;
use crate::deviation::untranslated;
use crate::policy::{Cluster, Direction, Endpoint, Engine, Expectation, Flow};

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
        let translated = one_direction(cluster, Direction::Egress);
        let mut egress = translated.clone();
        untranslated(&mut egress);
        Self {
            egress: Engine::new(egress),
            translated_egress: Engine::new(translated),
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
