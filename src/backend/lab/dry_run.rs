//! Addresses of a lab that does not run. With them, netproof can compute which rules packets would meet,
//! without sending any.

use std::collections::HashMap;
use std::net::IpAddr;

use super::address::{self, Addresses};
use super::hosts::node_number;
use crate::policy::{Node, Pod, Service};
use crate::snapshot::Identity;
use crate::world::{Action, Deployed, EndpointName, PodChange, World};

/// Allocator of the addresses that a lab would assign on a machine with both IP families.
#[derive(Debug, Default)]
pub struct DryRun {
    addresses: Addresses,
    /// Addresses of the pods in the pod network.
    pods: HashMap<Identity, Vec<IpAddr>>,
}

impl DryRun {
    /// Returns the addresses of an initial state.
    pub fn deploy(&mut self, world: &World) -> Deployed {
        let (mut deployed, cluster) = (Deployed::default(), &world.cluster);
        self.take_services(&cluster.services, &mut deployed);
        let nodes = cluster.nodes.iter().enumerate();
        let nodes =
            nodes.map(|(i, node)| (EndpointName::Node(node.name.clone()), address::node(node_number(i))));
        deployed.addresses.extend(nodes);
        for pod in &cluster.pods {
            self.place(pod, &cluster.nodes, &mut deployed);
        }
        deployed
    }

    /// Returns the addresses of the objects that these actions created.
    pub fn apply(&mut self, actions: &[Action], world: &World) -> Deployed {
        let (mut deployed, cluster) = (Deployed::default(), &world.cluster);
        for change in actions.iter().filter_map(Action::pod_change) {
            match change {
                PodChange::Removed(identity) | PodChange::Ended(identity) => {
                    let addresses = self.pods.remove(identity).unwrap_or_default();
                    self.addresses.free_pod(&addresses);
                }
                PodChange::Added(added) => {
                    if let Some(pod) = world.pod(&added.namespace, &added.name) {
                        self.place(pod, &cluster.nodes, &mut deployed);
                    }
                }
            }
        }
        let new = cluster.services.iter().filter(|service| service.addresses.is_empty());
        self.take_services(new, &mut deployed);
        deployed
    }

    fn take_services<'a>(
        &mut self,
        services: impl IntoIterator<Item = &'a Service>,
        deployed: &mut Deployed,
    ) {
        for service in services {
            let name = EndpointName::of_service(service);
            deployed.addresses.insert(name, self.addresses.take_service());
        }
    }

    fn place(&mut self, pod: &Pod, nodes: &[Node], deployed: &mut Deployed) {
        let node = nodes.iter().position(|node| Some(&node.name) == pod.node.as_ref());
        let Some(node) = node.map(node_number) else { return };
        let addresses = if pod.host_network {
            address::node(node)
        } else {
            let addresses = self.addresses.take_pod(node).unwrap_or_default();
            self.pods.insert(Identity::of_pod(pod), addresses.clone());
            addresses
        };
        deployed.addresses.insert(EndpointName::of_pod(pod), addresses);
    }
}
