//! Nodes for the pods of manifests, so that a lab can play the cluster on which they run.

use std::net::IpAddr;

use crate::policy::{Cluster, Node};

/// Names of the nodes if the manifests contain none.
const NODES: [&str; 2] = ["node-1", "node-2"];

/// Gives a node to each pod that has none, in turn. If there are no nodes, adds two. Removes addresses, because the lab
/// has its own.
pub fn place(cluster: &mut Cluster) {
    if cluster.nodes.is_empty() {
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            addresses: Vec::<IpAddr>::new(),
            external_addresses: Vec::new(),
        };
        cluster.nodes = NODES.iter().map(node).collect();
    }
    let names: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let mut next = names.iter().cycle();
    for pod in &mut cluster.pods {
        pod.addresses.clear();
        if pod.node.as_ref().is_none_or(|node| !names.contains(node)) {
            pod.node = next.next().cloned();
        }
    }
    for service in &mut cluster.services {
        service.addresses.clear();
    }
    for node in &mut cluster.nodes {
        node.addresses.clear();
    }
}
