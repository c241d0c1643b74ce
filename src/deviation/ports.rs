//! Deviations in the protocols and port numbers that rules allow.

use super::Effect::Meaning;
use super::rewrite::{ports, rules};
use super::{Deviation, misread, seen, wrong};
use crate::policy::{Cluster, NetworkPolicy, Port, PortMatch, PortRange, PortSpec, Ports, Protocol, Rule};

pub(super) const TABLE: &[Deviation] = &[
    wrong("first-port-only", &[6]).says("only the first port of a rule counts").by(Meaning(|cluster| {
        rules(cluster, |rule| {
            if let Ports::Only(ports) = &mut rule.ports {
                ports.truncate(1);
            }
        });
    })),
    wrong("protocol-ignored", &[7, 15])
        .says("a port that is allowed is open for every protocol")
        .by(Meaning(|cluster| ports(cluster, |port| for_every_protocol(&port)))),
    wrong("numberless-is-every-protocol", &[7])
        .says("a port entry without a number allows every protocol")
        .by(Meaning(|cluster| {
            ports(cluster, |port| match port.ports {
                PortSpec::Any => for_every_protocol(&port),
                PortSpec::Range(_) | PortSpec::Named(_) => vec![port],
            });
        })),
    misread("numberless-is-nothing", &[7]).says("a port entry without a number allows nothing").by(Meaning(
        |cluster| {
            ports(cluster, |port| if port.ports == PortSpec::Any { Vec::new() } else { vec![port] });
        },
    )),
    seen("port-beside-all-overrides", &[7], "projectcalico/calico#4373")
        .says(
            "if a rule has an entry for all ports of a protocol and one for a single port, only the \
             single port is allowed",
        )
        .by(Meaning(|cluster| rules(cluster, override_all))),
    wrong("sctp-policy-ignored", &[15])
        .says("a policy that only names SCTP ports is dropped where SCTP is not known: it isolates nobody")
        .by(Meaning(|cluster| cluster.policies.retain(|policy| !is_of_sctp(policy)))),
    seen("endport-first-only", &[16], "cilium/cilium#28684, noironetworks/aci-containers#1653")
        .says("endPort is not known: of a range only its first port is allowed")
        .by(Meaning(|cluster| ranges(cluster, |range| PortRange::single(range.first())))),
    wrong("endport-exclusive", &[16]).says("the last port of a range is not allowed").by(Meaning(
        |cluster| {
            ranges(cluster, |range| {
                let last = Port::new(range.last().get() - 1);
                last.and_then(|last| PortRange::new(range.first(), last)).unwrap_or(range)
            });
        },
    )),
    wrong("endport-open", &[16]).says("a range has no end: every port from its first on is allowed").by(
        Meaning(|cluster| {
            ranges(cluster, |range| match range.first() == range.last() {
                true => range,
                false => PortRange::new(range.first(), PortRange::ALL.last()).unwrap_or(range),
            });
        }),
    ),
];

fn for_every_protocol(port: &PortMatch) -> Vec<PortMatch> {
    Protocol::ALL.map(|protocol| PortMatch { protocol, ..port.clone() }).into()
}

fn ranges(cluster: &mut Cluster, change: impl Fn(PortRange) -> PortRange) {
    ports(cluster, |port| match port.ports {
        PortSpec::Range(range) => vec![PortMatch { ports: PortSpec::Range(change(range)), ..port }],
        PortSpec::Any | PortSpec::Named(_) => vec![port],
    });
}

/// Removes entries for all ports of a protocol if the rule also has an entry for some ports of the protocol.
fn override_all(rule: &mut Rule) {
    let Ports::Only(ports) = &mut rule.ports else { return };
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
