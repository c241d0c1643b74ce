//! Connections that are open during a change. What happens to them decides no verdict.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use netproof_probe::wire::{Connection, Exchange, Nonce, Outcome, ProbeResult};

use super::actions::removed_end;
use super::batch::Failure;
use crate::backend::{Agent, Backend, Error, ask_all};
use crate::plan::{Cell, Route};
use crate::policy::Decision;
use crate::verdict::{Fate, OpenConnection};
use crate::world::{Action, EndpointName};

/// The connections that are open during one change.
#[derive(Debug, Default)]
pub(crate) struct Held {
    connections: Vec<HeldConnection>,
    /// How long to wait for an answer.
    timeout: Duration,
}

#[derive(Debug)]
struct HeldConnection {
    cell: Cell,
    route: Route,
    /// The nonce by which its agent knows it.
    nonce: Nonce,
    agent: Arc<Agent>,
    /// The endpoint that accepted it.
    server: Result<EndpointName, NotOpen>,
}

/// The reason why a connection is not open.
#[derive(Debug, thiserror::Error)]
enum NotOpen {
    #[error("not opened")]
    NotTried,
    #[error("another agent answered")]
    AnotherAgent,
    #[error("it could not be opened: {0}")]
    Failed(String),
    #[error("{}", .0.message)]
    Request(Failure),
}

impl Held {
    /// Opens a connection for each of these cells.
    pub(super) async fn open(
        backend: &impl Backend,
        cells: impl IntoIterator<Item = (Cell, Route)>,
        timeout: Duration,
    ) -> Self {
        let connections = cells.into_iter().filter_map(|(cell, route)| {
            let agent = backend.agent(&cell.from)?;
            let (nonce, server) = (agent.next_nonce(), Err(NotOpen::NotTried));
            Some(HeldConnection { cell, route, nonce, agent, server })
        });
        let mut connections: Vec<_> = connections.collect();
        let requests = by_agent(&connections, |_| true).into_values().map(|(agent, places)| {
            let wanted = places.iter().filter_map(|place| {
                let held = connections.get(*place)?;
                Some(Connection { nonce: held.nonce, address: held.route.address })
            });
            let wanted: Vec<_> = wanted.collect();
            async move { (places, agent.hold(wanted, timeout).await) }
        });
        let opened = ask_all(requests.collect::<Vec<_>>()).await;
        for (place, result) in opened.into_iter().flat_map(per_place) {
            if let Some(held) = connections.get_mut(place) {
                held.server = server(backend, &held.route, result);
            }
        }
        Self { connections, timeout }
    }

    /// Uses the connections again, and closes them. `actions` are the change. `decision` returns what the
    /// policies promise for a cell now.
    pub(super) async fn use_again(
        self,
        actions: &[Action],
        decision: impl Fn(&Cell) -> Option<Decision>,
    ) -> Vec<OpenConnection> {
        let Self { connections, timeout } = self;
        let removed: HashSet<EndpointName> = actions.iter().filter_map(removed_end).collect();
        // If the sender has ended, so has the agent that holds the connection.
        let has_sender = |held: &HeldConnection| !removed.contains(&held.cell.from);
        let requests = by_agent(&connections, has_sender).into_values().map(|(agent, places)| {
            let is_usable = |place: &usize| {
                let server = connections.get(*place).and_then(|held| held.server.as_ref().ok());
                server.is_some_and(|server| !removed.contains(server))
            };
            let places: Vec<_> = places.into_iter().filter(is_usable).collect();
            let held = places.iter().filter_map(|place| connections.get(*place));
            let exchanges =
                held.map(|held| Exchange { connection: held.nonce, nonce: held.agent.next_nonce() });
            let exchanges: Vec<_> = exchanges.collect();
            // Send the request even if it is empty: it closes the open connections.
            async move { (places, agent.use_again(exchanges, timeout).await) }
        });
        let used = ask_all(requests.collect::<Vec<_>>()).await;
        let mut used: BTreeMap<_, _> = used.into_iter().flat_map(per_place).collect();
        let mut fates = Vec::new();
        for (place, HeldConnection { cell, server, .. }) in connections.into_iter().enumerate() {
            let fate = match (server, used.remove(&place)) {
                (Err(why), _) => Fate::NotMeasured(why.to_string()),
                (Ok(_), None) => Fate::Ended,
                (Ok(_), Some(result)) => fate(result),
            };
            fates.push(OpenConnection { decision: decision(&cell), cell, fate });
        }
        fates
    }
}

/// Returns the indices of the wanted connections, by agent.
fn by_agent(
    connections: &[HeldConnection],
    is_wanted: impl Fn(&HeldConnection) -> bool,
) -> BTreeMap<String, (Arc<Agent>, Vec<usize>)> {
    let mut agents = BTreeMap::new();
    for (place, held) in connections.iter().enumerate().filter(|(_, held)| is_wanted(held)) {
        let name = held.agent.name().to_owned();
        let (_, places) = agents.entry(name).or_insert_with(|| (Arc::clone(&held.agent), Vec::new()));
        places.push(place);
    }
    agents
}

/// Returns the result of each connection. If a request fails, it fails for all of its connections.
fn per_place(
    (places, results): (Vec<usize>, Result<Vec<ProbeResult>, Error>),
) -> Vec<(usize, Result<ProbeResult, Failure>)> {
    match results {
        Ok(results) => places.into_iter().zip(results.into_iter().map(Ok)).collect(),
        Err(error) => places.into_iter().map(|place| (place, Err(Failure::from(&error)))).collect(),
    }
}

/// Returns the endpoint that accepted a connection.
fn server(
    backend: &impl Backend,
    route: &Route,
    result: Result<ProbeResult, Failure>,
) -> Result<EndpointName, NotOpen> {
    match result.map_err(NotOpen::Request)?.outcome {
        Outcome::Answered { agent: name } => {
            let mut servers = route.servers.iter().map(|(server, _)| server);
            let is_it = |server: &&EndpointName| backend.agent(server).is_some_and(|a| a.name() == name);
            servers.find(is_it).cloned().ok_or(NotOpen::AnotherAgent)
        }
        Outcome::Silent { .. } => Err(NotOpen::Failed("no answer".to_owned())),
        Outcome::Refused => Err(NotOpen::Failed("refused".to_owned())),
        Outcome::Garbled { .. } | Outcome::DnsAnswered { .. } => {
            Err(NotOpen::Failed("something else answered".to_owned()))
        }
        Outcome::Cut { message }
        | Outcome::Unreachable { message }
        | Outcome::Unsupported { message }
        | Outcome::Failed { message } => Err(NotOpen::Failed(message)),
    }
}

fn fate(result: Result<ProbeResult, Failure>) -> Fate {
    match result.map(|result| result.outcome) {
        // No other agent can answer over the same connection.
        Ok(Outcome::Answered { .. }) => Fate::Survived,
        Ok(
            Outcome::Silent { .. }
            | Outcome::Refused
            | Outcome::Cut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Garbled { .. }
            | Outcome::DnsAnswered { .. },
        ) => Fate::Cut,
        Ok(Outcome::Unsupported { message } | Outcome::Failed { message }) | Err(Failure { message, .. }) => {
            Fate::NotMeasured(message)
        }
    }
}
