//! Addresses that stand for others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::{Cluster, IpFamily};

/// Addresses that are reserved for documentation, so that nobody has them. They stand for wide ranges that contain them.
pub(super) const UNUSED: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Returns the families of the pods' addresses; IPv4 if no address is known.
pub fn families(cluster: &Cluster) -> Vec<IpFamily> {
    // A pod with hostNetwork has the addresses of its node.
    let pods = || cluster.pods.iter().filter(|pod| !pod.host_network);
    families_with(|family| pods().any(|pod| pod.address(family).is_some()))
}

/// Returns the families that an end has; IPv4 if it has none yet, because the lab chooses its addresses later.
pub(super) fn families_with(has: impl Fn(IpFamily) -> bool) -> Vec<IpFamily> {
    let known: Vec<IpFamily> = IpFamily::ALL.into_iter().filter(|family| has(*family)).collect();
    if known.is_empty() { vec![IpFamily::V4] } else { known }
}

/// Returns the address after this one. `None` after the last one of the family.
pub(super) fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

/// Returns the address before this one. `None` before the first one of the family.
pub(super) fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_sub(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(address) => u128::from(address).checked_sub(1).map(|next| Ipv6Addr::from(next).into()),
    }
}
