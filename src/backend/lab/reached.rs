//! Twins, and running pods with an agent, that their own nodes reach, as the kubelet of a cluster reaches pods. Policies cannot forbid that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netproof_probe::wire::{Listener, Outcome, Target, Transport};

use super::Lab;
use crate::backend::{Agent, CANARY_PORT, ask_all};
use crate::policy::IpFamily;
use crate::world::{EndpointName, World};

/// How long to wait for the answer of a twin.
const PATIENCE: Duration = Duration::from_secs(1);

impl Lab {
    /// Lets the nodes of a state connect to these pods on them, and records which are reached.
    pub(super) async fn reach_twins(&mut self, world: &World) {
        let mut attempts = Vec::new();
        for twin in world.twins.union(&world.entered) {
            let name = EndpointName::of_identity(twin);
            let node = world.node_of(&name).and_then(|node| self.agents.get(&EndpointName::Node(node)));
            let Some((agent, node)) = self.agents.get(&name).zip(node) else { continue };
            for family in IpFamily::ALL {
                if let Some(address) = world.address(&name, family) {
                    let address = SocketAddr::new(address, CANARY_PORT);
                    let attempt = is_reached(Arc::clone(agent), Arc::clone(node), address);
                    let name = name.clone();
                    attempts.push(async move { ((name, family), attempt.await) });
                }
            }
        }
        let reached = ask_all(attempts).await.into_iter().filter(|(_, is_reached)| *is_reached);
        self.reached = reached.map(|(end, _)| end).collect();
    }
}

async fn is_reached(agent: Arc<Agent>, node: Arc<Agent>, address: SocketAddr) -> bool {
    let listener = Listener { transport: Transport::Tcp, port: address.port() };
    let target = Target { nonce: node.next_nonce(), transport: Transport::Tcp, address, name: None };
    let opened = agent.listen([listener]).await;
    if !opened.is_ok_and(|failures| failures.is_empty()) {
        return false;
    }
    let is_answer =
        |outcome: &Outcome| matches!(outcome, Outcome::Answered { agent: name } if name == agent.name());
    let results = node.probe(vec![target], PATIENCE).await;
    results.is_ok_and(|results| results.iter().any(|result| is_answer(&result.outcome)))
}
