//! Assignment of IP addresses in the lab.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::policy::{Node, Pod, Service};
use crate::snapshot::Identity;
use crate::world::{Action, Deployed, EndpointName, PodChange, World};

/// Maximum number of pods per node.
pub(super) const PODS_PER_NODE: u8 = 250;

/// A range of addresses in each family, given by its first address.
struct Range {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

const PODS: Range = Range::new([10, 244], 0x244);
const NODES: Range = Range::new([172, 18], 0x18);
const SERVICES: Range = Range::new([10, 96], 0x96);

impl Range {
    const fn new([a, b]: [u8; 2], third: u16) -> Self {
        Self { v4: Ipv4Addr::new(a, b, 0, 0), v6: Ipv6Addr::new(0xfd00, 0x6e70, third, 0, 0, 0, 0, 0) }
    }

    /// Returns the address of each family with this number in a part of the range. A part is a /24 or a /64. If the
    /// number is above 255, the IPv4 address is in one of the next parts.
    fn addresses(&self, part: u8, number: u16) -> Vec<IpAddr> {
        let v4 = u32::from(self.v4) + (u32::from(part) << 8) + u32::from(number);
        let v6 = u128::from(self.v6) + (u128::from(part) << 64) + u128::from(number);
        vec![Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into()]
    }
}

/// Returns the ranges that belong to the cluster. An external address cannot be in them.
pub(super) fn cluster_ranges() -> Vec<IpNet> {
    let v4 = [PODS, NODES, SERVICES].map(|range| IpNet::new_assert(range.v4.into(), 16));
    let v6 = [PODS, NODES, SERVICES].map(|range| IpNet::new_assert(range.v6.into(), 48));
    [v4, v6].concat()
}

/// Returns the number of a node, starting at 1. Scenarios have at most 64 nodes.
fn node_number(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

/// Returns the addresses of a node.
pub(super) fn node(index: usize) -> Vec<IpAddr> {
    NODES.addresses(0, node_number(index).into())
}

/// Returns the ranges of a node's pod addresses.
pub(super) fn pods_of_node(index: usize) -> Vec<IpNet> {
    let first = PODS.addresses(node_number(index), 0).into_iter();
    first.zip([24, 64]).map(|(first, prefix)| IpNet::new_assert(first, prefix)).collect()
}

/// Returns the addresses of one of a node's two canaries. They follow those of its pods. `which` is 0 or 1.
pub(super) fn canary(node: usize, which: u8) -> Vec<IpAddr> {
    PODS.addresses(node_number(node), (PODS_PER_NODE + 3 + which).into())
}

/// Returns the addresses of the canary outside the cluster. They are in the range of the nodes, where a
/// scenario cannot have external addresses.
pub(super) fn canary_outside() -> Vec<IpAddr> {
    NODES.addresses(u8::MAX, 1)
}

/// Allocator of the addresses that a lab assigns on a machine with both IP families. It needs no lab, so that
/// netproof can compute which rules packets would meet, without sending any.
#[derive(Debug, Default)]
pub struct Addresses {
    /// The pods in the pod network, with the index of their node and their number on it.
    pods: HashMap<Identity, (usize, u8)>,
    nodes: HashMap<usize, Numbers>,
    services: u16,
}

/// The pod numbers of a node.
#[derive(Debug, Default)]
struct Numbers {
    /// Count of the numbers that were ever taken, including those that were freed.
    taken: u8,
    /// The numbers that were freed. The last one is used first.
    freed: Vec<u8>,
}

impl Addresses {
    /// Assigns the addresses of an initial state. Pods get none if their node is full.
    pub fn deploy(&mut self, world: &World) -> Deployed {
        let (mut deployed, cluster) = (Deployed::default(), &world.cluster);
        self.take_services(&cluster.services, &mut deployed);
        let nodes = cluster.nodes.iter().enumerate();
        deployed
            .addresses
            .extend(nodes.map(|(i, node)| (EndpointName::Node(node.name.clone()), self::node(i))));
        for pod in &cluster.pods {
            self.place(pod, &cluster.nodes, &mut deployed);
        }
        deployed
    }

    /// Assigns the addresses of the objects that these actions created.
    pub fn apply(&mut self, actions: &[Action], world: &World) -> Deployed {
        let (mut deployed, cluster) = (Deployed::default(), &world.cluster);
        for change in actions.iter().filter_map(Action::pod_change) {
            match change {
                PodChange::Removed(identity) | PodChange::Ended(identity) => self.free(identity),
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
            deployed.addresses.insert(EndpointName::of_service(service), self.take_service());
        }
    }

    /// Takes the virtual addresses of the next Service.
    fn take_service(&mut self) -> Vec<IpAddr> {
        self.services = self.services.saturating_add(1);
        SERVICES.addresses(0, self.services + 9)
    }

    fn place(&mut self, pod: &Pod, nodes: &[Node], deployed: &mut Deployed) {
        let node = nodes.iter().position(|node| Some(&node.name) == pod.node.as_ref());
        let Some(node) = node else { return };
        let addresses = match pod.host_network {
            true => self::node(node),
            false => self.take(Identity::of_pod(pod), node).unwrap_or_default(),
        };
        deployed.addresses.insert(EndpointName::of_pod(pod), addresses);
    }

    /// Takes the addresses of the node that were freed last, or else its lowest free ones. Returns `None` if
    /// the node is full.
    fn take(&mut self, pod: Identity, node: usize) -> Option<Vec<IpAddr>> {
        let Numbers { taken, freed } = self.nodes.entry(node).or_default();
        if freed.is_empty() && *taken < PODS_PER_NODE {
            *taken += 1;
            freed.push(*taken + 1);
        }
        let number = freed.pop()?;
        self.pods.insert(pod, (node, number));
        Some(PODS.addresses(node_number(node), number.into()))
    }

    fn free(&mut self, pod: &Identity) {
        if let Some((node, number)) = self.pods.remove(pod) {
            self.nodes.entry(node).or_default().freed.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Identity {
        Identity { namespace: "x".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn addresses_are_in_their_ranges_and_used_again() {
        let mut addresses = Addresses::default();
        let take = |addresses: &mut Addresses, name: &str| addresses.take(pod(name), 2).unwrap();
        let first = take(&mut addresses, "a");
        assert_eq!(first, ["10.244.3.2".parse::<IpAddr>().unwrap(), "fd00:6e70:244:3::2".parse().unwrap()]);
        for (net, address) in pods_of_node(2).iter().zip(&first) {
            assert!(net.contains(address), "{net} {address}");
        }
        let second = take(&mut addresses, "b");
        addresses.free(&pod("a"));
        assert_eq!(take(&mut addresses, "c"), first);
        assert_ne!(second, first);
        addresses.free(&pod("c"));
        addresses.free(&pod("b"));
        assert_eq!(take(&mut addresses, "d"), second);
        assert_eq!(take(&mut addresses, "e"), first);
        let service: IpAddr = "10.96.0.10".parse().unwrap();
        assert_eq!(addresses.take_service()[0], service);
    }

    #[test]
    fn a_full_node_has_no_address_left() {
        let mut addresses = Addresses::default();
        for number in 0..PODS_PER_NODE {
            addresses.take(pod(&number.to_string()), 0).unwrap();
        }
        assert_eq!(addresses.take(pod("last"), 0), None);
    }
}
