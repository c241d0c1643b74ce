//! Canaries: probes between pods that no policy can select, in every round. They show that the path between
//! two nodes was alive while a denied probe was silent.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netproof_probe::wire::{Listener, Transport};

use super::track::Loss;
use crate::backend::{Agent, Backend, CANARY_PORT, Canary, Place, ask_all};
use crate::plan::Route;
use crate::policy::IpFamily;
use crate::world::{EndpointName, World};

/// A path from one place to another, for one family and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Path {
    /// Index of the sender's place.
    from: usize,
    /// Index of the receiver's place.
    to: usize,
    family: IpFamily,
    /// TCP, UDP or SCTP. DNS takes the path of the protocol that carries it.
    pub(super) transport: Transport,
}

/// The canaries of a backend, by place.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    places: HashMap<Place, usize>,
    /// The canaries at each place, by its index.
    at: HashMap<usize, Vec<Canary>>,
}

impl Canaries {
    /// Opens the listeners of a backend's canaries. If a canary cannot listen, denials on its paths are
    /// inconclusive.
    pub(super) async fn open(backend: &impl Backend) -> Self {
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
            let next = canaries.places.len();
            let index = *canaries.places.entry(canary.place.clone()).or_insert(next);
            canaries.at.entry(index).or_default().push(canary);
        }
        canaries
    }

    /// Returns the paths of a leg to all endpoints that may answer. `None` for places without a canary.
    pub(super) fn paths(
        &self,
        world: &World,
        from: &EndpointName,
        family: IpFamily,
        leg: &Route,
    ) -> Vec<Option<Path>> {
        let transport = match leg.transport {
            Transport::Tcp | Transport::DnsTcp | Transport::Handshake => Transport::Tcp,
            Transport::Udp | Transport::DnsUdp => Transport::Udp,
            Transport::Sctp => Transport::Sctp,
        };
        let place = |endpoint: &EndpointName| {
            let of_host = host_of(world, endpoint).and_then(|place| self.places.get(&place));
            of_host.or_else(|| self.places.get(&place_of(world, endpoint)?)).copied()
        };
        let from = place(from);
        let path = |(server, _): &(EndpointName, Listener)| {
            Some(Path { from: from?, to: place(server)?, family, transport })
        };
        leg.servers.iter().map(path).collect()
    }

    /// Returns the sender and the receiver of a path, and the receiver's address. A path within one place
    /// needs two canaries.
    pub(super) fn ends(&self, path: Path) -> Option<(&Arc<Agent>, &Arc<Agent>, SocketAddr)> {
        let sender = self.at.get(&path.from)?.first()?;
        let mut others = self.at.get(&path.to)?.iter();
        let receiver = others.find(|other| !Arc::ptr_eq(&other.agent, &sender.agent))?;
        let address = path.family.first_of(&receiver.addresses)?;
        Some((&sender.agent, &receiver.agent, SocketAddr::new(address, CANARY_PORT)))
    }

    /// Returns the source address of a canary that arrived, if the network has replaced the sender's. Only from outside
    /// the pod network: between pods, no network may do that, so it is one of the faults that verdicts show.
    pub(super) fn translated(&self, path: Path, source: IpAddr) -> Option<IpAddr> {
        let sender = self.at.get(&path.from)?.first()?;
        let receiver = self.at.get(&path.to)?.first()?;
        let may_be = match (&sender.place, &receiver.place) {
            (Place::Node(_), _) => false,
            // A node sends to its own pods from any of its addresses, and is always itself.
            (Place::Host(from), Place::Node(to) | Place::Host(to)) => from != to,
            (Place::Host(_), Place::Outside(_)) | (Place::Outside(_), _) => true,
        };
        let source = source.to_canonical();
        (may_be && !sender.addresses.contains(&source)).then_some(source)
    }
}

/// How often canaries go missing. If everything is denied, nothing else shows that packets are lost, and two
/// lost probes of a leak would look like a denial. With a fifth of the packets lost, every tenth such run
/// ended like this.
#[derive(Debug, Default)]
pub(super) struct LostCanaries {
    /// The canaries that went missing before a later one got through, and those that got through.
    pub(super) loss: Loss,
    /// Number of canaries that went missing on each path since the last one that got through. A dead path is
    /// no loss.
    missing: HashMap<Path, u32>,
}

/// How many canaries in a row may be lost. If more go missing, the path was dead for a while.
const LOST_IN_A_ROW: u32 = 3;

impl LostCanaries {
    /// Records the canaries of a round: the paths on which they were `sent`, and those on which they got
    /// `through`.
    pub(super) fn take(&mut self, sent: &HashSet<Path>, through: &HashSet<Path>) {
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
}

/// Returns where an endpoint is. `None` for a Service, which is where its pods are.
fn place_of(world: &World, endpoint: &EndpointName) -> Option<Place> {
    match endpoint {
        EndpointName::Pod { .. } | EndpointName::Node(_) => world.node_of(endpoint).map(Place::Node),
        EndpointName::External(name) => Some(Place::Outside(world.assigned_hosts.get(name).cloned())),
        EndpointName::Service { .. } => None,
    }
}

/// Returns the node whose own network an endpoint uses. `None` if it uses none.
fn host_of(world: &World, endpoint: &EndpointName) -> Option<Place> {
    let is_there = match endpoint {
        EndpointName::Pod { namespace, name } => world.pod(namespace, name)?.host_network,
        EndpointName::Node(_) => true,
        EndpointName::External(_) | EndpointName::Service { .. } => false,
    };
    world.node_of(endpoint).filter(|_| is_there).map(Place::Host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_lost_if_a_later_one_gets_through() {
        let path = |to| Path { from: 0, to, family: IpFamily::V4, transport: Transport::Udp };
        let paths = |to: &[usize]| to.iter().copied().map(path).collect::<HashSet<_>>();
        let mut lost = LostCanaries::default();
        // The first path loses two of four canaries. The second one dies. The third one is dead for a while.
        for through in [&[0, 1][..], &[], &[], &[0]] {
            lost.take(&paths(&[0, 1]), &paths(through));
        }
        assert_eq!(lost.loss, Loss { missed: 2, agreed: 3 });
        for through in [&[][..], &[], &[], &[], &[2]] {
            lost.take(&paths(&[2]), &paths(through));
        }
        assert_eq!(lost.loss, Loss { missed: 2, agreed: 4 });
    }
}
