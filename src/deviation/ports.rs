//! Deviations in the protocols and port numbers that rules allow.

use super::Effect::Meaning;
use super::rewrite::port_lists;
use super::{Deviation, misread, seen, wrong};
use crate::policy::{Cluster, NetworkPolicy, Port, PortMatch, PortRange, PortSpec, Ports, Protocol};

pub(super) const TABLE: &[Deviation] = &[
    wrong("first-port-only", &[6])
        .says("only the first port of a rule counts")
        .by(Meaning(|cluster| port_lists(cluster).for_each(|ports| ports.truncate(1)))),
    wrong("protocol-ignored", &[7, 15])
        .says("a port that is allowed is open for every protocol")
        .by(Meaning(|cluster| for_every_protocol(cluster, |_| true))),
    wrong("numberless-is-every-protocol", &[7])
        .says("a port entry without a number allows every protocol")
        .by(Meaning(|cluster| for_every_protocol(cluster, |port| port.ports == PortSpec::Any))),
    misread("numberless-is-nothing", &[7]).says("a port entry without a number allows nothing").by(Meaning(
        |cluster| port_lists(cluster).for_each(|ports| ports.retain(|port| port.ports != PortSpec::Any)),
    )),
    seen("port-beside-all-overrides", &[7], "projectcalico/calico#4373")
        .says(
            "if a rule has an entry for all ports of a protocol and one for a single port, only the \
             single port is allowed",
        )
        .by(Meaning(|cluster| port_lists(cluster).for_each(override_all))),
    wrong("sctp-policy-ignored", &[15])
        .says("a policy that only names SCTP ports is dropped where SCTP is not known: it isolates nobody")
        .by(Meaning(|cluster| cluster.policies.retain(|policy| !is_of_sctp(policy)))),
    seen("endport-first-only", &[16], "cilium/cilium#28684, noironetworks/aci-containers#1653")
        .says("endPort is not known: of a range only its first port is allowed")
        .by(Meaning(|cluster| change_ends(cluster, |range| Some(range.first())))),
    wrong("endport-exclusive", &[16])
        .says("the last port of a range is not allowed")
        .by(Meaning(|cluster| change_ends(cluster, |range| Port::new(range.last().get() - 1)))),
    wrong("endport-open", &[16])
        .says("a range has no end: every port from its first on is allowed")
        .by(Meaning(|cluster| change_ends(cluster, |_| Some(Port::MAX)))),
];

/// Lets some ports stand for every protocol.
fn for_every_protocol(cluster: &mut Cluster, is_changed: impl Fn(&PortMatch) -> bool) {
    for ports in port_lists(cluster) {
        let changed = ports.drain(..).flat_map(|port| match is_changed(&port) {
            true => Protocol::ALL.map(|protocol| PortMatch { protocol, ..port.clone() }).into(),
            false => vec![port],
        });
        *ports = changed.collect();
    }
}

/// Changes the last port of each range of several ports, unless the range would be empty.
fn change_ends(cluster: &mut Cluster, last: impl Fn(PortRange) -> Option<Port>) {
    for port in port_lists(cluster).flatten() {
        if let PortSpec::Range(range) = &mut port.ports
            && range.first() < range.last()
            && let Some(changed) = last(*range).and_then(|last| PortRange::new(range.first(), last))
        {
            *range = changed;
        }
    }
}

/// Removes entries for all ports of a protocol if there is also an entry for some ports of the protocol.
fn override_all(ports: &mut Vec<PortMatch>) {
    let some: Vec<_> =
        ports.iter().filter(|port| port.ports != PortSpec::Any).map(|port| port.protocol).collect();
    ports.retain(|port| port.ports != PortSpec::Any || !some.contains(&port.protocol));
}

/// Returns whether a policy has rules, and each of them names only SCTP ports.
fn is_of_sctp(policy: &NetworkPolicy) -> bool {
    let is_of_sctp = |ports: &Ports| match ports {
        Ports::Any => false,
        Ports::Only(ports) => ports.iter().all(|port| port.protocol == Protocol::Sctp),
    };
    policy.ports().next().is_some() && policy.ports().all(is_of_sctp)
}
