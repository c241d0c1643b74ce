//! A round: one batch of probes for every source, and then the logs of their destinations.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netproof_probe::wire::{Listener, Nonce, Outcome, ProbeResult, Target};

use super::listen::Unavailable;
use super::settle::Prober;
use super::track::Sighting;
use crate::backend::{Agent, Backend, Error, ask_all};
use crate::plan::{Cell, Route, Router};
use crate::policy::IpFamily;
use crate::scenario::EndpointName;
use crate::verdict::{Agents, Observation, observe};

/// Probes the cells of one state.
pub(super) struct Rounds<'a, B> {
    backend: &'a B,
    router: &'a Router<'a>,
    cells: &'a [Cell],
    routes: &'a [Option<Route>],
    unavailable: &'a Unavailable,
    changed: Instant,
    /// The nonce that decided what each cell's last probe showed.
    last: Vec<Option<Nonce>>,
}

/// A listener at an address of its own pod.
type Control = (EndpointName, Listener, IpFamily);

/// What a target in a batch is there for.
enum Purpose {
    /// A leg of a cell's route.
    Leg {
        cell: usize,
        leg: usize,
        nonce: Nonce,
    },
    Control(Control),
}

/// What one agent has to send in a round.
struct Batch {
    agent: Arc<Agent>,
    targets: Vec<Target>,
    purposes: Vec<Purpose>,
}

/// A target that was sent, and what became of it.
type Sent = (Purpose, Result<ProbeResult, Failure>);

/// Why an agent did not do what it was asked for.
#[derive(Debug, Clone)]
struct Failure {
    message: String,
    /// Whether it never will.
    is_gone: bool,
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

impl<'a, B: Backend> Rounds<'a, B> {
    pub(super) fn new(
        backend: &'a B,
        router: &'a Router<'a>,
        cells: &'a [Cell],
        routes: &'a [Option<Route>],
        unavailable: &'a Unavailable,
        changed: Instant,
    ) -> Self {
        let last = vec![None; cells.len()];
        Self { backend, router, cells, routes, unavailable, changed, last }
    }

    /// Looks once more at the logs of destinations: the cells whose last probe arrived after all.
    pub(super) async fn late_arrivals(&self) -> HashSet<usize> {
        let cells: Vec<usize> = (0..self.cells.len()).collect();
        let (arrived, _) = self.arrivals(&cells).await;
        let is_late = |cell: &usize| {
            self.last.get(*cell).copied().flatten().is_some_and(|nonce| arrived.contains(&nonce))
        };
        cells.into_iter().filter(is_late).collect()
    }

    fn route(&self, cell: usize) -> Option<&'a Route> {
        self.routes.get(cell)?.as_ref()
    }

    /// What can be told of a cell without sending anything.
    fn unsendable(&self, cell: usize) -> Option<Observation> {
        let from = &self.cells.get(cell)?.from;
        let Some(route) = self.route(cell) else {
            return Some(Observation::Unsupported {
                message: "one end has no address of the family".to_owned(),
            });
        };
        if self.backend.agent(from).is_none() {
            return Some(Observation::ProbeError { message: format!("{from} has no agent") });
        }
        let server = |(endpoint, listener): &(EndpointName, Listener)| {
            self.unavailable.observation(endpoint, *listener).cloned()
        };
        route.all_servers().find_map(server)
    }

