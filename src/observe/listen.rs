//! Opens the listeners of a state.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use netproof_probe::wire::{ListenFailure, Listener};

use crate::backend::{Agent, Backend, ask_all};
use crate::plan::Listeners;
use crate::verdict::Observation;
use crate::world::EndpointName;

/// The listeners that are not open, and what probes to them show.
#[derive(Debug, Default)]
pub(super) struct Unavailable {
    listeners: HashMap<(EndpointName, Listener), Observation>,
    endpoints: HashMap<EndpointName, Observation>,
}

impl Unavailable {
    /// Returns what a probe to a listener shows without being sent. `None` if the listener is open.
    pub(super) fn observation(&self, endpoint: &EndpointName, listener: Listener) -> Option<&Observation> {
        self.endpoints.get(endpoint).or_else(|| self.listeners.get(&(endpoint.clone(), listener)))
    }
}

/// The open listeners, with their agents. They stay open as long as the agent lives.
#[derive(Debug, Default)]
pub(super) struct Open(HashMap<EndpointName, (Arc<Agent>, BTreeSet<Listener>)>);

impl Open {
    /// Returns whether the same agent has opened these before.
    fn has(&self, backend: &impl Backend, endpoint: &EndpointName, wanted: &BTreeSet<Listener>) -> bool {
        let agent = backend.agent(endpoint);
        self.0.get(endpoint).zip(agent).is_some_and(|((opener, listeners), agent)| {
            Arc::ptr_eq(opener, &agent) && listeners.is_superset(wanted)
        })
    }
}

/// Opens the listeners that are not open yet.
pub(super) async fn open(backend: &impl Backend, wanted: &Listeners, open: &mut Open) -> Unavailable {
    let missing = wanted.iter().filter(|(endpoint, listeners)| !open.has(backend, endpoint, listeners));
    let missing: Vec<_> = missing.collect();
    let opened =
        ask_all(missing.iter().map(|(endpoint, listeners)| open_at(backend, endpoint, listeners))).await;
    let mut unavailable = Unavailable::default();
    for ((endpoint, listeners), result) in missing.into_iter().zip(opened) {
        match result {
            Err(message) => {
                unavailable.endpoints.insert(endpoint.clone(), Observation::ProbeError { message });
            }
            Ok(failures) => {
                if let Some(agent) = backend.agent(endpoint).filter(|_| failures.is_empty()) {
                    open.0.insert(endpoint.clone(), (agent, listeners.clone()));
                }
                for (listener, failure) in failures {
                    unavailable
                        .listeners
                        .insert((endpoint.clone(), listener), observation(endpoint, failure));
                }
            }
        }
    }
    unavailable
}

async fn open_at(
    backend: &impl Backend,
    endpoint: &EndpointName,
    listeners: &BTreeSet<Listener>,
) -> Result<Vec<(Listener, ListenFailure)>, String> {
    let agent = backend.agent(endpoint).ok_or_else(|| format!("{endpoint} has no agent"))?;
    // Ask before anything is sent. A packet that is lost later says nothing about sockets.
    agent.find_capabilities().await.map_err(|error| error.to_string())?;
    agent.listen(listeners.iter().copied()).await.map_err(|error| error.to_string())
}

fn observation(endpoint: &EndpointName, failure: ListenFailure) -> Observation {
    match failure {
        ListenFailure::Unsupported(message) => Observation::Unsupported { message },
        ListenFailure::Other(message) => {
            Observation::ProbeError { message: format!("{endpoint} cannot listen: {message}") }
        }
    }
}
