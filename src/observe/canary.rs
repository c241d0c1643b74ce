//! Canaries: probes between pods that no policy can select, in every round. They show that the path
//! between two nodes was alive while a denied probe stayed silent.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use netproof_probe::wire::{Listener, Transport};

use super::track::Loss;
use crate::backend::{Agent, Backend, CANARY_PORT, Canary, Place, ask_all};
use crate::plan::Route;
use crate::policy::{IpFamily, Protocol};
use crate::world::{EndpointName, World};

/// A direction between two places, with what travels along it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Path {
    /// The index of the sender's place.
    from: usize,
    /// The index of the receiver's place.
    to: usize,
    family: IpFamily,
    protocol: Protocol,
}

/// The canaries of a scenario, at their places.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    places: HashMap<Place, usize>,
    /// Those of each place.
    at: Vec<Vec<Canary>>,
}

impl Canaries {
    /// Opens the listeners of a backend's canaries. One that cannot listen vouches for nothing, so that
    /// denials on its paths are inconclusive.
    pub(crate) async fn open(backend: &impl Backend) -> Self {
        let all = backend.canaries();
        let listeners = [Transport::Tcp, Transport::Udp, Transport::Sctp]
            .map(|transport| Listener { transport, port: CANARY_PORT });
        let opened = ask_all(all.iter().map(|canary| canary.agent.listen(listeners))).await;
        for (canary, opened) in all.iter().zip(opened) {
            if let Err(error) = opened {
                tracing::warn!("the canary at {:?} cannot listen: {error}", canary.place);
            }
        }
        let mut canaries = Self::default();
        for canary in all {
            let next = canaries.at.len();
            let index = *canaries.places.entry(canary.place.clone()).or_insert(next);
            match canaries.at.get_mut(index) {
                Some(at) => at.push(canary),
                None => canaries.at.push(vec![canary]),
            }
        }
        canaries
    }

    /// The paths of a leg from an endpoint to all who may answer it; `None` where no canary is.
    pub(crate) fn paths(
        &self,
        world: &World,
        from: &EndpointName,
        family: IpFamily,
        leg: &Route,
    ) -> Vec<Option<Path>> {
        let protocol = match leg.transport {
            Transport::Tcp | Transport::DnsTcp => Protocol::Tcp,
            Transport::Udp | Transport::DnsUdp => Protocol::Udp,
            Transport::Sctp => Protocol::Sctp,
        };
        let place = |endpoint: &EndpointName| self.places.get(&place_of(world, endpoint)?).copied();
        let from = place(from);
        let path = |(server, _): &(EndpointName, Listener)| {
            Some(Path { from: from?, to: place(server)?, family, protocol })
        };
        leg.servers.iter().map(path).collect()
    }

    /// Who sends along a path, and who receives and where. At one place, two canaries are needed.
    pub(crate) fn ends(&self, path: Path) -> Option<(&Arc<Agent>, &Arc<Agent>, SocketAddr, Transport)> {
        let sender = self.at.get(path.from)?.first()?;
        let mut others = self.at.get(path.to)?.iter();
        let receiver = others.find(|other| !Arc::ptr_eq(&other.agent, &sender.agent))?;
        let address = receiver.addresses.iter().find(|address| IpFamily::of(**address) == path.family)?;
        let transport = match path.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            Protocol::Sctp => Transport::Sctp,
        };
        Some((&sender.agent, &receiver.agent, SocketAddr::new(*address, CANARY_PORT), transport))
    }
}

/// How often canaries go missing. Where everything is denied, nothing else tells that packets are lost, and two
/// silences of a leak would be its denial: a fifth of the packets lost made that of every tenth such run.
#[derive(Debug, Default)]
pub(crate) struct LostCanaries {
    loss: Loss,
    /// How many went missing on each path since the last that got through: it may be dead, which is no loss.
    missing: HashMap<Path, u32>,
}

/// How many in a row may be lost. Where more go missing, the path was dead for a while.
const LOST_IN_A_ROW: u32 = 3;

impl LostCanaries {
    /// Takes in the canaries of a round: on which paths they were `sent`, and on which of them they got `through`.
    pub(crate) fn take(&mut self, sent: &HashSet<Path>, through: &HashSet<Path>) {
        for path in sent {
            if through.contains(path) {
                let missing = self.missing.remove(path).unwrap_or_default();
                let missed = if missing <= LOST_IN_A_ROW { missing } else { 0 };
                self.loss = self.loss.plus(Loss { missed, agreed: 1 });
            } else {
                *self.missing.entry(*path).or_default() += 1;
            }
        }
    }

    /// Those that went missing on a path where later ones got through, and those that got through.
    pub(crate) fn loss(&self) -> Loss {
        self.loss
    }
}

/// Where an endpoint is. A Service is at the places of its pods.
fn place_of(world: &World, endpoint: &EndpointName) -> Option<Place> {
    match endpoint {
        EndpointName::Pod { .. } | EndpointName::Node(_) => world.machine_of(endpoint).map(Place::Node),
        EndpointName::External(_) => Some(Place::Outside),
        EndpointName::Service { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_lost_if_a_later_one_gets_through() {
        let path = |to| Path { from: 0, to, family: IpFamily::V4, protocol: Protocol::Udp };
        let paths = |to: &[usize]| to.iter().copied().map(path).collect::<HashSet<_>>();
        let mut lost = LostCanaries::default();
        // The first path loses two of four, the second one dies, and the third one is dead for a while.
        for through in [&[0, 1][..], &[], &[], &[0]] {
            lost.take(&paths(&[0, 1]), &paths(through));
        }
        assert_eq!(lost.loss(), Loss { missed: 2, agreed: 3 });
        for through in [&[][..], &[], &[], &[], &[2]] {
            lost.take(&paths(&[2]), &paths(through));
        }
        assert_eq!(lost.loss(), Loss { missed: 2, agreed: 4 });
    }
}
