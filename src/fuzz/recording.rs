//! Runs one scenario, and keeps the states that it led to, with the real addresses of the pods.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::backend::{Agent, Backend, Canary, Error, Sentinels};
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
        let states = Arc::new(Mutex::new(Vec::new()));
        let backend =
            (self.new_backend)(scenario).map(|backend| Recording { backend, states: Arc::clone(&states) });
        let backends = std::iter::once((0, backend));
        // The caller reports progress, so these events are not needed.
        let (events, _) = Events::channel();
        let (one, interrupted) = (std::slice::from_ref(scenario), self.interrupted.clone());
        let ran =
            runner::run(one, backends, self.settings, Environment::default(), &events, interrupted).await;
        let result = ran.scenarios.into_iter().next()?;
        let states = std::mem::take(&mut *states.lock().unwrap_or_else(PoisonError::into_inner));
        Some(Recorded { result, states })
    }
}

/// A backend that also keeps the states that it has applied.
struct Recording<B> {
    backend: B,
    states: Arc<Mutex<Vec<World>>>,
}

impl<B> Recording<B> {
    fn keep(&self, world: &World, deployed: &Deployed) {
        let mut world = world.clone();
        world.complete(deployed);
        self.states.lock().unwrap_or_else(PoisonError::into_inner).push(world);
    }
}

impl<B: Backend> Backend for Recording<B> {
    async fn deploy(&mut self, world: &World) -> Result<Deployed, Error> {
        let deployed = self.backend.deploy(world).await?;
        self.keep(world, &deployed);
        Ok(deployed)
    }

    async fn apply(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        let deployed = self.backend.apply(actions, world).await?;
        self.keep(world, &deployed);
        Ok(deployed)
    }

    async fn apply_between_steps(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        self.backend.apply_between_steps(actions, world).await
    }

    async fn check_intact(&self, world: &World) -> Result<(), Error> {
        self.backend.check_intact(world).await
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
