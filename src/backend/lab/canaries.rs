//! Canaries of the lab: two pods on every node, and one outside the cluster. They are in a namespace that no
//! scenario can have.

use super::build::Host;
use super::hosts::node_number;
use super::network::{self, Role, Space};
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
                let addresses = address::canary(node_number(index), which);
                let place = Place::Node(node.name.clone());
                hosts.push(self.place_canary(place, which, addresses, parent.clone()));
            }
        }
        if let Some(fabric) = outside {
            hosts.push(self.place_canary(Place::Outside, 0, address::canary_outside(), fabric.clone()));
        }
        hosts
    }

    fn place_canary(
        &mut self,
        place: Place,
        which: u8,
        addresses: Vec<std::net::IpAddr>,
        parent: Space,
    ) -> Host {
        let at = match &place {
            Place::Node(node) => node.as_str(),
            Place::Outside => "outside",
        };
        let name = EndpointName::pod(NAMESPACE, format!("{at}-{which}"));
        self.canaries.push((place, name.clone(), network::usable(addresses.clone())));
        Host { name, role: Role::Host, addresses, subnets: Vec::new(), parent, link: self.take_link() }
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
