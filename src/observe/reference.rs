//! References: agents that reach destinations without an agent, such as a node's kubelet. The silence of such a
//! destination means something only while its reference reaches it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use netproof_probe::wire::{Outcome, Target, Transport};

use super::batch::{Answer, OwnListener, probe_all};
use super::observer::Observer;
use super::pace::{is_workload, waves};
use super::planned::PlannedCell;
use super::settle::RETRIES;
use crate::backend::{Agent, Backend, Error, Place};
use crate::plan::{Cell, Route, Router};
use crate::policy::{Decision, Engine};
use crate::world::EndpointName;

/// Agents that connect to destinations, and the routes there.
type Attempts = BTreeMap<OwnListener, (Arc<Agent>, Route)>;

impl<B: Backend> Observer<'_, B> {
    /// Finds a reference for the destinations without an agent among these cells: a canary, which no policy restricts, or
    /// the source of a cell that the policies allow. Returns the cells whose destinations have none: nothing is there, or
    /// nobody may reach it.
    pub(crate) async fn find_references(&mut self, cells: &[Cell]) -> Vec<Cell> {
        // In the lab, netproof plays these destinations, too.
        self.open_listeners().await;
        let engine = Engine::new(self.world.cluster.clone());
        let router = Router::new(&self.world, &engine);
        let mut foreign = Vec::new();
        let (mut by_canary, mut by_source) = (Attempts::new(), Attempts::new());
        for cell in cells.iter().filter(|cell| self.world.is_foreign(&cell.to)) {
            let Some(route) = router.route(cell) else { continue };
            let Some(own) = destination(cell, &route) else { continue };
            let is_allowed = cell.evaluate(Some(&route), &engine).decision == Decision::Allow;
            let source = self.backend.agent(&cell.from).filter(|_| is_allowed);
            for (attempts, agent) in
                [(&mut by_canary, self.canary_near(&cell.from)), (&mut by_source, source)]
            {
                if let Some(agent) = agent {
                    attempts.entry(own.clone()).or_insert_with(|| (agent, route.clone()));
                }
            }
            foreign.push((cell, own));
        }
        for mut attempts in [by_canary, by_source] {
            attempts.retain(|own, _| !self.references.contains_key(own));
            for own in self.accepted(&attempts).await {
                let agent = attempts.get(&own).map(|(agent, _)| Arc::clone(agent));
                self.references.extend(agent.map(|agent| (own, agent)));
            }
        }
        let without = foreign.into_iter().filter(|(_, own)| !self.references.contains_key(own));
        without.map(|(cell, _)| cell.clone()).collect()
    }

    /// Lets the references of workloads connect once more. Returns the destinations that do not accept it: a silence
    /// before proves nothing.
    pub(super) async fn lost_references(&mut self, cells: &[PlannedCell]) -> HashSet<OwnListener> {
        let attempt = |planned: &PlannedCell| {
            let own = reference_of(planned)?;
            let agent = Arc::clone(self.references.get(&own)?);
            Some((own, (agent, planned.route.clone()?)))
        };
        let of_workloads = cells.iter().filter(|planned| is_workload(&planned.cell.to));
        let attempts: Attempts = of_workloads.filter_map(attempt).collect();
        let accepted = self.accepted(&attempts).await;
        attempts.into_keys().filter(|own| !accepted.contains(own)).collect()
    }

    /// Lets agents connect, several times if needed. Returns the destinations that accepted.
    async fn accepted(&mut self, attempts: &Attempts) -> HashSet<OwnListener> {
        let mut accepted = HashSet::new();
        for _ in 0..RETRIES {
            let left = attempts.iter().filter(|(own, _)| !accepted.contains(*own));
            let left: Vec<_> = left.map(|attempt| (attempt, attempt.1.1.programs.clone())).collect();
            for (wave, programs) in waves(left) {
                self.pace.wait(&programs).await;
                let probe = |(own, (agent, route)): (&OwnListener, &(Arc<Agent>, Route))| {
                    let (nonce, address) = (agent.next_nonce(), route.address);
                    let target = Target { nonce, transport: Transport::Handshake, address, name: None };
                    (Arc::clone(agent), (own.clone(), target))
                };
                let probes: Vec<_> = wave.into_iter().map(probe).collect();
                let answers = probe_all(probes, self.settings.longest_timeout, Instant::now()).await;
                accepted.extend(answers.into_iter().filter(|(_, it)| is_accepted(it)).map(|(own, _)| own));
            }
        }
        accepted
    }

    /// Returns a canary at the place of an endpoint.
    fn canary_near(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        let place = self.world.node_of(endpoint).map(Place::Node);
        let canaries = self.backend.canaries();
        let near = canaries.iter().find(|canary| Some(&canary.place) == place.as_ref());
        near.or(canaries.first()).map(|canary| Arc::clone(&canary.agent))
    }
}

/// Returns the destination of a planned cell, if it has no agent.
pub(super) fn reference_of(PlannedCell { cell, route, .. }: &PlannedCell) -> Option<OwnListener> {
    let route = route.as_ref().filter(|route| route.transport == Transport::Handshake)?;
    destination(cell, route)
}

fn destination(cell: &Cell, route: &Route) -> Option<OwnListener> {
    route.servers.first().map(|(server, listener)| (server.clone(), *listener, cell.family))
}

fn is_accepted(answer: &Result<Answer, Error>) -> bool {
    answer.as_ref().is_ok_and(|answer| matches!(answer.result.outcome, Outcome::Accepted))
}
