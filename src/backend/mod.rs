//! The seam between a run and the place where packets are sent.

mod agent;
pub mod cluster;
pub mod lab;
mod records;

use std::future::Future;
use std::sync::Arc;

pub use agent::{Agent, Connect, Single, Stream, Unreachable};

use crate::scenario::{Action, EndpointName, State};

/// A place where pods run, policies are enforced and packets are sent.
pub trait Backend {
    /// Makes everything that a state describes, and fills in its addresses. Policies are not
    /// enforced yet.
    fn start(&mut self, state: &mut State) -> impl Future<Output = Result<(), Error>>;

    /// Carries out what changed a state into this one, fills in the addresses of what is new, and
    /// hands the policies over to those who enforce them.
    fn apply(&mut self, actions: &[Action], state: &mut State) -> impl Future<Output = Result<(), Error>>;

    /// The agent that sends and receives for an endpoint.
    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>>;

    /// Removes everything that was made.
    fn stop(self) -> impl Future<Output = ()>;
}

/// Why a backend could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend cannot work here at all.
    #[error("{0}")]
    Unavailable(String),
    /// Something that should work did not.
    #[error("could not {doing}: {message}")]
    Failed {
        /// What was being done.
        doing: String,
        /// Why it did not work.
        message: String,
    },
    /// An agent has ended.
    #[error("the agent of {agent} is gone: {message}")]
    AgentGone {
        /// The agent's name.
        agent: String,
        /// How that is known.
        message: String,
    },
    /// An agent could not be reached, or refused.
    #[error("the agent of {agent} {message}")]
    Agent {
        /// The agent's name.
        agent: String,
        /// What it did.
        message: String,
    },
}

impl Error {
    fn failed(doing: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Failed { doing: doing.into(), message: message.to_string() }
    }
}
