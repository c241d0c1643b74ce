//! A round: one batch of probes for every source, and then the logs of their destinations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use netproof_probe::wire::{Listener, Nonce, Target};

use super::arrived::{Arrived, ArrivedAt, Legs, places};
use super::batch::{Batch, Batches, Failure, OwnListener, Purpose, Sent};
use super::canary::{Canaries, LostCanaries, Path};
use super::ledger::{DeniedBackend, Ends, Late, Ledger, MeantFor, Noted, Shows};
use super::legs::{LegSent, LegSighting, silence_after, until_failure};
use super::listen::Unavailable;
use super::planned::PlannedCell;
use super::sentinel::{Signal, Watch};
use super::settle::Prober;
use super::track::{Loss, Sighting};
use crate::backend::{Agent, Backend, ask_all};
use crate::plan::{Cell, Route};
use crate::policy::{Decision, Expectation};
use crate::verdict::{Agents, Control, Observation, observe};
use crate::world::{EndpointName, World};

/// The cells of one state, and what is needed to probe them.
pub(crate) struct Probing<'a, B> {
    pub(crate) backend: &'a B,
    pub(crate) world: &'a World,
    pub(crate) canaries: &'a Canaries,
    pub(crate) cells: &'a [PlannedCell],
    pub(crate) unavailable: &'a Unavailable,
    /// When the state was changed to what it is.
    pub(crate) changed: Instant,
}

/// Probes the cells of one state, round by round.
pub(crate) struct Rounds<'a, B> {
    probing: Probing<'a, B>,
    ledger: &'a mut Ledger,
    /// The sentinels; `None` where it makes no deviation whether the change is in force.
    watch: Option<&'a mut Watch>,
    /// The paths of every cell's legs, by the leg's index; `None` where no canary is.
    paths: Vec<Vec<Vec<Option<Path>>>>,
    lost: LostCanaries,
}

impl<'a, B: Backend> Rounds<'a, B> {
    pub(crate) fn new(probing: Probing<'a, B>, ledger: &'a mut Ledger, watch: Option<&'a mut Watch>) -> Self {
        let Probing { world, canaries, cells, .. } = probing;
        let paths = |PlannedCell { cell, route, .. }: &PlannedCell| {
            let legs = route.iter().flat_map(Route::legs);
            legs.map(|leg| canaries.paths(world, &cell.from, cell.family, leg)).collect()
        };
        let paths = cells.iter().map(paths).collect();
        Self { probing, ledger, watch, paths, lost: LostCanaries::default() }
    }

