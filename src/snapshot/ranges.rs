//! Ranges that hold addresses which are not known one by one.

use std::net::IpAddr;

use ipnet::IpNet;

use super::node::ReadNode;
use crate::policy::{Cluster, Pod};

/// The ranges from which a cluster takes its addresses. A list is empty where nothing is known; else it has
/// all ranges of both families, so that a family without any is one that the cluster does not use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRanges {
    /// Those of pods in the pod network.
    pub pods: Vec<IpNet>,
    /// The virtual addresses of Services.
    pub services: Vec<IpNet>,
    /// Those of nodes.
    pub nodes: Vec<IpNet>,
}

impl AddressRanges {
    /// Says of the pods, whose addresses are not known, where these are.
    ///
    /// # Errors
    /// If an address of the cluster is in none of the ranges that it has to be in.
    pub(super) fn apply(&self, cluster: &mut Cluster) -> Result<(), String> {
        let Cluster { pods, services, nodes, .. } = cluster;
        for pod in pods.iter_mut().filter(|pod| !pod.ended) {
            let (ranges, option) =
                if pod.host_network { (&self.nodes, "--node-cidr") } else { (&self.pods, "--pod-cidr") };
            check(&pod.addresses, ranges, option, || format!("pod {}/{}", pod.namespace, pod.name))?;
            if pod.addresses.is_empty() && !ranges.is_empty() {
                pod.address_ranges.clone_from(ranges);
            }
        }
        for service in services {
            let name = || format!("Service {}/{}", service.namespace, service.name);
            check(&service.addresses, &self.services, "--service-cidr", name)?;
        }
        for node in nodes {
            check(&node.addresses, &self.nodes, "--node-cidr", || format!("node {}", node.name))?;
        }
        Ok(())
    }
}

fn check(
    addresses: &[IpAddr],
    ranges: &[IpNet],
    option: &str,
    holder: impl Fn() -> String,
) -> Result<(), String> {
    if ranges.is_empty() {
        return Ok(());
    }
    match addresses.iter().find(|address| !ranges.iter().any(|range| range.contains(*address))) {
        None => Ok(()),
        Some(address) => Err(format!(
            "{option}: {} has the address {address}, which is in none of the ranges: give all of them",
            holder()
        )),
    }
}

/// Says where the addresses of pods are that are not known, by the nodes: a pod with `hostNetwork` has its
/// node's addresses, or those of any node, and the others have theirs from `podCIDRs`. Returns the addresses of
/// all nodes; empty if one of them is not known.
///
/// Many network plugins take addresses from elsewhere and leave `podCIDRs` as they are. It counts only if all
/// nodes have it and pods with known addresses, one at least, all have theirs from there.
pub(super) fn from_nodes(cluster: &mut Cluster, nodes: &[ReadNode]) -> Vec<IpNet> {
    let has_addresses = nodes.iter().all(|read| !read.node.addresses.is_empty());
    let addresses = nodes.iter().flat_map(|read| &read.node.addresses).filter(|_| has_addresses);
    let addresses: Vec<_> = addresses.copied().map(IpNet::from).collect();
    let all_ranges: Vec<_> = nodes.iter().flat_map(|node| &node.pod_ranges).copied().collect();
    let is_regular = |pod: &&Pod| !pod.host_network && !pod.ended;
    let mut known = cluster.pods.iter().filter(is_regular).flat_map(|pod| &pod.addresses).peekable();
    let is_evident = known.peek().is_some()
        && nodes.iter().all(|node| !node.pod_ranges.is_empty())
        && known.all(|address| all_ranges.iter().any(|range| range.contains(address)));
    for pod in cluster.pods.iter_mut().filter(|pod| pod.addresses.is_empty()) {
        let own = nodes.iter().find(|read| Some(&read.node.name) == pod.node.as_ref());
        if pod.host_network {
            match own {
                Some(read) => pod.addresses.clone_from(&read.node.addresses),
                None => pod.address_ranges.clone_from(&addresses),
            }
        } else if is_evident {
            pod.address_ranges.clone_from(own.map_or(&all_ranges, |read| &read.pod_ranges));
        }
    }
    addresses
}
