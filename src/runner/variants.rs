//! Runs a scenario, and tries the backend's variants after every step.

use std::time::Instant;

use super::event::{Event, Events};
use super::scenario::ScenarioRun;
use super::settings::Settings;
use crate::backend::{Error, Variants};
use crate::scenario::{Scenario, Step};
use crate::verdict::{ScenarioResult, StepResult, Verdict};

/// Chooses the variants to try, and receives what they show.
pub trait Trials<V> {
    /// Returns the variants that are still of interest in a step. Steps count from 0.
    fn wanted(&self, step: usize) -> Vec<V>;

    /// Receives the verdicts of a step's cells with a variant.
    fn seen(&mut self, variant: V, step: usize, verdicts: &[Verdict]);
}

/// Runs one scenario, and tries the backend's variants after each step. `index` is the scenario's index among
/// the `requested` scenarios of the run.
pub async fn run_with_variants<B: Variants>(
    (index, requested): (usize, usize),
    scenario: &Scenario,
    settings: &Settings,
    mut backend: B,
    events: &Events,
    trials: &mut impl Trials<B::Variant>,
) -> ScenarioResult {
    events.send(Event::ScenarioStarted { index, requested, name: scenario.title() });
    let start = Instant::now();
    let mut run = ScenarioRun::new(index, scenario, settings, &mut backend, events);
    let mut steps = Vec::new();
    let ended = run.all_with_variants(&mut steps, trials).await;
    let result = run.finish(start, steps, ended).await;
    backend.stop().await;
    events.send(Event::ScenarioFinished { index, result: Box::new(result.clone()) });
    result
}

impl<B: Variants> ScenarioRun<'_, B> {
    async fn all_with_variants(
        &mut self,
        steps: &mut Vec<StepResult>,
        trials: &mut impl Trials<B::Variant>,
    ) -> Result<(), Error> {
        self.begin().await?;
        for (index, step) in self.scenario.steps.iter().enumerate() {
            self.prepare(step).await?;
            steps.push(self.step(step).await?);
            self.try_variants((index, step), trials).await?;
        }
        self.observer.control_last().await
    }

    async fn try_variants(
        &mut self,
        (index, step): (usize, &Step),
        trials: &mut impl Trials<B::Variant>,
    ) -> Result<(), Error> {
        let variants = self.observer.backend.differing(&trials.wanted(index));
        if variants.is_empty() {
            return Ok(());
        }
        let glances = self.observer.prepare_glances().await;
        for variant in variants {
            self.observer.backend.vary(Some(variant)).await?;
            let verdicts = self.observer.glance(&glances, &step.requires).await;
            trials.seen(variant, index, &verdicts);
        }
        self.observer.backend.vary(None).await
    }
}
