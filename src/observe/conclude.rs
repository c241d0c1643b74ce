//! Concludes what a state showed of each cell: the verdict, and how long the change took to be in force.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::actions::changes_servers;
use super::finding::Finding;
use super::observer::Observer;
use super::planned::{NewPod, Obstacle, PlannedCell, ProbedCell};
use super::track::Track;
use crate::backend::Backend;
use crate::plan::Router;
use crate::policy::{Decision, Engine, Expectation, Protocol};
use crate::verdict::{
    AtFirst, Cause, CellResult, Change, DeliveredUntil, Evidence, Nodes, Observation, Settling, Verdict,
    judge,
};
use crate::world::{Action, Capability, EndpointName, External, World};

impl<B: Backend> Observer<'_, B> {
    /// Returns what the probes of a cell showed after these actions. `stale` are the nodes that had not
    /// processed the change.
    pub(super) fn conclude(
        &self,
        ProbedCell { planned, track }: &ProbedCell,
        actions: &[Action],
        declared: &BTreeSet<Capability>,
        stale: &BTreeSet<String>,
    ) -> Finding {
        let excused_at_first = planned.excused_at_first.as_ref();
        // This is computed first, because `record_leak` may replace what later probes showed.
        let is_match_in_the_end =
            excused_at_first.is_some() && self.verdict(planned, track, declared) == Verdict::Match;
        let mut track = track.clone();
        let delivered_until = self.record_leak(planned, &mut track, actions);
        let mut verdict = self.verdict(planned, &track, declared);
        if verdict == Verdict::Match
            && let Some(node) = self.stale_node(planned, stale)
        {
            verdict = Verdict::Inconclusive(Cause::NotInForce(node));
        }
        // The track may have settled on a silence that a late datagram disproves. So the verdict decides.
        let is_in_force = verdict == Verdict::Match || delivered_until.is_some();
        // A cell that was never delivered needs no excuse. A denial that is not in force in the end is not
        // excused.
        let until = delivered_until.filter(|_| is_match_in_the_end).map(DeliveredUntil::duration);
        let excuse = excused_at_first.filter(|it| until.is_some_and(|until| it.is_moment(until)));
        let (verdict, excused) = match excuse {
            Some(deviation) => (Verdict::Undefined, Some(deviation)),
            None => (verdict, planned.excused.as_ref()),
        };
        let (mut expected, mut nodes) = (planned.expectation.clone(), planned.nodes(&self.world));
        let is_reached = |reached| planned.endpoints.iter().find(|(endpoint, _)| endpoint == reached);
        if let Some((endpoint, promised)) = track.leaked_to().and_then(is_reached) {
            (expected, nodes.to) = (promised.clone(), self.world.node_of(endpoint));
        }
        let settled = self.settling(planned, &expected, &nodes, &track).filter(|_| is_in_force);
        let verdict = match settled.as_ref().and_then(Settling::doubt) {
            Some(cause) if verdict == Verdict::Match => Verdict::Inconclusive(cause),
            Some(_) | None => verdict,
        };
        let is_of_endpoint = track.leaked_to().is_some();
        let result = CellResult {
            cell: planned.cell.clone(),
            expected,
            excused: excused.cloned(),
            asserted: None,
            intended: None,
            observed: track.observation,
            verdict,
            attempts: track.attempts,
            silences: track.silences,
            retries: track.retries,
            settled,
            delivered_until,
            nodes,
            repeated: BTreeMap::new(),
            alone: None,
        };
        Finding { result, is_of_endpoint }
    }

    /// Returns the verdict of a cell. If the environment lacks a capability, the cell is skipped if the
    /// capability is among `declared`, and inconclusive if not.
    pub(super) fn verdict(
        &self,
        planned: &PlannedCell,
        track: &Track,
        declared: &BTreeSet<Capability>,
    ) -> Verdict {
        let unless_declared = |cause: Cause, capability: Option<Capability>| match capability {
            Some(capability) if declared.contains(&capability) => Verdict::Skipped(capability),
            Some(capability) => Verdict::Inconclusive(Cause::Undeclared(Box::new(cause), capability)),
            None => Verdict::Inconclusive(cause),
        };
        let translated = track.translated.filter(|_| planned.obstacle.is_none());
        if let Some(source) = translated.filter(|source| depends_on_source(planned, &self.world, *source)) {
            return Verdict::Inconclusive(Cause::Translated(source));
        }
        match (&planned.obstacle, &track.observation) {
            (Some(Obstacle { cause, capability }), _) => unless_declared(cause.clone(), *capability),
            (None, Some(Observation::Unsupported { message })) => {
                let is_sctp = planned.cell.probe.protocol() == Protocol::Sctp;
                unless_declared(Cause::Kernel(message.clone()), is_sctp.then_some(Capability::Sctp))
            }
            // The endpoint that was reached is known, and it is denied.
            (None, Some(_)) if track.leaked_to().is_some() => Verdict::Leak,
            (None, Some(observation)) => judge(&Evidence {
                decision: planned.decision,
                observation: observation.clone(),
                differed: track.differed,
                leaked: track.leaked,
                unconfirmed: track.unconfirmed,
                misdelivered: track.misdelivered.clone(),
                control: track.control,
                baseline: self.at_first(planned).map(|showed| reliable(showed, planned, &self.world)),
            }),
            (None, None) => Verdict::Inconclusive(Cause::ProbeError("it was never probed".to_owned())),
        }
    }

    /// Records one delivery as a leak if the settle time does not excuse it. Returns until when such a
    /// cell was delivered, if it was silent in the end.
    fn record_leak(
        &self,
        planned: &PlannedCell,
        track: &mut Track,
        actions: &[Action],
    ) -> Option<DeliveredUntil> {
        match (planned.decision, planned.new_pod) {
            (Decision::Deny, Some(NewPod { at_once: true, ready_at })) => {
                let delivered = track.record_leak(planned.decision)?;
                Some(DeliveredUntil::AfterNewPod(delivered.saturating_sub(ready_at)))
            }
            (Decision::Deny, None) if self.stays_denied(planned, actions) => {
                track.record_leak(planned.decision).map(DeliveredUntil::AfterChange)
            }
            (Decision::Deny | Decision::Allow | Decision::Undefined, _) => None,
        }
    }

    /// Returns whether a cell is denied at every moment of a change: the same end denies it before and after,
    /// and there is no state in between, because only one thing changes. The settle time is only for what
    /// changes.
    fn stays_denied(&self, planned: &PlannedCell, actions: &[Action]) -> bool {
        let [action] = actions else { return false };
        // The enforcers may learn of a change of endpoints later than the Service.
        let leads_elsewhere = matches!(planned.cell.to, EndpointName::Service { .. } | EndpointName::Node(_))
            && changes_servers(action);
        let before = self.expected.get(&planned.cell);
        let is_same_end = before.is_some_and(|it| it.is_denied_at_one_end_still(&planned.expectation));
        let last = self.past.len().checked_sub(1);
        let is_proved = last.is_some_and(|last| self.brackets.denied_in(last, planned));
        is_proved && !leads_elsewhere && is_same_end
    }

    /// Returns a node that had not processed the change, if a cell that does not change involves it. The cell
    /// then says nothing about the new state.
    fn stale_node(&self, planned: &PlannedCell, stale: &BTreeSet<String>) -> Option<String> {
        // Only the opposite decision shows that the cell follows the change.
        let is_changed = match (self.decided(&planned.cell), planned.decision) {
            (Some(Decision::Allow), Decision::Deny) | (Some(Decision::Deny), Decision::Allow) => true,
            (Some(Decision::Allow | Decision::Deny | Decision::Undefined) | None, _) => {
                planned.new_pod.is_some()
            }
        };
        if is_changed || stale.is_empty() {
            return None;
        }
        // The nodes of its source, of all endpoints of its Service, and of the server of its lookup.
        let cell = &planned.cell;
        let ends = planned.all_servers().chain([&cell.from, &cell.to]).filter(|_| cell.from != cell.to);
        let nodes: BTreeSet<String> = ends.filter_map(|end| self.world.node_of(end)).collect();
        stale.intersection(&nodes).next().cloned()
    }

    /// Returns how long the change took to be in force at a cell. `None` if nothing changed there.
    fn settling(
        &self,
        planned: &PlannedCell,
        expected: &Expectation,
        nodes: &Nodes,
        track: &Track,
    ) -> Option<Settling> {
        // A new pod that takes over a name is not the pod from before.
        let before = self.expected.get(&planned.cell).filter(|_| planned.new_pod.is_none());
        let change = Change::since(before, planned.decision)?;
        let settling = Settling::new(change, track.settled?, before, expected, nodes);
        Some(Settling { opposed: track.opposed, limit: self.settings.limits.get(change), ..settling })
    }
}

