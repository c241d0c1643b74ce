//! Assignment of IP addresses in the lab.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Maximum number of pods per node.
pub(super) const PODS_PER_NODE: u8 = 250;

/// Returns the ranges that belong to the cluster. An external address cannot be in them.
pub(super) fn cluster_ranges() -> Vec<IpNet> {
    [pods_v4(), nodes_v4(), services_v4()]
        .map(IpNet::from)
        .into_iter()
        .chain([pods_v6(), nodes_v6(), services_v6()].map(IpNet::from))
        .collect()
}

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), prefix)
}

const fn v6(third: u16) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x6e70, third, 0, 0, 0, 0, 0), 48)
}

const fn pods_v4() -> Ipv4Net {
    v4([10, 244, 0, 0], 16)
}

const fn nodes_v4() -> Ipv4Net {
    v4([172, 18, 0, 0], 16)
}

const fn services_v4() -> Ipv4Net {
    v4([10, 96, 0, 0], 16)
}

const fn pods_v6() -> Ipv6Net {
    v6(0x244)
}

const fn nodes_v6() -> Ipv6Net {
    v6(0x18)
}

const fn services_v6() -> Ipv6Net {
    v6(0x96)
}

fn in_v6(net: Ipv6Net, high: u16, low: u16) -> IpAddr {
    let [a, b, c, ..] = net.network().segments();
    Ipv6Addr::new(a, b, c, high, 0, 0, 0, low).into()
}

/// Returns the addresses of a node. Node numbers start at 1.
pub(super) fn node(number: u8) -> Vec<IpAddr> {
    let [a, b, ..] = nodes_v4().network().octets();
    vec![Ipv4Addr::new(a, b, 0, number).into(), in_v6(nodes_v6(), 0, number.into())]
}

/// Returns the ranges of a node's pod addresses.
pub(super) fn pods_of_node(number: u8) -> Vec<IpNet> {
    let [a, b, ..] = pods_v4().network().octets();
    let IpAddr::V6(first) = in_v6(pods_v6(), number.into(), 0) else { return Vec::new() };
    let [v4, v6] = [v4([a, b, number, 0], 24).into(), Ipv6Net::new_assert(first, 64).into()];
    vec![v4, v6]
}

/// Returns the addresses of one of a node's two canaries. They follow those of its pods. `which` is 0 or 1.
pub(super) fn canary(node: u8, which: u8) -> Vec<IpAddr> {
    let number = PODS_PER_NODE + 3 + which;
    let [a, b, ..] = pods_v4().network().octets();
    vec![Ipv4Addr::new(a, b, node, number).into(), in_v6(pods_v6(), node.into(), number.into())]
}

/// Returns the addresses of the canary outside the cluster. They are in the range of the nodes, where a
/// scenario cannot have external addresses.
pub(super) fn canary_outside() -> Vec<IpAddr> {
    let [a, b, ..] = nodes_v4().network().octets();
    vec![Ipv4Addr::new(a, b, 255, 1).into(), in_v6(nodes_v6(), 0xffff, 1)]
}

/// Allocator of addresses for pods and Services.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pods: BTreeMap<u8, BTreeSet<u8>>,
    /// Freed addresses by node. The last one freed is used first.
    freed: BTreeMap<u8, Vec<u8>>,
    services: u16,
}

impl Addresses {
    /// Takes the addresses of the node that were freed last, or else its lowest free ones. Returns `None` if
    /// the node is full.
    pub(super) fn take_pod(&mut self, node: u8) -> Option<Vec<IpAddr>> {
        let taken = self.pods.entry(node).or_default();
        let freed = self.freed.get_mut(&node).and_then(Vec::pop);
        let number = freed.or_else(|| (2..=PODS_PER_NODE + 1).find(|number| !taken.contains(number)))?;
        taken.insert(number);
        let [a, b, ..] = pods_v4().network().octets();
        Some(vec![Ipv4Addr::new(a, b, node, number).into(), in_v6(pods_v6(), node.into(), number.into())])
    }

    /// Frees a pod's addresses.
    pub(super) fn free_pod(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if let IpAddr::V4(address) = address {
                let [_, _, node, number] = address.octets();
                if let Some(taken) = self.pods.get_mut(&node) {
                    taken.remove(&number);
                    self.freed.entry(node).or_default().push(number);
                }
            }
        }
    }

    /// Takes the virtual addresses of the next Service.
    pub(super) fn take_service(&mut self) -> Vec<IpAddr> {
        self.services = self.services.saturating_add(1);
        let [a, b, ..] = services_v4().network().octets();
        let [high, low] = (self.services + 9).to_be_bytes();
        vec![Ipv4Addr::new(a, b, high, low).into(), in_v6(services_v6(), 0, self.services + 9)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_ranges_and_used_again() {
        let mut addresses = Addresses::default();
        let first = addresses.take_pod(3).unwrap();
        assert_eq!(first, ["10.244.3.2".parse::<IpAddr>().unwrap(), "fd00:6e70:244:3::2".parse().unwrap()]);
        for (net, address) in pods_of_node(3).iter().zip(&first) {
            assert!(net.contains(address), "{net} {address}");
        }
        let second = addresses.take_pod(3).unwrap();
        addresses.free_pod(&first);
        assert_eq!(addresses.take_pod(3).unwrap(), first);
        assert_ne!(second, first);
        addresses.free_pod(&first);
        addresses.free_pod(&second);
        assert_eq!(addresses.take_pod(3).unwrap(), second);
        assert_eq!(addresses.take_pod(3).unwrap(), first);
        let service: IpAddr = "10.96.0.10".parse().unwrap();
        assert_eq!(addresses.take_service()[0], service);
    }

    #[test]
    fn a_full_node_has_no_address_left() {
        let mut addresses = Addresses::default();
        for _ in 0..PODS_PER_NODE {
            addresses.take_pod(1).unwrap();
        }
        assert_eq!(addresses.take_pod(1), None);
    }
}
