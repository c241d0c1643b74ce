//! What is asked of a world: all cells of some probes, or some cells.

use netproof_probe::wire::{Listener, Transport};

use super::cell::{Cell, cells};
use super::route::{Listeners, Router, listeners};
use crate::policy::Engine;
use crate::world::{Probe, World};

/// What is asked of a world.
#[derive(Debug, Clone, Copy)]
pub enum Questions<'a> {
    /// These probes, sent between all endpoints, as in a scenario.
    AllPairs(&'a [Probe]),
    /// These cells, as in a check of a live cluster, where most pairs of pods are like others.
    These(&'a [Cell]),
}

impl Questions<'_> {
    /// Returns the cells of a state, in the order in which they are shown.
    pub fn cells(self, world: &World) -> Vec<Cell> {
        match self {
            Self::AllPairs(probes) => cells(world, probes),
            Self::These(cells) => cells.to_vec(),
        }
    }

    /// Returns the listeners that are needed so that all probes of a state can be answered.
    pub fn listeners(self, world: &World) -> Listeners {
        let these = match self {
            Self::AllPairs(probes) => return listeners(world, probes),
            Self::These(these) => these,
        };
        let engine = Engine::new(world.cluster.clone());
        let router = Router::new(world, &engine);
        let mut wanted = Listeners::new();
        for route in these.iter().filter_map(|cell| router.route(cell)) {
            for (server, listener) in route.all_servers() {
                // Nobody listens for a handshake in particular.
                let transport = match listener.transport {
                    Transport::Handshake => Transport::Tcp,
                    transport @ (Transport::Tcp
                    | Transport::Udp
                    | Transport::Sctp
                    | Transport::DnsUdp
                    | Transport::DnsTcp) => transport,
                };
                wanted.entry(server.clone()).or_default().insert(Listener { transport, ..*listener });
            }
        }
        wanted
    }
}
