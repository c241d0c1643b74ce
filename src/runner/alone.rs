//! Runs scenarios again, alone, that failed beside others.

use std::collections::HashMap;
use std::time::Instant;

use tokio::sync::watch;

use super::event::{Event, Events};
use super::run_one;
use super::settings::Settings;
use crate::backend::{Backend, Error};
use crate::diagnosis::Enforcement;
use crate::scenario::Scenario;
use crate::verdict::{Alone, RunResult, ScenarioResult};

/// Runs each scenario again in which packets differed while others ran, one after the other, and adds what it shows.
/// `open` returns a backend once nothing of other scenarios is left.
///
/// After as much time as the run took until then, no other one begins. If nothing seems to enforce policies, one of them
/// is enough to tell that from an enforcer that one scenario has disturbed.
pub async fn again_alone<B: Backend>(
    mut result: RunResult,
    scenarios: &[Scenario],
    settings: &Settings,
    events: &Events,
    interrupted: watch::Receiver<bool>,
    open: impl AsyncFn(&Scenario) -> Result<B, Error>,
) -> RunResult {
    let (start, limit) = (Instant::now(), result.took);
    let most = if result.unenforced { 1 } else { usize::MAX };
    let differing = result.scenarios.iter_mut().filter(|scenario| scenario.differs_beside_others());
    let differing: Vec<_> = differing.take(most).collect();
    let requested = differing.len();
    if requested > 0 {
        events.send(Event::AloneStarted { requested });
    }
    let by_title: HashMap<String, &Scenario> = scenarios.iter().map(|it| (it.title(), it)).collect();
    for (index, differing) in differing.into_iter().enumerate() {
        let Some(scenario) = by_title.get(&differing.name) else { continue };
        let run = async {
            if start.elapsed() > limit {
                return Err("it would have made the run more than twice as long".to_owned());
            }
            let was_interrupted = || "the run was interrupted".to_owned();
            let mut end = interrupted.clone();
            let backend = tokio::select! {
                biased;
                _ = end.wait_for(|interrupted| *interrupted) => return Err(was_interrupted()),
                backend = open(scenario) => backend.map_err(|error| error.to_string())?,
            };
            let place = (index, requested);
            let ran = run_one(place, scenario, settings, Ok(backend), events, interrupted.clone()).await;
            ran.map(|(_, result)| result).ok_or_else(was_interrupted)
        };
        *differing = with(differing.clone(), run.await);
    }
    if result.unenforced && !Enforcement::of(&result).is_absent() {
        (result.unenforced, result.stopped) = (false, true);
    }
    result.interrupted |= *interrupted.borrow();
    result.took += start.elapsed();
    result
}

/// Adds what a scenario has shown alone, or why it was not run.
fn with(mut result: ScenarioResult, alone: Result<ScenarioResult, String>) -> ScenarioResult {
    match alone {
        Ok(alone) => result.with_alone(&alone),
        Err(why) => {
            if let Some(beside) = &mut result.beside {
                beside.alone = Some(Alone::NotRun(why));
            }
            result
        }
    }
}
