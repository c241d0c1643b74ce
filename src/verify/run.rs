//! Asks the questions of a plan.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::matrix::Matrix;
use super::plan::Plan;
use super::question::Question;
use crate::backend::{Backend, Error, LostPod};
use crate::observe::{self, Finding, Observed, Observer};
use crate::plan::{Cell, Questions};
use crate::policy::Decision;
use crate::verdict::{
    Cause, CellResult, Environment, Outcome, RunResult, ScenarioFailure, ScenarioResult, StepResult, Verdict,
    merge,
};

/// Name of the check where reports of runs show the name of a scenario.
const SCENARIO: &str = "verify";

/// Name of its only step.
const STEP: &str = "now";

/// What a check has found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The cells, as one scenario with one step. In the order of the questions.
    pub run: RunResult,
    /// The same, without the cells of tenants that are only monitored.
    enforced: RunResult,
    /// Whether the intent forbids something, so that a pass has to rest on denials.
    forbids: bool,
    /// Whether the engine has found a policy gap that counts.
    has_gap: bool,
    /// What is not known, although a pass needs it: required connections to destinations that nobody reaches, pairs of
    /// tenants that `--max-probes` leaves out, and rules for pods that were not seen.
    pub lacks: Vec<String>,
    /// The questions that were asked, in the order of the cells.
    pub questions: Vec<Question>,
    /// Destinations outside of the tenants that nobody reaches, so that nothing was asked about them.
    pub silent: BTreeSet<String>,
    /// What tenants may and can do to each other.
    pub matrix: Matrix,
}

impl Checked {
    /// Returns the outcome. Differences of tenants that are only monitored do not matter.
    pub fn outcome(&self) -> Outcome {
        let own = self.outcome_of_packets();
        match (self.has_gap, self.lacks.is_empty()) {
            (true, _) => own.max(Outcome::Fail),
            (false, false) => own.max(Outcome::Inconclusive),
            (false, true) => own,
        }
    }

    fn outcome_of_packets(&self) -> Outcome {
        let counts = self.enforced.counts();
        if self.enforced.scenarios.iter().any(|check| check.failure.is_some()) {
            return self.enforced.outcome(&self.enforced.proof()).max(Outcome::Inconclusive);
        }
        let is_known = self.enforced.environment.unmodelled.iter().all(|kind| kind.is_accepted);
        let is_bad = counts.leaks + counts.blocked + counts.gaps + counts.flaky + counts.inconclusive > 0;
        // If nothing is forbidden, and the policies deny nothing, there is no denial to prove.
        let is_open = !self.forbids && counts.denials == 0;
        match is_open && is_known && !is_bad && !self.run.interrupted && !self.questions.is_empty() {
            true => Outcome::Pass,
            false => self.enforced.outcome(&self.enforced.proof()),
        }
    }
}

/// How a check observes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long it waits, and how sure it has to be.
    pub observe: observe::Settings,
    /// How often everything is asked. At least 1.
    pub repeat: usize,
}

/// What a check is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The probe pods start.
    Starting {
        /// Count of probe pods.
        pods: usize,
    },
    /// The probe pods probe each other.
    Probing {
        /// Count of connections.
        connections: usize,
        /// The repetition, from 1.
        repetition: usize,
    },
    /// The check waits for late arrivals.
    Finishing,
}

/// Asks the questions of a plan. What the backend creates stays. `interrupted` becomes true when the check should end
/// early.
pub async fn check<B: Backend>(
    plan: &Plan,
    settings: &Settings,
    backend: &mut B,
    environment: Environment,
    progress: &dyn Fn(Progress),
    mut interrupted: watch::Receiver<bool>,
) -> Checked {
    let start = Instant::now();
    // What the repetitions before an interruption have shown stays.
    let mut asked = Asked::default();
    let is_interrupted = tokio::select! {
        biased;
        _ = interrupted.wait_for(|interrupted| *interrupted) => true,
        () = ask(plan, settings, backend, progress, &mut asked) => false,
    };
    let (questions, silent) = (std::mem::take(&mut asked.questions), std::mem::take(&mut asked.silent));
    let required = std::mem::take(&mut asked.required);
    let scenario = asked.into_scenario(settings.repeat, start.elapsed());
    let gaps = plan.gaps.iter().map(|gap| [gap.from_tenants.as_slice(), gap.to_tenants.as_slice()]);
    let matrix = Matrix::new(&questions, scenario.steps.first(), gaps, &plan.open);
    let result = |scenario: ScenarioResult| RunResult {
        scenarios: vec![scenario],
        requested: 1,
        interrupted: is_interrupted,
        stopped: false,
        unenforced: false,
        unfinished: Vec::new(),
        environment: environment.clone(),
        profiles: Vec::new(),
        requested_share: settings.observe.leak_share,
        settle: settings.observe.settle,
        took: start.elapsed(),
    };
    let enforced = result(only_enforced(scenario.clone(), &questions));
    let required = required.iter().map(|to| format!("nobody answers at {to}, which must be reached"));
    let untold = enforced.proof().untold_enforcement_points;
    let untold = (plan.coverage.left_out > 0 && untold > 0)
        .then(|| format!("--max-probes leaves out what would show {untold} sets of policies by themselves"));
    let lacks = plan.lacks.iter().cloned().chain(required).chain(untold).collect();
    let counts = |question: &&Question| !question.monitored && question.is_enforced();
    let mut counting = questions.iter().filter(counts);
    let forbids = counting.any(|question| question.wanted() == Some(Decision::Deny));
    let has_gap = plan.gaps.iter().any(|gap| !gap.monitored);
    Checked { run: result(scenario), enforced, forbids, has_gap, lacks, questions, silent, matrix }
}

