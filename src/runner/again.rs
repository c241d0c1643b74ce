//! Runs a scenario again if it has lost a pod.
//!
//! What was observed of the lost pod is no evidence about the pod that replaces it. The new pod has another address, so
//! policies that name the address change with it. Denials of earlier steps would lack their control afterwards. So the
//! scenario begins again. Of the earlier attempt, what speaks against a pass is kept: its leaks, and what the steps before
//! the loss have shown.

use std::time::Instant;

use super::event::{Event, Events};
use super::scenario::ScenarioRun;
use super::settings::Settings;
use crate::backend::{Backend, LostPod};
use crate::scenario::Scenario;
use crate::verdict::{Attempt, ScenarioResult, Verdict, with_earlier};

/// How often a scenario is run again. A cluster that loses pods all the time cannot be measured.
const MOST: usize = 2;

/// Runs a scenario, and runs it again if it could not observe everything because pods were lost. The backend replaces
/// these pods.
pub(super) async fn run(
    index: usize,
    scenario: &Scenario,
    settings: &Settings,
    backend: &mut impl Backend,
    events: &Events,
) -> ScenarioResult {
    let start = Instant::now();
    let (mut earlier, mut warnings) = (Vec::new(), Vec::new());
    loop {
        let is_last = earlier.len() == MOST;
        let mut run = ScenarioRun::new(index, scenario, settings, backend, events);
        let mut steps = Vec::new();
        let ended = run.all(&mut steps).await;
        let (place, disturbed) = (run.place.clone(), run.disturbed);
        let result = run.finish(start, steps, ended).await;
        let lost = backend.lost_pods();
        let is_lost = lost.iter().any(|pod| !pod.was_starting);
        let lacks = lacks_observations(&result);
        let consequence = match (lacks, is_last) {
            (true, false) => "it was replaced, and the scenario was run again",
            (true, true) => "what was not observed because of this is inconclusive",
            (false, _) => "everything had been observed by then",
        };
        let when = format!("{place}, {} s after the start of the scenario", start.elapsed().as_secs());
        warnings.extend(lost.into_iter().map(|LostPod { name, why, was_starting }| match was_starting {
            true => {
                format!("pod {name} was lost while it started ({why}): another one was started in its place")
            }
            false => format!("pod {name} was lost {when} ({why}): {consequence}"),
        }));
        let is_repeated = is_lost && lacks && !is_last;
        let attempt = Attempt { result, disturbed };
        events.send(Event::AttemptEnded { index, attempt: Box::new(attempt.clone()), is_repeated });
        if !is_repeated {
            return ScenarioResult { warnings, ..with_earlier(attempt.result, &earlier) };
        }
        earlier.push(attempt);
    }
}

/// Returns whether a lost pod may have kept a result from being complete.
fn lacks_observations(result: &ScenarioResult) -> bool {
    let mut cells = result.steps.iter().flat_map(|step| &step.cells);
    let is_lacking = |verdict: &Verdict| match verdict {
        Verdict::Inconclusive(_) | Verdict::Blocked | Verdict::Flaky => true,
        Verdict::Match | Verdict::Leak | Verdict::Undefined | Verdict::Skipped(_) => false,
    };
    result.failure.is_some() || cells.any(|cell| is_lacking(&cell.verdict))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::{Agent, Canary, Error, Sentinels};
    use crate::observe;
    use crate::world::{Action, Deployed, EndpointName, World};

    /// A backend without agents, so that no cell can be observed. Each attempt loses these pods.
    struct Lossy {
        lost: Vec<Vec<LostPod>>,
        deployed: usize,
    }

    impl Backend for Lossy {
        async fn deploy(&mut self, _: &World) -> Result<Deployed, Error> {
            self.deployed += 1;
            Ok(Deployed::default())
        }

        async fn apply(&mut self, _: &[Action], _: &World) -> Result<Deployed, Error> {
            Ok(Deployed::default())
        }

        fn lost_pods(&mut self) -> Vec<LostPod> {
            self.lost.pop().unwrap_or_default()
        }

        fn agent(&self, _: &EndpointName) -> Option<Arc<Agent>> {
            None
        }

        fn canaries(&self) -> Vec<Canary> {
            Vec::new()
        }

        fn sentinels(&self) -> Sentinels {
            Sentinels::default()
        }

        async fn stop(self) {}
    }

    fn lost(was_starting: bool) -> Vec<LostPod> {
        vec![LostPod { name: "x/a".to_owned(), why: "it was deleted".to_owned(), was_starting }]
    }

    /// Runs a scenario of one step. Returns how often it was deployed, and the warnings without times.
    async fn ran(lost: Vec<Vec<LostPod>>) -> (usize, Vec<String>) {
        let scenario = Scenario::from_text(
            "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: s}
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b}]}]}
steps: [{name: nothing happens}]
",
        );
        let mut backend = Lossy { lost: lost.into_iter().rev().collect(), deployed: 0 };
        let settings = Settings::new(observe::Settings::lab());
        let result = run(0, &scenario, &settings, &mut backend, &Events::channel().0).await;
        let warnings = result.warnings.into_iter().map(|warning| {
            let (place, rest) = warning.split_once(", ").unwrap_or((&warning, ""));
            format!(
                "{place}{}",
                rest.split_once(" s after the start of the scenario").map_or(rest, |it| it.1)
            )
        });
        (backend.deployed, warnings.collect())
    }

    #[tokio::test]
    async fn a_scenario_that_loses_a_pod_is_run_again() {
        assert_eq!(ran(vec![]).await, (1, vec![]));
        let warning = "pod x/a was lost after the last step (it was deleted): it was replaced, and the scenario was run again";
        assert_eq!(ran(vec![lost(false)]).await, (2, vec![warning.to_owned()]));
    }

    #[tokio::test]
    async fn a_pod_that_was_lost_while_it_started_has_been_replaced_already() {
        let warning =
            "pod x/a was lost while it started (it was deleted): another one was started in its place";
        assert_eq!(ran(vec![lost(true)]).await, (1, vec![warning.to_owned()]));
    }

    #[tokio::test]
    async fn a_scenario_that_always_loses_a_pod_ends() {
        let (deployed, warnings) = ran(vec![lost(false); 5]).await;
        assert_eq!((deployed, warnings.len()), (MOST + 1, MOST + 1));
        assert!(
            warnings[MOST].ends_with("what was not observed because of this is inconclusive"),
            "{warnings:?}"
        );
    }
}
