//! Runs one scenario from its start to its end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::event::{Event, Events};
use super::excuses::excuse;
use super::settings::Settings;
use crate::backend::{Backend, Error};
use crate::observe::{Applied, Calibration, Finding, Held, Observed, Observer};
use crate::plan::{Cell, Questions};
use crate::scenario::{Assertion, Claim, Scenario, Step};
use crate::verdict::{CellResult, ScenarioFailure, ScenarioResult, StepResult};

/// Returns the result of a scenario that was not started.
pub(super) fn not_started(scenario: &Scenario, failure: Option<ScenarioFailure>) -> ScenarioResult {
    ScenarioResult {
        name: scenario.title(),
        description: scenario.description.clone(),
        file: scenario.file.clone(),
        demonstrates: scenario.demonstrates,
        ignored: scenario.ignored.clone(),
        steps: Vec::new(),
        failure,
        start: Duration::ZERO,
        timeout: Duration::ZERO,
        took: Duration::ZERO,
        repetitions: None,
        required: BTreeSet::new(),
        warnings: Vec::new(),
        beside: None,
    }
}

pub(super) struct ScenarioRun<'a, B> {
    index: usize,
    pub(super) scenario: &'a Scenario,
    settings: &'a Settings,
    events: &'a Events,
    pub(super) observer: Observer<'a, B>,
    /// How long it took to start.
    start: Duration,
    /// How far the scenario has come, for messages.
    pub(super) place: String,
    /// Index of the step in which a pod was lost.
    pub(super) disturbed: Option<usize>,
}

impl<'a, B: Backend> ScenarioRun<'a, B> {
    pub(super) fn new(
        index: usize,
        scenario: &'a Scenario,
        settings: &'a Settings,
        backend: &'a mut B,
        events: &'a Events,
    ) -> Self {
        let questions = Questions::AllPairs(&scenario.probes);
        let observer = Observer::new(scenario.world.clone(), questions, &settings.observe, backend);
        let place = "before the first step".to_owned();
        Self { index, scenario, settings, events, observer, start: Duration::ZERO, place, disturbed: None }
    }

    /// Checks that no pod is lost. The observation that a loss disturbs goes on to its end, so that no leak that it has
    /// seen is forgotten.
    ///
    /// # Errors
    /// If one is.
    fn check_pods(&self) -> Result<(), Error> {
        match self.observer.backend.has_lost_pod() {
            true => Err(Error::Failed {
                doing: "observe all cells".to_owned(),
                message: "a pod was lost".to_owned(),
            }),
            false => Ok(()),
        }
    }

    /// Corrects the steps by what late arrivals and missing controls show, and returns the scenario's result.
    pub(super) async fn finish(
        mut self,
        start: Instant,
        mut steps: Vec<StepResult>,
        ended: Result<(), Error>,
    ) -> ScenarioResult {
        if !steps.is_empty() {
            let mut states: Vec<_> = steps.iter_mut().map(|step| step.cells.as_mut_slice()).collect();
            self.observer.look_back(&mut states).await;
        }
        let failure = ended.err().map(|error| ScenarioFailure {
            everywhere: matches!(error, Error::Unavailable(_)),
            message: error.to_string(),
        });
        ScenarioResult {
            steps,
            start: self.start,
            timeout: self.observer.calibrated,
            took: start.elapsed(),
            required: self.settings.required.clone(),
            ..not_started(self.scenario, failure)
        }
    }

    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        self.start = self.observer.start().await?;
        let (profiles, scenario) = (&self.settings.profiles, self.scenario);
        let excuse = |world: &_, plan: &mut _| excuse(profiles, scenario, None, world, plan);
        let calibration = self.observer.measure_baseline(excuse).await;
        let Calibration { cells, failed, timeout } = calibration;
        self.events.send(Event::Baseline { index: self.index, cells, failed, timeout });
        Ok(())
    }

    /// Runs all steps, and adds the result of each.
    pub(super) async fn all(&mut self, steps: &mut Vec<StepResult>) -> Result<(), Error> {
        self.begin().await?;
        for step in &self.scenario.steps {
            self.place = format!("in step `{}`", step.name);
            self.prepare(step).await?;
            let span = tracing::debug_span!("step", title = step.name);
            let result = self.step(step).instrument(span).await?;
            self.events.send(Event::StepFinished { index: self.index, result: Box::new(result.clone()) });
            steps.push(result);
            self.check_pods().inspect_err(|_| self.disturbed = steps.len().checked_sub(1))?;
        }
        "after the last step".clone_into(&mut self.place);
        self.observer.linger().await;
        self.observer.control_last().await
    }

    /// Runs the controls for denials whose paths a step removes, while the paths exist. Then prepares the
    /// sentinels for the step.
    pub(super) async fn prepare(&mut self, step: &Step) -> Result<(), Error> {
        let (profiles, scenario) = (&self.settings.profiles, self.scenario);
        let excuse = |world: &_, plan: &mut _| excuse(profiles, scenario, None, world, plan);
        self.observer.control_before(&step.actions, excuse).await?;
        self.observer.prepare_change().await;
        Ok(())
    }

    /// Runs a step.
    pub(super) async fn step(&mut self, step: &Step) -> Result<StepResult, Error> {
        let start = Instant::now();
        let is_wanted =
            |cell: &Cell| step.keep_open.iter().any(|entry| entry.covers(&cell.from, &cell.to, cell.probe));
        let held = match step.keep_open.is_empty() {
            true => Held::default(),
            false => self.observer.hold(is_wanted).await,
        };
        let applied = self.observer.apply(&format!("run step `{}`", step.name), &step.actions).await?;
        let (profiles, scenario) = (&self.settings.profiles, self.scenario);
        let after = Some((step, &applied.before));
        let excuse = |world: &_, plan: &mut _| excuse(profiles, scenario, after, world, plan);
        let observed = self.observer.observe(&applied, &step.requires, excuse).await;
        let open_connections = self.observer.use_again(held, &step.actions).await;
        // If another user or a controller changed the policies, the packets did not follow those of the step. If a pod
        // was lost, they did until then.
        if let Err(error) = self.observer.check_intact().await
            && !self.observer.backend.has_lost_pod()
        {
            return Err(error);
        }
        let Applied { handed_over, .. } = applied;
        let Observed { cells, new_pods, rounds, loss } = observed;
        Ok(StepResult {
            name: step.name.clone(),
            spec_rules: step.spec_rules.clone(),
            cells: cells.into_iter().map(|finding| with_claims(finding, step)).collect(),
            states: self.observer.take_states(),
            new_pods,
            open_connections,
            handed_over,
            rounds,
            loss,
            took: start.elapsed(),
        })
    }
}

/// Adds what the author and the owner say about a cell.
fn with_claims(Finding { result, is_of_endpoint }: Finding, step: &Step) -> CellResult {
    // The author wrote about the Service, and this result may be about one of its endpoints.
    let asserted = last_claim(&step.expect, &result.cell).filter(|_| !is_of_endpoint);
    let intended = last_claim(&step.intent, &result.cell);
    CellResult { asserted, ..result }.with_intent(intended)
}

/// Returns the claim of the last assertion that covers a cell.
fn last_claim(assertions: &[Assertion], cell: &Cell) -> Option<Claim> {
    let covers = |assertion: &&Assertion| assertion.covers(&cell.from, &cell.to, cell.family, cell.probe);
    assertions.iter().rev().find(covers).map(|assertion| assertion.claim)
}
