//! What a step showed: the verdict of each cell, and how long it took to be in force.

use std::collections::{BTreeMap, BTreeSet};

use super::ScenarioRun;
use super::brackets::changes_servers;
use super::step_plan::{Obstacle, StepPlan, Way};
use crate::backend::Backend;
use crate::observe::new_pods::NewPod;
use crate::observe::track::Track;
use crate::plan::{Cell, Route};
use crate::policy::{Decision, Expectation, Protocol};
use crate::scenario::{Assertion, Claim, Step};
use crate::verdict::{
    Cause, CellResult, Change, DeliveredUntil, Evidence, Machines, Observation, Settling, Verdict, judge,
};
use crate::world::{Capability, EndpointName};

impl<B: Backend> ScenarioRun<'_, B> {
    pub(super) fn results(
        &self,
        step: &Step,
        step_plan: StepPlan,
        ways: &[Way],
        mut tracks: Vec<Track>,
        stale: &BTreeSet<String>,
    ) -> Vec<CellResult> {
        let verdict = |(cell, (way, track)): (usize, (&Way, &Track))| {
            self.verdict(&step_plan, &step.requires, cell, *way, track)
        };
        // Before a delivery at first takes the place of what was seen later: only a profile asks for that.
        let is_open_at_first = |cell: usize| step_plan.open_at_first.get(cell).is_some_and(Option::is_some);
        let held = ways.iter().zip(&tracks).enumerate();
        let held = held.map(|seen| is_open_at_first(seen.0) && verdict(seen) == Verdict::Match);
        let held: Vec<bool> = held.collect();
        let ends = step_plan.cells.iter().zip(ways).zip(&step_plan.new_pods);
        let promises = step_plan.decisions.iter().zip(&step_plan.expectations);
        let late = tracks.iter_mut().zip(promises).zip(ends);
        let late =
            late.map(|((track, (decision, promised)), ((cell, way), new_pod))| match (decision, new_pod) {
                (Decision::Deny, Some(new_pod)) => {
                    new_pod.record_leak(track, *decision).map(DeliveredUntil::AfterNewPod)
                }
                (Decision::Deny, None) if self.stays_denied(step, cell, *way, promised) => {
                    track.record_leak(*decision).map(DeliveredUntil::AfterChange)
                }
                (Decision::Deny, None) | (Decision::Allow | Decision::Undefined, _) => None,
            });
        let late: Vec<_> = late.collect();
        let verdicts: Vec<_> = ways.iter().zip(&tracks).enumerate().map(verdict).collect();
        let StepPlan {
            cells,
            routes,
            obstacles: _,
            mut expectations,
            backends,
            lookups: _,
            new_pods,
            excused,
            open_at_first,
            decisions,
        } = step_plan;
        let machines = cells.iter().zip(&routes).map(|(cell, route)| self.machines(cell, route.as_ref()));
        let mut machines: Vec<_> = machines.collect();
        let ends = expectations.iter_mut().zip(&mut machines).zip(backends).zip(&tracks);
        for (((expected, machines), backends), track) in ends {
            let Some(reached) = track.leaked_to() else { continue };
            let promises = backends.into_iter().find(|(endpoint, _)| endpoint == reached);
            if let Some((endpoint, promise)) = promises {
                *expected = promise;
                machines.to = self.world.machine_of(&endpoint);
            }
        }
        let found = verdicts.into_iter().zip(held).zip(routes).zip(tracks).zip(late);
        let excused = excused.into_iter().zip(open_at_first);
        let promises = expectations.into_iter().zip(excused).zip(decisions).zip(new_pods);
        let cells = cells.into_iter().zip(machines).zip(found).zip(promises);
        cells
            .map(|(((cell, machines), found), promise)| {
                let ((((verdict, is_held), route), track), delivered_until) = found;
                let (((expected, (excused, open_at_first)), decision), new_pod) = promise;
                let verdict = match self.stale_node(&cell, decision, new_pod, route.as_ref(), stale) {
                    Some(node) if verdict == Verdict::Match => Verdict::Inconclusive(Cause::NotInForce(node)),
                    Some(_) | None => verdict,
                };
                // A datagram that arrives late shows that the silence before was none.
                let is_in_force = verdict == Verdict::Match || delivered_until.is_some();
                // What was never delivered needs no excuse, and what is not in force later has none.
                let until = delivered_until.filter(|_| is_held).map(DeliveredUntil::duration);
                let excuse = open_at_first.filter(|it| until.is_some_and(|until| it.is_moment(until)));
                let (verdict, excused) = match excuse {
                    Some(deviation) => (Verdict::Undefined, Some(deviation)),
                    None => (verdict, excused),
                };
                let is_of_endpoint = track.leaked_to().is_some();
                let settled = self.settling(&cell, &expected, decision, &machines, new_pod, &track);
                let settled = settled.filter(|_| is_in_force);
                let verdict = match settled.as_ref().and_then(Settling::doubt) {
                    Some(cause) if verdict == Verdict::Match => Verdict::Inconclusive(cause),
                    Some(_) | None => verdict,
                };
                CellResult {
                    // The author wrote about the Service, and this result is about one of its endpoints.
                    asserted: last_claim(&step.expect, &cell).filter(|_| !is_of_endpoint),
                    intended: last_claim(&step.intent, &cell),
                    machines,
                    observed: track.observation,
                    attempts: track.attempts,
                    retries: track.retries,
                    silences: track.silences,
                    settled,
                    delivered_until,
                    cell,
                    expected,
                    excused,
                    verdict,
                    repeated: BTreeMap::new(),
                }
            })
            .collect()
    }

    /// What is true of a cell. Where the place lacks something, it is skipped if the step says that it
    /// requires it.
    pub(super) fn verdict(
        &self,
        step_plan: &StepPlan,
        requires: &BTreeSet<Capability>,
        index: usize,
        way: Way,
        track: &Track,
    ) -> Verdict {
        let unless_declared = |cause: Cause, capability: Option<Capability>| match capability {
            Some(capability) if requires.contains(&capability) => Verdict::Skipped(capability),
            Some(capability) => Verdict::Inconclusive(Cause::Undeclared(Box::new(cause), capability)),
            None => Verdict::Inconclusive(cause),
        };
        let obstacle = step_plan.obstacles.get(index).cloned().flatten();
        let cell = step_plan.cells.get(index).zip(step_plan.decisions.get(index));
        match (obstacle, &track.observation, cell) {
            (Some(Obstacle { cause, capability }), _, _) => unless_declared(cause, capability),
            (None, Some(Observation::Unsupported { message }), Some((cell, _))) => {
                let is_sctp = cell.probe.protocol() == Protocol::Sctp;
                unless_declared(Cause::Kernel(message.clone()), is_sctp.then_some(Capability::Sctp))
            }
            // It is known which endpoint was reached, and that one is denied.
            (None, Some(_), Some(_)) if track.leaked_to().is_some() => Verdict::Leak,
            (None, Some(observation), Some((cell, decision))) => judge(&Evidence {
                decision: *decision,
                observation: observation.clone(),
                differed: track.differed,
                leaked: track.leaked,
                unconfirmed: track.unconfirmed,
                misdelivered: track.misdelivered.clone(),
                control: track.control,
                baseline: self.baseline(cell, way, step_plan.routes.get(index).and_then(Option::as_ref)),
            }),
            (None, None, _) | (None, _, None) => {
                Verdict::Inconclusive(Cause::ProbeError("it was never probed".to_owned()))
            }
        }
    }

    /// Whether a cell is denied at every moment of a step: before it and after it by the same end, and there is nothing
    /// in between, as only one thing changes. The settle time is for what changes.
    fn stays_denied(&self, step: &Step, cell: &Cell, way: Way, promised: &Expectation) -> bool {
        let [action] = step.actions.as_slice() else { return false };
        // The policies may hear later than the Service that it leads elsewhere, or to a new pod as well.
        let leads_elsewhere = matches!(cell.to, EndpointName::Service { .. } | EndpointName::Node(_))
            && changes_servers(action);
        let is_same_end =
            || self.expected.get(cell).is_some_and(|before| before.is_denied_at_one_end_still(promised));
        let before = self.past.len().checked_sub(1);
        let is_proved = before.is_some_and(|before| self.brackets.denied_in(before, cell, way));
        is_proved && !leads_elsewhere && is_same_end()
    }

    /// The node because of which a cell that a step does not change says nothing about the step: it had not worked
    /// off the change.
    fn stale_node(
        &self,
        cell: &Cell,
        decision: Decision,
        new_pod: Option<NewPod>,
        route: Option<&Route>,
        stale: &BTreeSet<String>,
    ) -> Option<String> {
        // Only the opposite shows that the cell follows the change.
        let is_changed = match (self.decided(cell), decision) {
            (Some(Decision::Allow), Decision::Deny) | (Some(Decision::Deny), Decision::Allow) => true,
            (Some(Decision::Allow | Decision::Deny | Decision::Undefined) | None, _) => new_pod.is_some(),
        };
        // Hardly ever is a node stale.
        let is_end = |node: &&String| self.nodes(cell, route).contains(*node);
        stale.iter().find(is_end).filter(|_| !is_changed).cloned()
    }

    /// The nodes that take part in a cell: those of its source, of all endpoints of its Service, and of the server that
    /// it asks for a name.
    fn nodes(&self, cell: &Cell, route: Option<&Route>) -> BTreeSet<String> {
        let servers = route.into_iter().flat_map(Route::all_servers).map(|(server, _)| server);
        let ends = servers.chain([&cell.from, &cell.to]).filter(|_| cell.from != cell.to);
        ends.filter_map(|end| self.world.machine_of(end)).collect()
    }

    /// How long the change took to be in force at a cell. `None` if nothing changed there.
    fn settling(
        &self,
        cell: &Cell,
        expected: &Expectation,
        decision: Decision,
        machines: &Machines,
        new_pod: Option<NewPod>,
        track: &Track,
    ) -> Option<Settling> {
        // A pod that takes over a name is another one.
        let before = self.expected.get(cell).filter(|_| new_pod.is_none());
        let change = Change::since(before, decision)?;
        let settling = Settling::new(change, track.settled?, before, expected, machines);
        Some(Settling { opposed: track.opposed, limit: self.settings.limits.of(change), ..settling })
    }

    /// Where the ends of a cell are; the pods behind a Service may all be on one machine.
    pub(super) fn machines(&self, cell: &Cell, route: Option<&Route>) -> Machines {
        let servers = route.into_iter().flat_map(|route| &route.servers);
        let mut to = servers.map(|(server, _)| self.world.machine_of(server));
        let first = to.next().unwrap_or_else(|| self.world.machine_of(&cell.to));
        let is_one = to.all(|other| other == first);
        Machines { from: self.world.machine_of(&cell.from), to: first.filter(|_| is_one) }
    }
}

/// What the assertions say about a cell: the last that covers it counts.
fn last_claim(assertions: &[Assertion], cell: &Cell) -> Option<Claim> {
    let covers = |assertion: &&Assertion| assertion.covers(&cell.from, &cell.to, cell.family, cell.probe);
    assertions.iter().rev().find(covers).map(|assertion| assertion.claim)
}
