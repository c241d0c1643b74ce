//! One random scenario after the other, many cases in each, until there are enough or the time is over.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::watch;

use super::carry_out::{Carried, Runner};
use super::compare::{Differs, Disagreement, compare};
use super::coverage::Coverage;
use super::describe::CaseName;
use super::dry_run::{Case, read};
use super::follow::{Found, Suspect, follow};
use crate::backend::{Backend, Error};
use crate::generate::{self, Ground};
use crate::policy::Decision;
use crate::run::Settings;
use crate::scenario::Scenario;
use crate::verdict::{Counts, ScenarioFailure};

/// How many cases one lab, or one set of pods on a cluster, is used for: its topology is random, too.
const CASES_PER_SCENARIO: usize = 10;

/// How many disagreements are followed up. Whoever has mended these will try again.
const FOLLOWED: usize = 3;

/// Which random cases, and how many.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Where randomness begins: the seed of the first scenario, which the others follow.
    pub seed: u64,
    /// How many cases at most.
    pub cases: Option<usize>,
    /// After how long no more scenarios are begun.
    pub time: Option<Duration>,
    /// How many scenarios are carried out at once.
    pub at_once: usize,
    /// Whether no more scenarios are begun after the first disagreement.
    pub fail_fast: bool,
    /// Where.
    pub ground: Ground,
    /// The options that say so, each after a space.
    pub place: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many cases have been carried out, and so many of them showed a disagreement.
    Cases {
        /// The cases.
        done: usize,
        /// Those with a disagreement.
        disagreeing: usize,
    },
    /// A disagreement is being followed up.
    Following {
        /// Its number, counted from 1.
        number: usize,
        /// How many there are to follow up.
        of: usize,
    },
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct FuzzResult {
    /// Where randomness began.
    pub seed: u64,
    /// How many cases were carried out.
    pub cases: usize,
    /// How many cases showed a disagreement.
    pub disagreeing: usize,
    /// All cells, by their verdicts.
    pub counts: Counts,
    /// The disagreements that were followed up.
    pub found: Vec<Found>,
    /// What was reached.
    pub coverage: Coverage,
    /// The machines that are an end of a judged cell.
    pub judged_machines: BTreeSet<String>,
    /// The scenarios that could not be carried out to their end, each with its seed.
    pub failures: Vec<(u64, ScenarioFailure)>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// How long the cases took, without following up.
    pub took: Duration,
}

/// Carries random scenarios out. The same limits give the same cases, however many are carried out at
/// once.
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
    let batches = stream::unfold(0, |index| {
        let is_late = limits.time.is_some_and(|time| start.elapsed() + longest.get() > time && index > 0);
        let batch = if is_late || is_enough.get() { None } else { Batch::new(limits, index) };
        async move { batch.map(|batch| (batch, index + 1)) }
    });
    let carried = batches.map(|batch| async {
        let begun = Instant::now();
        let digest = carry_out(&runner, batch).await;
        longest.set(longest.get().max(begun.elapsed()));
        digest
    });
    let mut carried = std::pin::pin!(carried.buffer_unordered(limits.at_once.max(1)));
    while let Some(Some(digest)) = carried.next().await {
        let hopeless = digest.failure.as_ref().is_some_and(|failure| failure.everywhere);
        // Those that are under way end by themselves: what is stopped gives nothing back.
        is_enough.set(is_enough.get() || hopeless || (limits.fail_fast && !digest.suspects.is_empty()));
        result.take(digest, &mut suspects);
        progress(Progress::Cases { done: result.cases, disagreeing: result.disagreeing });
    }
    result.took = start.elapsed();
    // By seed, so that what is followed up does not depend on who was faster.
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

/// A random scenario.
struct Batch {
    seed: u64,
    value: Value,
}

impl Batch {
    /// The scenario with this index; `None` if there are enough cases without it.
    fn new(limits: &Limits, index: usize) -> Option<Self> {
        let before = index * CASES_PER_SCENARIO;
        let left = limits.cases.map_or(CASES_PER_SCENARIO, |cases| cases.saturating_sub(before));
        let seed = limits.seed.wrapping_add(index as u64);
        let cases = left.min(CASES_PER_SCENARIO);
        (cases > 0).then(|| Self { seed, value: generate::scenario(seed, cases, limits.ground) })
    }
}

