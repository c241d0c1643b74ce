//! Policies read in ways that are not theirs, and the routes for which that makes a difference.
//!
//! A cell is decided by a mechanism if the policies promise something else when they are read in that
//! way. So a difference is said once, and holds for scenarios that nobody has written yet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::mechanism::Mechanism;
use super::rewrite::rewritten;
use crate::plan::Route;
use crate::policy::{
    Cluster, Decision, Destination, Direction, Endpoint, Engine, Expectation, Flow, NetworkPolicy,
    PolicyName, Port, Protocol, Reason,
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
        if mechanisms.iter().all(|mechanism| mechanism.is_momentary()) {
            return false;
        }
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
        let is_reading = |mechanism: &&Mechanism| !mechanism.is_momentary();
        let mut needed: Vec<_> = mechanisms.iter().filter(is_reading).copied().collect();
        if needed.len() < 2 || !self.differ(&needed, route, promised) {
            return None;
        }
        for mechanism in needed.clone() {
            let others: Vec<_> = needed.iter().copied().filter(|other| *other != mechanism).collect();
            if self.differ(&others, route, promised) {
                needed = others;
            }
        }
        needed.first().copied()
    }
}

/// One direction of some policies.
type Part = (Direction, Vec<PolicyName>);

/// The policies of one state, read in some ways at once.
struct Reading {
    mechanisms: Vec<Mechanism>,
    cluster: Cluster,
    engine: Engine,
    parts: RefCell<HashMap<Part, Rc<Engine>>>,
}

impl Reading {
    fn new(cluster: &Cluster, mechanisms: &[Mechanism]) -> Self {
        let cluster = rewritten(cluster, mechanisms);
        let engine = Engine::new(cluster.clone());
        Self { mechanisms: mechanisms.to_vec(), cluster, engine, parts: RefCell::default() }
    }

    /// What the policies promise of a route, read in these ways.
    fn decide(&self, route: &Route) -> Decision {
        let is_open = |flow: &Flow| self.is_port_translated(flow) && self.is_source_isolated(flow);
        if self.has(Mechanism::ServicePortDiffers) && route.legs().any(|leg| is_open(&leg.flow)) {
            return Decision::Undefined;
        }
        route.legs().map(|leg| self.decide_leg(&leg.flow)).fold(Decision::Allow, Decision::and)
    }

    fn decide_leg(&self, flow: &Flow) -> Decision {
        let promised = self.engine.evaluate(flow).decision;
        if promised != Decision::Deny || !self.has(Mechanism::OtherDirectionOfSamePolicy) {
            return promised;
        }
        let ends = self.engine.evaluate_each(flow);
        let mut decisions =
            ends.iter().enumerate().map(|(place, denied)| self.with_other_direction(flow, place, denied));
        match decisions.next() {
            None => promised,
            Some(first) if decisions.all(|other| other == first) => first,
            // Which end it is, is not known.
            Some(_) => Decision::Undefined,
        }
    }

    fn has(&self, mechanism: Mechanism) -> bool {
        self.mechanisms.contains(&mechanism)
    }

    /// One direction alone of some policies.
    fn only(&self, direction: Direction, policies: Vec<PolicyName>) -> Rc<Engine> {
        let compile = |(direction, policies): &Part| {
            let is_one = |policy: &&NetworkPolicy| policies.contains(&PolicyName::from(*policy));
            let policies =
                self.cluster.policies.iter().filter(is_one).cloned().map(|policy| match direction {
                    Direction::Egress => NetworkPolicy { ingress: None, ..policy },
                    Direction::Ingress => NetworkPolicy { egress: None, ..policy },
                });
            let (policies, cluster_policies) = (policies.collect(), Vec::new());
            Rc::new(Engine::new(Cluster { policies, cluster_policies, ..self.cluster.clone() }))
        };
        let mut parts = self.parts.borrow_mut();
        Rc::clone(parts.entry((direction, policies)).or_insert_with_key(compile))
    }

    /// What comes of a denial if the policies that deny let pass what their rules of the other direction allow.
    /// `place` is that of the end among those at which the flow may arrive.
    fn with_other_direction(&self, flow: &Flow, place: usize, denied: &Expectation) -> Decision {
        let by_rules_of = |policies: &Vec<PolicyName>, direction| {
            let ends = self.only(direction, policies.clone()).evaluate_each(flow);
            let Some(Expectation { decision, reasons }) = ends.into_iter().nth(place) else {
                return Decision::Deny;
            };
            let is_by_rule = |reason: &Reason| matches!(reason, Reason::AllowedBy { .. });
            match decision {
                // None of them isolates for that direction.
                Decision::Allow if !reasons.iter().any(is_by_rule) => Decision::Deny,
                Decision::Allow | Decision::Deny | Decision::Undefined => decision,
            }
        };
        let decisions = denied.reasons.iter().map(|reason| match reason {
            Reason::Isolated { direction: Direction::Egress, policies } => {
                by_rules_of(policies, Direction::Ingress)
            }
            Reason::Isolated { direction: Direction::Ingress, policies } => {
                by_rules_of(policies, Direction::Egress)
            }
            // Of another kind of policy.
            Reason::DeniedBy(_) => Decision::Deny,
            Reason::NotIsolated(_)
            | Reason::AllowedBy { .. }
            | Reason::PassedBy(_)
            | Reason::OwnAddress
            | Reason::OwnNode
            | Reason::NoPodNetwork
            | Reason::Undefined(_)
            | Reason::Reading { .. } => Decision::Allow,
        });
        decisions.fold(Decision::Allow, Decision::and)
    }

    /// Whether the flow goes to a Service, and arrives at another port.
    fn is_port_translated(&self, flow: &Flow) -> bool {
        let Destination::Service(id) = flow.destination else { return false };
        let service = self.engine.services().find(|(other, _)| *other == id);
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
        let source = self.engine.pods().find(|(id, _)| flow.source == Endpoint::Pod(*id));
        source.is_some_and(|(_, pod)| {
            let isolates = |policy: &NetworkPolicy| policy.egress.is_some() && policy.selects(pod);
            !pod.host_network && self.cluster.policies.iter().any(isolates)
        })
    }
}
