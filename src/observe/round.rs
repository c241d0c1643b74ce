//! A round: every source sends one batch of probes, and then the logs of the destinations are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use netproof_probe::wire::{Listener, Nonce, Target, Transport};

use super::arrived::{Arrived, ArrivedAt, places};
use super::batch::{OwnListener, Purpose, References, probe_all};
use super::canary::{Canaries, LostCanaries, Path};
use super::ledger::{Ledger, Sent};
use super::listen::Unavailable;
use super::pace::{Pace, is_workload, waves};
use super::planned::PlannedCell;
use super::sentinel::{Signal, Watch};
use super::settle::Prober;
use super::track::{Loss, Sighting};
use crate::backend::{Agent, Backend, CANARY_PORT, ask_all};
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
    references: &'a References,
    pace: &'a mut Pace,
    /// The sentinels. `None` if it does not matter whether the change is in force.
    watch: Option<&'a mut Watch>,
    /// The paths of every cell's legs, by index of the leg. `None` for places without a canary.
    paths: Vec<Vec<Vec<Option<Path>>>>,
    /// The paths on which the network replaces source addresses, each with an address that it puts there.
    translated: HashMap<Path, IpAddr>,
    lost: LostCanaries,
}

impl<'a, B: Backend> Rounds<'a, B> {
    pub(super) fn new(
        probing: Probing<'a, B>,
        ledger: &'a mut Ledger,
        (references, pace): (&'a References, &'a mut Pace),
        watch: Option<&'a mut Watch>,
    ) -> Self {
        let Probing { world, canaries, cells, .. } = probing;
        let paths = |PlannedCell { cell, route, .. }: &PlannedCell| {
            let legs = route.iter().flat_map(Route::legs);
            legs.map(|leg| canaries.paths(world, &cell.from, cell.family, leg)).collect()
        };
        let paths = cells.iter().map(paths).collect();
        let (translated, lost) = (HashMap::new(), LostCanaries::default());
        Self { probing, ledger, references, pace, watch, paths, translated, lost }
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

    /// Returns the address that the network puts in place of the sender's on any path of a cell. `None` if it does not.
    pub(super) fn translated(&self, cell: usize) -> Option<IpAddr> {
        let paths = self.paths.get(cell).into_iter().flatten().flatten().flatten();
        paths.into_iter().find_map(|path| self.translated.get(path)).copied()
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

    /// Returns what to send in a round that probes these cells, each with its sender.
    fn targets(&self, probes: &[usize]) -> Vec<(Arc<Agent>, (Purpose, Target))> {
        let mut targets = Vec::new();
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
                targets.push((Arc::clone(&agent), (Purpose::Leg { probe, leg, nonce }, target)));
                for (endpoint, listener) in servers {
                    listeners.insert((endpoint.clone(), *listener, cell.family), name.clone());
                }
                paths.extend(self.paths(index, leg).iter().flatten().copied());
            }
        }
        targets.extend(self.controls(listeners, paths));
        targets
    }

    /// Returns the controls of a round: a probe of each listener by its own agent or its reference, and a canary on each
    /// path.
    fn controls(
        &self,
        listeners: BTreeMap<OwnListener, Option<String>>,
        paths: BTreeSet<Path>,
    ) -> impl Iterator<Item = (Arc<Agent>, (Purpose, Target))> {
        let listeners = listeners.into_iter().filter_map(|(own, name)| {
            let &(ref endpoint, Listener { transport, port }, family) = &own;
            if transport == Transport::Handshake && is_workload(endpoint) {
                return None;
            }
            let agent = self.references.get(&own).cloned().or_else(|| self.agent(endpoint))?;
            let address = SocketAddr::new(self.probing.world.address(endpoint, family)?, port);
            let target = Target { nonce: agent.next_nonce(), transport, address, name };
            Some((agent, (Purpose::Listener(own), target)))
        });
        let canaries = paths.into_iter().filter_map(|path| {
            let (sender, _, address) = self.probing.canaries.ends(path)?;
            let nonce = sender.next_nonce();
            let target = Target { nonce, transport: path.transport, address, name: None };
            Some((Arc::clone(sender), (Purpose::Canary(path, nonce), target)))
        });
        listeners.chain(canaries)
    }

