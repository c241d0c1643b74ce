//! Connections that are open during a change. What happens to them decides no verdict.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use netproof_probe::wire::{Connection, Exchange, Nonce, Outcome, ProbeResult};

use super::actions::removed_end;
use super::batch::{by_agent, each};
use crate::backend::{Agent, Backend, Error, ask_all};
use crate::plan::{Cell, Route};
use crate::policy::Decision;
use crate::verdict::{Fate, OpenConnection};
use crate::world::{Action, EndpointName};

/// The connections that are open during one change.
#[derive(Debug, Default)]
pub(crate) struct Held(Vec<HeldConnection>);

#[derive(Debug)]
struct HeldConnection {
    cell: Cell,
    route: Route,
    /// The nonce by which its agent knows it.
    nonce: Nonce,
    agent: Arc<Agent>,
    /// The endpoint that accepted it, or the reason why it is not open.
    server: Result<EndpointName, String>,
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
            let (nonce, server) = (agent.next_nonce(), Err("not opened".to_owned()));
            Some(HeldConnection { cell, route, nonce, agent, server })
        });
        let mut connections: Vec<_> = connections.collect();
        let wanted = connections.iter().enumerate().map(|(place, held)| {
            let connection = Connection { nonce: held.nonce, address: held.route.address };
            (Arc::clone(&held.agent), (place, connection))
        });
        let requests = by_agent(wanted).into_iter().map(async |(agent, wanted)| {
            let (places, wanted): (Vec<usize>, _) = wanted.into_iter().unzip();
            each(places, agent.hold(wanted, timeout).await)
        });
        for (place, result) in ask_all(requests).await.into_iter().flatten() {
            if let Some(held) = connections.get_mut(place) {
                held.server = server(backend, &held.route, result);
            }
        }
        Self(connections)
    }

    /// Uses the connections again, and closes them. `actions` are the change. `decision` returns what the
    /// policies promise for a cell now.
    pub(super) async fn use_again(
        self,
        actions: &[Action],
        timeout: Duration,
        decision: impl Fn(&Cell) -> Option<Decision>,
    ) -> Vec<OpenConnection> {
        let Self(connections) = self;
        let removed: HashSet<EndpointName> = actions.iter().filter_map(removed_end).collect();
        // If the sender has ended, so has the agent that holds the connection.
        let has_sender = |held: &HeldConnection| !removed.contains(&held.cell.from);
        let held = connections.iter().enumerate().filter(|(_, held)| has_sender(held));
        let exchanges = held.map(|(place, held)| {
            let is_usable = held.server.as_ref().is_ok_and(|server| !removed.contains(server));
            let exchange = || Exchange { connection: held.nonce, nonce: held.agent.next_nonce() };
            (Arc::clone(&held.agent), is_usable.then(|| (place, exchange())))
        });
        let requests = by_agent(exchanges).into_iter().map(async |(agent, exchanges)| {
            // Send the request even if it is empty: it closes the open connections.
            let (places, exchanges): (Vec<usize>, _) = exchanges.into_iter().flatten().unzip();
            each(places, agent.use_again(exchanges, timeout).await)
        });
        let mut used: BTreeMap<_, _> = ask_all(requests).await.into_iter().flatten().collect();
        let mut fates = Vec::new();
        for (place, HeldConnection { cell, server, .. }) in connections.into_iter().enumerate() {
            let fate = match (server, used.remove(&place)) {
                (Err(why), _) => Fate::NotMeasured(why),
                (Ok(_), None) => Fate::Ended,
                (Ok(_), Some(result)) => fate(result),
            };
            fates.push(OpenConnection { decision: decision(&cell), cell, fate });
        }
        fates
    }
}

/// Returns the endpoint that accepted a connection.
fn server(
    backend: &impl Backend,
    route: &Route,
    result: Result<ProbeResult, Error>,
) -> Result<EndpointName, String> {
    let failed = |why: &str| Err(format!("it could not be opened: {why}"));
    match result.map_err(|error| error.to_string())?.outcome {
        Outcome::Answered { agent: name } => {
            let mut servers = route.servers.iter().map(|(server, _)| server);
            let is_it = |server: &&EndpointName| backend.agent(server).is_some_and(|a| a.name() == name);
            servers.find(is_it).cloned().ok_or_else(|| "another agent answered".to_owned())
        }
        Outcome::Silent { .. } => failed("no answer"),
        Outcome::Refused => failed("refused"),
        Outcome::Garbled { .. } | Outcome::DnsAnswered { .. } | Outcome::Accepted => {
            failed("something else answered")
        }
        Outcome::Cut { message }
        | Outcome::Unreachable { message }
        | Outcome::Unsupported { message }
        | Outcome::Failed { message } => failed(&message),
    }
}

fn fate(result: Result<ProbeResult, Error>) -> Fate {
    match result.map(|result| result.outcome) {
        // No other agent can answer over the same connection.
        Ok(Outcome::Answered { .. }) => Fate::Survived,
        Ok(
            Outcome::Silent { .. }
            | Outcome::Refused
            | Outcome::Cut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Garbled { .. }
            | Outcome::DnsAnswered { .. }
            | Outcome::Accepted,
        ) => Fate::Cut,
        Ok(Outcome::Unsupported { message } | Outcome::Failed { message }) => Fate::NotMeasured(message),
        Err(error) => Fate::NotMeasured(error.to_string()),
    }
}
