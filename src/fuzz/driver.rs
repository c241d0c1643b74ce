//! Runs random scenarios with many cases each, until there are enough cases or the time is over.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::watch;

use super::compare::{Differs, Disagreement, compare};
use super::coverage::Coverage;
use super::describe::CaseName;
use super::dry_run::{Case, read};
use super::follow::{Found, Suspect, follow};
use super::limits::Limits;
use super::recording::{Recorded, Runner};
use crate::backend::{Backend, Error};
use crate::generate;
use crate::policy::Decision;
use crate::runner::Settings;
use crate::scenario::Scenario;
use crate::verdict::{Counts, Environment, Outcome, ScenarioFailure};

/// Number of cases that share one lab, or one set of pods on a cluster. The next scenario has another random
/// topology.
const CASES_PER_SCENARIO: usize = 10;

/// Maximum number of disagreements that are followed up. After fixing these, the user will run the fuzzer again.
const FOLLOWED: usize = 3;

/// Progress of the fuzzer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Number of cases that have run, and how many of them showed a disagreement.
    Cases {
        /// Cases that have run.
        done: usize,
        /// Cases with a disagreement.
        disagreeing: usize,
    },
    /// A disagreement is being followed up.
    Following {
        /// Its number, from 1.
        number: usize,
        /// Number of disagreements to follow up.
        of: usize,
    },
}

/// Result of the fuzzer.
#[derive(Debug, Clone, Default)]
pub struct FuzzResult {
    /// Seed of the first scenario.
    pub seed: u64,
    /// Number of cases that were run.
    pub cases: usize,
    /// Number of cases with a disagreement.
    pub disagreeing: usize,
    /// Number of cells with each verdict.
    pub counts: Counts,
    /// The disagreements that were followed up.
    pub found: Vec<Found>,
    /// Spec rules and fields that were covered.
    pub coverage: Coverage,
    /// Nodes of the ends of judged cells.
    pub judged_nodes: BTreeSet<String>,
    /// The scenarios that could not be run to their end, each with its seed.
    pub failures: Vec<(u64, ScenarioFailure)>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Time that the cases took, without following up.
    pub took: Duration,
}

/// Runs random scenarios. The same limits always give the same cases, however many scenarios run at the same time.
pub async fn fuzz<B: Backend>(
    limits: &Limits,
    settings: &Settings,
    new_backend: impl Fn(&Scenario) -> Result<B, Error>,
    interrupted: watch::Receiver<bool>,
    progress: impl Fn(Progress),
) -> FuzzResult {
    let start = Instant::now();
    let runner = Runner { settings, new_backend, interrupted: interrupted.clone() };
    let mut result = FuzzResult { seed: limits.seed, ..FuzzResult::default() };
    let mut suspects = Vec::new();
    let longest = Cell::new(Duration::ZERO);
    let is_enough = Cell::new(false);
    let scenarios = stream::unfold(0, |index| {
        let is_late = limits.time.is_some_and(|time| start.elapsed() + longest.get() > time && index > 0);
        let next = if is_late || is_enough.get() { None } else { generated(limits, index) };
        async move { next.map(|next| (next, index + 1)) }
    });
    let ran = scenarios.map(|scenario| async {
        let begun = Instant::now();
        let ran = run_one(&runner, scenario).await;
        longest.set(longest.get().max(begun.elapsed()));
        ran
    });
    let mut ran = std::pin::pin!(ran.buffer_unordered(settings.parallel.max(1)));
    while let Some(Some((digest, disagreeing))) = ran.next().await {
        let hopeless = digest.failures.iter().any(|(_, failure)| failure.everywhere);
        // Scenarios in progress run to their end, because a stopped scenario has no result.
        is_enough.set(is_enough.get() || hopeless || (limits.fail_fast && !disagreeing.is_empty()));
        result.take(digest);
        suspects.extend(disagreeing);
        progress(Progress::Cases { done: result.cases, disagreeing: result.disagreeing });
    }
    result.took = start.elapsed();
    // Sorted by seed, so that the result does not depend on which scenario ended first.
    result.failures.sort_by_key(|(seed, _)| *seed);
    let suspects = choose(suspects);
    let of = suspects.len();
    for (i, suspect) in suspects.into_iter().enumerate() {
        if *interrupted.borrow() {
            break;
        }
        progress(Progress::Following { number: i + 1, of });
        result.found.push(follow(&runner, limits, suspect).await);
    }
    result.interrupted = *interrupted.borrow();
    result
}

/// Generates the scenario with this index. Returns `None` if there are enough cases without it.
fn generated(limits: &Limits, index: usize) -> Option<(u64, Value)> {
    let before = index * CASES_PER_SCENARIO;
    let left = limits.cases.map_or(CASES_PER_SCENARIO, |cases| cases.saturating_sub(before));
    let seed = limits.seed.wrapping_add(index as u64);
    let cases = left.min(CASES_PER_SCENARIO);
    (cases > 0).then(|| (seed, generate::scenario(seed, cases, limits.ground)))
}