    fn batches(&mut self, cells: &[usize]) -> Vec<Batch> {
        // Pods of one node's network share an agent.
        let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
        // With the name that a lookup there asks for: one will do.
        let mut controls = BTreeMap::new();
        let mut add = |agent: Arc<Agent>, target: Target, purpose: Purpose| {
            let batch = batches.entry(agent.name().to_owned()).or_insert_with(|| Batch {
                agent,
                targets: Vec::new(),
                purposes: Vec::new(),
            });
            batch.targets.push(target);
            batch.purposes.push(purpose);
        };
        for &index in cells {
            let (Some(cell), Some(route)) = (self.cells.get(index), self.route(index)) else { continue };
            let Some(agent) = self.backend.agent(&cell.from) else { continue };
            for (leg, &Route { transport, address, ref lookup, ref servers, .. }) in route.legs().enumerate()
            {
                let nonce = agent.next_nonce();
                let name = lookup.as_ref().map(|lookup| lookup.name.clone());
                let target = Target { nonce, transport, address, name: name.clone() };
                add(Arc::clone(&agent), target, Purpose::Leg { cell: index, leg, nonce });
                for (endpoint, listener) in servers {
                    controls.insert((endpoint.clone(), *listener, cell.family), name.clone());
                }
            }
        }
        for (control, name) in controls {
            let (endpoint, listener, family) = &control;
            let (Some(agent), Some(ip)) =
                (self.backend.agent(endpoint), self.router.address(endpoint, *family))
            else {
                continue;
            };
            let target = Target {
                nonce: agent.next_nonce(),
                transport: listener.transport,
                address: SocketAddr::new(ip, listener.port),
                name,
            };
            add(agent, target, Purpose::Control(control));
        }
        batches.into_values().collect()
    }

    /// The nonces that arrived at the destinations of some cells, and the destinations whose logs
    /// could not be read.
    async fn arrivals(&self, cells: &[usize]) -> (HashSet<Nonce>, HashMap<EndpointName, Failure>) {
        let routes = cells.iter().filter_map(|cell| self.route(*cell));
        let servers: BTreeSet<&EndpointName> =
            routes.flat_map(Route::all_servers).map(|(endpoint, _)| endpoint).collect();
        // An agent that serves several endpoints has one log.
        let agents: BTreeMap<String, Arc<Agent>> = servers
            .iter()
            .filter_map(|endpoint| self.backend.agent(endpoint))
            .map(|agent| (agent.name().to_owned(), agent))
            .collect();
        let logs = ask_all(agents.values().map(|agent| agent.arrivals())).await;
        let mut arrived = HashSet::new();
        let mut unread = HashMap::new();
        for (agent, log) in agents.keys().zip(logs) {
            match log {
                Ok(log) => arrived.extend(log.into_iter().map(|arrival| arrival.nonce)),
                Err(error) => {
                    unread.insert(agent.clone(), Failure::from(&error));
                }
            }
        }
        let unread_by_endpoint = servers.into_iter().filter_map(|endpoint| {
            let agent = self.backend.agent(endpoint)?;
            Some((endpoint.clone(), unread.get(agent.name())?.clone()))
        });
        (arrived, unread_by_endpoint.collect())
    }

    /// Sends a batch. A batch that fails fails all of its probes. Also gives when the probes left their
    /// agent, since the change: its slowest began with the others.
    async fn send(&self, batch: Batch, timeout: Duration) -> (Option<Duration>, Vec<Sent>) {
        let Batch { agent, targets, purposes } = batch;
        match agent.probe(targets, timeout).await {
            Ok(results) => {
                let slowest = results.iter().map(|result| result.elapsed_us).max().unwrap_or_default();
                let left = self.elapsed().saturating_sub(Duration::from_micros(slowest.into()));
                (Some(left), purposes.into_iter().zip(results.into_iter().map(Ok)).collect())
            }
            Err(error) => {
                (None, purposes.into_iter().map(|purpose| (purpose, Err(Failure::from(&error)))).collect())
            }
        }
    }

    /// The agents that may answer on a leg, by the names with which they sign.
    fn server_names(&self, leg: &Route) -> Vec<String> {
        let agents = leg.servers.iter().filter_map(|(endpoint, _)| self.backend.agent(endpoint));
        agents.map(|agent| agent.name().to_owned()).collect()
    }

