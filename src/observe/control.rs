//! The control round: without policies, every denied cell has to be delivered again. A denial is no denial if
//! its path died before the state, or if its pod never had a path.

use std::sync::Arc;
use std::time::Instant;

use super::actions::changes_servers;
use super::observer::Observer;
use super::planned::PlannedCell;
use super::settle::SettleDeadlines;
use crate::backend::{Backend, Error};
use crate::world::{Action, World};

impl<B: Backend> Observer<'_, B> {
    /// Runs the control round after the last state.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn control_last(&mut self) -> Result<(), Error> {
        self.control().await?;
        self.is_controlled = true;
        Ok(())
    }

    /// Removes all policies, and probes the cells that were not delivered since they were denied.
    async fn control(&mut self) -> Result<(), Error> {
        if self.brackets.is_empty() {
            return Ok(());
        }
        let changed = Instant::now();
        self.change_policies("remove the policies", &self.world.removal_of_policies()).await?;
        // One delivery shows that the path is alive.
        let deadlines = SettleDeadlines { deliveries: 1, ..self.deadlines(changed.elapsed()) };
        let unavailable = self.open_listeners().await;
        let wanted = self.plan().into_iter().filter(|planned| self.brackets.wants(planned));
        let plan = wanted.filter_map(PlannedCell::without_policies).collect();
        let (cells, _) = self.settle(plan, &unavailable, false, changed, deadlines).await;
        for probed in &cells {
            self.brackets.take(probed);
        }
        Ok(())
    }

    /// Runs the control round before a change that removes a path of a denied cell. Afterwards, the policies
    /// are in force again. `excuse` marks the cells that known deviations make undefined.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn control_before(
        &mut self,
        actions: &[Action],
        excuse: impl FnOnce(&World, &mut [PlannedCell]),
    ) -> Result<(), Error> {
        if self.brackets.is_empty() || !actions.iter().any(changes_servers) {
            return Ok(());
        }
        let mut next = self.world.clone();
        // An action that cannot be applied is reported when it is.
        if actions.iter().any(|action| next.apply(action).is_err())
            || !self.brackets.are_broken_by(actions, &next, self.questions)
        {
            return Ok(());
        }
        let restoration = self.world.restoration_of_policies();
        self.control().await?;
        let changed = Instant::now();
        self.change_policies("apply the policies again", &restoration).await?;
        let deadlines = self.deadlines(changed.elapsed());
        let unavailable = self.open_listeners().await;
        let mut plan = self.plan();
        excuse(&self.world, &mut plan);
        self.settle(plan, &unavailable, false, changed, deadlines).await;
        // Read them before the endpoints are gone, and their logs with them.
        let unread = self.read_logs().await;
        self.unread.push((self.past.len(), unread));
        Ok(())
    }

    /// Changes the policies between two states that are observed.
    async fn change_policies(&mut self, doing: &str, actions: &[Action]) -> Result<(), Error> {
        self.end_of_state().await;
        self.ledger.policies_changed(|_, _, _| false);
        self.change_world(doing, actions)?;
        let deployed = self.backend.apply_between_steps(actions, &self.world).await?;
        self.world.complete(&deployed);
        self.states.push(Arc::new(self.world.clone()));
        self.watch.begin(self.backend);
        Ok(())
    }
}
