//! What enforcers do with the packets of a case, if some hypotheses are true.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::ground::{Ground, frozen, hide, without_first_address};
use super::hypothesis::Parts;
use super::packets::{Leg, Replies, shortcut};
use super::subject::{Subject, each_port};
use crate::deviation::{CompileFault, DatapathFault, Deviation, EnforcerState, Opening, RouteQuirk};
use crate::plan::Route;
use crate::policy::{
    Cluster, Decision, Destination, Direction, Endpoint, Engine, Expectation, IpFamily, Pod, PortSpec,
    Protocol, Reason,
};
use crate::profile::{Promised, Readings, mixed, one_direction};
use crate::snapshot::Identity;
use crate::world::EndpointName;

/// What becomes of a cell's packets. If several enforcers handle a packet, the greatest decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Prediction {
    Delivered,
    /// They may be delivered for a moment, and are not in the end.
    ForAMoment,
    /// The specification or the moment decides, so nothing is predicted.
    Unclear,
    Dropped,
}

impl From<Decision> for Prediction {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Delivered,
            Decision::Deny => Self::Dropped,
            Decision::Undefined => Self::Unclear,
        }
    }
}

/// What decides which compiled policies apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    direction: Direction,
    is_frozen: bool,
    family: Option<IpFamily>,
    subject: Option<usize>,
    /// The sender and the receiver, if policies depend on them.
    ends: Option<(Option<usize>, Option<usize>)>,
}

/// The enforcers of a case, with hypotheses.
pub(super) struct Enforcer<'g> {
    pub(super) ground: &'g Ground<'g>,
    parts: &'g Parts,
    state: EnforcerState,
    frozen: Option<EnforcerState>,
    /// Whether the enforcers read the policies as they are. Packets may pass them nevertheless.
    is_read_right: bool,
    engines: RefCell<HashMap<Key, Rc<Vec<Engine>>>>,
    /// The egress rules alone.
    egress: OnceCell<Engine>,
    /// The policies while rules are replaced in parts.
    mixed: OnceCell<Option<Engine>>,
    /// The policies, read with quirks.
    readings: Readings<'g>,
}

impl<'g> Enforcer<'g> {
    pub(super) fn new(ground: &'g Ground<'g>, parts: &'g Parts, mut state: EnforcerState) -> Self {
        let frozen = state.frozen.take().map(|earlier| frozen(&earlier, ground.world));
        if parts.has_packets(DatapathFault::LookupsOverTcpClosed) {
            each_port(&mut state.cluster, |port| match &port.ports {
                PortSpec::Range(range) if port.protocol == Protocol::Tcp && range.first().get() == 53 => None,
                PortSpec::Range(_) | PortSpec::Any | PortSpec::Named(_) => Some(port),
            });
        }
        let is_read_right = parts.compile.is_empty()
            && state.strangers.is_empty()
            && state.without_ipv4.is_empty()
            && state.cluster == ground.world.cluster;
        Self {
            ground,
            parts,
            is_read_right,
            state,
            frozen,
            engines: RefCell::default(),
            egress: OnceCell::new(),
            mixed: OnceCell::new(),
            readings: Readings::new(&ground.world.cluster),
        }
    }

    /// Returns whether the enforcers do what they should.
    pub(super) fn is_right(&self) -> bool {
        let right = EnforcerState { cluster: self.ground.world.cluster.clone(), ..EnforcerState::default() };
        self.parts.is_knowledge() && self.frozen.is_none() && self.state == right
    }

    /// Returns what becomes of the packets of a judged cell.
    pub(super) fn predict(&self, index: usize) -> Prediction {
        let prepared = self.ground.prepared();
        let Some(Some(route)) = prepared.routes.get(index) else { return Prediction::Unclear };
        if self.parts.only_open() && self.ground.case.cells.get(index).is_some_and(|seen| seen.is_allowed) {
            return Prediction::Delivered;
        }
        let legs = route.legs().map(|leg| self.leg(leg));
        let prediction = legs.max().unwrap_or(Prediction::Unclear);
        self.with_route_quirks(route, index, prediction)
    }

    /// Returns what becomes of the packets of one leg of a route.
    fn leg(&self, route: &Route) -> Prediction {
        let ends: Vec<Endpoint> = match route.flow.destination {
            Destination::Endpoint(end) => vec![end],
            Destination::Service(_) => {
                let arrivals = self.ground.prepared().engine.evaluate_arrivals(&route.flow);
                arrivals.into_iter().map(|(end, _)| end).collect()
            }
        };
        let mut predictions = ends.into_iter().map(|end| self.end(&Leg::new(self.ground, route, end)));
        match predictions.next() {
            Some(first) if predictions.all(|other| other == first) => first,
            // It is not known which end the packet reaches, or there is none.
            Some(_) | None => Prediction::Unclear,
        }
    }

