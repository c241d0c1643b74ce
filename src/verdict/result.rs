//! The results of steps, scenarios and runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::enforcers::Nodes;
use super::excuse::{AppliedProfile, Excuse};
use super::judge::{Cause, Verdict};
use super::latency::{Change, Punctuality, Settling, TimeToSettle};
use super::observation::Observation;
use super::open::OpenConnection;
use crate::plan::Cell;
use crate::policy::{Decision, Expectation};
use crate::scenario::{Claim, Demonstrates, SpecRule};
use crate::snapshot::Unmodelled;
use crate::world::{Capability, World};

/// Until when a denied cell was delivered, although the settle time excuses no delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveredUntil {
    /// Time since a new pod's first answer. The policies that were in force before isolate the pod from its
    /// first instant.
    AfterNewPod(Duration),
    /// Time since a change that leaves the cell denied.
    AfterChange(Duration),
}

impl DeliveredUntil {
    /// Returns the time.
    pub fn duration(self) -> Duration {
        match self {
            Self::AfterNewPod(duration) | Self::AfterChange(duration) => duration,
        }
    }
}

/// Result of a step for a cell.
#[derive(Debug, Clone)]
pub struct CellResult {
    /// The cell.
    pub cell: Cell,
    /// Expectation of the policies, with its reasons.
    pub expected: Expectation,
    /// Deviation of a profile that makes the cell undefined, whatever the policies promise.
    pub excused: Option<Arc<Excuse>>,
    /// Assertion of the scenario's author.
    pub asserted: Option<Claim>,
    /// Intent of the owner of the policies.
    pub intended: Option<Claim>,
    /// What the packets did. `None` if none could be sent.
    pub observed: Option<Observation>,
    /// Verdict.
    pub verdict: Verdict,
    /// Count of probes.
    pub attempts: u32,
    /// Count of the probes of a denied cell that were dropped on a live path. The denial rests on them.
    pub silences: u32,
    /// Count of the probes that were sent because an allowed probe had gone missing.
    pub retries: u32,
    /// How long the step's change took to be in force. `None` if the step changed nothing for the cell, or if
    /// the packets did not do what is expected in the end.
    pub settled: Option<Settling>,
    /// Until when the cell was delivered, if it must not be delivered even once and was denied in the end.
    pub delivered_until: Option<DeliveredUntil>,
    /// Nodes of the ends.
    pub nodes: Nodes,
    /// Count of repetitions by the name of their verdict, if the verdicts differ.
    pub repeated: BTreeMap<&'static str, usize>,
    /// Verdict when the scenario ran alone. `None` if it did not, or if the cell differs nowhere.
    pub alone: Option<Verdict>,
}

impl CellResult {
    /// Returns what packets must do: what the policies promise, unless a profile makes the cell undefined.
    pub fn decision(&self) -> Decision {
        if self.excused.is_some() { Decision::Undefined } else { self.expected.decision }
    }

    /// Sets what the owner wants. If the policies' decision depends on facts that are not known, it can neither be
    /// compared with that, nor does it count as fulfilled: the cell is inconclusive. A required connection that got
    /// through is fulfilled.
    #[must_use]
    pub fn with_intent(self, intended: Option<Claim>) -> Self {
        let is_fulfilled = match intended {
            Some(Decision::Allow) => self.observed == Some(Observation::Connected),
            Some(Decision::Deny) => false,
            Some(Decision::Undefined) | None => true,
        };
        let unknown = self.expected.unknown_facts();
        let is_inconclusive = self.verdict == Verdict::Undefined && !is_fulfilled && !unknown.is_empty();
        let verdict = match is_inconclusive {
            true => Verdict::Inconclusive(Cause::FactsUnknown(unknown.join("; "))),
            false => self.verdict,
        };
        Self { intended, verdict, ..self }
    }

    /// Returns whether the policies do not say what their owner wants. What the specification leaves open is not what an
    /// owner wants either. If a fact is not known, the policies are not to blame.
    pub fn is_policy_gap(&self) -> bool {
        self.contradicts(self.intended) && self.expected.unknown_facts().is_empty()
    }

    /// Returns whether the policies contradict a claim. A contradicted assertion is an assertion error. The policies say
    /// nothing about an end without an address.
    pub fn contradicts(&self, claim: Option<Claim>) -> bool {
        claim.is_some_and(|claim| claim != self.expected.decision) && !self.expected.has_no_address()
    }

    /// Returns whether the cell is a claim, which a run must judge: its author asserts it, or the policies
    /// deny it.
    pub fn is_claim(&self) -> bool {
        let is_asserted = self.asserted.is_some_and(|asserted| asserted != Decision::Undefined);
        is_asserted || self.expected.decision == Decision::Deny
    }

    /// Returns whether packets decided the verdict.
    pub fn is_judged(&self) -> bool {
        match self.verdict {
            Verdict::Match | Verdict::Leak | Verdict::Blocked => true,
            Verdict::Flaky | Verdict::Undefined | Verdict::Skipped(_) | Verdict::Inconclusive(_) => false,
        }
    }

