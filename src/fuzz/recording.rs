//! Runs one scenario, and keeps the states that it led to, with the real addresses of the pods.

use std::sync::Arc;

use tokio::sync::watch;

use crate::backend::{Agent, Backend, Canary, Error, LostPod, Sentinels};
use crate::runner::{self, Event, Events, Settings};
use crate::scenario::Scenario;
use crate::verdict::{Attempt, CellResult, Environment, ScenarioResult};
use crate::world::{Action, Deployed, EndpointName, World};

/// A scenario that was run.
pub(super) struct Recorded {
    pub(super) result: ScenarioResult,
    /// The attempts at it. Another one follows each that lost a pod. Its pods have other addresses.
    pub(super) attempts: Vec<RecordedAttempt>,
}

/// An attempt at a scenario.
pub(super) struct RecordedAttempt {
    attempt: Attempt,
    /// The state at the beginning, and after every step that was applied.
    states: Vec<World>,
    is_repeated: bool,
}

/// A completed step of an attempt.
pub(super) struct RecordedStep<'a> {
    pub(super) before: &'a World,
    pub(super) after: &'a World,
    /// The cells that count.
    pub(super) cells: Vec<&'a CellResult>,
}

impl RecordedAttempt {
    /// Returns a step. `None` if it was not completed.
    pub(super) fn step(&self, index: usize) -> Option<RecordedStep<'_>> {
        let step = self.attempt.result.steps.get(index)?;
        let (before, after) = self.states.get(index).zip(self.states.get(index + 1))?;
        let cells = match self.is_repeated {
            true => self.attempt.counting_cells(index).collect(),
            false => step.cells.iter().collect(),
        };
        Some(RecordedStep { before, after, cells })
    }
}

/// The settings and backends with which scenarios are run.
pub(super) struct Runner<'a, F> {
    pub(super) settings: &'a Settings,
    pub(super) new_backend: F,
    pub(super) interrupted: watch::Receiver<bool>,
}

impl<B: Backend, F: Fn(&Scenario) -> Result<B, Error>> Runner<'_, F> {
    /// Runs a scenario. Returns `None` if it was interrupted.
    pub(super) async fn run(&self, scenario: &Scenario) -> Option<Recorded> {
        self.run_with(scenario, async |_, _| Ok(())).await
    }

    /// Runs a scenario. Calls `after_changes` with the index of each step, when its changes have been made.
    pub(super) async fn run_with(
        &self,
        scenario: &Scenario,
        after_changes: impl AsyncFnMut(usize, &mut B) -> Result<(), Error>,
    ) -> Option<Recorded> {
        let mut states = Vec::new();
        let backend = (self.new_backend)(scenario);
        let backend = backend.map(|backend| Recording { backend, states: &mut states, after_changes });
        let (events, mut received) = Events::channel();
        let (one, interrupted) = (std::slice::from_ref(scenario), self.interrupted.clone());
        let backends = std::iter::once((0, backend));
        let ran =
            runner::run(one, backends, self.settings, Environment::default(), &events, interrupted).await;
        let result = ran.scenarios.into_iter().next()?;
        let mut states = states.into_iter();
        let mut attempts = Vec::new();
        while let Ok(event) = received.try_recv() {
            match event {
                Event::AttemptEnded { attempt, is_repeated, .. } => {
                    let states = states.next().unwrap_or_default();
                    attempts.push(RecordedAttempt { attempt: *attempt, states, is_repeated });
                }
                // The caller reports progress.
                Event::ScenarioStarted { .. }
                | Event::AloneStarted { .. }
                | Event::Baseline { .. }
                | Event::StepFinished { .. }
                | Event::ScenarioFinished { .. } => {}
            }
        }
        Some(Recorded { result, attempts })
    }
}

/// A backend that also keeps the states that it has applied, for each attempt.
struct Recording<'a, B, F> {
    backend: B,
    states: &'a mut Vec<Vec<World>>,
    after_changes: F,
}

impl<B, F> Recording<'_, B, F> {
    fn keep(&mut self, world: &World, deployed: &Deployed) {
        let mut world = world.clone();
        world.complete(deployed);
        if let Some(states) = self.states.last_mut() {
            states.push(world);
        }
    }
}