    /// Returns what becomes of a packet that arrives at an end.
    fn end(&self, leg: &Leg<'_>) -> Prediction {
        // A pod that sends to itself through a Service is treated as any other pod, or undefined.
        if leg.flow.source == leg.end && leg.is_direct() {
            return Prediction::Delivered;
        }
        if leg.is_between_own_node() {
            return self.between_own_node(leg);
        }
        if self.parts.has_packets(DatapathFault::DeadPath)
            && self.state.has_policies()
            && leg.is_on_dead_path()
        {
            return Prediction::Dropped;
        }
        let replies = Replies::over(leg.flow.protocol, &self.parts.datapath);
        let egress = self.direction(leg, Direction::Egress);
        let ingress = match shortcut(&self.parts.datapath, leg) && self.is_allowed_by_egress_rule(leg) {
            true => Prediction::Delivered,
            false => self.direction(leg, Direction::Ingress),
        };
        let reply = match replies {
            Replies::Pass => Prediction::Delivered,
            Replies::Lost => Prediction::Dropped,
            Replies::Judged => {
                let reply = leg.reply();
                self.direction(&reply, Direction::Egress).max(self.direction(&reply, Direction::Ingress))
            }
        };
        egress.max(ingress).max(reply)
    }

    /// Returns what becomes of a packet between a pod and its own node, which policies cannot deny.
    fn between_own_node(&self, leg: &Leg<'_>) -> Prediction {
        let has = |fault| self.parts.has_packets(fault);
        match leg.as_from_outside() {
            Some(leg) if has(DatapathFault::OwnNodeClosed) => self.direction(&leg, Direction::Ingress),
            // Rules that packets meet before a Service is translated may also see those for the node itself.
            None if has(DatapathFault::BeforeTranslation) => Prediction::Unclear,
            Some(_) | None => Prediction::Delivered,
        }
    }

    /// Returns what the enforcer of one direction does with a packet.
    fn direction(&self, leg: &Leg<'_>, direction: Direction) -> Prediction {
        let Some((subject, pod)) = leg.subject(direction) else {
            // No pod, so nothing is enforced. Undefined facts about a node's pods are not judged.
            return Prediction::Delivered;
        };
        let node = pod.node.as_deref().unwrap_or_default();
        let is_open_node = || self.node_name(pod).is_some_and(|node| self.parts.open_nodes.contains(&node));
        if self.parts.datapath.iter().any(|fault| leg.passes(*fault, direction, node)) || is_open_node() {
            return Prediction::Delivered;
        }
        let last = self.ground.world.cluster.nodes.last().map(|node| node.name.as_str());
        let frozen = self.frozen.as_ref().filter(|_| last == Some(node));
        if frozen.is_some() && direction == Direction::Egress && !leg.is_direct() {
            // It may lead a Service to the pods that it had before.
            return Prediction::Unclear;
        }
        let state = frozen.unwrap_or(&self.state);
        let decision = self.decide(state, frozen.is_some(), leg, direction, (subject, pod));
        let prediction = Prediction::from(decision);
        if prediction != Prediction::Delivered && state.unguarded.contains(&Identity::of_pod(pod)) {
            return match state.opening {
                Opening::Always => Prediction::Delivered,
                Opening::Late => Prediction::Unclear,
                Opening::Briefly | Opening::AtFirst => Prediction::ForAMoment,
            };
        }
        if prediction == Prediction::Dropped && self.is_open_at_first(leg) {
            return Prediction::ForAMoment;
        }
        prediction
    }

    /// Returns whether a quirk opens a new pod for a moment.
    fn is_open_at_first(&self, leg: &Leg<'_>) -> bool {
        let is_new = |end: Endpoint| {
            let Some(pod) = leg.pod(end) else { return false };
            let is_it =
                |old: &Pod| Identity::of_pod(old) == Identity::of_pod(pod) && old.addresses == pod.addresses;
            self.ground.before.is_some_and(|before| !before.cluster.pods.iter().any(is_it))
        };
        self.parts.has_route(RouteQuirk::NewPodsOpen) && (is_new(leg.flow.source) || is_new(leg.end))
    }

    fn node_name(&self, pod: &Pod) -> Option<String> {
        self.ground.world.node_of(&EndpointName::of_pod(pod))
    }

    /// Returns what the policies decide about one direction of a packet, as an enforcer compiles them.
    fn decide(
        &self,
        state: &EnforcerState,
        is_frozen: bool,
        leg: &Leg<'_>,
        direction: Direction,
        (subject, pod): (usize, &Pod),
    ) -> Decision {
        let is_egress = direction == Direction::Egress;
        let flow = match leg.untranslated() {
            Some(flow) if is_egress && self.parts.has_packets(DatapathFault::BeforeTranslation) => flow,
            Some(_) | None => leg.flow,
        };
        let compiles = !self.parts.compile.is_empty();
        let by_family =
            !state.without_ipv4.is_empty() || self.parts.compile.contains(&CompileFault::OneAddress);
        let key = Key {
            direction,
            is_frozen,
            family: by_family.then_some(flow.family),
            subject: (compiles || by_family).then_some(subject),
            ends: compiles.then(|| (leg.index(leg.flow.source), leg.index(leg.end))),
        };
        let cached = match self.is_read_right && !is_frozen {
            true => Some(self.ground.rules(direction)),
            false => self.engines.borrow().get(&key).cloned(),
        };
        let engines = cached.unwrap_or_else(|| {
            let filtered = |end| leg.pod(end).filter(|pod| !pod.host_network && !pod.ended);
            let (sender, receiver) = (filtered(leg.flow.source), filtered(leg.end));
            let subject = Subject { pod: state_pod(state, subject, pod), direction, sender, receiver };
            let engines = Rc::new(self.compile(state, leg.flow.family, &subject));
            self.engines.borrow_mut().insert(key, Rc::clone(&engines));
            engines
        });
        let decisions = engines.iter().map(|engine| {
            let is_it = |(end, _): &(Endpoint, Expectation)| *end == leg.end || flow != leg.flow;
            let at_end = engine.evaluate_arrivals(&flow).into_iter().find(is_it);
            at_end.map_or(Decision::Undefined, |(_, expectation)| expectation.decision)
        });
        decisions.fold(Decision::Allow, Decision::and)
    }