    /// Returns whether the cell is not judged because of a known deviation.
    pub fn is_excused(&self) -> bool {
        self.excused.is_some() && self.verdict == Verdict::Undefined
    }

    /// Returns whether a probe showed that the change was not in force after the limit.
    pub fn is_late(&self) -> bool {
        self.settled.as_ref().is_some_and(|settling| settling.punctuality() == Punctuality::Late)
    }
}

/// The result of a step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Name of the step.
    pub name: String,
    /// Spec rules of docs/semantics.md that the step decides.
    pub spec_rules: BTreeSet<SpecRule>,
    /// All cells, in the order in which they are shown.
    pub cells: Vec<CellResult>,
    /// States that the enforcers were given since the step before, the oldest first. The last one is the state in which the
    /// cells were probed. Empty in a check of a live cluster.
    pub states: Vec<Arc<World>>,
    /// How long after its first answer the slowest new pod was isolated by the policies that were in force
    /// before, and was admitted.
    pub new_pods: TimeToSettle,
    /// Connections that were open before the step.
    pub open_connections: Vec<OpenConnection>,
    /// How long it took to hand the changes over to the enforcer: the lab, or the API server.
    pub handed_over: Duration,
    /// Count of rounds of probes.
    pub rounds: u32,
    /// Share of probes that the network lost during the step, from 0 to 1.
    pub loss: f64,
    /// Duration of the step.
    pub took: Duration,
}

impl StepResult {
    /// Returns how long the changes of the step took to be in force.
    pub fn time(&self) -> TimeToSettle {
        TimeToSettle::slowest(self.settled())
    }

    /// Returns the same by node, for the cells that one node alone enforces.
    pub fn time_by_node(&self) -> BTreeMap<&str, TimeToSettle> {
        let mut times = BTreeMap::<&str, TimeToSettle>::new();
        for settling in self.settled().filter(|settling| settling.change != Change::Appear) {
            if let Some(node) = &settling.node {
                let time = times.entry(node).or_default();
                *time = time.with(settling);
            }
        }
        times
    }

    fn settled(&self) -> impl Iterator<Item = &Settling> {
        self.cells.iter().filter_map(|cell| cell.settled.as_ref())
    }
}

/// The result of a scenario.
#[derive(Debug, Clone)]
pub struct ScenarioResult {
    /// Name of the scenario.
    pub name: String,
    /// What the scenario decides.
    pub description: String,
    /// File that the scenario was read from.
    pub file: Arc<str>,
    /// Mistake that the scenario demonstrates, and that a run must find.
    pub demonstrates: Option<Demonstrates>,
    /// Counts of the objects that have no part in NetworkPolicy, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Steps that were run.
    pub steps: Vec<StepResult>,
    /// Why the remaining steps were not run.
    pub failure: Option<ScenarioFailure>,
    /// Time until the pods existed.
    pub start: Duration,
    /// Time to wait for an answer, as calibrated before the first step.
    pub timeout: Duration,
    /// Duration of the scenario.
    pub took: Duration,
    /// Repetitions. `None` if the scenario was requested once.
    pub repetitions: Option<Repetitions>,
    /// Capabilities that `--require` names. A scenario must not skip cells for want of them.
    pub required: BTreeSet<Capability>,
    /// Pods that were lost, and what was done about it.
    pub warnings: Vec<String>,
    /// Scenarios that ran at the same time. `None` if there were none.
    pub beside: Option<Beside>,
}

/// How often a scenario was run, and how often with the same verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repetitions {
    /// Count of requested repetitions.
    pub requested: usize,
    /// Count of repetitions that were run.
    pub done: usize,
    /// Size of the largest group of repetitions with the same verdicts in every cell.
    pub same: usize,
}

/// The scenarios that ran at the same time as another one, and whether that one was also run without them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beside {
    /// Names of the scenarios.
    pub others: BTreeSet<String>,
    /// Whether it was run alone. `None` if there was no reason to.
    pub alone: Option<Alone>,
}

/// What became of the attempt to run a scenario alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alone {
    /// It was run to its end.
    Run,
    /// It was not run, or not to its end, for this reason.
    NotRun(String),
}

/// Reason why a scenario was not run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioFailure {
    /// The reason as a text.
    pub message: String,
    /// Whether every other scenario would fail for the same reason.
    pub everywhere: bool,
}

impl ScenarioResult {
    /// Returns the required capabilities for which the scenario skipped cells.
    pub fn lacking(&self) -> BTreeSet<Capability> {
        let is_lacking = |capability: &Capability| {
            let mut cells = self.steps.iter().flat_map(|step| &step.cells);
            cells.any(|cell| cell.verdict == Verdict::Skipped(*capability))
        };
        self.required.iter().copied().filter(is_lacking).collect()
    }
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// Scenarios, in the order in which they were given.
    pub scenarios: Vec<ScenarioResult>,
    /// Count of the requested scenarios, without repetitions.
    pub requested: usize,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Whether the run ended early because a scenario failed.
    pub stopped: bool,
    /// Whether the run ended early because nothing enforces policies.
    pub unenforced: bool,
    /// Names of the scenarios that were not run. A name occurs once for each repetition that is missing.
    pub unfinished: Vec<String>,
    /// Environment to which packets were sent.
    pub environment: Environment,
    /// Profiles with the known deviations of the network plugin.
    pub profiles: Vec<AppliedProfile>,
    /// Share of leaking connections, from 0 to 1, that `--confidence` requires to be found at every
    /// enforcement point.
    pub requested_share: Option<f64>,
    /// Time that a change may take to be in force.
    pub settle: Duration,
    /// Duration of the run.
    pub took: Duration,
}