    fn planned(&self, cell: usize) -> Option<&'a PlannedCell> {
        self.probing.cells.get(cell)
    }

    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.probing.backend.agent(endpoint)
    }

    /// The paths of a cell's leg.
    fn paths(&self, cell: usize, leg: usize) -> &[Option<Path>] {
        self.paths.get(cell).and_then(|legs| legs.get(leg)).map(Vec::as_slice).unwrap_or_default()
    }

    /// What can be said of a cell without sending anything.
    fn unsendable(&self, cell: usize) -> Option<Observation> {
        let PlannedCell { cell: Cell { from, .. }, route, .. } = self.planned(cell)?;
        let Some(route) = route else {
            return Some(Observation::Unsupported {
                message: "one end has no address of the family".to_owned(),
            });
        };
        let Some(agent) = self.agent(from) else {
            return Some(Observation::ProbeError { message: format!("{from} has no agent") });
        };
        let missing = |leg: &Route| agent.missing(leg.transport, leg.address).map(str::to_owned);
        if let Some(message) = route.legs().find_map(missing) {
            return Some(Observation::Unsupported { message });
        }
        let server = |(endpoint, listener): &(EndpointName, Listener)| {
            self.probing.unavailable.observation(endpoint, *listener).cloned()
        };
        route.all_servers().find_map(server)
    }

    /// The batches of a round that probes these cells.
    fn batches(&self, probes: &[usize]) -> Vec<Batch> {
        let mut batches = Batches::default();
        // With the name that a lookup there asks for: one will do.
        let mut listeners = BTreeMap::new();
        let mut paths = BTreeSet::new();
        for (probe, &index) in probes.iter().enumerate() {
            let Some(PlannedCell { cell, route: Some(route), .. }) = self.planned(index) else { continue };
            let Some(agent) = self.agent(&cell.from) else { continue };
            for (leg, &Route { transport, address, ref lookup, ref servers, .. }) in route.legs().enumerate()
            {
                let nonce = agent.next_nonce();
                let name = lookup.as_ref().map(|lookup| lookup.name.clone());
                let target = Target { nonce, transport, address, name: name.clone() };
                batches.add(&agent, target, Purpose::Leg { probe, leg, nonce });
                for (endpoint, listener) in servers {
                    listeners.insert((endpoint.clone(), *listener, cell.family), name.clone());
                }
                paths.extend(self.paths(index, leg).iter().flatten().copied());
            }
        }
        self.add_controls(&mut batches, listeners, paths);
        batches.finish()
    }

    /// Adds what vouches for the probes of a round: a probe of each listener by its own agent, and a canary on
    /// each path.
    fn add_controls(
        &self,
        batches: &mut Batches,
        listeners: BTreeMap<OwnListener, Option<String>>,
        paths: BTreeSet<Path>,
    ) {
        for (own, name) in listeners {
            let (endpoint, listener, family) = &own;
            let ip = self.probing.world.address(endpoint, *family);
            let (Some(agent), Some(ip)) = (self.agent(endpoint), ip) else { continue };
            let address = SocketAddr::new(ip, listener.port);
            let nonce = agent.next_nonce();
            let target = Target { nonce, transport: listener.transport, address, name };
            batches.add(&agent, target, Purpose::Listener(own));
        }
        for path in paths {
            let Some((sender, _, address, transport)) = self.probing.canaries.ends(path) else { continue };
            let nonce = sender.next_nonce();
            let target = Target { nonce, transport, address, name: None };
            batches.add(sender, target, Purpose::Canary(path, nonce));
        }
    }

    /// The nonces that arrived at the destinations of some cells and of their canaries, each with the places where it
    /// did, and the destinations whose logs could not be read.
    async fn arrivals(
        &self,
        cells: &[usize],
    ) -> (HashMap<Nonce, Vec<ArrivedAt>>, HashMap<EndpointName, Failure>) {
        let planned = cells.iter().filter_map(|cell| self.planned(*cell));
        let servers: BTreeSet<&EndpointName> = planned.flat_map(PlannedCell::all_servers).collect();
        let paths = cells.iter().filter_map(|cell| self.paths.get(*cell)).flatten().flatten().flatten();
        let paths: BTreeSet<Path> = paths.copied().collect();
        let receivers = paths.into_iter().filter_map(|path| {
            let (_, receiver, ..) = self.probing.canaries.ends(path)?;
            Some(Arc::clone(receiver))
        });
        // An agent that serves several endpoints has one log.
        let agents = servers.iter().filter_map(|endpoint| self.agent(endpoint));
        let agents: BTreeMap<String, Arc<Agent>> =
            agents.chain(receivers).map(|agent| (agent.name().to_owned(), agent)).collect();
        let logs = ask_all(agents.values().map(|agent| agent.arrivals())).await;
        let mut arrived = HashMap::<Nonce, Vec<ArrivedAt>>::new();
        let mut unread = HashMap::new();
        for (agent, log) in agents.keys().zip(logs) {
            match log {
                Ok(log) => {
                    for arrival in log {
                        arrived.entry(arrival.nonce).or_default().push((agent.clone(), arrival.listener));
                    }
                }
                Err(error) => {
                    unread.insert(agent.clone(), Failure::from(&error));
                }
            }
        }
        let unread_by_endpoint = servers.into_iter().filter_map(|endpoint| {
            let agent = self.agent(endpoint)?;
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
        let agents = leg.servers.iter().filter_map(|(endpoint, _)| self.agent(endpoint));
        agents.map(|agent| agent.name().to_owned()).collect()
    }

    /// What a report calls the agent that signs with a name: its endpoint.
    fn endpoint(&self, agent: &str) -> Option<String> {
        let signs = |endpoint: &&EndpointName| self.agent(endpoint).is_some_and(|a| a.name() == agent);
        let cells = self.probing.cells.iter();
        let servers = cells.clone().flat_map(PlannedCell::all_servers);
        let known = cells.map(|planned| &planned.cell.from).chain(servers);
        let signers: Vec<String> = known.filter(signs).map(EndpointName::to_string).collect();
        // Pods of a node's network share its agent.
        signers.iter().find(|name| *name == agent).or(signers.first()).cloned()
    }

    /// What a leg's probe showed.
    fn leg_sighting(&self, leg: &Route, sent: LegSent, control: Control, arrived: &Arrived) -> LegSighting {
        let LegSent { nonce, left, result } = sent;
        let failed = |failure: &Failure| LegSighting {
            nonce,
            observation: Observation::ProbeError { message: failure.message.clone() },
            left,
            took: Duration::ZERO,
            control,
            is_last: true,
            is_final: failure.is_gone,
        };
        let log_failure = leg.servers.iter().find_map(|(endpoint, _)| arrived.unread.get(endpoint));
        match (result, log_failure) {
            (Err(failure), _) => failed(&failure),
            (Ok(_), Some(failure)) => failed(failure),
            (Ok(result), None) => {
                let addresses = leg.lookup.as_ref().map(|lookup| lookup.addresses.as_slice());
                let servers = self.server_names(leg);
                let arrived = arrived.is_at(nonce, &servers);
                let agents = Agents { servers: &servers, endpoint: &|agent| self.endpoint(agent) };
                let observation = observe(&result.outcome, &agents, arrived, addresses.unwrap_or_default());
                let is_final = matches!(observation, Observation::Unsupported { .. });
                let took = Duration::from_micros(result.elapsed_us.into());
                LegSighting { nonce, observation, left, took, control, is_last: true, is_final }
            }
        }
    }

    /// What a probe of a cell showed, all of its legs together.
    fn sighting(&mut self, index: usize, legs: Legs, sent: Duration, arrived: &Arrived) -> Option<Sighting> {
        let planned = self.planned(index)?;
        let (cell, route) = (&planned.cell, planned.route.as_ref()?);
        let mut legs = legs;
        let seen = route.legs().enumerate().filter_map(|(leg, route)| {
            let is_up = |(endpoint, listener): &(EndpointName, Listener)| {
                arrived.listeners.contains(&(endpoint.clone(), *listener, cell.family))
            };
            let listener = !route.servers.is_empty() && route.servers.iter().all(is_up);
            let is_alive = |path: &Option<Path>| path.is_some_and(|path| arrived.paths.contains(&path));
            let control = Control { listener, path: self.paths(index, leg).iter().all(is_alive) };
            Some(self.leg_sighting(route, legs.remove(&leg)?, control, arrived))
        });
        let mut decisive = until_failure(seen)?;
        let left = decisive.left.unwrap_or(sent).max(sent);
        let is_denied = planned.decision == Decision::Deny;
        let leg = route.first.as_deref().filter(|_| !decisive.is_last).unwrap_or(route);
        let servers = self.server_names(leg);
        let has_arrived = arrived.is_at(decisive.nonce, &servers);
        if let Some(agent) = arrived.elsewhere(decisive.nonce).filter(|_| is_denied && !has_arrived)
            && decisive.observation.is_silence()
        {
            // Another pod received it, and the policies may allow that: this is no silence.
            let by = self.endpoint(agent).unwrap_or_else(|| agent.to_owned());
            decisive.observation = Observation::ProbeError { message: format!("it arrived at {by}") };
        }
        let lookup = planned.lookup;
        if is_denied && decisive.observation.is_silence() {
            decisive.observation = silence_after(lookup, decisive.is_last, decisive.observation);
        }
        let agrees = decisive.observation.agrees_with(Decision::Deny);
        match (has_arrived, decisive.is_last) {
            (true, true) if is_denied && agrees.is_none() => {
                // It was delivered, even if its agent's answer or another log was lost.
                (decisive.observation, decisive.is_final) = (Observation::OneWay, false);
            }
            (true, false) if is_denied => {
                // Only the answer was lost. Where the lookup is what is denied, that is a delivery; where it is the
                // connection, nothing was sent that the policies deny.
                let message = "its lookup arrived, and no answer came back".to_owned();
                if lookup == Some(Decision::Deny) {
                    decisive.observation = Observation::DnsFailure { message };
                } else if decisive.observation.is_silence() {
                    decisive.observation = Observation::ProbeError { message };
                }
                decisive.is_final = false;
            }
            (false, _) if is_denied && agrees != Some(false) => {
                // A denied lookup is itself what must not arrive.
                let is_denied_leg = decisive.is_last || lookup == Some(Decision::Deny);
                let shows = if is_denied_leg { Shows::Delivery } else { Shows::Lookup };
                let noted = noted(&decisive, leg, shows, MeantFor::Destination(servers));
                self.ledger.note(noted, index, sent, decisive.control.path);
            }
            (true | false, _) => {}
        }
        if decisive.is_last && arrived.elsewhere(decisive.nonce).is_none() {
            let denied = self.denied_backends(planned);
            if !denied.is_empty() {
                let noted = noted(&decisive, leg, Shows::Delivery, MeantFor::Backends(denied));
                self.ledger.note(noted, index, sent, decisive.control.path);
            }
        }
        // Whoever answers a lookup is no endpoint of the Service.
        let nonce = decisive.is_last.then_some(decisive.nonce);
        let denied_backend = nonce.and_then(|nonce| self.denied_backend(planned, nonce, arrived));
        Some(Sighting {
            cell: index,
            sent,
            left,
            ended: left + decisive.took,
            control: decisive.control,
            found_name: decisive.is_last,
            denied_backend,
            is_final: decisive.is_final,
            observation: decisive.observation,
        })
    }

    /// The endpoint of a cell's Service that a probe reached although the policies deny that.
    fn denied_backend(&self, planned: &PlannedCell, nonce: Nonce, arrived: &Arrived) -> Option<EndpointName> {
        let places = arrived.nonces.get(&nonce)?;
        let is_denied = |endpoint: &EndpointName| {
            planned
                .endpoints
                .iter()
                .any(|(other, promise)| other == endpoint && promise.decision == Decision::Deny)
        };
        let is_reached = |(endpoint, listener): &&(EndpointName, Listener)| {
            let agent = self.agent(endpoint);
            // Pods of a node's network share its agent, and listen at ports of their own.
            is_denied(endpoint)
                && agent.is_some_and(|agent| places.iter().any(|(a, at)| a == agent.name() && at == listener))
        };
        let servers = &planned.route.as_ref()?.servers;
        servers.iter().find(is_reached).map(|(endpoint, _)| endpoint.clone())
    }

    /// The denied endpoints of a cell's Service, if its endpoints are promised different things. Those that share an
    /// agent with others are left out: the log of an agent does not tell them apart.
    fn denied_backends(&self, planned: &PlannedCell) -> Vec<DeniedBackend> {
        let promises = &planned.endpoints;
        let name = |endpoint: &EndpointName| Some(self.agent(endpoint)?.name().to_owned());
        let is_denied = |promise: &Expectation| promise.decision == Decision::Deny;
        let others = promises.iter().filter(|(_, promise)| !is_denied(promise));
        let others: BTreeSet<String> = others.filter_map(|(endpoint, _)| name(endpoint)).collect();
        let denied = promises.iter().filter(|(_, promise)| is_denied(promise));
        let denied = denied.filter_map(|(endpoint, promised)| {
            let agent = name(endpoint).filter(|agent| !others.contains(agent))?;
            let machine = self.probing.world.machine_of(endpoint);
            Some(DeniedBackend { agent, endpoint: endpoint.clone(), promised: promised.clone(), machine })
        });
        denied.collect()
    }
}

/// What to note of a denied probe that has not arrived.
fn noted(decisive: &LegSighting, leg: &Route, shows: Shows, meant_for: MeantFor) -> Noted {
    let ends = if leg.transport.is_stream() { Ends::WhenGivenUp } else { Ends::Never };
    Noted { nonce: decisive.nonce, ends, shows, meant_for }
}

impl<B: Backend> Prober for Rounds<'_, B> {
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
        let sent = self.elapsed();
        let mut sightings = Vec::new();
        let mut sendable = Vec::new();
        for &cell in cells {
            match self.unsendable(cell) {
                Some(observation) => {
                    let (control, is_final) = (Control::default(), true);
                    let (left, ended) = (sent, sent);
                    let (found_name, denied_backend) = (true, None);
                    sightings.push(Sighting {
                        cell,
                        observation,
                        sent,
                        left,
                        ended,
                        control,
                        found_name,
                        denied_backend,
                        is_final,
                    });
                }
                None => sendable.push(cell),
            }
        }
        let batches = self.batches(&sendable);
        let mut watch = self.watch.take();
        let changed = self.probing.changed;
        let look = async {
            if let Some(watch) = &mut watch {
                watch.look(changed, timeout, !cells.is_empty()).await;
            }
        };
        let send = ask_all(batches.into_iter().map(|batch| self.send(batch, timeout)));
        let (results, ()) = join(send, look).await;
        self.watch = watch;
        let (nonces, unread) = self.arrivals(&sendable).await;
        let mut arrived = Arrived { nonces, unread, ..Arrived::default() };
        self.ledger.arrived(places(&arrived.nonces));
        let probes = arrived.sort(results);
        self.lost.take(&arrived.sent, &arrived.paths);
        for (probe, legs) in probes {
            let cell = sendable.get(probe).copied();
            sightings.extend(cell.and_then(|cell| self.sighting(cell, legs, sent, &arrived)));
        }
        sightings
    }

    async fn late_arrivals(&mut self) -> Vec<Late> {
        let cells: Vec<usize> = (0..self.probing.cells.len()).collect();
        let (nonces, _) = self.arrivals(&cells).await;
        self.ledger.arrived(places(&nonces));
        self.ledger.take_late()
    }

    fn lost_canaries(&self) -> Loss {
        self.lost.loss()
    }

    fn signal(&self) -> Signal {
        self.watch.as_ref().map_or_else(Signal::not_asked, |watch| watch.signal())
    }

    fn elapsed(&self) -> Duration {
        self.probing.changed.elapsed()
    }
}