impl<B: Backend, F: AsyncFnMut(usize, &mut B) -> Result<(), Error>> Backend for Recording<'_, B, F> {
    async fn deploy(&mut self, world: &World) -> Result<Deployed, Error> {
        // After a lost pod, the scenario begins again.
        self.states.push(Vec::new());
        let deployed = self.backend.deploy(world).await?;
        self.keep(world, &deployed);
        Ok(deployed)
    }

    async fn apply(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        let deployed = self.backend.apply(actions, world).await?;
        // The first state is the one before the first step.
        let step = self.states.last().map_or(0, Vec::len).saturating_sub(1);
        (self.after_changes)(step, &mut self.backend).await?;
        self.keep(world, &deployed);
        Ok(deployed)
    }

    async fn apply_between_steps(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        self.backend.apply_between_steps(actions, world).await
    }

    async fn check_intact(&self, world: &World) -> Result<(), Error> {
        self.backend.check_intact(world).await
    }

    fn lost_pods(&mut self) -> Vec<LostPod> {
        self.backend.lost_pods()
    }

    fn has_lost_pod(&self) -> bool {
        self.backend.has_lost_pod()
    }

    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.backend.agent(endpoint)
    }

    fn canaries(&self) -> Vec<Canary> {
        self.backend.canaries()
    }

    fn sentinels(&self) -> Sentinels {
        self.backend.sentinels()
    }

    async fn stop(self) {
        self.backend.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::observe;

    /// A backend without agents. It loses a pod in the last step of the first attempt, and the pod that replaces it has
    /// another address.
    struct Lossy {
        deployed: u8,
        steps: usize,
    }

    impl Lossy {
        fn has_lost(&self) -> bool {
            self.deployed == 1 && self.steps == 2
        }
    }

    impl Backend for Lossy {
        async fn deploy(&mut self, _: &World) -> Result<Deployed, Error> {
            self.deployed += 1;
            self.steps = 0;
            let addresses = vec![IpAddr::from([10, 0, 0, self.deployed])];
            Ok(Deployed {
                addresses: [(EndpointName::pod("x", "a"), addresses)].into(),
                ..Deployed::default()
            })
        }

        async fn apply(&mut self, _: &[Action], _: &World) -> Result<Deployed, Error> {
            self.steps += 1;
            match self.steps {
                // The second attempt ends before its last step.
                2 if self.deployed == 2 => Err(Error::Unavailable("the API server is away".to_owned())),
                _ => Ok(Deployed::default()),
            }
        }

        fn lost_pods(&mut self) -> Vec<LostPod> {
            let lost =
                LostPod { name: "x/a".to_owned(), why: "it was deleted".to_owned(), was_starting: false };
            if self.has_lost() { vec![lost] } else { Vec::new() }
        }

        fn has_lost_pod(&self) -> bool {
            self.has_lost()
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

    /// Regression: the step that only the first attempt has completed was compared with the states of the second.
    #[tokio::test]
    async fn each_attempt_has_its_own_states() {
        let scenario = Scenario::from_text(
            "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: s}
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b}]}]}
steps: [{name: first}, {name: second}]
",
        );
        let settings = Settings::new(observe::Settings::lab());
        let (_sender, interrupted) = watch::channel(false);
        let new_backend = |_: &Scenario| Ok(Lossy { deployed: 0, steps: 0 });
        let runner = Runner { settings: &settings, new_backend, interrupted };
        let Recorded { attempts, .. } = runner.run(&scenario).await.unwrap();
        let addresses = |attempt: &RecordedAttempt, step: usize| {
            attempt.step(step).map(|step| step.after.cluster.pods[0].addresses.clone())
        };
        let steps = attempts.iter().map(|attempt| [0, 1].map(|step| addresses(attempt, step)));
        let [first, second] = [1, 2].map(|last| Some(vec![IpAddr::from([10, 0, 0, last])]));
        assert_eq!(steps.collect::<Vec<_>>(), [[first.clone(), first], [second, None]]);
        let disturbed: Vec<_> = attempts.iter().map(|it| (it.attempt.disturbed, it.is_repeated)).collect();
        assert_eq!(disturbed, [(Some(1), true), (None, false)]);
    }
}