/// What a scenario came to.
#[derive(Default)]
struct Digest {
    seed: u64,
    cases: usize,
    counts: Counts,
    coverage: Coverage,
    judged_machines: BTreeSet<String>,
    suspects: Vec<Suspect>,
    failure: Option<ScenarioFailure>,
}

/// Carries a random scenario out; `None` if that was interrupted.
async fn carry_out<B: Backend>(
    runner: &Runner<'_, impl Fn(&Scenario) -> Result<B, Error>>,
    batch: Batch,
) -> Option<Digest> {
    let Batch { seed, value } = batch;
    let failed = |message: String| Digest {
        seed,
        failure: Some(ScenarioFailure { message, everywhere: false }),
        ..Digest::default()
    };
    let scenario = match read(&value) {
        Ok(scenario) => scenario,
        Err(error) => return Some(failed(format!("the random scenario cannot be read: {error}"))),
    };
    let carried = runner.carry_out(&scenario).await?;
    // Off the thread that waits for packets.
    let digested = tokio::task::spawn_blocking(move || digest(seed, &value, scenario, carried)).await;
    Some(digested.unwrap_or_else(|error| failed(error.to_string())))
}

fn digest(seed: u64, value: &Value, scenario: Scenario, carried: Carried) -> Digest {
    let Carried { result, states } = carried;
    let judged_machines = result.judged_machines().into_iter().map(str::to_owned).collect();
    let mut digest = Digest { seed, counts: result.counts(), judged_machines, ..Digest::default() };
    let states = states.iter().zip(states.iter().skip(1));
    for (at, ((step, result), (before, state))) in
        scenario.steps.into_iter().zip(&result.steps).zip(states).enumerate()
    {
        digest.cases += 1;
        let (before, state) = (before.clone(), state.clone());
        let case = Case { before, actions: step.actions, state, probes: scenario.probes.clone() };
        digest.coverage.add(at, value, &case);
        let disagreements = compare(&case.state, &result.cells);
        if let Some(first) = disagreements.first() {
            let name = CaseName { seed, number: at + 1 };
            let (scenario, first) = (up_to(value, at), first.clone());
            digest.suspects.push(Suspect { name, scenario, first, cells: disagreements.len() });
        }
    }
    digest.failure = result.failure;
    digest
}

/// The scenario with the steps up to this one.
fn up_to(scenario: &Value, at: usize) -> Value {
    let mut shorter = scenario.clone();
    if let Some(steps) = shorter.get_mut("steps").and_then(Value::as_array_mut) {
        steps.truncate(at + 1);
    }
    shorter
}

impl FuzzResult {
    fn take(&mut self, digest: Digest, suspects: &mut Vec<Suspect>) {
        self.cases += digest.cases;
        self.counts = self.counts + digest.counts;
        self.coverage.merge(digest.coverage);
        self.judged_machines.extend(digest.judged_machines);
        self.disagreeing += digest.suspects.len();
        suspects.extend(digest.suspects);
        self.failures.extend(digest.failure.map(|failure| (digest.seed, failure)));
    }

    /// Why nothing could be carried out, if so.
    pub fn hopeless(&self) -> Option<&ScenarioFailure> {
        let mut failures = self.failures.iter().map(|(_, failure)| failure);
        failures.find(|failure| failure.everywhere && self.cases == 0)
    }
}

/// The disagreements to follow up: of every kind the first ones, and of many cases in one scenario only
/// the first, because the later ones may be its consequences.
fn choose(mut suspects: Vec<Suspect>) -> Vec<Suspect> {
    type Kind = (Differs, Decision, Decision);
    suspects.sort_by_key(|suspect| suspect.name);
    suspects.dedup_by_key(|suspect| suspect.name.seed);
    let mut seen: HashMap<Kind, usize> = HashMap::new();
    let mut ranked: Vec<_> = suspects
        .into_iter()
        .map(|suspect| {
            let Disagreement { differs, engine, naive, .. } = suspect.first;
            let rank = seen.entry((differs, engine, naive)).or_default();
            *rank += 1;
            (*rank, suspect)
        })
        .collect();
    ranked.sort_by_key(|(rank, suspect)| (*rank, suspect.name));
    ranked.truncate(FOLLOWED);
    ranked.into_iter().map(|(_, suspect)| suspect).collect()
}
