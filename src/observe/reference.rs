//! References: agents that reach destinations without an agent, such as a node's kubelet. The silence of such a
//! destination means something only while its reference reaches it.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use netproof_probe::wire::{Nonce, Outcome, Target, Transport};

use super::batch::{Answer, OwnListener, probe_all};
use super::observer::Observer;
use super::pace::{is_workload, waves};
use super::planned::PlannedCell;
use super::settle::RETRIES as TRIES;
use crate::backend::{Agent, Backend, Error, Place};
use crate::plan::{Cell, Router};
use crate::policy::{Decision, Engine};
use crate::world::EndpointName;

/// An agent, what it connects to, and the address of that.
type Attempt = (Arc<Agent>, OwnListener, SocketAddr);

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
        let (mut by_canary, mut by_source) = (BTreeMap::new(), BTreeMap::new());
        for cell in cells.iter().filter(|cell| self.world.is_foreign(&cell.to)) {
            let Some(route) = router.route(cell) else { continue };
            let Some((server, listener)) = route.servers.first() else { continue };
            let own = (server.clone(), *listener, cell.family);
            let attempt = |agent| (agent, own.clone(), route.address);
            if let Some(canary) = self.canary_near(&cell.from) {
                by_canary.entry(own.clone()).or_insert_with(|| attempt(canary));
            }
            let is_allowed = cell.evaluate(Some(&route), &engine).decision == Decision::Allow;
            if let Some(source) = self.backend.agent(&cell.from).filter(|_| is_allowed) {
                by_source.entry(own.clone()).or_insert_with(|| attempt(source));
            }
            foreign.push((cell, own));
        }
        for attempts in [by_canary, by_source] {
            for _ in 0..TRIES {
                let open = attempts.iter().filter(|(own, _)| !self.references.contains_key(own));
                let open: Vec<Attempt> = open.map(|(_, attempt)| attempt.clone()).collect();
                for (agent, own, _) in self.accepted(open).await {
                    self.references.entry(own).or_insert(agent);
                }
            }
        }
        let without = foreign.into_iter().filter(|(_, own)| !self.references.contains_key(own));
        without.map(|(cell, _)| cell.clone()).collect()
    }

    /// Lets the references of workloads connect once more. Returns the destinations that do not accept it: a silence
    /// before proves nothing.
    pub(super) async fn lost_references(&mut self, cells: &[PlannedCell]) -> HashSet<OwnListener> {
        let mut attempts = BTreeMap::new();
        for PlannedCell { cell, route, .. } in cells.iter().filter(|planned| is_workload(&planned.cell.to)) {
            let Some((server, listener)) = route.iter().flat_map(|route| &route.servers).next() else {
                continue;
            };
            let own = (server.clone(), *listener, cell.family);
            let address = route.as_ref().map(|route| route.address);
            if let Some((agent, address)) = self.references.get(&own).cloned().zip(address) {
                attempts.insert(own.clone(), (agent, own, address));
            }
        }
        let mut lost: HashSet<OwnListener> = attempts.keys().cloned().collect();
        for _ in 0..TRIES {
            let left = attempts.values().filter(|(_, own, _)| lost.contains(own)).cloned().collect();
            for (_, own, _) in self.accepted(left).await {
                lost.remove(&own);
            }
        }
        lost
    }

    /// Lets agents connect. Returns the attempts that were accepted.
    async fn accepted(&mut self, attempts: Vec<Attempt>) -> Vec<Attempt> {
        let program = |(_, (to, ..), address): &Attempt| is_workload(to).then_some(*address);
        let mut accepted = Vec::new();
        for (wave, programs) in waves(attempts.into_iter().map(|it| (it.clone(), program(&it)))) {
            self.pace.wait(&programs).await;
            let probes: Vec<_> = wave
                .into_iter()
                .map(|attempt| {
                    let (agent, address) = (Arc::clone(&attempt.0), attempt.2);
                    let nonce: Nonce = agent.next_nonce();
                    let target = Target { nonce, transport: Transport::Handshake, address, name: None };
                    (agent, (attempt, target))
                })
                .collect();
            let answers = probe_all(probes, self.settings.longest_timeout, Instant::now()).await;
            let is_accepted = |answer: &Result<Answer, Error>| {
                answer.as_ref().is_ok_and(|answer| matches!(answer.result.outcome, Outcome::Accepted))
            };
            accepted.extend(answers.into_iter().filter(|(_, answer)| is_accepted(answer)).map(|(it, _)| it));
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
