//! Addresses of a lab that does not run. With them, netproof can compute which rules packets would meet,
//! without sending any.

use std::collections::HashMap;
use std::net::IpAddr;

use super::address::{self, Addresses};
use super::hosts::node_number;
use crate::policy::{Node, Pod};
use crate::snapshot::Identity;
use crate::world::{Action, PodChange, World};

/// Allocator of the addresses that a lab would assign on a machine with both IP families.
#[derive(Debug, Default)]
pub struct DryRun {
    addresses: Addresses,
    /// Addresses of the pods in the pod network.
    pods: HashMap<Identity, Vec<IpAddr>>,
}

impl DryRun {
    /// Fills in the addresses of an initial state.
    pub fn start(&mut self, world: &mut World) {
        let cluster = &mut world.cluster;
        for service in &mut cluster.services {
            service.addresses = self.addresses.take_service();
        }
        for (i, node) in cluster.nodes.iter_mut().enumerate() {
            node.addresses = address::node(node_number(i));
        }
        for pod in &mut cluster.pods {
            self.place(pod, &cluster.nodes);
        }
    }

    /// Fills in the addresses of what these actions created.
    pub fn apply(&mut self, actions: &[Action], world: &mut World) {
        let cluster = &mut world.cluster;
        for change in actions.iter().filter_map(Action::pod_change) {
            match change {
                PodChange::Removed(identity) | PodChange::Ended(identity) => {
                    let addresses = self.pods.remove(identity).unwrap_or_default();
                    self.addresses.free_pod(&addresses);
                }
                PodChange::Added(added) => {
                    let is_it = |pod: &&mut Pod| pod.namespace == added.namespace && pod.name == added.name;
                    if let Some(pod) = cluster.pods.iter_mut().find(is_it) {
                        self.place(pod, &cluster.nodes);
                    }
                }
            }
        }
        for service in cluster.services.iter_mut().filter(|service| service.addresses.is_empty()) {
            service.addresses = self.addresses.take_service();
        }
    }

    fn place(&mut self, pod: &mut Pod, nodes: &[Node]) {
        let node = nodes.iter().enumerate().find(|(_, node)| Some(&node.name) == pod.node.as_ref());
        let Some((number, node)) = node else { return };
        if pod.host_network {
            pod.addresses.clone_from(&node.addresses);
            return;
        }
        pod.addresses = self.addresses.take_pod(node_number(number)).unwrap_or_default();
        let identity = Identity::of_pod(pod);
        self.pods.insert(identity, pod.addresses.clone());
    }
}