/// Returns what the baseline of a cell is worth. Every cluster promises paths in both directions between pods and nodes, and
/// so does the lab for all of its hosts: an answer that never came back is an outage. Nothing promises them to a host outside
/// of a cluster.
fn reliable(showed: AtFirst, PlannedCell { cell, .. }: &PlannedCell, world: &World) -> AtFirst {
    let is_outside = |end: &EndpointName| match end {
        EndpointName::External(name) => world.assigned_hosts.contains_key(name),
        EndpointName::Pod { .. } | EndpointName::Service { .. } | EndpointName::Node(_) => false,
    };
    match showed {
        AtFirst::OneWay if !is_outside(&cell.from) && !is_outside(&cell.to) => AtFirst::Answered,
        AtFirst::Silent | AtFirst::OneWay | AtFirst::Answered => showed,
    }
}

/// Returns whether the policies would decide a cell in another way if its source had this address, which the network puts
/// in place of the source's own. If it is the address of a node, the packets are those of the node.
fn depends_on_source(planned: &PlannedCell, world: &World, source: IpAddr) -> bool {
    if planned.expectation.decision == Decision::Undefined {
        return false;
    }
    let (mut world, mut cell) = (world.clone(), planned.cell.clone());
    cell.from = match world.cluster.nodes.iter().find(|node| node.addresses.contains(&source)) {
        Some(node) => EndpointName::Node(node.name.clone()),
        None => {
            // No scenario's external can have this name.
            let name = source.to_string();
            world.externals.push(External { name: name.clone(), addresses: vec![source] });
            EndpointName::External(name)
        }
    };
    let engine = Engine::new(world.cluster.clone());
    let route = Router::new(&world, &engine).route(&cell);
    cell.evaluate(route.as_ref(), &engine).decision != planned.expectation.decision
}