/// What the questions have shown.
#[derive(Default)]
struct Asked {
    /// The questions that were asked, in the order of the cells.
    questions: Vec<Question>,
    /// Destinations that nobody reaches, so that nothing was asked about them.
    silent: BTreeSet<String>,
    /// Those of them that must be reached.
    required: BTreeSet<String>,
    /// The answers of each repetition.
    repetitions: Vec<StepResult>,
    failure: Option<Error>,
    lost: Vec<LostPod>,
    start: Duration,
    timeout: Duration,
}

async fn ask(
    plan: &Plan,
    settings: &Settings,
    backend: &mut impl Backend,
    progress: &dyn Fn(Progress),
    asked: &mut Asked,
) {
    let (all, mut cells) = (plan.cells(), Vec::new());
    let mut observer = Observer::new(plan.world.clone(), Questions::These(&all), &settings.observe, backend);
    progress(Progress::Starting { pods: plan.coverage.twins });
    match observer.start().await {
        Ok(took) => asked.start = took,
        Err(error) => {
            asked.failure = Some(error);
            return;
        }
    }
    let without: HashSet<Cell> = observer.find_references(&all).await.into_iter().collect();
    let is_asked = |question: &Question| !without.contains(&question.cell);
    let (questions, left): (Vec<_>, Vec<_>) = plan.questions.iter().cloned().partition(is_asked);
    let destination = |it: &Question| format!("{} {}", it.cell.to, it.cell.probe);
    asked.silent = left.iter().map(destination).collect();
    let required = left.iter().filter(|it| it.wanted() == Some(Decision::Allow) && it.is_enforced());
    asked.required = required.map(destination).collect();
    asked.questions = questions;
    cells.extend(asked.questions.iter().map(|question| question.cell.clone()));
    observer.ask(Questions::These(&cells));
    for repetition in 1..=settings.repeat {
        progress(Progress::Probing { connections: cells.len(), repetition });
        let start = Instant::now();
        let observed = observer.observe_unchanged().await;
        asked.repetitions.push(step(observed, &asked.questions, start.elapsed()));
    }
    progress(Progress::Finishing);
    // What was changed meanwhile is what the packets followed.
    asked.failure = observer.check_intact().await.err();
    let mut states: Vec<_> = asked.repetitions.iter_mut().map(|step| step.cells.as_mut_slice()).collect();
    observer.look_back(&mut states).await;
    if let Some(failure) = &asked.failure {
        asked.repetitions.iter_mut().flat_map(|step| &mut step.cells).for_each(|cell| doubt(cell, failure));
    }
    asked.timeout = observer.calibrated;
    asked.lost = observer.backend.lost_pods();
}

/// Makes a difference inconclusive: packets may have followed policies that are not those of the snapshot.
fn doubt(cell: &mut CellResult, failure: &Error) {
    match cell.verdict {
        Verdict::Leak | Verdict::Blocked | Verdict::Flaky => {
            cell.verdict = Verdict::Inconclusive(Cause::ProbeError(failure.to_string()));
        }
        Verdict::Match | Verdict::Undefined | Verdict::Skipped(_) | Verdict::Inconclusive(_) => {}
    }
}

/// Returns the answers of a repetition, each with what is wanted.
fn step(observed: Observed, questions: &[Question], took: Duration) -> StepResult {
    let Observed { cells, new_pods, rounds, loss } = observed;
    let with_wish = |(finding, question): (Finding, &Question)| finding.result.with_intent(question.wanted());
    StepResult {
        name: STEP.to_owned(),
        spec_rules: BTreeSet::new(),
        cells: cells.into_iter().zip(questions).map(with_wish).collect(),
        states: Vec::new(),
        new_pods,
        open_connections: Vec::new(),
        handed_over: Duration::ZERO,
        rounds,
        loss,
        took,
    }
}

impl Asked {
    /// Returns the answers as one scenario with one step.
    fn into_scenario(self, requested: usize, took: Duration) -> ScenarioResult {
        let lost = self.lost.iter().map(|pod| format!("probe pod {} was lost ({})", pod.name, pod.why));
        let failure = self.failure.map(|error| ScenarioFailure {
            everywhere: matches!(error, Error::Unavailable(_)),
            message: error.to_string(),
        });
        let whole = ScenarioResult {
            name: SCENARIO.to_owned(),
            description: String::new(),
            file: "".into(),
            demonstrates: None,
            ignored: BTreeMap::new(),
            steps: Vec::new(),
            failure,
            start: self.start,
            timeout: self.timeout,
            took,
            repetitions: None,
            required: BTreeSet::new(),
            warnings: lost.collect(),
            beside: None,
        };
        let each = self.repetitions.into_iter().map(|step| ScenarioResult {
            warnings: Vec::new(),
            took: step.took,
            steps: vec![step],
            ..whole.clone()
        });
        match merge(each.collect(), |_| requested).into_iter().next() {
            Some(merged) => ScenarioResult { warnings: whole.warnings, took: whole.took, ..merged },
            None => whole,
        }
    }
}

/// Removes what does not matter because tenants are only monitored: all cells between such tenants, and the wishes of such
/// tenants.
fn only_enforced(mut scenario: ScenarioResult, questions: &[Question]) -> ScenarioResult {
    for step in &mut scenario.steps {
        for (cell, question) in step.cells.iter_mut().zip(questions) {
            cell.intended = cell.intended.filter(|_| question.is_enforced());
        }
        let mut questions = questions.iter();
        step.cells.retain(|_| questions.next().is_none_or(|question| !question.monitored));
    }
    scenario
}
