//! Asks the questions of a plan.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::matrix::Matrix;
use super::plan::Plan;
use super::question::Question;
use crate::backend::{Backend, Error, LostPod};
use crate::observe::{Observed, Observer, Settings};
use crate::plan::{Cell, Questions};
use crate::policy::Decision;
use crate::verdict::{
    CellResult, Environment, Outcome, RunResult, ScenarioFailure, ScenarioResult, StepResult,
};

/// Name of the check where reports of runs show the name of a scenario, and that of its only step.
const NAMES: [&str; 2] = ["verify", "now"];

/// What a check has found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The cells, as one scenario with one step. In the order of the questions.
    pub run: RunResult,
    /// The same, without the cells of tenants that are only monitored.
    enforced: RunResult,
    /// Whether the intent forbids something, so that a pass has to rest on denials.
    forbids: bool,
    /// The questions that were asked, in the order of the cells.
    pub questions: Vec<Question>,
    /// Destinations outside of the tenants that nobody reaches, so that nothing was asked about them.
    pub silent: BTreeSet<String>,
    /// What tenants may and can do to each other.
    pub matrix: Matrix,
}

impl Checked {
    /// Returns the outcome. Cells of tenants that are only monitored do not matter.
    pub fn outcome(&self) -> Outcome {
        let counts = self.enforced.counts();
        if self.enforced.scenarios.iter().any(|check| check.failure.is_some()) {
            return self.enforced.outcome(&self.enforced.proof()).max(Outcome::Inconclusive);
        }
        // If nothing is forbidden, and the policies deny nothing, there is no denial to prove.
        let is_open = !self.forbids && counts.denials == 0;
        let is_known = self.enforced.environment.unmodelled.iter().all(|kind| kind.is_accepted);
        match is_open && is_known && !self.run.interrupted {
            true => counts.outcome(None),
            false => self.enforced.outcome(&self.enforced.proof()),
        }
    }
}

/// Asks the questions of a plan. What the backend creates stays. `interrupted` becomes true when the check should end early.
pub async fn check<B: Backend>(
    plan: &Plan,
    settings: &Settings,
    backend: &mut B,
    environment: Environment,
    mut interrupted: watch::Receiver<bool>,
) -> Checked {
    let start = Instant::now();
    let asked = tokio::select! {
        biased;
        _ = interrupted.wait_for(|interrupted| *interrupted) => None,
        asked = ask(plan, settings, backend) => Some(asked),
    };
    let is_interrupted = asked.is_none();
    let mut asked = asked.unwrap_or_default();
    let (questions, silent) = (std::mem::take(&mut asked.questions), std::mem::take(&mut asked.silent));
    let scenario = asked.into_scenario(&questions, start.elapsed());
    let matrix = Matrix::new(&questions, scenario.steps.first());
    let result = |scenario: ScenarioResult| RunResult {
        scenarios: vec![scenario],
        requested: 1,
        interrupted: is_interrupted,
        stopped: false,
        unfinished: Vec::new(),
        environment: environment.clone(),
        profiles: Vec::new(),
        requested_share: settings.leak_share,
        took: start.elapsed(),
    };
    let enforced = result(only_enforced(scenario.clone(), &questions));
    let forbids = questions.iter().any(|question| question.wanted() == Some(Decision::Deny));
    Checked { run: result(scenario), enforced, forbids, questions, silent, matrix }
}

/// What the questions have shown.
#[derive(Default)]
struct Asked {
    observed: Option<Observed>,
    /// The questions that were asked, in the order of the cells.
    questions: Vec<Question>,
    /// Destinations that nobody reaches, so that nothing was asked about them.
    silent: BTreeSet<String>,
    cells: Vec<CellResult>,
    failure: Option<Error>,
    lost: Vec<LostPod>,
    start: Duration,
    timeout: Duration,
}

async fn ask(plan: &Plan, settings: &Settings, backend: &mut impl Backend) -> Asked {
    let (all, mut cells) = (plan.cells(), Vec::new());
    let mut observer = Observer::new(plan.world.clone(), Questions::These(&all), settings, backend);
    let mut asked = Asked::default();
    match observer.start().await {
        Ok(took) => asked.start = took,
        Err(error) => return Asked { failure: Some(error), ..asked },
    }
    let without: HashSet<Cell> = observer.find_references(&all).await.into_iter().collect();
    asked.silent = without.iter().map(destination).collect();
    asked.questions =
        plan.questions.iter().filter(|question| !without.contains(&question.cell)).cloned().collect();
    cells.extend(asked.questions.iter().map(|question| question.cell.clone()));
    observer.ask(Questions::These(&cells));
    let mut observed = observer.observe_unchanged().await;
    asked.cells = std::mem::take(&mut observed.cells).into_iter().map(|finding| finding.result).collect();
    // What was changed meanwhile is what the packets followed.
    asked.failure = observer.check_intact().await.err();
    observer.look_back(&mut [asked.cells.as_mut_slice()]).await;
    asked.timeout = observer.calibrated;
    asked.observed = Some(observed);
    asked.lost = observer.backend.lost_pods();
    asked
}

/// Returns the name of a cell's destination, with the port.
fn destination(cell: &Cell) -> String {
    format!("{} {}", cell.to, cell.probe)
}

impl Asked {
    /// Returns the answers as one scenario with one step.
    fn into_scenario(self, questions: &[Question], took: Duration) -> ScenarioResult {
        let [name, step] = NAMES.map(str::to_owned);
        let lost = self.lost.iter().map(|pod| format!("probe pod {} was lost ({})", pod.name, pod.why));
        let failure = self.failure.map(|error| ScenarioFailure {
            everywhere: matches!(error, Error::Unavailable(_)),
            message: error.to_string(),
        });
        let with_wish = |(cell, question): (CellResult, &Question)| cell.with_intent(question.wanted());
        let cells: Vec<_> = self.cells.into_iter().zip(questions).map(with_wish).collect();
        let step = self.observed.map(|observed| StepResult {
            name: step,
            spec_rules: BTreeSet::new(),
            cells,
            new_pods: observed.new_pods,
            open_connections: Vec::new(),
            handed_over: Duration::ZERO,
            rounds: observed.rounds,
            loss: observed.loss,
            took,
        });
        ScenarioResult {
            name,
            description: String::new(),
            file: "".into(),
            demonstrates: None,
            ignored: BTreeMap::new(),
            steps: step.into_iter().collect(),
            failure,
            start: self.start,
            timeout: self.timeout,
            took,
            repetitions: None,
            required: BTreeSet::new(),
            warnings: lost.collect(),
        }
    }
}

/// Removes the cells of tenants that are only monitored.
fn only_enforced(mut scenario: ScenarioResult, questions: &[Question]) -> ScenarioResult {
    for step in &mut scenario.steps {
        let mut questions = questions.iter();
        step.cells.retain(|_| questions.next().is_none_or(Question::is_enforced));
    }
    scenario
}