    /// What a report calls the agent that signs with a name: its endpoint.
    fn endpoint(&self, agent: &str) -> Option<String> {
        let signs =
            |endpoint: &&EndpointName| self.backend.agent(endpoint).is_some_and(|a| a.name() == agent);
        let servers = self.routes.iter().flatten().flat_map(Route::all_servers).map(|(server, _)| server);
        let known = self.cells.iter().map(|cell| &cell.from).chain(servers);
        let signers: Vec<String> = known.filter(signs).map(EndpointName::to_string).collect();
        // Pods of a node's network share its agent.
        signers.iter().find(|name| *name == agent).or(signers.first()).cloned()
    }

    /// What a leg's probe showed.
    fn leg_sighting(
        &self,
        leg: &Route,
        LegSent { nonce, left, result }: LegSent,
        control: bool,
        arrived: &HashSet<Nonce>,
        unread: &HashMap<EndpointName, Failure>,
    ) -> LegSighting {
        let failed = |failure: &Failure| LegSighting {
            nonce: Some(nonce),
            observation: Observation::ProbeError { message: failure.message.clone() },
            left,
            took: Duration::ZERO,
            control,
            is_final: failure.is_gone,
        };
        let log_failure = leg.servers.iter().find_map(|(endpoint, _)| unread.get(endpoint));
        match (result, log_failure) {
            (Err(failure), _) => failed(&failure),
            (Ok(_), Some(failure)) => failed(failure),
            (Ok(result), None) => {
                let addresses = leg.lookup.as_ref().map(|lookup| lookup.addresses.as_slice());
                let (servers, arrived) = (self.server_names(leg), arrived.contains(&nonce));
                let agents = Agents { servers: &servers, endpoint: &|agent| self.endpoint(agent) };
                let observation = observe(&result.outcome, &agents, arrived, addresses.unwrap_or_default());
                let is_final = matches!(observation, Observation::Unsupported { .. });
                let took = Duration::from_micros(result.elapsed_us.into());
                LegSighting { nonce: Some(nonce), observation, left, took, control, is_final }
            }
        }
    }
}

/// A leg's probe, and what its agent says of it.
struct LegSent {
    nonce: Nonce,
    /// When it left at the latest, since the change.
    left: Option<Duration>,
    result: Result<ProbeResult, Failure>,
}

/// What a leg's probe showed.
struct LegSighting {
    /// The one whose arrival would show that the cell was delivered.
    nonce: Option<Nonce>,
    observation: Observation,
    left: Option<Duration>,
    took: Duration,
    /// Whether all who may answer were seen up.
    control: bool,
    is_final: bool,
}

impl<B: Backend> Prober for Rounds<'_, B> {
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
        let sent = self.elapsed();
        let mut sightings = Vec::new();
        let mut sendable = Vec::new();
        for &cell in cells {
            match self.unsendable(cell) {
                Some(observation) => {
                    let (control, is_final) = (false, true);
                    let (left, ended) = (sent, sent);
                    sightings.push(Sighting { cell, observation, sent, left, ended, control, is_final });
                }
                None => sendable.push(cell),
            }
        }
        let batches = self.batches(&sendable);
        let results = ask_all(batches.into_iter().map(|batch| self.send(batch, timeout))).await;
        let (arrived, unread) = self.arrivals(&sendable).await;

        let (mut probes, mut controls) = (BTreeMap::<usize, BTreeMap<usize, LegSent>>::new(), HashSet::new());
        for (left, batch) in results {
            for (purpose, result) in batch {
                match (purpose, result) {
                    (Purpose::Leg { cell, leg, nonce }, result) => {
                        probes.entry(cell).or_default().insert(leg, LegSent { nonce, left, result });
                    }
                    (Purpose::Control(control), Ok(result)) => {
                        if matches!(result.outcome, Outcome::Answered { .. } | Outcome::DnsAnswered { .. }) {
                            controls.insert(control);
                        }
                    }
                    (Purpose::Control(_), Err(_)) => {}
                }
            }
        }
        for (index, mut legs) in probes {
            let (Some(cell), Some(route)) = (self.cells.get(index), self.route(index)) else { continue };
            let is_up = |(endpoint, listener): &(EndpointName, Listener)| {
                controls.contains(&(endpoint.clone(), *listener, cell.family))
            };
            let seen = route.legs().enumerate().filter_map(|(leg, route)| {
                let control = !route.servers.is_empty() && route.servers.iter().all(is_up);
                Some(self.leg_sighting(route, legs.remove(&leg)?, control, &arrived, &unread))
            });
            let Some(decisive) = until_failure(seen) else { continue };
            if let Some(last) = self.last.get_mut(index) {
                *last = decisive.nonce;
            }
            let left = decisive.left.unwrap_or(sent).max(sent);
            sightings.push(Sighting {
                cell: index,
                sent,
                left,
                ended: left + decisive.took,
                control: decisive.control,
                is_final: decisive.is_final,
                observation: decisive.observation,
            });
        }
        sightings
    }

    fn elapsed(&self) -> Duration {
        self.changed.elapsed()
    }
}

