//! Carrying scenarios out: rounds of probes that settle by polling what differs and are then
//! confirmed. Tells what happens as [`Event`]s and knows nothing of reports.

mod event;
mod listen;
mod newcomers;
mod round;
mod scenario;
mod settings;
mod settle;
mod track;
mod variants;

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::{Stream, stream};
use tokio::sync::watch;

use crate::backend::{Backend, Error, Variants};
use crate::scenario::Scenario;
use crate::verdict::{RunResult, ScenarioFailure, ScenarioResult, Surroundings};

pub use event::{Event, Events};
pub use settings::Settings;
pub use variants::Trials;

/// Carries out scenarios, each on a backend of its own by its place, `settings.parallel` at a time.
///
/// `interrupted` becomes true when the run should end early; what was found out until then is in
/// the result.
pub async fn run<B: Backend>(
    scenarios: &[Scenario],
    settings: &Settings,
    new_backend: impl Fn(usize) -> Result<B, Error>,
    surroundings: Surroundings,
    events: &Events,
    interrupted: watch::Receiver<bool>,
) -> RunResult {
    let start = Instant::now();
    let asked = scenarios.len();
    let one = Arc::new(One { settings, new_backend, events, asked });
    let running = scenarios.iter().enumerate().map(|(index, scenario)| {
        let (one, interrupted) = (Arc::clone(&one), interrupted.clone());
        async move { one.carry_out(index, scenario, interrupted).await }
    });
    let running = stream::iter(running.collect::<Vec<_>>());
    let mut results = collect(running.buffer_unordered(settings.parallel.max(1))).await;
    results.sort_by_key(|(index, _)| *index);
    let scenarios = results.into_iter().map(|(_, result)| result).collect();
    let interrupted = *interrupted.borrow();
    RunResult { scenarios, asked, interrupted, surroundings, took: start.elapsed() }
}

/// Carries one scenario out, and looks after each step at what the backend's variants would show.
///
/// `place` is its index in the run, counted from 0, and how many scenarios that has.
pub async fn run_with_variants<B: Variants>(
    (index, asked): (usize, usize),
    scenario: &Scenario,
    settings: &Settings,
    mut backend: B,
    events: &Events,
    trials: &mut impl Trials<B::Variant>,
) -> ScenarioResult {
    events.send(Event::ScenarioStarted { index, asked, name: scenario.name.clone() });
    let result =
        scenario::carry_out_with_variants(index, scenario, settings, &mut backend, events, trials).await;
    backend.stop().await;
    events.send(Event::ScenarioFinished { index, result: Box::new(result.clone()) });
    result
}

async fn collect(
    finished: impl Stream<Item = Option<(usize, ScenarioResult)>>,
) -> Vec<(usize, ScenarioResult)> {
    let mut results = Vec::new();
    let mut finished = std::pin::pin!(finished);
    while let Some(result) = finished.next().await {
        let Some((index, result)) = result else { continue };
        // What would happen to every other scenario need not be told more than once.
        let hopeless = result.failure.as_ref().is_some_and(|failure| failure.everywhere);
        results.push((index, result));
        if hopeless {
            break;
        }
    }
    results
}

/// What every scenario of a run needs.
struct One<'a, F> {
    settings: &'a Settings,
    new_backend: F,
    events: &'a Events,
    asked: usize,
}

impl<B: Backend, F: Fn(usize) -> Result<B, Error>> One<'_, F> {
    /// Carries one scenario out; `None` if the run was interrupted before its end.
    async fn carry_out(
        &self,
        index: usize,
        scenario: &Scenario,
        mut interrupted: watch::Receiver<bool>,
    ) -> Option<(usize, ScenarioResult)> {
        let Self { settings, new_backend, events, asked } = self;
        let carried_out = async {
            events.send(Event::ScenarioStarted { index, asked: *asked, name: scenario.name.clone() });
            let result = match new_backend(index) {
                Ok(mut backend) => {
                    let result = scenario::carry_out(index, scenario, settings, &mut backend, events).await;
                    backend.stop().await;
                    result
                }
                Err(error) => {
                    let failure = ScenarioFailure { message: error.to_string(), everywhere: true };
                    scenario::not_started(scenario, Some(failure))
                }
            };
            events.send(Event::ScenarioFinished { index, result: Box::new(result.clone()) });
            (index, result)
        };
        tokio::select! {
            biased;
            _ = interrupted.wait_for(|interrupted| *interrupted) => None,
            result = carried_out => Some(result),
        }
    }
}
