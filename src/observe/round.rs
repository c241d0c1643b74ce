//! A round: every source sends one batch of probes, and then the logs of the destinations are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use netproof_probe::wire::{Listener, Nonce, Target};

use super::arrived::{Arrived, ArrivedAt, places};
use super::batch::{Batch, Batches, Failure, OwnListener, Purpose, Sent};
use super::canary::{Canaries, LostCanaries, Path};
use super::ledger::{Late, Ledger};
use super::listen::Unavailable;
use super::planned::PlannedCell;
use super::sentinel::{Signal, Watch};
use super::settle::Prober;
use super::track::{Loss, Sighting};
use crate::backend::{Agent, Backend, ask_all};
use crate::plan::{Cell, Route};
use crate::verdict::Observation;
use crate::world::{EndpointName, World};

/// The cells of a state, and what is needed to probe them.
pub(super) struct Probing<'a, B> {
    pub(super) backend: &'a B,
    pub(super) world: &'a World,
    pub(super) canaries: &'a Canaries,
    pub(super) cells: &'a [PlannedCell],
    pub(super) unavailable: &'a Unavailable,
    /// When the change to this state began.
    pub(super) changed: Instant,
}

/// Probes the cells of a state, round by round.
pub(super) struct Rounds<'a, B> {
    pub(super) probing: Probing<'a, B>,
    pub(super) ledger: &'a mut Ledger,
    /// The sentinels. `None` if it does not matter whether the change is in force.
    watch: Option<&'a mut Watch>,
    /// The paths of every cell's legs, by index of the leg. `None` for places without a canary.
    paths: Vec<Vec<Vec<Option<Path>>>>,
    lost: LostCanaries,
}

impl<'a, B: Backend> Rounds<'a, B> {
    pub(super) fn new(probing: Probing<'a, B>, ledger: &'a mut Ledger, watch: Option<&'a mut Watch>) -> Self {
        let Probing { world, canaries, cells, .. } = probing;
        let paths = |PlannedCell { cell, route, .. }: &PlannedCell| {
            let legs = route.iter().flat_map(Route::legs);
            legs.map(|leg| canaries.paths(world, &cell.from, cell.family, leg)).collect()
        };
        let paths = cells.iter().map(paths).collect();
        Self { probing, ledger, watch, paths, lost: LostCanaries::default() }
    }

    pub(super) fn planned(&self, cell: usize) -> Option<&'a PlannedCell> {
        self.probing.cells.get(cell)
    }

    pub(super) fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.probing.backend.agent(endpoint)
    }

    /// Returns the paths of a cell's leg.
    pub(super) fn paths(&self, cell: usize, leg: usize) -> &[Option<Path>] {
        self.paths.get(cell).and_then(|legs| legs.get(leg)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns what a cell shows if nothing can be sent. `None` if a probe can be sent.
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

    /// Returns the batches of a round that probes these cells.
    fn batches(&self, probes: &[usize]) -> Vec<Batch> {
        let mut batches = Batches::default();
        // Each listener with a name to look up there, if it answers lookups.
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

    /// Adds the controls of a round: a probe of each listener by its own agent, and a canary on each path.
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

    /// Returns the nonces that arrived at the destinations of these cells and of their canaries, each with
    /// the places where it arrived, and the destinations whose logs could not be read.
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

    /// Sends a batch. If it fails, all of its probes fail. Also returns when the probes left their agent,
    /// since the change: the agent sends all of them at the same time, so this follows from the slowest.
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
}

impl<B: Backend> Prober for Rounds<'_, B> {
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
        let sent = self.elapsed();
        let mut sightings = Vec::new();
        let mut sendable = Vec::new();
        for &cell in cells {
            match self.unsendable(cell) {
                Some(observation) => {
                    sightings.push(Sighting { is_final: true, ..Sighting::new(cell, observation, sent) });
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
