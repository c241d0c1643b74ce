//! The batches of a round: what each agent has to send.

use std::collections::BTreeMap;
use std::sync::Arc;

use netproof_probe::wire::{Listener, Nonce, ProbeResult, Target};

use super::canary::Path;
use crate::backend::{Agent, Error};
use crate::policy::IpFamily;
use crate::world::EndpointName;

/// A listener, with the family of the address at which its own agent probes it.
pub(super) type OwnListener = (EndpointName, Listener, IpFamily);

/// The purpose of a target in a batch.
pub(super) enum Purpose {
    /// A leg of a cell's route.
    Leg {
        /// Index of the probe in the round. A cell may have several probes.
        probe: usize,
        leg: usize,
        nonce: Nonce,
    },
    Listener(OwnListener),
    Canary(Path, Nonce),
}

/// What one agent has to send in a round.
pub(super) struct Batch {
    pub(super) agent: Arc<Agent>,
    pub(super) targets: Vec<Target>,
    pub(super) purposes: Vec<Purpose>,
}

/// A target that was sent, and its result.
pub(super) type Sent = (Purpose, Result<ProbeResult, Failure>);

/// The reason why a request to an agent failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Whether the agent has ended, so that all later requests fail, too.
    pub(super) is_gone: bool,
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

/// The batches of a round by the agents' names. Pods of a node's network share an agent.
#[derive(Default)]
pub(super) struct Batches(BTreeMap<String, Batch>);

impl Batches {
    pub(super) fn add(&mut self, agent: &Arc<Agent>, target: Target, purpose: Purpose) {
        let new = || Batch { agent: Arc::clone(agent), targets: Vec::new(), purposes: Vec::new() };
        let batch = self.0.entry(agent.name().to_owned()).or_insert_with(new);
        batch.targets.push(target);
        batch.purposes.push(purpose);
    }

    pub(super) fn finish(self) -> Vec<Batch> {
        self.0.into_values().collect()
    }
}
