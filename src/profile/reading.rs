//! Policies read in ways that are not theirs, and the routes for which that makes a difference.
//!
//! A cell is decided by a mechanism if the policies promise something else when they are read in that
//! way. So a difference is said once, and holds for scenarios that nobody has written yet.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::mechanism::Mechanism;
use super::rewrite::rewritten;
use crate::plan::Route;
use crate::policy::{
    Cluster, Decision, Destination, Direction, Engine, Expectation, Flow, NetworkPolicy, PolicyName, Port,
    Protocol, Reason,
};

/// The policies of one state, read in other ways. Each is compiled when it is needed.
pub(super) struct Readings<'a> {
    cluster: &'a Cluster,
    by_mechanisms: RefCell<HashMap<Vec<Mechanism>, Rc<Reading>>>,
}

impl<'a> Readings<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, by_mechanisms: RefCell::default() }
    }

    /// Whether a route comes out otherwise than promised if the policies are read in these ways at once.
    pub(super) fn differ(&self, mechanisms: &[Mechanism], route: &Route, promised: Decision) -> bool {
        let is_given = |mechanism: &&Mechanism| mechanisms.contains(mechanism);
        let in_order = Mechanism::ALL.iter().filter(is_given).copied().collect();
        let mut by_mechanisms = self.by_mechanisms.borrow_mut();
        let reading = by_mechanisms
            .entry(in_order)
            .or_insert_with_key(|mechanisms| Rc::new(Reading::new(self.cluster, mechanisms)))
            .clone();
        drop(by_mechanisms);
        reading.decide(route) != promised
    }

    /// The first of some mechanisms that decide a route together, and do not without each other. `None` if all
    /// of them at once make no difference.
    pub(super) fn together(
        &self,
        mechanisms: &[Mechanism],
        route: &Route,
        promised: Decision,
    ) -> Option<Mechanism> {
        if !self.differ(mechanisms, route, promised) {
            return None;
        }
        let mut needed = mechanisms.to_vec();
        for mechanism in mechanisms {
            let others: Vec<_> = needed.iter().copied().filter(|other| other != mechanism).collect();
            if self.differ(&others, route, promised) {
                needed = others;
            }
        }
        needed.first().copied()
    }
}

/// The policies of one state, read in some ways at once.
struct Reading {
    mechanisms: Vec<Mechanism>,
    cluster: Cluster,
    engine: Engine,
    egress: OnceCell<Engine>,
    ingress: OnceCell<Engine>,
}

impl Reading {
    fn new(cluster: &Cluster, mechanisms: &[Mechanism]) -> Self {
        let cluster = rewritten(cluster, mechanisms);
        let engine = Engine::new(cluster.clone());
        let (egress, ingress) = (OnceCell::new(), OnceCell::new());
        Self { mechanisms: mechanisms.to_vec(), cluster, engine, egress, ingress }
    }

    /// What the policies promise of a route, read in these ways.
    fn decide(&self, route: &Route) -> Decision {
        let is_open = |flow: &Flow| self.is_port_translated(flow) && self.is_source_isolated(flow);
        if self.has(Mechanism::ServicePortDiffers) && route.legs().any(|leg| is_open(&leg.flow)) {
            return Decision::Undefined;
        }
        let decisions: Vec<_> = route.legs().map(|leg| self.decide_leg(&leg.flow)).collect();
        let order = [Decision::Deny, Decision::Undefined];
        order.into_iter().find(|decision| decisions.contains(decision)).unwrap_or(Decision::Allow)
    }

    fn decide_leg(&self, flow: &Flow) -> Decision {
        let promised = self.engine.evaluate(flow);
        if self.has(Mechanism::OtherDirectionOfSamePolicy) && self.passes_by_other_direction(flow, &promised)
        {
            return Decision::Allow;
        }
        promised.decision
    }

    fn has(&self, mechanism: Mechanism) -> bool {
        self.mechanisms.contains(&mechanism)
    }

    /// The policies of one direction alone.
    fn only(&self, direction: Direction) -> &Engine {
        let engine = match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        };
        engine.get_or_init(|| {
            let policies = self.cluster.policies.iter().cloned().map(|policy| match direction {
                Direction::Egress => NetworkPolicy { ingress: None, ..policy },
                Direction::Ingress => NetworkPolicy { egress: None, ..policy },
            });
            Engine::new(Cluster { policies: policies.collect(), ..self.cluster.clone() })
        })
    }

    /// Whether each direction that denies would let the flow pass by a rule of the other direction of a
    /// policy that denies it.
    fn passes_by_other_direction(&self, flow: &Flow, promised: &Expectation) -> bool {
        let allows = |direction: Direction, policies: &[PolicyName]| {
            self.only(direction).evaluate(flow).reasons.iter().any(
                |reason| matches!(reason, Reason::AllowedBy { rule, .. } if policies.contains(&rule.policy)),
            )
        };
        let passes = |reason: &Reason| match reason {
            Reason::Isolated { direction: Direction::Egress, policies } => {
                allows(Direction::Ingress, policies)
            }
            Reason::Isolated { direction: Direction::Ingress, policies } => {
                allows(Direction::Egress, policies)
            }
            // Of another kind of policy.
            Reason::DeniedBy(_) => false,
            Reason::NotIsolated(_)
            | Reason::AllowedBy { .. }
            | Reason::PassedBy(_)
            | Reason::OwnAddress
            | Reason::OwnNode
            | Reason::NoPodNetwork
            | Reason::Undefined(_) => true,
        };
        promised.decision == Decision::Deny && promised.reasons.iter().all(passes)
    }

    /// Whether the flow goes to a Service, and arrives at another port.
    fn is_port_translated(&self, flow: &Flow) -> bool {
        let Destination::Service(id) = flow.destination else { return false };
        let service = self.only(Direction::Egress).services().find(|(other, _)| *other == id);
        let is_it = |protocol: Protocol, port: Port| protocol == flow.protocol && port == flow.port;
        let ports = service.into_iter().flat_map(|(_, service)| &service.ports);
        ports.filter(|port| is_it(port.protocol, port.port)).any(|port| {
            let pods = self.cluster.pods.iter();
            let mut targets = pods.filter_map(|pod| port.target.resolve(pod, port.protocol));
            targets.any(|target| target != port.port)
        })
    }

    /// Whether policies isolate the source for egress.
    fn is_source_isolated(&self, flow: &Flow) -> bool {
        let reasons = self.only(Direction::Egress).evaluate(flow).reasons;
        !reasons.iter().all(|reason| matches!(reason, Reason::NotIsolated(_)))
    }
}
