//! Carrying scenarios out: rounds of probes that settle by polling what differs and are then
//! confirmed. Tells what happens as [`Event`]s and knows nothing of reports.

mod event;
mod scenario;
mod settings;

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tracing::Instrument;

use crate::backend::{Backend, Error, Variants};
use crate::scenario::Scenario;
use crate::verdict::{Environment, Outcome, RunResult, ScenarioFailure, ScenarioResult, merge};

pub use event::{Event, Events};
pub use scenario::Trials;
pub use settings::Settings;

/// Carries out scenarios, `settings.parallel` at a time. `backends` gives the place of each among them and its
/// own backend, in the order in which they are to be carried out; it is asked whenever there is room for
/// one more. One that is given more than once is repeated; what its repetitions find out is one result.
///
/// `interrupted` becomes true when the run should end early; what was found out until then is in
/// the result.
pub async fn run<B: Backend>(
    scenarios: &[Scenario],
    backends: impl Iterator<Item = (usize, Result<B, Error>)>,
    settings: &Settings,
    environment: Environment,
    events: &Events,
    interrupted: watch::Receiver<bool>,
) -> RunResult {
    let start = Instant::now();
    let one = One { settings, events, asked: scenarios.len() };
    let started = backends.take_while(|_| !*interrupted.borrow()).filter_map(|(index, backend)| {
        let scenario = scenarios.get(index)?;
        let span = tracing::debug_span!("scenario", title = scenario.name);
        Some(one.carry_out(index, scenario, backend, interrupted.clone()).instrument(span))
    });
    let running = stream::iter(started).buffer_unordered(settings.parallel.max(1));
    let (results, failed) = collect(running, settings.fail_fast).await;
    let names = || scenarios.iter().map(|scenario| scenario.name.as_str());
    let left = names().enumerate().filter(|(index, _)| !results.contains_key(index));
    let unfinished: Vec<_> = left.map(|(_, name)| name.to_owned()).collect();
    let times = |name: &str| names().filter(|other| *other == name).count();
    let interrupted = *interrupted.borrow();
    RunResult {
        scenarios: merge(results.into_values().collect(), times),
        asked: names().collect::<HashSet<_>>().len(),
        interrupted,
        stopped: failed && !unfinished.is_empty(),
        unfinished,
        environment,
        profiles: settings.profiles.clone(),
        asked_share: settings.leak_share,
        took: start.elapsed(),
    }
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

/// The results by their places, and whether one of them was the reason to stop. With `fail_fast`, a
/// failure is one.
async fn collect(
    finished: impl Stream<Item = Option<(usize, ScenarioResult)>>,
    fail_fast: bool,
) -> (BTreeMap<usize, ScenarioResult>, bool) {
    let mut results = BTreeMap::new();
    let mut finished = std::pin::pin!(finished);
    while let Some(result) = finished.next().await {
        let Some((index, result)) = result else { continue };
        // What would happen to every other scenario need not be told more than once.
        let hopeless = result.failure.as_ref().is_some_and(|failure| failure.everywhere);
        let failed = fail_fast && result.outcome() == Outcome::Fail;
        results.insert(index, result);
        if hopeless || failed {
            return (results, failed);
        }
    }
    (results, false)
}

/// What every scenario of a run needs.
struct One<'a> {
    settings: &'a Settings,
    events: &'a Events,
    asked: usize,
}

impl One<'_> {
    /// Carries one scenario out; `None` if the run was interrupted before its end.
    async fn carry_out<B: Backend>(
        &self,
        index: usize,
        scenario: &Scenario,
        backend: Result<B, Error>,
        mut interrupted: watch::Receiver<bool>,
    ) -> Option<(usize, ScenarioResult)> {
        let Self { settings, events, asked } = self;
        let carried_out = async {
            events.send(Event::ScenarioStarted { index, asked: *asked, name: scenario.name.clone() });
            let result = match backend {
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