    /// Returns the compiled policies of a subject. All of them must allow a packet.
    fn compile(&self, state: &EnforcerState, family: IpFamily, subject: &Subject<'_>) -> Vec<Engine> {
        let mut cluster = state.cluster.clone();
        let mut strangers: BTreeSet<_> = state.strangers.clone();
        if family == IpFamily::V4 {
            strangers.extend(state.without_ipv4.iter().cloned());
            if state.without_ipv4.contains(&Identity::of_pod(subject.pod)) {
                close(&mut cluster, subject.pod);
            }
        }
        if self.parts.compile.contains(&CompileFault::OneAddress) {
            strangers.extend(without_first_address(&cluster, family));
        }
        hide(&mut cluster, &strangers);
        let clusters = self.parts.compile.iter().fold(vec![cluster], |clusters, fault| {
            clusters.iter().flat_map(|cluster| subject.compile(*fault, cluster)).collect()
        });
        clusters.iter().map(|cluster| Engine::new(one_direction(cluster, subject.direction))).collect()
    }

    /// Returns whether a rule allows the packet to leave, and not only the lack of isolation.
    fn is_allowed_by_egress_rule(&self, leg: &Leg<'_>) -> bool {
        let compile = || Engine::new(one_direction(&self.state.cluster, Direction::Egress));
        let arrivals = self.egress.get_or_init(compile).evaluate_arrivals(&leg.flow).into_iter();
        let is_by_rule = |reason: &Reason| matches!(reason, Reason::AllowedBy { .. });
        arrivals.into_iter().any(|(end, Expectation { decision, reasons })| {
            end == leg.end && decision == Decision::Allow && reasons.iter().any(is_by_rule)
        })
    }

    /// Applies the quirks that are about a whole route.
    fn with_route_quirks(&self, route: &Route, index: usize, prediction: Prediction) -> Prediction {
        let shares = self.parts.compile.contains(&CompileFault::SharedChains);
        let is_whole = |deviation: &Deviation| match deviation.route() {
            Some(RouteQuirk::OtherDirection) => shares || self.parts.has_route(RouteQuirk::OtherDirection),
            Some(RouteQuirk::ServicePort) => self.parts.has_route(RouteQuirk::ServicePort),
            Some(RouteQuirk::NewPodsOpen | RouteQuirk::ReplacedInParts) | None => false,
        };
        let is_service_port = self.parts.has_route(RouteQuirk::ServicePort);
        let decides = match prediction {
            Prediction::Dropped => shares || !self.parts.routes.is_empty(),
            Prediction::Delivered => is_service_port,
            Prediction::ForAMoment | Prediction::Unclear => false,
        };
        let Some(seen) = self.ground.case.cells.get(index).filter(|_| decides) else { return prediction };
        let quirks: Vec<_> = Deviation::quirks().filter(|quirk| is_whole(quirk)).collect();
        if !quirks.is_empty() {
            let expectation = &route.evaluate(&self.ground.prepared().engine);
            let promised = Promised { cell: seen.cell, route, endpoint: None, expectation };
            return self.readings.decide(&quirks, promised).into();
        }
        let is_mixed = self.parts.has_route(RouteQuirk::ReplacedInParts);
        let mix = || mixed(&self.ground.before?.cluster, &self.ground.world.cluster).map(Engine::new);
        let engine = self.mixed.get_or_init(mix).as_ref().filter(|_| is_mixed);
        match engine.is_some_and(|engine| route.evaluate(engine).decision != Decision::Deny) {
            true => Prediction::ForAMoment,
            false => prediction,
        }
    }
}

/// Returns a pod as an enforcer knows it.
fn state_pod<'a>(state: &'a EnforcerState, index: usize, otherwise: &'a Pod) -> &'a Pod {
    state.cluster.pods.get(index).unwrap_or(otherwise)
}

/// Removes the rules of the policies that isolate a pod.
fn close(cluster: &mut Cluster, pod: &Pod) {
    for policy in cluster.policies.iter_mut().filter(|policy| policy.selects(pod)) {
        policy.ingress.iter_mut().chain(&mut policy.egress).for_each(Vec::clear);
    }
}
