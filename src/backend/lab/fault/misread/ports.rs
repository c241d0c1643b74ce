//! Faults in the ports that rules allow.

use super::super::rewrite::{lists, ports, ranges, rules};
use crate::policy::{
    Cluster, NetworkPolicy, Peers, Port, PortMatch, PortRange, PortSpec, Ports, Protocol, Rule,
};

pub(super) fn empty_ports_deny(cluster: &mut Cluster) {
    lists(cluster, |rules| {
        rules.retain(|rule| rule.ports != Ports::Any || rule.peers == Peers::Any);
    });
}

pub(super) fn first_port_only(cluster: &mut Cluster) {
    rules(cluster, |rule| {
        if let Ports::Only(ports) = &mut rule.ports {
            ports.truncate(1);
        }
    });
}

pub(super) fn protocol_ignored(cluster: &mut Cluster) {
    ports(cluster, |port| Protocol::ALL.map(|protocol| PortMatch { protocol, ..port.clone() }).into());
}

pub(super) fn numberless_is_every_protocol(cluster: &mut Cluster) {
    ports(cluster, |port| match port.ports {
        PortSpec::Any => Protocol::ALL.map(|protocol| PortMatch { protocol, ports: PortSpec::Any }).into(),
        PortSpec::Range(_) | PortSpec::Named(_) => vec![port],
    });
}

pub(super) fn port_beside_all_overrides(cluster: &mut Cluster) {
    rules(cluster, override_all);
}

pub(super) fn sctp_policy_ignored(cluster: &mut Cluster) {
    cluster.policies.retain(|policy| !is_of_sctp(policy));
}

pub(super) fn end_port_first_only(cluster: &mut Cluster) {
    ranges(cluster, |range| PortRange::single(range.first()));
}

pub(super) fn end_port_exclusive(cluster: &mut Cluster) {
    ranges(cluster, without_last);
}

pub(super) fn end_port_open(cluster: &mut Cluster) {
    ranges(cluster, |range| match range.first() == range.last() {
        true => range,
        false => PortRange::new(range.first(), PortRange::ALL.last()).unwrap_or(range),
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
    let rules: Vec<_> = policy.ingress.iter().chain(&policy.egress).flatten().collect();
    let is_of_sctp = |rule: &&Rule| match &rule.ports {
        Ports::Any => false,
        Ports::Only(ports) => ports.iter().all(|port| port.protocol == Protocol::Sctp),
    };
    !rules.is_empty() && rules.iter().all(is_of_sctp)
}

fn without_last(range: PortRange) -> PortRange {
    let before = |port: Port| Port::new(port.get() - 1);
    before(range.last()).and_then(|last| PortRange::new(range.first(), last)).unwrap_or(range)
}