/// Runs a random scenario. Returns its result and its disagreements, or `None` if it was interrupted.
async fn run_one<B: Backend>(
    runner: &Runner<'_, impl Fn(&Scenario) -> Result<B, Error>>,
    (seed, value): (u64, Value),
) -> Option<(FuzzResult, Vec<Suspect>)> {
    let failed = |message: String| {
        let failures = vec![(seed, ScenarioFailure { message, everywhere: false })];
        (FuzzResult { failures, ..FuzzResult::default() }, Vec::new())
    };
    let scenario = match read(&value) {
        Ok(scenario) => scenario,
        Err(error) => return Some(failed(format!("the random scenario cannot be read: {error}"))),
    };
    let ran = runner.run(&scenario).await?;
    // This must not block the thread that waits for packets.
    let digested = tokio::task::spawn_blocking(move || digest(seed, &value, scenario, ran)).await;
    Some(digested.unwrap_or_else(|error| failed(error.to_string())))
}

fn digest(seed: u64, value: &Value, scenario: Scenario, ran: Recorded) -> (FuzzResult, Vec<Suspect>) {
    let Recorded { result, attempts } = ran;
    let judged_nodes = result.judged_nodes().into_iter().map(str::to_owned).collect();
    let mut digest = FuzzResult { counts: result.counts(), judged_nodes, ..FuzzResult::default() };
    let mut suspects = Vec::new();
    for (at, step) in scenario.steps.into_iter().enumerate() {
        let ran: Vec<_> = attempts.iter().filter_map(|attempt| attempt.step(at)).collect();
        let Some(last) = ran.last() else { break };
        digest.cases += 1;
        let (before, world) = (last.before.clone(), last.after.clone());
        let case = Case { before, actions: step.actions, world, probes: scenario.probes.clone() };
        digest.coverage.add(at, value, &case);
        let disagreements: Vec<_> = ran.iter().flat_map(compare).collect();
        if let Some(disagreement) = disagreements.first().cloned() {
            digest.disagreeing += 1;
            let (case, cells) = (CaseName { seed, number: at + 1 }, disagreements.len());
            let found = Found { case, disagreement, cells, shown: None, tries: 0 };
            suspects.push(Suspect { found, scenario: up_to(value, at) });
        }
    }
    digest.failures.extend(result.failure.map(|failure| (seed, failure)));
    (digest, suspects)
}

/// Returns the scenario with the steps up to this one.
fn up_to(scenario: &Value, at: usize) -> Value {
    let mut shorter = scenario.clone();
    if let Some(steps) = shorter.get_mut("steps").and_then(Value::as_array_mut) {
        steps.truncate(at + 1);
    }
    shorter
}

impl FuzzResult {
    /// Adds the result of a scenario.
    fn take(&mut self, other: Self) {
        self.cases += other.cases;
        self.counts = self.counts + other.counts;
        self.coverage.merge(other.coverage);
        self.judged_nodes.extend(other.judged_nodes);
        self.disagreeing += other.disagreeing;
        self.failures.extend(other.failures);
    }

    /// Returns the outcome of all cases in an environment. They pass only if packets were compared in at least one cell.
    pub fn outcome(&self, environment: &Environment) -> Outcome {
        let Counts { flaky, inconclusive, matches, .. } = self.counts;
        let is_incomplete = flaky + inconclusive > 0 || matches == 0 || !self.failures.is_empty();
        if self.disagreeing > 0 {
            Outcome::Fail
        } else if is_incomplete || !environment.is_modelled() {
            Outcome::Inconclusive
        } else {
            Outcome::Pass
        }
    }

    /// Returns the failure that prevented every case from running, if there is one.
    pub fn hopeless(&self) -> Option<&ScenarioFailure> {
        let mut failures = self.failures.iter().map(|(_, failure)| failure);
        failures.find(|failure| failure.everywhere && self.cases == 0)
    }
}

/// Returns the disagreements to follow up. The first one of every kind comes first, then the second ones. If several
/// cases of a scenario disagree, only the first is used, because the others may be its consequences.
fn choose(mut suspects: Vec<Suspect>) -> Vec<Suspect> {
    type Kind = (Differs, Decision, Decision);
    suspects.sort_by_key(|suspect| suspect.found.case);
    suspects.dedup_by_key(|suspect| suspect.found.case.seed);
    let mut seen: HashMap<Kind, usize> = HashMap::new();
    let ranked = suspects.into_iter().map(|suspect| {
        let Disagreement { differs, engine, naive, .. } = suspect.found.disagreement;
        let rank = seen.entry((differs, engine, naive)).or_default();
        *rank += 1;
        (*rank, suspect)
    });
    let mut ranked: Vec<_> = ranked.collect();
    // The sort is stable: the cases of one rank stay in their order.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, suspect)| suspect).take(FOLLOWED).collect()
}
