//! Runs scenarios: applies their steps, observes each state, and assembles the results. Emits what happens as
//! [`Event`]s, and knows no report.

mod again;
mod alone;
mod company;
mod event;
mod excuses;
mod scenario;
mod settings;
mod variants;

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tracing::Instrument;

use crate::backend::{Backend, Error};
use crate::diagnosis::Enforcement;
use crate::profile::Profile;
use crate::scenario::Scenario;
use crate::verdict::{Environment, Outcome, RunResult, ScenarioFailure, ScenarioResult, merge};

use company::Company;

pub use alone::again_alone;
pub use event::{Event, Events};
pub use settings::Settings;
pub use variants::{Trials, run_with_variants};

/// Runs scenarios, `settings.parallel` at the same time. `backends` yields the index of each scenario with
/// its own backend, in the order in which the scenarios start. The next one is taken when there is room for
/// it. An index that occurs twice is a repetition. Repetitions are merged into one result.
///
/// `interrupted` becomes true when the run should end early. The result then has what is known until then.
pub async fn run<B: Backend>(
    scenarios: &[Scenario],
    backends: impl Iterator<Item = (usize, Result<B, Error>)>,
    settings: &Settings,
    environment: Environment,
    events: &Events,
    interrupted: watch::Receiver<bool>,
) -> RunResult {
    let start = Instant::now();
    let requested = scenarios.len();
    let company = Company::default();
    let started = backends.take_while(|_| !*interrupted.borrow()).filter_map(|(index, backend)| {
        let scenario = scenarios.get(index)?;
        let span = tracing::debug_span!("scenario", title = scenario.title());
        let ran = run_one((index, requested), scenario, settings, backend, events, interrupted.clone());
        let ran = company.during(index, scenario.title(), ran);
        Some(ran.instrument(span))
    });
    let running = stream::iter(started).buffer_unordered(settings.parallel.max(1));
    let (mut results, ended) = collect(running, settings).await;
    for (index, result) in &mut results {
        result.beside = company.beside(*index, &result.name);
    }
    let titles: Vec<_> = scenarios.iter().map(Scenario::title).collect();
    let left = titles.iter().enumerate().filter(|(index, _)| !results.contains_key(index));
    let unfinished: Vec<_> = left.map(|(_, title)| title.clone()).collect();
    let times = |title: &str| titles.iter().filter(|other| *other == title).count();
    let interrupted = *interrupted.borrow();
    RunResult {
        scenarios: merge(results.into_values().collect(), times),
        requested: titles.iter().collect::<HashSet<_>>().len(),
        interrupted,
        stopped: ended == Ended::AtFailure && !unfinished.is_empty(),
        unenforced: ended == Ended::Unenforced && !unfinished.is_empty(),
        unfinished,
        environment,
        profiles: settings.profiles.iter().map(Profile::applied).collect(),
        requested_share: settings.observe.leak_share,
        settle: settings.observe.settle,
        took: start.elapsed(),
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// After everything that could be run.
    Whole,
    /// At the first failure, as requested.
    AtFailure,
    /// As soon as it was clear that nothing enforces policies.
    Unenforced,
}

/// Returns the results by index, and how the run ended.
async fn collect(
    finished: impl Stream<Item = Option<(usize, ScenarioResult)>>,
    settings: &Settings,
) -> (BTreeMap<usize, ScenarioResult>, Ended) {
    let mut enforcement = Enforcement::default();
    let mut results = BTreeMap::new();
    let mut finished = std::pin::pin!(finished);
    while let Some(result) = finished.next().await {
        let Some((index, result)) = result else { continue };
        // An error that would end every other scenario, too, is reported once.
        let hopeless = result.failure.as_ref().is_some_and(|failure| failure.everywhere);
        let failed = settings.fail_fast && result.outcome() == Outcome::Fail;
        result.steps.iter().flat_map(|step| &step.cells).for_each(|cell| enforcement.add(cell));
        results.insert(index, result);
        if failed {
            return (results, Ended::AtFailure);
        }
        if !settings.keep_going && enforcement.is_absent() {
            return (results, Ended::Unenforced);
        }
        if hopeless {
            break;
        }
    }
    (results, Ended::Whole)
}

/// Runs one scenario. `index` is its index among the `requested` scenarios of the run. Returns `None` if the run
/// was interrupted before the scenario's end.
async fn run_one<B: Backend>(
    (index, requested): (usize, usize),
    scenario: &Scenario,
    settings: &Settings,
    backend: Result<B, Error>,
    events: &Events,
    mut interrupted: watch::Receiver<bool>,
) -> Option<(usize, ScenarioResult)> {
    let ran = async {
        events.send(Event::ScenarioStarted { index, requested, name: scenario.title() });
        let result = match backend {
            Ok(mut backend) => {
                let result = again::run(index, scenario, settings, &mut backend, events).await;
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
        result = ran => Some(result),
    }
}
