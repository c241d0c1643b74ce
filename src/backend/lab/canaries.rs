//! Canaries of the lab: two pods on every node, and one outside the cluster. They are in a namespace that no
//! scenario can have.

use std::net::IpAddr;

use super::build::Host;
use super::network::{self, Space};
use super::{Lab, address};
use crate::backend::{Canary, Place};
use crate::policy::Node;
use crate::world::EndpointName;

/// Namespace of the canaries. No scenario's namespace can have this name.
const NAMESPACE: &str = "netproof/canaries";

impl Lab {
    /// Returns the hosts to create for the canaries of these nodes and, if there are external addresses, for
    /// the canary outside.
    pub(super) fn place_canaries(&mut self, nodes: &[Node], outside: Option<&Space>) -> Vec<Host> {
        let mut hosts = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let Some(parent) = self.nodes.get(index).map(|node| node.space.clone()) else { continue };
            for which in [0, 1] {
                let (place, addresses) = (Place::Node(node.name.clone()), address::canary(index, which));
                hosts.push(self.place_canary(place, &format!("{}-{which}", node.name), addresses, &parent));
            }
        }
        if let Some(fabric) = outside {
            hosts.push(self.place_canary(
                Place::Outside(None),
                "outside-0",
                address::canary_outside(),
                fabric,
            ));
        }
        hosts
    }

    fn place_canary(&mut self, place: Place, name: &str, addresses: Vec<IpAddr>, parent: &Space) -> Host {
        let name = EndpointName::pod(NAMESPACE, name);
        self.canaries.push((place, name.clone(), network::usable(addresses.clone())));
        self.leaf(name, addresses, parent)
    }

    /// Returns the canaries that have been started.
    pub(super) fn started_canaries(&self) -> Vec<Canary> {
        let canaries = self.canaries.iter().filter_map(|(place, name, addresses)| {
            let agent = self.agents.get(name)?;
            Some(Canary { place: place.clone(), agent: agent.clone(), addresses: addresses.clone() })
        });
        canaries.collect()
    }
}
