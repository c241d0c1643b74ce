//! Policies read in ways that are not theirs, and the routes for which that makes a deviation.
//!
//! A cell is decided by a quirk if the policies promise something else when they are read in that
//! way. So a deviation is said once, and holds for scenarios that nobody has written yet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::arrival::Arrival;
use super::quirk::Quirk;
use super::rewrite::{one_direction, rewritten};
use super::service_port::ServicePorts;
use crate::policy::{
    Cluster, Decision, Direction, Endpoint, Engine, Expectation, Flow, NetworkPolicy, PolicyName, Reason,
};

/// The policies of one state, read in other ways. Each is compiled when it is needed.
pub(super) struct Readings<'a> {
    cluster: &'a Cluster,
    by_quirks: RefCell<HashMap<Vec<Quirk>, Rc<Reading>>>,
}

impl<'a> Readings<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, by_quirks: RefCell::default() }
    }

    /// Whether a route comes out otherwise than promised if the policies are read in these ways at once.
    pub(super) fn differ(&self, quirks: &[Quirk], arrival: Arrival<'_>, promised: Decision) -> bool {
        if quirks.iter().all(|quirk| quirk.is_momentary()) {
            return false;
        }
        let is_given = |quirk: &&Quirk| quirks.contains(quirk);
        let in_order = Quirk::ALL.iter().filter(is_given).copied().collect();
        let mut by_quirks = self.by_quirks.borrow_mut();
        let reading = by_quirks
            .entry(in_order)
            .or_insert_with_key(|quirks| Rc::new(Reading::new(self.cluster, quirks)))
            .clone();
        drop(by_quirks);
        reading.decide(arrival) != promised
    }

    /// The first of some quirks that decide a route together, and do not without each other. `None` if all
    /// of them at once make no deviation.
    pub(super) fn together(
        &self,
        quirks: &[Quirk],
        arrival: Arrival<'_>,
        promised: Decision,
    ) -> Option<Quirk> {
        let is_reading = |quirk: &&Quirk| !quirk.is_momentary();
        let mut needed: Vec<_> = quirks.iter().filter(is_reading).copied().collect();
        if needed.len() < 2 || !self.differ(&needed, arrival, promised) {
            return None;
        }
        for quirk in needed.clone() {
            let others: Vec<_> = needed.iter().copied().filter(|other| *other != quirk).collect();
            if self.differ(&others, arrival, promised) {
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
    quirks: Vec<Quirk>,
    cluster: Cluster,
    engine: Engine,
    /// `None` unless the quirk is among them.
    service_ports: Option<ServicePorts>,
    parts: RefCell<HashMap<Part, Rc<Engine>>>,
}

impl Reading {
    fn new(cluster: &Cluster, quirks: &[Quirk]) -> Self {
        let cluster = rewritten(cluster, quirks);
        let engine = Engine::new(cluster.clone());
        let has_service_ports = quirks.contains(&Quirk::ServicePortDiffers);
        let service_ports = has_service_ports.then(|| ServicePorts::new(&cluster));
        Self { quirks: quirks.to_vec(), cluster, engine, service_ports, parts: RefCell::default() }
    }

    /// What the policies promise of a route, read in these ways.
    fn decide(&self, arrival: Arrival<'_>) -> Decision {
        let legs = arrival.legs(&self.engine);
        legs.map(|(flow, ends)| self.decide_leg(flow, ends)).fold(Decision::Allow, Decision::and)
    }

    fn decide_leg(&self, flow: &Flow, ends: Vec<(Endpoint, Expectation)>) -> Decision {
        let mut decisions = ends.into_iter().map(|(end, promised)| self.decide_end(flow, end, promised));
        match decisions.next() {
            // It is not known where the Service leads, or it leads nowhere.
            None => Decision::Undefined,
            Some(first) if decisions.all(|other| other == first) => first,
            // Which end it is, is not known.
            Some(_) => Decision::Undefined,
        }
    }

    /// What comes of a packet that arrives at an end, of which the rewritten rules promise something.
    fn decide_end(&self, flow: &Flow, end: Endpoint, promised: Expectation) -> Decision {
        let seen = self.service_ports.as_ref().and_then(|ports| ports.evaluate(flow, end));
        let promised = seen.unwrap_or(promised);
        match promised.decision {
            Decision::Deny if self.has(Quirk::OtherDirectionOfSamePolicy) => {
                self.with_other_direction(flow, end, &promised)
            }
            Decision::Allow | Decision::Deny | Decision::Undefined => promised.decision,
        }
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// One direction alone of some policies.
    fn only(&self, direction: Direction, policies: Vec<PolicyName>) -> Rc<Engine> {
        let compile = |(direction, policies): &Part| {
            let is_one = |policy: &&NetworkPolicy| policies.contains(&PolicyName::from(*policy));
            let policies = self.cluster.policies.iter().filter(is_one).cloned().collect();
            let cluster = Cluster { policies, cluster_policies: Vec::new(), ..self.cluster.clone() };
            Rc::new(Engine::new(one_direction(&cluster, *direction)))
        };
        let mut parts = self.parts.borrow_mut();
        Rc::clone(parts.entry((direction, policies)).or_insert_with_key(compile))
    }

    /// What comes of a denial at an end if the policies that deny let pass what their rules of the other direction
    /// allow.
    fn with_other_direction(&self, flow: &Flow, end: Endpoint, denied: &Expectation) -> Decision {
        let by_rules_of = |policies: &Vec<PolicyName>, direction| {
            let mut ends = self.only(direction, policies.clone()).evaluate_arrivals(flow).into_iter();
            let Some((_, Expectation { decision, reasons })) = ends.find(|(other, _)| *other == end) else {
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
}
