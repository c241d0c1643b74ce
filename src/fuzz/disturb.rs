//! Runs random scenarios in a lab that is interfered with: paths die, packets are lost, agents are paused or killed.
//!
//! Interference must not cause a leak verdict, must not turn a leak into a pass, and must not prove a denial over a
//! dead path. The result is compared with that of the same scenario without interference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use super::dry_run::read;
use super::recording::Runner;
use crate::backend::lab::{Interference, Lab};
use crate::backend::{Agent, Backend, Canary, Error, Sentinels};
use crate::deviation::Fault;
use crate::generate::{self, Ground};
use crate::plan;
use crate::policy::Decision;
use crate::runner::Settings;
use crate::scenario::Scenario;
use crate::source;
use crate::verdict::{Outcome, ScenarioResult, Verdict};
use crate::world::{Action, Deployed, EndpointName, World};

/// Number of steps in a scenario. The interference starts in one of them.
const STEPS: usize = 4;

/// Options for the random scenarios.
#[derive(Debug, Clone, Copy)]
pub struct DisturbLimits {
    /// Seed of the first scenario. Each next scenario has the next seed.
    pub seed: u64,
    /// Maximum number of scenarios.
    pub scenarios: usize,
    /// Time after which no more scenarios are started.
    pub time: Option<Duration>,
    /// Number of scenarios that run at the same time.
    pub at_once: usize,
}

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

/// Runs random scenarios. The seed of each scenario decides its interference. Returns the results by the name of the
/// interference. If it is interrupted, it returns the results of the scenarios that have ended.
///
/// # Errors
/// If a generated scenario cannot be read.
pub async fn disturb(
    limits: DisturbLimits,
    settings: &Settings,
    fault: Option<Fault>,
    interrupted: watch::Receiver<bool>,
) -> Result<BTreeMap<&'static str, Tally>, source::Error> {
    let start = Instant::now();
    let is_over = || limits.time.is_some_and(|time| start.elapsed() > time);
    let seeds = (0..limits.scenarios as u64).map(|index| limits.seed.wrapping_add(index));
    let seeds = seeds.take_while(|_| !is_over());
    let one = |seed| run_one(seed, settings, fault, interrupted.clone());
    let mut ran = std::pin::pin!(stream::iter(seeds).map(one).buffer_unordered(limits.at_once.max(1)));
    let mut tallies = BTreeMap::<_, Tally>::new();
    while let Some(ran) = ran.next().await {
        let Some((seed, interference, pair)) = ran? else { break };
        tallies.entry(interference.name()).or_default().take(seed, interference, pair);
    }
    Ok(tallies)
}

/// The results of a scenario with interference, and without it if a fault can cause leaks.
struct Pair {
    alone: Option<ScenarioResult>,
    disturbed: ScenarioResult,
    /// Unset if the scenario ended before the interference.
    happened: Arc<OnceLock<Happened>>,
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
) -> Result<Option<(u64, Interference, Pair)>, source::Error> {
    let scenario = read(&generate::scenario(seed, STEPS, Ground::Lab))?;
    let interference = Interference::from_seed(seed);
    let alone = match fault {
        None => None,
        Some(_) => {
            let new_backend = |_: &Scenario| Lab::new(fault);
            let runner = Runner { settings, new_backend, interrupted: interrupted.clone() };
            let Some(ran) = runner.run(&scenario).await else { return Ok(None) };
            Some(ran.result)
        }
    };
    let happened = Arc::new(OnceLock::new());
    let new_backend = |scenario: &Scenario| {
        let at = fastrand::Rng::with_seed(seed).usize(0..scenario.steps.len().max(1));
        let happened = Arc::clone(&happened);
        Ok(Disturbed { lab: Lab::new(fault)?, interference, seed, at, next_step: 0, happened })
    };
    let runner = Runner { settings, new_backend, interrupted };
    let ran = runner.run(&scenario).await;
    Ok(ran.map(|ran| (seed, interference, Pair { alone, disturbed: ran.result, happened })))
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

/// Returns the denied cells whose verdict `is_wanted`, each with the index of its step.
fn places(result: &ScenarioResult, is_wanted: impl Fn(&Verdict) -> bool) -> BTreeSet<(usize, &plan::Cell)> {
    let steps = result.steps.iter().enumerate();
    let cells = steps.flat_map(|(at, step)| step.cells.iter().map(move |cell| (at, cell)));
    let denied = cells.filter(|(_, cell)| cell.decision() == Decision::Deny && is_wanted(&cell.verdict));
    denied.map(|(at, cell)| (at, &cell.cell)).collect()
}

/// Returns the denials that count as proved between pods of the node whose path has died and anything that is not on
/// this node.
fn dead_proofs<'a>(result: &'a ScenarioResult, happened: &Happened) -> Vec<(usize, &'a plan::Cell)> {
    // The endpoint of a Service may be on any node, and packets from a node itself are not forwarded.
    let has_place = |end: &EndpointName| match end {
        EndpointName::Pod { .. } | EndpointName::External(_) => true,
        EndpointName::Service { .. } | EndpointName::Node(_) => false,
    };
    let since = result.steps.iter().enumerate().skip(happened.step);
    let cells = since.flat_map(|(at, step)| step.cells.iter().map(move |cell| (at, cell)));
    let proved =
        cells.filter(|(_, cell)| cell.decision() == Decision::Deny && cell.verdict == Verdict::Match);
    let dead = proved.filter(|(_, cell)| {
        let ends = [&cell.nodes.from, &cell.nodes.to].map(|node| node.as_deref());
        has_place(&cell.cell.from)
            && has_place(&cell.cell.to)
            && ends[0] != ends[1]
            && ends.contains(&Some(happened.place.as_str()))
    });
    dead.map(|(at, cell)| (at, &cell.cell)).collect()
}

