//! A round: one batch of probes for every source, and then the logs of their destinations.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netproof_probe::wire::{Listener, Nonce, Outcome, ProbeResult, Target, Transport};

use super::listen::Unavailable;
use super::settle::Prober;
use super::track::Sighting;
use crate::backend::{Agent, Backend, Error, ask_all};
use crate::plan::{Cell, Route, Router, service_host};
use crate::policy::IpFamily;
use crate::scenario::{EndpointName, State};
use crate::verdict::{Observation, observe};

/// Probes the cells of one state.
pub(super) struct Rounds<'a, B> {
    backend: &'a B,
    state: &'a State,
    router: &'a Router<'a>,
    cells: &'a [Cell],
    routes: &'a [Option<Route>],
    unavailable: &'a Unavailable,
    changed: Instant,
    /// The nonce of each cell's last probe, and whether it was silent.
    last: Vec<Option<Nonce>>,
}

/// A listener at an address of its own pod.
type Control = (EndpointName, Listener, IpFamily);

/// What a target in a batch is there for.
enum Purpose {
    Cell(usize, Nonce),
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
        state: &'a State,
        router: &'a Router<'a>,
        cells: &'a [Cell],
        routes: &'a [Option<Route>],
        unavailable: &'a Unavailable,
        changed: Instant,
    ) -> Self {
        let last = vec![None; cells.len()];
        Self { backend, state, router, cells, routes, unavailable, changed, last }
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
        route.servers.iter().find_map(server)
    }

    fn batches(&mut self, cells: &[usize]) -> Vec<Batch> {
        // Pods of one node's network share an agent.
        let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
        let mut controls = BTreeSet::new();
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
            let nonce = Nonce(fastrand::u64(..));
            if let Some(last) = self.last.get_mut(index) {
                *last = Some(nonce);
            }
            let Route { transport, address, ref name, ref servers, .. } = *route;
            add(agent, Target { nonce, transport, address, name: name.clone() }, Purpose::Cell(index, nonce));
            controls.extend(
                servers.iter().map(|(endpoint, listener)| (endpoint.clone(), *listener, cell.family)),
            );
        }
        for control in controls {
            let (endpoint, listener, family) = &control;
            let (Some(agent), Some(ip)) =
                (self.backend.agent(endpoint), self.router.address(endpoint, *family))
            else {
                continue;
            };
            let target = Target {
                nonce: Nonce(fastrand::u64(..)),
                transport: listener.transport,
                address: SocketAddr::new(ip, listener.port),
                name: self.lookup_name(listener.transport),
            };
            add(agent, target, Purpose::Control(control));
        }
        batches.into_values().collect()
    }

    fn lookup_name(&self, transport: Transport) -> Option<String> {
        match transport {
            Transport::DnsUdp | Transport::DnsTcp => {
                let service = &self.state.dns.as_ref()?.service;
                Some(service_host(&service.namespace, &service.name))
            }
            Transport::Tcp | Transport::Udp | Transport::Sctp => None,
        }
    }

    /// The nonces that arrived at the destinations of some cells, and the destinations whose logs
    /// could not be read.
    async fn arrivals(&self, cells: &[usize]) -> (HashSet<Nonce>, HashMap<EndpointName, Failure>) {
        let routes = cells.iter().filter_map(|cell| self.route(*cell));
        let servers: BTreeSet<&EndpointName> =
            routes.flat_map(|route| &route.servers).map(|(endpoint, _)| endpoint).collect();
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

    /// The agents that may answer, by the names with which they sign.
    fn server_names(&self, route: &Route) -> Vec<String> {
        let agents = route.servers.iter().filter_map(|(endpoint, _)| self.backend.agent(endpoint));
        agents.map(|agent| agent.name().to_owned()).collect()
    }

    /// The addresses that a lookup has to give.
    fn lookup_addresses(&self, family: IpFamily) -> Vec<IpAddr> {
        let Some(dns) = &self.state.dns else { return Vec::new() };
        let service = EndpointName::service(&dns.service.namespace, &dns.service.name);
        self.router.address(&service, family).into_iter().collect()
    }
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

        let (mut probes, mut controls) = (Vec::new(), HashSet::new());
        for (left, batch) in results {
            for (purpose, result) in batch {
                match (purpose, result) {
                    (Purpose::Cell(cell, nonce), result) => probes.push((cell, nonce, left, result)),
                    (Purpose::Control(control), Ok(result)) => {
                        if matches!(result.outcome, Outcome::Answered { .. } | Outcome::DnsAnswered { .. }) {
                            controls.insert(control);
                        }
                    }
                    (Purpose::Control(_), Err(_)) => {}
                }
            }
        }
        for (index, nonce, left, result) in probes {
            let (Some(cell), Some(route)) = (self.cells.get(index), self.route(index)) else { continue };
            let log_failure = route.servers.iter().find_map(|(endpoint, _)| unread.get(endpoint));
            let mut is_final = false;
            let left = left.unwrap_or(sent).max(sent);
            let (observation, took) = match (result, log_failure) {
                (Ok(result), None) => {
                    let addresses = self.lookup_addresses(cell.family);
                    let arrived = arrived.contains(&nonce);
                    let observation =
                        observe(&result.outcome, &self.server_names(route), arrived, &addresses);
                    (observation, Duration::from_micros(result.elapsed_us.into()))
                }
                (Err(failure), _) => {
                    is_final = failure.is_gone;
                    (Observation::ProbeError { message: failure.message }, Duration::ZERO)
                }
                (Ok(_), Some(failure)) => {
                    is_final = failure.is_gone;
                    (Observation::ProbeError { message: failure.message.clone() }, Duration::ZERO)
                }
            };
            is_final |= matches!(observation, Observation::Unsupported { .. });
            let is_up = |(endpoint, listener): &(EndpointName, Listener)| {
                controls.contains(&(endpoint.clone(), *listener, cell.family))
            };
            let control = !route.servers.is_empty() && route.servers.iter().all(is_up);
            sightings.push(Sighting {
                cell: index,
                observation,
                sent,
                left,
                ended: left + took,
                control,
                is_final,
            });
        }
        sightings
    }

    fn elapsed(&self) -> Duration {
        self.changed.elapsed()
    }
}
