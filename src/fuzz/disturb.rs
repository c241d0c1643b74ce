//! Runs random scenarios in a lab that is interfered with: paths die, packets are lost, agents are paused or killed.
//!
//! Interference must not cause a leak verdict, must not turn a leak into a pass, and must not prove a denial over a
//! dead path. The result is compared with that of the same scenario without interference.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use super::dry_run::read;
use super::limits::Limits;
use super::recording::Runner;
use crate::backend::Interference;
use crate::backend::lab::Lab;
use crate::deviation::Fault;
use crate::generate::{self, Ground};
use crate::plan;
use crate::policy::Decision;
use crate::runner::Settings;
use crate::scenario::Scenario;
use crate::source;
use crate::verdict::{CellResult, Outcome, ScenarioResult, Verdict};
use crate::world::EndpointName;

/// Number of steps in a scenario. The interference starts in one of them.
const STEPS: usize = 4;

/// Results of scenarios with interference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of scenarios that were run.
    pub scenarios: usize,
    /// Scenarios that passed.
    pub passed: usize,
    /// Scenarios that failed, with leaks or blocked cells.
    pub failed: usize,
    /// Scenarios that were inconclusive.
    pub inconclusive: usize,
    /// Scenarios that could not be run to their end.
    pub broken: usize,
    /// Scenarios that leak without interference; 0 without a fault.
    pub leaking: usize,
    /// Denied cells with the verdict leak, although nothing leaks.
    pub false_leaks: usize,
    /// Scenarios that pass, although they leak without interference.
    pub hidden_leaks: usize,
    /// Cells with the verdict match, although they leak without interference.
    pub hidden_cells: usize,
    /// Denials that count as proved, although no packet could get through.
    pub dead_proofs: usize,
    /// Descriptions of what the last four fields count, by the seed of the scenario.
    pub suspicious: BTreeMap<u64, Vec<String>>,
}

/// Runs random scenarios, one for each case. The seed of each scenario decides its interference. Returns the
/// results by the name of the interference. If it is interrupted, it returns the results of the scenarios that
/// have ended. Of the limits, it uses `seed`, `cases`, and `time`, after which it starts no more scenarios.
///
/// # Errors
/// If a generated scenario cannot be read.
pub async fn disturb(
    limits: &Limits,
    settings: &Settings,
    fault: Option<Fault>,
    interrupted: watch::Receiver<bool>,
) -> Result<BTreeMap<&'static str, Tally>, source::Error> {
    let start = Instant::now();
    let is_over = || limits.time.is_some_and(|time| start.elapsed() > time);
    let scenarios = 0..limits.cases.unwrap_or(usize::MAX) as u64;
    let seeds = scenarios.map(|index| limits.seed.wrapping_add(index)).take_while(|_| !is_over());
    let one = |seed| run_one(seed, settings, fault, interrupted.clone());
    let mut ran = std::pin::pin!(stream::iter(seeds).map(one).buffer_unordered(settings.parallel.max(1)));
    let mut tallies = BTreeMap::<_, Tally>::new();
    while let Some(ran) = ran.next().await {
        let Some(disturbed) = ran? else { break };
        tallies.entry(disturbed.interference.name()).or_default().take(disturbed);
    }
    Ok(tallies)
}

/// The results of a scenario with interference, and without it if a fault can cause leaks.
struct Disturbed {
    seed: u64,
    interference: Interference,
    alone: Option<ScenarioResult>,
    result: ScenarioResult,
    /// `None` if the scenario ended before the interference.
    happened: Option<Happened>,
}

/// The step and place of an interference.
#[derive(Debug)]
struct Happened {
    /// The index of the step.
    step: usize,
    place: String,
}

/// Runs the scenario of a seed. Returns `None` if it was interrupted.
async fn run_one(
    seed: u64,
    settings: &Settings,
    fault: Option<Fault>,
    interrupted: watch::Receiver<bool>,
) -> Result<Option<Disturbed>, source::Error> {
    let scenario = read(&generate::scenario(seed, STEPS, Ground::Lab))?;
    let interference = Interference::from_seed(seed);
    let runner = Runner { settings, new_backend: |_: &Scenario| Lab::new(fault), interrupted };
    let alone = match fault {
        None => None,
        Some(_) => {
            let Some(ran) = runner.run(&scenario).await else { return Ok(None) };
            Some(ran.result)
        }
    };
    let at = fastrand::Rng::with_seed(seed).usize(0..scenario.steps.len().max(1));
    let mut happened = None;
    let interfere = async |step: usize, lab: &mut Lab| {
        if step == at {
            let place = lab.interfere(interference, seed).await?;
            tracing::debug!("{} at {place}", interference.name());
            happened = Some(Happened { step, place });
        }
        Ok(())
    };
    let ran = runner.run_with(&scenario, interfere).await;
    Ok(ran.map(|ran| Disturbed { seed, interference, alone, result: ran.result, happened }))
}