impl Tally {
    fn take(&mut self, seed: u64, interference: Interference, pair: Pair) {
        let Pair { alone, disturbed, happened } = pair;
        let true_leaks = alone
            .as_ref()
            .map(|alone| places(alone, |verdict| *verdict == Verdict::Leak))
            .unwrap_or_default();
        let outcome = disturbed.outcome();
        let leaks = places(&disturbed, |verdict| *verdict == Verdict::Leak);
        let matches = places(&disturbed, |verdict| *verdict == Verdict::Match);
        self.scenarios += 1;
        self.broken += usize::from(disturbed.failure.is_some());
        self.passed += usize::from(outcome == Outcome::Pass);
        self.failed += usize::from(outcome == Outcome::Fail);
        self.inconclusive += usize::from(outcome == Outcome::Inconclusive);
        self.leaking += usize::from(!true_leaks.is_empty());
        // With a fault, no leak counts as false: the run without interference may have missed it, for example in an
        // inconclusive cell.
        let false_leaks = if alone.is_none() { leaks } else { BTreeSet::new() };
        let hidden_leaks = if outcome == Outcome::Pass { true_leaks.clone() } else { BTreeSet::new() };
        let hidden_cells: Vec<_> = true_leaks.intersection(&matches).copied().collect();
        let dead_proofs = match (interference, happened.get()) {
            (Interference::PathDies, Some(happened)) => dead_proofs(&disturbed, happened),
            (Interference::PathDies, None)
            | (Interference::Loss | Interference::Delay | Interference::AgentKilled, _) => Vec::new(),
        };
        self.dead_proofs += dead_proofs.len();
        self.false_leaks += false_leaks.len();
        self.hidden_leaks += usize::from(!hidden_leaks.is_empty());
        self.hidden_cells += hidden_cells.len();
        let mut found = describe(false_leaks, &disturbed, "is called a leak").collect::<Vec<_>>();
        found.extend(describe(hidden_leaks, &disturbed, "leaks, and the scenario passes"));
        found.extend(describe(hidden_cells, &disturbed, "leaks, and matches"));
        found.extend(describe(dead_proofs, &disturbed, "is proved over a dead path"));
        if !found.is_empty() {
            self.suspicious.insert(seed, found);
        }
    }
}

/// A lab that is interfered with in one of the steps.
struct Disturbed {
    lab: Lab,
    interference: Interference,
    seed: u64,
    /// The index of the step.
    at: usize,
    next_step: usize,
    happened: Arc<OnceLock<Happened>>,
}

impl Backend for Disturbed {
    async fn deploy(&mut self, world: &World) -> Result<Deployed, Error> {
        self.lab.deploy(world).await
    }

    async fn apply(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        let deployed = self.lab.apply(actions, world).await?;
        let step = self.next_step;
        self.next_step += 1;
        if step == self.at {
            let place = self.lab.interfere(self.interference, self.seed).await?;
            tracing::debug!("{} at {place}", self.interference.name());
            // Each step is applied once, so the value is not set yet.
            let _ = self.happened.set(Happened { step, place });
        }
        Ok(deployed)
    }

    async fn check_intact(&self, world: &World) -> Result<(), Error> {
        self.lab.check_intact(world).await
    }

    async fn apply_between_steps(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        self.lab.apply_between_steps(actions, world).await
    }

    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.lab.agent(endpoint)
    }

    fn canaries(&self) -> Vec<Canary> {
        self.lab.canaries()
    }

    fn sentinels(&self) -> Sentinels {
        self.lab.sentinels()
    }

    async fn stop(self) {
        self.lab.stop().await;
    }
}
