//! Trying out, after every step, what a backend's variants would show.

use std::time::{Duration, Instant};

use super::ScenarioRun;
use super::step_plan::StepPlan;
use crate::backend::{Error, Variants};
use crate::observe::ledger::Ledger;
use crate::observe::round::Rounds;
use crate::observe::settle::Prober;
use crate::observe::track::{Expected, Track};
use crate::plan::Router;
use crate::policy::{Decision, Engine};
use crate::runner::event::Events;
use crate::runner::settings::Settings;
use crate::scenario::{Scenario, Step};
use crate::verdict::{ScenarioResult, StepResult, Verdict};

/// Whoever wants to know what variants show.
pub trait Trials<V> {
    /// The variants that are still of interest in a step, counted from 0.
    fn wanted(&self, step: usize) -> Vec<V>;

    /// Takes what a variant showed in a step.
    fn seen(&mut self, variant: V, step: usize, verdicts: &[Verdict]);
}

/// How much longer the second look waits for answers.
const SECOND_LOOK: u32 = 4;

/// Carries a scenario out, and looks after each step at what variants would show.
pub(in crate::runner) async fn carry_out_with_variants<B: Variants>(
    index: usize,
    scenario: &Scenario,
    settings: &Settings,
    backend: &mut B,
    events: &Events,
    trials: &mut impl Trials<B::Variant>,
) -> ScenarioResult {
    let start = Instant::now();
    let mut run = ScenarioRun::new(index, scenario, settings, backend, events);
    let mut steps = Vec::new();
    let ended = run.all_with_variants(&mut steps, trials).await;
    run.look_back(&mut steps).await;
    run.result(start, steps, ended)
}

impl<B: Variants> ScenarioRun<'_, B> {
    async fn all_with_variants(
        &mut self,
        steps: &mut Vec<StepResult>,
        trials: &mut impl Trials<B::Variant>,
    ) -> Result<(), Error> {
        self.begin().await?;
        for (index, step) in self.scenario.steps.iter().enumerate() {
            self.control_before(step).await?;
            self.watch.prepare(self.timeout).await;
            steps.push(self.step(step).await?);
            self.try_variants((index, step), trials).await?;
        }
        self.control().await?;
        self.is_controlled = true;
        Ok(())
    }

    async fn try_variants(
        &mut self,
        (index, step): (usize, &Step),
        trials: &mut impl Trials<B::Variant>,
    ) -> Result<(), Error> {
        let variants = self.backend.differing(&trials.wanted(index));
        if variants.is_empty() {
            return Ok(());
        }
        // Those of the step itself, which a variant might let pass.
        self.end_of_state().await;
        self.ledger.policies_changed(|_, _, _| false);
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.world.cluster.clone());
        let router = Router::new(&self.world, &engine);
        let step_plan = StepPlan::new(self.scenario, &self.world, &engine, &router);
        let ways = step_plan.ways(&router);
        let expected = self.expectations(&step_plan, &ways);
        for variant in variants {
            self.backend.vary(Some(variant)).await?;
            let probing = self.probing(&step_plan, &router, &unavailable, Instant::now());
            // What a variant lets through is no late arrival of the step's own.
            let mut ledger = Ledger::default();
            let mut rounds = Rounds::new(probing, &mut ledger, None);
            let tracks = glance(&mut rounds, &expected, self.timeout).await;
            let requires = &step.requires;
            let verdict = |cell: usize| {
                Some(self.verdict(&step_plan, requires, cell, *ways.get(cell)?, tracks.get(cell)?))
            };
            let verdicts: Vec<_> = (0..step_plan.cells.len()).filter_map(verdict).collect();
            trials.seen(variant, index, &verdicts);
        }
        self.backend.vary(None).await
    }
}

/// Probes all cells, and those that differ once more: a variant shows at once or not at all.
async fn glance(prober: &mut impl Prober, expected: &[Expected], timeout: Duration) -> Vec<Track> {
    let mut tracks = vec![Track::new(); expected.len()];
    let decided = expected.iter().enumerate().filter(|(_, e)| e.decision != Decision::Undefined);
    let mut cells: Vec<usize> = decided.map(|(cell, _)| cell).collect();
    for timeout in [timeout, timeout * SECOND_LOOK] {
        if cells.is_empty() {
            break;
        }
        for sighting in prober.round(&cells, timeout).await {
            let pair = tracks.get_mut(sighting.cell).zip(expected.get(sighting.cell));
            if let Some((track, expected)) = pair {
                track.record(sighting, *expected, Duration::ZERO, Duration::ZERO);
            }
        }
        let agrees = |cell: &usize| {
            let pair = tracks.get(*cell).zip(expected.get(*cell));
            pair.is_some_and(|(track, expected)| track.agrees(expected.decision) == Some(true))
        };
        cells.retain(|cell| !agrees(cell));
    }
    tracks
}
