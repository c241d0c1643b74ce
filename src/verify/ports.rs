//! The ports that are probed from one twin to another: those that the destination serves, those at which the policies or
//! the intent change their mind, and some that nobody names.

use std::collections::BTreeSet;

use netproof_probe::wire::STARTUP_PORT;

use crate::policy::{Cluster, Connections, Pod, Port, PortRange, Protocol, Selection};
use crate::tenants::Tenancy;

/// A port of a protocol.
pub(super) type PortOf = (Protocol, Port);

/// A port that hardly any policy or program names. Whoever is isolated is isolated there, too.
const UNNAMED: u16 = 54_321;

/// Ports that netproof's agents need for themselves: for the kubelet, their API, canaries and sentinels.
const RESERVED: std::ops::RangeInclusive<u16> = STARTUP_PORT..=15_130;

/// Greatest count of ports of each protocol beside those that rules name, for one set of connections.
const MOST_BESIDE: usize = 16;

/// The port of lookups, which network plugins may treat in a way of their own.
const DNS: u16 = 53;

/// Returns the ports that the members of a class serve: those that containers declare, and those to which Services lead.
pub(super) fn served<'a>(members: impl Iterator<Item = &'a Pod>, cluster: &Cluster) -> BTreeSet<PortOf> {
    let mut ports = BTreeSet::new();
    for pod in members {
        ports.extend(pod.ports.iter().map(|port| (port.protocol, port.port)));
        let own = cluster.services.iter().filter(|service| {
            service.namespace == pod.namespace && service.backends.select(pod) == Selection::Selected
        });
        for port in own.flat_map(|service| &service.ports) {
            ports.extend(port.target.resolve(pod, port.protocol).map(|target| (port.protocol, target)));
        }
    }
    ports
}

/// Returns the ports at the edges of what the policies allow between two ends, inside and outside.
pub(super) fn edges(connections: &Connections) -> BTreeSet<PortOf> {
    let of = |protocol| connections.ports(protocol).map(move |range| (protocol, range));
    edges_of(Protocol::ALL.into_iter().flat_map(of))
}

fn edges_of(ranges: impl Iterator<Item = (Protocol, PortRange)>) -> BTreeSet<PortOf> {
    let (mut ports, mut beside) = (BTreeSet::new(), BTreeSet::new());
    for (protocol, range) in ranges.filter(|(_, range)| *range != PortRange::ALL) {
        let other = match protocol {
            Protocol::Tcp | Protocol::Sctp => Protocol::Udp,
            Protocol::Udp => Protocol::Tcp,
        };
        ports.extend([range.first(), range.last()].map(|port| (protocol, port)));
        let before = Port::new(range.first().get() - 1);
        let around = [before, range.last().checked_add(1)];
        beside.extend(around.into_iter().flatten().map(|port| (protocol, port)));
        // A rule may be enforced for every protocol.
        beside.insert((other, range.first()));
    }
    // Ports that a rule names are never left out. Policies themselves are compared on all ports, without packets.
    for protocol in Protocol::ALL {
        ports.extend(beside.iter().filter(|(of, _)| *of == protocol).take(MOST_BESIDE));
    }
    ports
}

/// Returns a port that nobody names.
pub(super) fn any_port() -> Option<PortOf> {
    Some((Protocol::Tcp, Port::new(UNNAMED)?))
}

/// Returns ports that are asked about although nobody names them.
pub(super) fn unnamed() -> impl Iterator<Item = PortOf> {
    let of =
        |port| [Protocol::Tcp, Protocol::Udp].into_iter().filter_map(move |it| Some((it, Port::new(port)?)));
    [DNS, UNNAMED].into_iter().flat_map(of)
}

/// Returns the ports at the edges of what the tenants name.
pub(super) fn of_intent(tenancy: &Tenancy) -> BTreeSet<PortOf> {
    edges_of(tenancy.ports().into_iter())
}

/// Returns whether an agent can listen on this port.
pub(super) fn is_free((_, port): &PortOf) -> bool {
    !RESERVED.contains(&port.get())
}
