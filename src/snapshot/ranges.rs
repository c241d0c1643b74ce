//! Address ranges, for addresses that are not known one by one.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::node::ReadNode;
use crate::policy::{Cluster, IpFamily, Node, Pod};

/// The ranges from which a cluster takes its addresses. An empty list means that nothing is known. Any other list has
/// all ranges of both families, so the cluster does not use a family that has no range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRanges {
    /// Addresses of pods in the pod network.
    pub pods: Vec<IpNet>,
    /// Virtual addresses of Services.
    pub services: Vec<IpNet>,
    /// Addresses of nodes.
    pub nodes: Vec<IpNet>,
}

/// An address of the input that is in none of the ranges that it must be in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {holder} has the address {address}, which is in none of the ranges: give all of them")]
pub struct OutOfRange {
    /// The option that names the ranges.
    option: &'static str,
    /// The pod, Service or node that has the address.
    holder: String,
    address: IpAddr,
}

impl AddressRanges {
    /// Sets the address ranges of nodes, and of pods with unknown addresses.
    ///
    /// # Errors
    /// If an address of the cluster is in none of the ranges that it must be in.
    pub(super) fn apply(&self, cluster: &mut Cluster) -> Result<(), OutOfRange> {
        let Cluster { pods, services, nodes, node_ranges, .. } = cluster;
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
            for addresses in [&node.addresses, &node.external_addresses] {
                check(addresses, &self.nodes, "--node-cidr", || format!("node {}", node.name))?;
            }
        }
        if !self.nodes.is_empty() {
            node_ranges.clone_from(&self.nodes);
        }
        Ok(())
    }
}

fn check(
    addresses: &[IpAddr],
    ranges: &[IpNet],
    option: &'static str,
    holder: impl Fn() -> String,
) -> Result<(), OutOfRange> {
    let is_inside =
        |address: &&IpAddr| ranges.is_empty() || ranges.iter().any(|range| range.contains(*address));
    match addresses.iter().find(|address| !is_inside(address)) {
        None => Ok(()),
        Some(address) => Err(OutOfRange { option, holder: holder(), address: *address }),
    }
}

/// Derives unknown addresses of pods from the nodes. A pod with `hostNetwork` has the addresses of its node, or of
/// any node. Every other pod has addresses from the `podCIDRs` of its node.
pub(super) fn from_nodes(cluster: &mut Cluster, nodes: &[ReadNode]) {
    let listed = ListedNodes::new(&cluster.pods, nodes);
    let any_node = listed.addresses_of_any();
    let is_evident = listed.are_pod_ranges_evident(&cluster.pods);
    for pod in cluster.pods.iter_mut().filter(|pod| pod.addresses.is_empty()) {
        match (listed.node_of(pod), pod.host_network) {
            (Some(read), true) => pod.addresses = of_host_network(&read.node).to_vec(),
            (None, true) => pod.address_ranges.clone_from(&any_node),
            (Some(read), false) if is_evident => pod.address_ranges.clone_from(&read.pod_ranges),
            // Its node may not be in the input, because no Node says which nodes exist. Or the `podCIDRs` may not be
            // in use.
            (Some(_) | None, false) => {}
        }
    }
    cluster.node_ranges = listed.all_addresses();
}

/// The Nodes of an input.
struct ListedNodes<'a> {
    nodes: &'a [ReadNode],
    by_name: HashMap<&'a str, &'a ReadNode>,
    /// Whether these may be all nodes. They are not, if a pod is on another node.
    is_complete: bool,
}

impl<'a> ListedNodes<'a> {
    fn new(pods: &[Pod], nodes: &'a [ReadNode]) -> Self {
        let by_name: HashMap<_, _> = nodes.iter().map(|read| (read.node.name.as_str(), read)).collect();
        let is_complete =
            pods.iter().filter_map(|pod| pod.node.as_deref()).all(|name| by_name.contains_key(name));
        Self { nodes, by_name, is_complete }
    }

    fn node_of(&self, pod: &Pod) -> Option<&'a ReadNode> {
        self.by_name.get(pod.node.as_deref()?).copied()
    }

    /// Returns all addresses that nodes may have, including `ExternalIP`s. Empty if nodes are missing, or if the
    /// addresses of a node are unknown.
    fn all_addresses(&self) -> Vec<IpNet> {
        let is_known = self.is_complete && self.nodes.iter().all(|read| !read.node.addresses.is_empty());
        let of_node = |node: &'a Node| node.addresses.iter().chain(&node.external_addresses);
        let all = self.nodes.iter().filter(|_| is_known).flat_map(|read| of_node(&read.node));
        all.copied().map(IpNet::from).collect()
    }

    /// Returns the addresses that a pod with `hostNetwork` may have if its node is unknown. Empty if nodes are missing,
    /// or if the nodes have addresses of different families: then the families of the pod are unknown.
    fn addresses_of_any(&self) -> Vec<IpNet> {
        let of_nodes: Vec<_> = self.nodes.iter().map(|read| of_host_network(&read.node)).collect();
        let families = |addresses: &&[IpAddr]| {
            IpFamily::ALL.map(|family| addresses.iter().any(|address| IpFamily::of(*address) == family))
        };
        let mut all = of_nodes.iter().map(families);
        let first = all.next();
        if !self.is_complete || !all.all(|next| Some(next) == first) {
            return Vec::new();
        }
        of_nodes.concat().into_iter().map(IpNet::from).collect()
    }

    /// Returns whether pods have their addresses from `podCIDRs`. Many network plugins take addresses from elsewhere
    /// and leave `podCIDRs` unchanged. So two conditions must be met. All nodes have `podCIDRs`. At least one pod has
    /// a known address, and all known addresses of pods are in `podCIDRs`.
    fn are_pod_ranges_evident(&self, pods: &[Pod]) -> bool {
        let all: Vec<_> = self.nodes.iter().flat_map(|read| &read.pod_ranges).copied().collect();
        let is_regular = |pod: &&Pod| !pod.host_network && !pod.ended && !pod.addresses.is_empty();
        let mut known = pods.iter().filter(is_regular).peekable();
        known.peek().is_some()
            && self.nodes.iter().all(|read| !read.pod_ranges.is_empty())
            && known.all(|pod| {
                let ranges = self.node_of(pod).map_or(&all, |read| &read.pod_ranges);
                pod.addresses.iter().all(|address| ranges.iter().any(|range| range.contains(address)))
            })
    }
}

/// Returns the addresses of a pod with `hostNetwork` on a node. Empty if they are unknown.
///
/// The kubelet takes one address of each family, an `InternalIP` if there is one. If the node has only an
/// `ExternalIP` of a family, the addresses of the pod are unknown.
fn of_host_network(node: &Node) -> &[IpAddr] {
    let has = |address: &IpAddr| node.address(IpFamily::of(*address)).is_some();
    if node.external_addresses.iter().all(has) { &node.addresses } else { &[] }
}