/// What a client sees of legs: it goes no further than to the first that fails.
fn until_failure(legs: impl Iterator<Item = LegSighting>) -> Option<LegSighting> {
    let mut legs = legs.peekable();
    while let Some(leg) = legs.next() {
        let is_last = legs.peek().is_none();
        if is_last {
            return Some(leg);
        }
        if let Some(observation) = without_name(&leg.observation) {
            return Some(LegSighting { observation, nonce: None, ..leg });
        }
    }
    None
}

/// What the failure of a lookup makes of the connection that needs it; `None` if it did not fail. Wherever
/// the question went, nothing was sent to the Service.
fn without_name(lookup: &Observation) -> Option<Observation> {
    match lookup {
        Observation::Connected => None,
        Observation::OneWay => Some(Observation::Dropped),
        Observation::DnsFailure { message } => {
            Some(Observation::ProbeError { message: format!("its name was not found: {message}") })
        }
        Observation::Dropped
        | Observation::Rejected
        | Observation::Misdelivered { .. }
        | Observation::Unsupported { .. }
        | Observation::ProbeError { .. } => Some(lookup.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(observation: Observation) -> LegSighting {
        let (left, took) = (None, Duration::ZERO);
        LegSighting { nonce: Some(Nonce(7)), observation, left, took, control: true, is_final: false }
    }

    /// A refused lookup is proved by who answers lookups, wherever the connection would have led.
    #[test]
    fn the_control_is_that_of_the_leg_that_decides() {
        let control = |lookup| {
            let nowhere = LegSighting { control: false, ..leg(Observation::Rejected) };
            until_failure([leg(lookup), nowhere].into_iter()).unwrap().control
        };
        assert!(control(Observation::Dropped));
        assert!(!control(Observation::Connected));
    }

    /// What a lookup and a connection show together, and whether a late arrival would count.
    fn together(lookup: Observation, connection: Observation) -> (Observation, bool) {
        let seen = until_failure([leg(lookup), leg(connection)].into_iter()).unwrap();
        (seen.observation, seen.nonce.is_some())
    }

    #[test]
    fn a_connection_by_name_ends_with_its_lookup() {
        use Observation::{Connected, Dropped, OneWay, Rejected};
        assert_eq!(together(Connected, Connected), (Connected, true));
        assert_eq!(together(Connected, Dropped), (Dropped, true));
        assert_eq!(together(Connected, OneWay), (OneWay, true));
        assert_eq!(together(Rejected, Connected), (Rejected, false));
        // The question arrived; nothing was sent to the Service.
        assert_eq!(together(OneWay, Connected), (Dropped, false));
        let failed = Observation::DnsFailure { message: "response code 3".to_owned() };
        let (observation, _) = together(failed, Dropped);
        assert_eq!(observation.agrees_with(crate::policy::Decision::Deny), None, "nothing was learned");
    }
}