/// Environment to which packets were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// `lab`, and with which fault, or `cluster` and its name.
    pub name: String,
    /// Facts about the environment: names and values.
    pub facts: Vec<(String, String)>,
    /// What may decide about packets although the verdicts do not consider it.
    pub warnings: Vec<String>,
    /// Kinds of objects that netproof does not model, so that expectations may be wrong.
    pub unmodelled: Vec<Unmodelled>,
    /// All nodes of a cluster, with the versions of their kubelets. Empty in the lab.
    pub nodes: BTreeMap<String, String>,
}

impl Environment {
    /// Returns whether netproof models everything that decides about packets, or the user accepts what is left out.
    pub fn is_modelled(&self) -> bool {
        self.unmodelled.iter().all(|kind| kind.is_accepted)
    }

    /// Returns the unmodelled kinds that the user accepts.
    pub fn accepted(&self) -> impl Iterator<Item = String> {
        self.unmodelled.iter().filter(|kind| kind.is_accepted).map(|kind| kind.kind.clone())
    }
}

impl RunResult {
    /// Returns all steps that were run.
    pub fn steps(&self) -> impl Iterator<Item = &StepResult> {
        self.scenarios.iter().flat_map(|scenario| &scenario.steps)
    }

    /// Returns the cells of all steps of all scenarios.
    pub fn cells(&self) -> impl Iterator<Item = &CellResult> {
        self.steps().flat_map(|step| &step.cells)
    }

    /// Returns the count of scenarios and repetitions that were not run.
    pub fn left(&self) -> usize {
        self.unfinished.len().max(self.requested.saturating_sub(self.scenarios.len()))
    }

    /// Returns the count of skipped claims by the missing capability.
    pub fn skipped(&self) -> BTreeMap<Capability, usize> {
        let mut skipped = BTreeMap::new();
        for cell in self.cells() {
            if let Verdict::Skipped(capability) = cell.verdict
                && cell.is_claim()
            {
                *skipped.entry(capability).or_default() += 1;
            }
        }
        skipped
    }

    /// Returns why nothing could be run. `None` if something was run.
    pub fn failure(&self) -> Option<&ScenarioFailure> {
        if self.scenarios.iter().any(|scenario| !scenario.steps.is_empty()) {
            // The results until then count.
            return None;
        }
        let mut failures = self.scenarios.iter().filter_map(|scenario| scenario.failure.as_ref());
        failures.find(|failure| failure.everywhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{IpFamily, Port, Protocol, UndefinedCause};
    use crate::world::{EndpointName, Probe};

    fn cell(cause: UndefinedCause, observed: Observation) -> CellResult {
        let probe = Probe::Port { port: Port::new(443).unwrap(), protocol: Protocol::Tcp };
        let (from, to) = (EndpointName::pod("x", "a"), EndpointName::service("default", "kubernetes"));
        CellResult {
            cell: Cell { from, to, family: IpFamily::V4, probe },
            expected: Expectation::undefined(cause),
            excused: None,
            asserted: None,
            intended: None,
            observed: Some(observed),
            verdict: Verdict::Undefined,
            attempts: 1,
            silences: 0,
            retries: 0,
            settled: None,
            delivered_until: None,
            nodes: Nodes::default(),
            repeated: BTreeMap::new(),
            alone: None,
        }
    }

    #[test]
    fn what_is_not_known_is_no_policy_gap_and_no_pass() {
        let unknown = || UndefinedCause::BackendsUnknown("default/kubernetes".to_owned());
        let open = || UndefinedCause::Hairpin("default/kubernetes".to_owned());
        let judged = |cause, observed, intended| {
            let cell = cell(cause, observed).with_intent(intended);
            (matches!(cell.verdict, Verdict::Inconclusive(Cause::FactsUnknown(_))), cell.is_policy_gap())
        };
        let (allow, deny) = (Some(Decision::Allow), Some(Decision::Deny));
        for observed in [Observation::Dropped, Observation::Connected] {
            assert_eq!(judged(unknown(), observed.clone(), deny), (true, false), "{observed}");
            // The specification leaves it open, so the policies are not what the owner wants.
            assert_eq!(judged(open(), observed.clone(), deny), (false, true), "{observed}");
            assert_eq!(judged(open(), observed.clone(), allow), (false, true), "{observed}");
            assert_eq!(judged(unknown(), observed.clone(), None), (false, false), "{observed}");
        }
        assert_eq!(judged(unknown(), Observation::Dropped, allow), (true, false));
        assert_eq!(judged(unknown(), Observation::Connected, allow), (false, false));
    }
}
