//! Which packets a scenario sends: a fault that is about others cannot show in it.

use crate::backend::lab::{Fault, Hole};
use crate::policy::{IpFamily, Port, Protocol};
use crate::scenario::{Action, Probe, Scenario, State};

/// The port that lookups go to.
const DNS: Port = Port::new(53).unwrap();

/// Whether a scenario sends any of the packets that a fault is about.
pub(super) fn are_sent(scenario: &Scenario, fault: Fault) -> bool {
    let Fault::Packets(hole) = fault else { return true };
    let start = State::new(&scenario.topology);
    let by_name = start.services_by_name;
    let over = |wanted: Protocol| {
        (by_name && wanted == Protocol::Udp) || scenario.probes.iter().any(|p| protocol(*p) == wanted)
    };
    let looks_up = |over: Protocol| {
        let is_lookup = |probe: &Probe| match *probe {
            Probe::Dns { over: used } => used == over,
            Probe::Port { port, protocol } => port == DNS && protocol == over,
            Probe::ByName { .. } => over == Protocol::Udp,
        };
        (by_name && over == Protocol::Udp) || scenario.probes.iter().any(is_lookup)
    };
    let has_nodes = start.node_endpoints || start.cluster.pods.iter().any(|pod| pod.host_network);
    let makes_services =
        scenario.steps.iter().flat_map(|step| &step.actions).any(|a| matches!(a, Action::SetService(_)));
    match hole {
        Hole::IgnoreUdp | Hole::DropReplies => over(Protocol::Udp),
        Hole::IgnoreTcp => over(Protocol::Tcp),
        Hole::IgnoreSctp => over(Protocol::Sctp),
        Hole::IgnoreIpv6 => start.families.contains(&IpFamily::V6),
        Hole::LookupsOpen => looks_up(Protocol::Udp),
        Hole::LookupsOverTcpClosed => looks_up(Protocol::Tcp),
        Hole::OutsideOpen => !start.externals.is_empty(),
        Hole::NodesOpen | Hole::OwnNodeClosed => has_nodes,
        Hole::ServicesOpen | Hole::BeforeTranslation => makes_services || !start.cluster.services.is_empty(),
        Hole::NoEnforcement
        | Hole::IgnoreIngress
        | Hole::IgnoreEgress
        | Hole::SameNodeOpen
        | Hole::CrossNodeOpen
        | Hole::Stateless
        | Hole::EgressShortcut
        | Hole::DeadPath
        | Hole::LeaksTenPercent
        | Hole::LeaksOnePercent
        | Hole::DeliversLate => true,
    }
}

/// Whether a fault is about nothing but packets that a kernel may be unable to send.
pub(super) fn may_be_unsendable(fault: Fault) -> bool {
    let Fault::Packets(hole) = fault else { return false };
    match hole {
        Hole::IgnoreSctp | Hole::IgnoreIpv6 => true,
        Hole::NoEnforcement
        | Hole::IgnoreIngress
        | Hole::IgnoreEgress
        | Hole::IgnoreUdp
        | Hole::IgnoreTcp
        | Hole::DropReplies
        | Hole::SameNodeOpen
        | Hole::CrossNodeOpen
        | Hole::Stateless
        | Hole::EgressShortcut
        | Hole::DeadPath
        | Hole::LeaksTenPercent
        | Hole::LeaksOnePercent
        | Hole::DeliversLate
        | Hole::LookupsOpen
        | Hole::LookupsOverTcpClosed
        | Hole::OutsideOpen
        | Hole::NodesOpen
        | Hole::OwnNodeClosed
        | Hole::ServicesOpen
        | Hole::BeforeTranslation => false,
    }
}

fn protocol(probe: Probe) -> Protocol {
    match probe {
        Probe::Port { protocol, .. } | Probe::ByName { protocol, .. } => protocol,
        Probe::Dns { over } => over,
    }
}
