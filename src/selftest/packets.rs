//! The packets that a scenario sends. A fault that affects only other packets cannot show in the scenario.

use crate::deviation::{DatapathFault, Fault, Traffic};
use crate::policy::{IpFamily, Port, Protocol};
use crate::scenario::Scenario;
use crate::world::{Action, Capability, Probe};

/// Port of DNS lookups.
const DNS: Port = Port::new(53).unwrap();

/// Returns whether a scenario sends any packets that a fault affects.
pub(super) fn are_sent(scenario: &Scenario, fault: Fault) -> bool {
    let Some(fault) = fault.datapath() else { return true };
    let start = &scenario.world;
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
    match fault {
        DatapathFault::Opens(Traffic::Over(protocol)) => over(protocol),
        DatapathFault::DropReplies => over(Protocol::Udp),
        DatapathFault::Opens(Traffic::Ipv6) => start.families.contains(&IpFamily::V6),
        DatapathFault::Opens(Traffic::Lookups) => looks_up(Protocol::Udp),
        DatapathFault::LookupsOverTcpClosed => looks_up(Protocol::Tcp),
        DatapathFault::Opens(Traffic::Outside) => !start.externals.is_empty(),
        DatapathFault::Opens(Traffic::FromNodes) | DatapathFault::OwnNodeClosed => has_nodes,
        DatapathFault::Opens(Traffic::ToServices) | DatapathFault::BeforeTranslation => {
            makes_services || !start.cluster.services.is_empty()
        }
        DatapathFault::NoEnforcement
        | DatapathFault::Ignores(_)
        | DatapathFault::Opens(Traffic::OnNode | Traffic::BetweenNodes | Traffic::Share(_))
        | DatapathFault::Stateless
        | DatapathFault::EgressShortcut
        | DatapathFault::DeadPath
        | DatapathFault::DeliversLate => true,
    }
}

/// Returns what a kernel needs to send the only packets that a fault affects; `None` if any kernel sends them.
pub(super) fn needs(fault: Fault) -> Option<Capability> {
    let affects = |traffic| fault.datapath() == Some(DatapathFault::Opens(traffic));
    if affects(Traffic::Over(Protocol::Sctp)) {
        Some(Capability::Sctp)
    } else {
        affects(Traffic::Ipv6).then_some(Capability::Ipv6)
    }
}

fn protocol(probe: Probe) -> Protocol {
    match probe {
        Probe::Port { protocol, .. } | Probe::ByName { protocol, .. } => protocol,
        Probe::Dns { over } => over,
    }
}
