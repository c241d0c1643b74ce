//! Ranges that hold addresses which are not known one by one.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::node::ReadNode;
use crate::policy::{Cluster, IpFamily, Node, Pod};

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
    /// Says where the addresses of nodes, and of pods with unknown addresses, are.
    ///
    /// # Errors
    /// If an address of the cluster is in none of the ranges that it has to be in.
    pub(super) fn apply(&self, cluster: &mut Cluster) -> Result<(), String> {
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
/// node's addresses, or those of any node, and the others have theirs from the `podCIDRs` of their node.
pub(super) fn from_nodes(cluster: &mut Cluster, nodes: &[ReadNode]) {
    let listed = ListedNodes::new(&cluster.pods, nodes);
    let any_node = listed.addresses_of_any();
    let is_evident = listed.are_pod_ranges_evident(&cluster.pods);
    for pod in cluster.pods.iter_mut().filter(|pod| pod.addresses.is_empty()) {
        match (listed.node_of(pod), pod.host_network) {
            (Some(read), true) => pod.addresses = of_host_network(&read.node).to_vec(),
            (None, true) => pod.address_ranges.clone_from(&any_node),
            (Some(read), false) if is_evident => pod.address_ranges.clone_from(&read.pod_ranges),
            // It may run on a node that is not in the input: which nodes there are, no Node says.
            (Some(_) | None, false) => {}
        }
    }
    cluster.node_ranges = listed.all_addresses();
}

/// The Nodes of an input.
struct ListedNodes<'a> {
    nodes: &'a [ReadNode],
    by_name: HashMap<&'a str, &'a ReadNode>,
    /// Whether these may be all nodes: a pod on another one shows that they are not.
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

    /// All addresses that nodes may have, `ExternalIP`s included; empty if those of one are not known.
    fn all_addresses(&self) -> Vec<IpNet> {
        let is_known = self.is_complete && self.nodes.iter().all(|read| !read.node.addresses.is_empty());
        let of_node = |node: &'a Node| node.addresses.iter().chain(&node.external_addresses);
        let all = self.nodes.iter().filter(|_| is_known).flat_map(|read| of_node(&read.node));
        all.copied().map(IpNet::from).collect()
    }

    /// The addresses of which a pod with `hostNetwork` on any node has its own; empty if that is not known.
    fn addresses_of_any(&self) -> Vec<IpNet> {
        let to_nets = |addresses: &[IpAddr]| addresses.iter().copied().map(IpNet::from).collect();
        self.of_any(|read| to_nets(of_host_network(&read.node)))
    }

    /// The ranges of all nodes together. Empty if nodes are missing, or if not all have ranges of the same
    /// families: then it is not known which families a pod has.
    fn of_any(&self, ranges: impl Fn(&ReadNode) -> Vec<IpNet>) -> Vec<IpNet> {
        let of_nodes: Vec<_> = self.nodes.iter().map(ranges).collect();
        let families = |ranges: &[IpNet]| {
            IpFamily::ALL.map(|family| ranges.iter().any(|range| IpFamily::of(range.addr()) == family))
        };
        let mut all = of_nodes.iter().map(|ranges| families(ranges));
        let first = all.next();
        if !self.is_complete || !all.all(|next| Some(next) == first) {
            return Vec::new();
        }
        of_nodes.concat()
    }

    /// Whether pods have their addresses from `podCIDRs`. Many network plugins take addresses from elsewhere and
    /// leave `podCIDRs` as they are. They count only if all nodes have them and pods with known addresses, one at
    /// least, all have theirs from there.
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

/// The addresses of a pod with `hostNetwork` on a node; empty if they are not known.
///
/// The kubelet takes one address of each family, an `InternalIP` if there is one. A family of which the node has
/// only an `ExternalIP` leaves it open which addresses the pod has.
fn of_host_network(node: &Node) -> &[IpAddr] {
    let has = |address: &IpAddr| node.address(IpFamily::of(*address)).is_some();
    if node.external_addresses.iter().all(has) { &node.addresses } else { &[] }
}
