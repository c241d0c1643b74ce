//! Requests to agents: the probes of one agent are one request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netproof_probe::wire::{Listener, Nonce, ProbeResult, Target};

use super::canary::Path;
use crate::backend::{Agent, Error, ask_all};
use crate::policy::IpFamily;
use crate::world::EndpointName;

/// A listener, with the family of the address at which its own agent probes it.
pub(super) type OwnListener = (EndpointName, Listener, IpFamily);

/// Agents that reach destinations without an agent, by destination.
pub(super) type References = HashMap<OwnListener, Arc<Agent>>;

/// The purpose of a probe in a round.
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

/// The result of a probe.
pub(super) struct Answer {
    /// The latest time at which it was sent, since the change.
    pub(super) left: Duration,
    pub(super) result: ProbeResult,
}

/// Groups items by their agents. Endpoints in the same network share one agent, for example pods with
/// `hostNetwork`.
pub(super) fn by_agent<T>(items: impl IntoIterator<Item = (Arc<Agent>, T)>) -> Vec<(Arc<Agent>, Vec<T>)> {
    let mut agents = BTreeMap::<String, (Arc<Agent>, Vec<T>)>::new();
    for (agent, item) in items {
        let name = agent.name().to_owned();
        agents.entry(name).or_insert_with(|| (agent, Vec::new())).1.push(item);
    }
    agents.into_values().collect()
}

/// Returns each item with its result. If a request fails, it fails for all of its items.
pub(super) fn each<T, R>(
    items: impl IntoIterator<Item = T>,
    results: Result<Vec<R>, Error>,
) -> Vec<(T, Result<R, Error>)> {
    let items = items.into_iter();
    match results {
        Ok(results) => items.zip(results.into_iter().map(Ok)).collect(),
        Err(error) => items.map(|item| (item, Err(error.clone()))).collect(),
    }
}

/// Sends probes, one request per agent. An agent sends all probes of a request at the same time, so the
/// slowest answer shows when they left.
pub(super) async fn probe_all<T>(
    probes: impl IntoIterator<Item = (Arc<Agent>, (T, Target))>,
    timeout: Duration,
    changed: Instant,
) -> Vec<(T, Result<Answer, Error>)> {
    let requests = by_agent(probes).into_iter().map(async |(agent, probes)| {
        let (purposes, targets): (Vec<T>, Vec<Target>) = probes.into_iter().unzip();
        let results = agent.probe(targets, timeout).await.map(|results| {
            let slowest = results.iter().map(|result| result.elapsed_us).max().unwrap_or_default();
            let left = changed.elapsed().saturating_sub(Duration::from_micros(slowest.into()));
            results.into_iter().map(|result| Answer { left, result }).collect()
        });
        each(purposes, results)
    });
    ask_all(requests).await.into_iter().flatten().collect()
}
