//! What the agents of a round have to send, one batch each.

use std::collections::BTreeMap;
use std::sync::Arc;

use netproof_probe::wire::{Listener, Nonce, ProbeResult, Target};

use super::canary::Path;
use crate::backend::{Agent, Error};
use crate::policy::IpFamily;
use crate::world::EndpointName;

/// A listener at an address of its own pod.
pub(crate) type OwnListener = (EndpointName, Listener, IpFamily);

/// What a target in a batch is there for.
pub(crate) enum Purpose {
    /// A leg of a cell's route.
    Leg {
        /// The index of the probe in the round: a cell may have several.
        probe: usize,
        leg: usize,
        nonce: Nonce,
    },
    Listener(OwnListener),
    Canary(Path, Nonce),
}

/// What one agent has to send in a round.
pub(crate) struct Batch {
    pub(crate) agent: Arc<Agent>,
    pub(crate) targets: Vec<Target>,
    pub(crate) purposes: Vec<Purpose>,
}

/// A target that was sent, and what became of it.
pub(crate) type Sent = (Purpose, Result<ProbeResult, Failure>);

/// Why an agent did not do what it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// Whether it never will.
    pub(crate) is_gone: bool,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let is_gone = match error {
            Error::AgentGone { .. } => true,
            Error::Agent { .. } | Error::Failed { .. } | Error::Unavailable(_) => false,
        };
        Self { message: error.to_string(), is_gone }
    }
}

/// The batches of a round, by the names of the agents that send them: pods of one node's network share an
/// agent.
#[derive(Default)]
pub(crate) struct Batches(BTreeMap<String, Batch>);

impl Batches {
    pub(crate) fn add(&mut self, agent: &Arc<Agent>, target: Target, purpose: Purpose) {
        let new = || Batch { agent: Arc::clone(agent), targets: Vec::new(), purposes: Vec::new() };
        let batch = self.0.entry(agent.name().to_owned()).or_insert_with(new);
        batch.targets.push(target);
        batch.purposes.push(purpose);
    }

    pub(crate) fn finish(self) -> Vec<Batch> {
        self.0.into_values().collect()
    }
}
