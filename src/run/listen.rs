//! Opening the listeners of a state.

use std::collections::{BTreeSet, HashMap};

use futures_util::future::join_all;
use netproof_probe::wire::{ListenFailure, Listener};

use crate::backend::Backend;
use crate::plan::Listeners;
use crate::scenario::EndpointName;
use crate::verdict::Observation;

/// The listeners that are not open, and what that makes of probes to them.
#[derive(Debug, Default)]
pub(super) struct Unavailable {
    listeners: HashMap<(EndpointName, Listener), Observation>,
    endpoints: HashMap<EndpointName, Observation>,
}

impl Unavailable {
    /// What a probe to this listener shows, without sending it.
    pub(super) fn observation(&self, endpoint: &EndpointName, listener: Listener) -> Option<&Observation> {
        self.endpoints.get(endpoint).or_else(|| self.listeners.get(&(endpoint.clone(), listener)))
    }
}

/// Opens listeners; those that are open already stay so.
pub(super) async fn open(backend: &impl Backend, wanted: &Listeners) -> Unavailable {
    let opened =
        join_all(wanted.iter().map(|(endpoint, listeners)| open_at(backend, endpoint, listeners))).await;
    let mut unavailable = Unavailable::default();
    for (endpoint, result) in wanted.keys().zip(opened) {
        match result {
            Err(message) => {
                unavailable.endpoints.insert(endpoint.clone(), Observation::ProbeError { message });
            }
            Ok(failures) => {
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
