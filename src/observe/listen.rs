//! Opens the listeners of a state.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use netproof_probe::wire::{ListenFailure, Listener};

use crate::backend::{Agent, Backend, ask_all};
use crate::plan::Listeners;
use crate::verdict::Observation;
use crate::world::EndpointName;

/// The listeners that could not be opened. For each endpoint, there is one observation of probes to all of its
/// listeners, or one for each such listener.
#[derive(Debug, Default)]
pub(super) struct Unavailable(HashMap<EndpointName, Result<HashMap<Listener, Observation>, Observation>>);

impl Unavailable {
    /// Returns what a probe to a listener shows without being sent. `None` if the listener is open.
    pub(super) fn observation(&self, endpoint: &EndpointName, listener: Listener) -> Option<&Observation> {
        match self.0.get(endpoint)? {
            Ok(of_listeners) => of_listeners.get(&listener),
            Err(of_all) => Some(of_all),
        }
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
    let mut unavailable = HashMap::new();
    for ((endpoint, listeners), failures) in missing.into_iter().zip(opened) {
        if let Some(agent) = backend.agent(endpoint)
            && failures.as_ref().is_ok_and(HashMap::is_empty)
        {
            open.0.insert(endpoint.clone(), (agent, listeners.clone()));
        }
        unavailable.insert(endpoint.clone(), failures);
    }
    Unavailable(unavailable)
}

/// Opens listeners of an endpoint. Returns what probes show to those that could not be opened.
async fn open_at(
    backend: &impl Backend,
    endpoint: &EndpointName,
    listeners: &BTreeSet<Listener>,
) -> Result<HashMap<Listener, Observation>, Observation> {
    let failed = |message| Observation::ProbeError { message };
    let agent = backend.agent(endpoint).ok_or_else(|| failed(format!("{endpoint} has no agent")))?;
    // Ask before anything is sent. A packet that is lost later says nothing about sockets.
    agent.find_capabilities().await.map_err(|error| failed(error.to_string()))?;
    let failures = agent.listen(listeners.iter().copied()).await;
    let failures = failures.map_err(|error| failed(error.to_string()))?.into_iter();
    let shows = |(listener, failure)| match failure {
        ListenFailure::Unsupported(message) => (listener, Observation::Unsupported { message }),
        ListenFailure::Other(message) => (listener, failed(format!("{endpoint} cannot listen: {message}"))),
    };
    Ok(failures.map(shows).collect())
}
