//! Runs one scenario, and keeps the states that it led to, with the real addresses of the pods.

use std::sync::Arc;

use tokio::sync::watch;

use crate::backend::{Agent, Backend, Canary, Error, LostPod, Sentinels};
use crate::runner::{self, Events, Settings};
use crate::scenario::Scenario;
use crate::verdict::{Environment, ScenarioResult};
use crate::world::{Action, Deployed, EndpointName, World};

/// A scenario that was run.
pub(super) struct Recorded {
    pub(super) result: ScenarioResult,
    /// The state at the beginning, and after every step that was run.
    pub(super) states: Vec<World>,
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
        // The caller reports progress, so these events are not needed.
        let (events, _) = Events::channel();
        let (one, interrupted) = (std::slice::from_ref(scenario), self.interrupted.clone());
        let backends = std::iter::once((0, backend));
        let ran =
            runner::run(one, backends, self.settings, Environment::default(), &events, interrupted).await;
        let result = ran.scenarios.into_iter().next()?;
        Some(Recorded { result, states })
    }
}

/// A backend that also keeps the states that it has applied.
struct Recording<'a, B, F> {
    backend: B,
    states: &'a mut Vec<World>,
    after_changes: F,
}

impl<B, F> Recording<'_, B, F> {
    fn keep(&mut self, world: &World, deployed: &Deployed) {
        let mut world = world.clone();
        world.complete(deployed);
        self.states.push(world);
    }
}

impl<B: Backend, F: AsyncFnMut(usize, &mut B) -> Result<(), Error>> Backend for Recording<'_, B, F> {
    async fn deploy(&mut self, world: &World) -> Result<Deployed, Error> {
        let deployed = self.backend.deploy(world).await?;
        // After a lost pod, the scenario begins again.
        self.states.clear();
        self.keep(world, &deployed);
        Ok(deployed)
    }

    async fn apply(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        let deployed = self.backend.apply(actions, world).await?;
        // The first state is the one before the first step.
        let step = self.states.len().saturating_sub(1);
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
