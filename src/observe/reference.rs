//! References: agents that reach destinations without an agent, such as a node's kubelet. The silence of such a
//! destination means something only while its reference reaches it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use netproof_probe::wire::{Nonce, Outcome, Target, Transport};

use super::batch::{OwnListener, probe_all};
use super::observer::Observer;
use crate::backend::{Agent, Backend, Place};
use crate::plan::{Cell, Router};
use crate::policy::{Decision, Engine};
use crate::world::EndpointName;

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
        let mut attempts = BTreeMap::<(OwnListener, String), (Arc<Agent>, SocketAddr)>::new();
        for cell in cells.iter().filter(|cell| self.world.is_foreign(&cell.to)) {
            let Some(route) = router.route(cell) else { continue };
            let Some((server, listener)) = route.servers.first() else { continue };
            let own = (server.clone(), *listener, cell.family);
            let is_allowed = cell.evaluate(Some(&route), &engine).decision == Decision::Allow;
            let source = self.backend.agent(&cell.from).filter(|_| is_allowed);
            for agent in self.canary_near(&cell.from).into_iter().chain(source) {
                attempts.insert((own.clone(), agent.name().to_owned()), (agent, route.address));
            }
            foreign.push((cell, own));
        }
        let probes = attempts.into_iter().map(|((own, _), (agent, address))| {
            let nonce: Nonce = agent.next_nonce();
            let target = Target { nonce, transport: Transport::Handshake, address, name: None };
            (Arc::clone(&agent), ((own, agent), target))
        });
        for ((own, agent), answer) in
            probe_all(probes.collect::<Vec<_>>(), self.settings.longest_timeout, Instant::now()).await
        {
            if answer.is_ok_and(|answer| matches!(answer.result.outcome, Outcome::Accepted)) {
                self.references.entry(own).or_insert(agent);
            }
        }
        let without = foreign.into_iter().filter(|(_, own)| !self.references.contains_key(own));
        without.map(|(cell, _)| cell.clone()).collect()
    }

    /// Returns a canary at the place of an endpoint.
    fn canary_near(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        let place = self.world.node_of(endpoint).map(Place::Node);
        let canaries = self.backend.canaries();
        let near = canaries.iter().find(|canary| Some(&canary.place) == place.as_ref());
        near.or(canaries.first()).map(|canary| Arc::clone(&canary.agent))
    }
}