/// Describes what is wrong with some cells of a result, for people.
fn describe<'a>(
    cells: impl IntoIterator<Item = (usize, &'a plan::Cell)>,
    result: &'a ScenarioResult,
    what: &'a str,
) -> impl Iterator<Item = String> {
    let name = |at: usize| result.steps.get(at).map_or("?", |step| step.name.as_str());
    cells.into_iter().map(move |(at, cell)| format!("{}: {cell} over {} {what}", name(at), cell.family))
}

/// Returns the denied cells, each with the index of its step.
fn denied(result: &ScenarioResult) -> impl Iterator<Item = (usize, &CellResult)> {
    let steps = result.steps.iter().enumerate();
    let cells = steps.flat_map(|(at, step)| step.cells.iter().map(move |cell| (at, cell)));
    cells.filter(|(_, cell)| cell.decision() == Decision::Deny)
}

/// Returns the denied cells with this verdict, each with the index of its step.
fn places<'a>(result: &'a ScenarioResult, verdict: &Verdict) -> BTreeSet<(usize, &'a plan::Cell)> {
    let wanted = denied(result).filter(|(_, cell)| cell.verdict == *verdict);
    wanted.map(|(at, cell)| (at, &cell.cell)).collect()
}

/// Returns the denials that count as proved between pods of the node whose path has died and anything that is not on
/// this node.
fn dead_proofs<'a>(result: &'a ScenarioResult, happened: &Happened) -> Vec<(usize, &'a plan::Cell)> {
    // The endpoint of a Service may be on any node, and packets from a node itself are not forwarded.
    let has_place = |end: &EndpointName| match end {
        EndpointName::Pod { .. } | EndpointName::External(_) => true,
        EndpointName::Service { .. } | EndpointName::Node(_) => false,
    };
    let dead = denied(result).filter(|(at, cell)| {
        let ends = [&cell.nodes.from, &cell.nodes.to].map(|node| node.as_deref());
        *at >= happened.step
            && cell.verdict == Verdict::Match
            && has_place(&cell.cell.from)
            && has_place(&cell.cell.to)
            && ends[0] != ends[1]
            && ends.contains(&Some(happened.place.as_str()))
    });
    dead.map(|(at, cell)| (at, &cell.cell)).collect()
}

impl Tally {
    fn take(&mut self, disturbed: Disturbed) {
        let Disturbed { seed, interference, alone, result, happened } = disturbed;
        let true_leaks = alone.as_ref().map(|alone| places(alone, &Verdict::Leak)).unwrap_or_default();
        let outcome = result.outcome();
        let leaks = places(&result, &Verdict::Leak);
        let matches = places(&result, &Verdict::Match);
        self.scenarios += 1;
        self.broken += usize::from(result.failure.is_some());
        self.passed += usize::from(outcome == Outcome::Pass);
        self.failed += usize::from(outcome == Outcome::Fail);
        self.inconclusive += usize::from(outcome == Outcome::Inconclusive);
        self.leaking += usize::from(!true_leaks.is_empty());
        // With a fault, no leak counts as false: the run without interference may have missed it, for example in an
        // inconclusive cell.
        let false_leaks = if alone.is_none() { leaks } else { BTreeSet::new() };
        let hidden_leaks = if outcome == Outcome::Pass { true_leaks.clone() } else { BTreeSet::new() };
        let hidden_cells: Vec<_> = true_leaks.intersection(&matches).copied().collect();
        let dead_proofs = match (interference, &happened) {
            (Interference::PathDies, Some(happened)) => dead_proofs(&result, happened),
            (Interference::PathDies, None)
            | (Interference::Loss | Interference::Delay | Interference::AgentKilled, _) => Vec::new(),
        };
        self.dead_proofs += dead_proofs.len();
        self.false_leaks += false_leaks.len();
        self.hidden_leaks += usize::from(!hidden_leaks.is_empty());
        self.hidden_cells += hidden_cells.len();
        let mut found = describe(false_leaks, &result, "is called a leak").collect::<Vec<_>>();
        found.extend(describe(hidden_leaks, &result, "leaks, and the scenario passes"));
        found.extend(describe(hidden_cells, &result, "leaks, and matches"));
        found.extend(describe(dead_proofs, &result, "is proved over a dead path"));
        if !found.is_empty() {
            self.suspicious.insert(seed, found);
        }
    }
}