    /// Returns what the logs of the destinations of these cells and of their canaries say: the nonces that arrived,
    /// each with the places where it arrived, the sources of canaries, and the agents whose logs could not be read.
    async fn arrivals(&self, cells: &[usize]) -> Arrived {
        let planned = cells.iter().filter_map(|cell| self.planned(*cell));
        let servers: BTreeSet<&EndpointName> = planned.flat_map(PlannedCell::all_servers).collect();
        let paths = cells.iter().filter_map(|cell| self.paths.get(*cell)).flatten().flatten().flatten();
        let paths: BTreeSet<Path> = paths.copied().collect();
        let receivers = paths.into_iter().filter_map(|path| {
            let (_, receiver, ..) = self.probing.canaries.ends(path)?;
            Some(Arc::clone(receiver))
        });
        // An agent that serves several endpoints has one log.
        let agents = servers.into_iter().filter_map(|endpoint| self.agent(endpoint));
        let agents: BTreeMap<String, Arc<Agent>> =
            agents.chain(receivers).map(|agent| (agent.name().to_owned(), agent)).collect();
        let logs = ask_all(agents.values().map(|agent| agent.arrivals())).await;
        let mut nonces = HashMap::<Nonce, Vec<ArrivedAt>>::new();
        let (mut sources, mut unread) = (HashMap::new(), HashMap::new());
        for (agent, log) in agents.into_keys().zip(logs) {
            match log {
                Ok(log) => {
                    for arrival in log {
                        if arrival.listener.port == CANARY_PORT {
                            sources.insert(arrival.nonce, arrival.source.ip());
                        }
                        nonces.entry(arrival.nonce).or_default().push((agent.clone(), arrival.listener));
                    }
                }
                Err(error) => drop(unread.insert(agent, error)),
            }
        }
        Arrived { nonces, sources, unread, ..Arrived::default() }
    }
}

impl<B: Backend> Prober for Rounds<'_, B> {
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        for (wave, programs) in waves(cells.iter().map(|cell| (*cell, self.programs(*cell)))) {
            self.pace.wait(&programs).await;
            sightings.extend(self.wave(&wave, timeout).await);
        }
        sightings
    }

    async fn late_arrivals(&mut self) -> Vec<Sent> {
        let cells: Vec<usize> = (0..self.probing.cells.len()).collect();
        let Arrived { nonces, .. } = self.arrivals(&cells).await;
        self.ledger.arrived(places(&nonces));
        self.ledger.take_late()
    }

    fn lost_canaries(&self) -> Loss {
        self.lost.loss
    }

    fn signal(&self) -> Signal {
        self.watch.as_ref().map_or_else(Signal::not_asked, |watch| watch.signal())
    }

    fn elapsed(&self) -> Duration {
        self.probing.changed.elapsed()
    }
}

impl<B: Backend> Rounds<'_, B> {
    /// Returns the programs of workloads to which a cell may connect.
    fn programs(&self, cell: usize) -> Vec<SocketAddr> {
        let route = self.planned(cell).and_then(|planned| planned.route.as_ref());
        route.map(|route| route.programs.clone()).unwrap_or_default()
    }

    /// Probes cells, all at the same time.
    async fn wave(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
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
        let targets = self.targets(&sendable);
        let mut watch = self.watch.take();
        let changed = self.probing.changed;
        let look = async {
            if let Some(watch) = &mut watch {
                watch.look(changed, timeout, !cells.is_empty()).await;
            }
        };
        let (results, ()) = join(probe_all(targets, timeout, changed), look).await;
        self.watch = watch;
        let mut arrived = self.arrivals(&sendable).await;
        self.ledger.arrived(places(&arrived.nonces));
        let probes = arrived.sort(results);
        // The references of workloads connect before and after all rounds, to connect less often.
        arrived.listeners.extend(self.references.keys().filter(|(to, ..)| is_workload(to)).cloned());
        self.lost.take(&arrived.sent, &arrived.paths);
        let canaries = self.probing.canaries;
        let translated = arrived.path_sources.iter();
        self.translated.extend(
            translated.filter_map(|(path, source)| Some((*path, canaries.translated(*path, *source)?))),
        );
        for (probe, legs) in probes {
            let cell = sendable.get(probe).copied();
            sightings.extend(cell.and_then(|cell| self.sighting(cell, &legs, sent, &arrived)));
        }
        sightings
    }
}
