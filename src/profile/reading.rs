//! Evaluates routes with quirks applied to the policies, and compares the decisions.
//!
//! A quirk decides a cell if the decision changes when the policies are read in that way. So a deviation is described
//! once, and it also covers scenarios that no one has written yet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::model::Quirk;
use super::promised::Promised;
use super::service_port::ServicePorts;
use super::unenforced::with_rules;
use crate::deviation::{Deviation, Effect, RouteQuirk};
use crate::policy::{Cluster, Decision, Direction, Endpoint, Engine, Expectation, Flow, PolicyName, Reason};

/// The policies of one state, for any set of quirks. Each set is compiled when it is first needed.
pub(crate) struct Readings<'a> {
    cluster: &'a Cluster,
    by_quirks: RefCell<HashMap<Vec<Quirk>, Rc<Reading>>>,
}

impl<'a> Readings<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, by_quirks: RefCell::default() }
    }

    /// Returns whether the decision for a route differs from the promised one if all these quirks are applied.
    pub(super) fn differ(&self, quirks: &[Quirk], promised: Promised<'_>) -> bool {
        quirks.iter().any(is_reading) && self.decide(quirks, promised) != promised.expectation.decision
    }

    /// Returns the decision for a route if all these quirks are applied.
    pub(crate) fn decide(&self, quirks: &[Quirk], promised: Promised<'_>) -> Decision {
        let is_given = |quirk: &Quirk| quirks.contains(quirk);
        let in_order = Deviation::quirks().filter(is_given).collect();
        let mut by_quirks = self.by_quirks.borrow_mut();
        let reading = by_quirks
            .entry(in_order)
            .or_insert_with_key(|quirks| Rc::new(Reading::new(self.cluster, quirks)))
            .clone();
        drop(by_quirks);
        reading.decide(promised)
    }

    /// Returns the first quirk of a minimal set of quirks that together change the decision for a route. `None` if
    /// there are fewer than two quirks that change how policies are read, or if all of them together do not change
    /// the decision.
    pub(super) fn together(&self, quirks: &[Quirk], promised: Promised<'_>) -> Option<Quirk> {
        let mut needed: Vec<_> = quirks.iter().copied().filter(is_reading).collect();
        if needed.len() < 2 || !self.differ(&needed, promised) {
            return None;
        }
        for quirk in needed.clone() {
            let others: Vec<_> = needed.iter().copied().filter(|other| *other != quirk).collect();
            if self.differ(&others, promised) {
                needed = others;
            }
        }
        needed.first().copied()
    }
}

/// Returns whether a quirk changes how policies are read.
fn is_reading(quirk: &Quirk) -> bool {
    !quirk.route().is_some_and(RouteQuirk::is_momentary)
}

/// One direction of a set of policies.
type Part = (Direction, Vec<PolicyName>);

/// The policies of one state with a set of quirks applied.
struct Reading {
    has_other_direction: bool,
    cluster: Cluster,
    engine: Engine,
    /// `None` unless egress rules see the ports of Services.
    service_ports: Option<ServicePorts>,
    parts: RefCell<HashMap<Part, Rc<Engine>>>,
}

impl Reading {
    fn new(cluster: &Cluster, quirks: &[Quirk]) -> Self {
        let mut cluster = cluster.clone();
        for quirk in quirks {
            if let Effect::Meaning(misread) = quirk.effect {
                misread(&mut cluster);
            }
        }
        let has = |wanted| quirks.iter().any(|quirk| quirk.route() == Some(wanted));
        let engine = Engine::new(cluster.clone());
        let service_ports = has(RouteQuirk::ServicePort).then(|| ServicePorts::new(&cluster));
        let has_other_direction = has(RouteQuirk::OtherDirection);
        Self { has_other_direction, cluster, engine, service_ports, parts: RefCell::default() }
    }

    /// Returns the decision for a route, with the quirks applied.
    fn decide(&self, promised: Promised<'_>) -> Decision {
        let legs = promised.legs(&self.engine);
        legs.map(|(flow, ends)| self.decide_leg(flow, ends)).fold(Decision::Allow, Decision::and)
    }

    fn decide_leg(&self, flow: &Flow, ends: Vec<(Endpoint, Expectation)>) -> Decision {
        let mut decisions = ends.into_iter().map(|(end, promised)| self.decide_end(flow, end, promised));
        match decisions.next() {
            // The endpoints of the Service are not known, or it has none.
            None => Decision::Undefined,
            Some(first) if decisions.all(|other| other == first) => first,
            // It is not known which end the packet reaches, and their decisions differ.
            Some(_) => Decision::Undefined,
        }
    }

    /// Returns the decision for a packet that arrives at an end. `promised` is the expectation of the rewritten
    /// rules.
    fn decide_end(&self, flow: &Flow, end: Endpoint, promised: Expectation) -> Decision {
        let seen = self.service_ports.as_ref().and_then(|ports| ports.evaluate(flow, end));
        let promised = seen.unwrap_or(promised);
        match promised.decision {
            Decision::Deny if self.has_other_direction => self.with_other_direction(flow, end, &promised),
            Decision::Allow | Decision::Deny | Decision::Undefined => promised.decision,
        }
    }

    /// Returns an engine for only one direction of these policies.
    fn only(&self, direction: Direction, policies: Vec<PolicyName>) -> Rc<Engine> {
        let compile = |(direction, policies): &Part| {
            let is_one = |name: &PolicyName, own| own == *direction && policies.contains(name);
            Rc::new(Engine::new(with_rules(&self.cluster, is_one)))
        };
        let mut parts = self.parts.borrow_mut();
        Rc::clone(parts.entry((direction, policies)).or_insert_with_key(compile))
    }

    /// Returns the decision for a denied packet at an end, if the denying policies also let pass what their rules of
    /// the other direction allow.
    fn with_other_direction(&self, flow: &Flow, end: Endpoint, denied: &Expectation) -> Decision {
        let by_rules_of = |policies: &Vec<PolicyName>, direction| {
            let mut ends = self.only(direction, policies.clone()).evaluate_arrivals(flow).into_iter();
            let Some((_, Expectation { decision, reasons })) = ends.find(|(other, _)| *other == end) else {
                return Decision::Deny;
            };
            let is_by_rule = |reason: &Reason| matches!(reason, Reason::AllowedBy { .. });
            match decision {
                // None of the policies isolates for that direction, so no rule allows the packet.
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
            // A denial of a cluster-scoped policy, to which the quirk does not apply.
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
