//! Cells of a state's matrix.

use std::fmt;

use crate::policy::{IpFamily, Pod, Service};
use crate::scenario::{EndpointName, Probe, State};

/// One probe from one endpoint to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// The source.
    pub from: EndpointName,
    /// The destination.
    pub to: EndpointName,
    /// Family of the addresses.
    pub family: IpFamily,
    /// The probe that is sent.
    pub probe: Probe,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {} {}", self.from, self.to, self.probe)
    }
}

/// Returns all cells of a state, in the order in which they are shown.
///
/// Every endpoint sends every probe to every endpoint, including itself. A Service only gets probes of its
/// own ports, and only the DNS server gets lookups. There is no cell between two ends outside the pod
/// network, because no policy could decide it. There is no cell from an external address to a Service,
/// because the probe could not be sent.
pub fn cells(state: &State, probes: &[Probe]) -> Vec<Cell> {
    let sources: Vec<_> = pods(state).chain(nodes(state)).chain(externals(state)).collect();
    let destinations: Vec<_> =
        pods(state).chain(services(state)).chain(nodes(state)).chain(externals(state)).collect();
    let mut cells = Vec::new();
    for from in &sources {
        for to in &destinations {
            if !from.is_filtered && !to.is_filtered {
                continue;
            }
            for probe in probes_between(state, from, to, probes) {
                let cell = |family| Cell { from: from.name.clone(), to: to.name.clone(), family, probe };
                let families = state.families.iter().copied();
                cells.extend(families.filter(|family| from.has(*family) && to.has(*family)).map(cell));
            }
        }
    }
    cells
}

/// An endpoint of the matrix.
struct End {
    name: EndpointName,
    /// Whether policies can apply to it.
    is_filtered: bool,
    /// Families of its addresses. `None` if the scenario does not determine them.
    families: Option<Vec<IpFamily>>,
}

impl End {
    fn new(name: EndpointName, is_filtered: bool) -> Self {
        Self { name, is_filtered, families: None }
    }

    fn has(&self, family: IpFamily) -> bool {
        self.families.as_ref().is_none_or(|families| families.contains(&family))
    }
}

fn pods(state: &State) -> impl Iterator<Item = End> {
    let name = |pod: &Pod| EndpointName::pod(&pod.namespace, &pod.name);
    state.cluster.pods.iter().filter(|pod| !pod.ended).map(move |pod| End::new(name(pod), !pod.host_network))
}

fn services(state: &State) -> impl Iterator<Item = End> {
    let is_dns = |namespace: &str, name: &str| {
        state.dns.as_ref().is_some_and(|dns| dns.service.namespace == namespace && dns.service.name == name)
    };
    // Leave out the DNS Service. Its only probes are lookups, and these are shown at the pod.
    let shown =
        state.cluster.services.iter().filter(move |service| !is_dns(&service.namespace, &service.name));
    shown.map(|service| End::new(EndpointName::service(&service.namespace, &service.name), true))
}

fn nodes(state: &State) -> impl Iterator<Item = End> {
    let nodes = state.cluster.nodes.iter().filter(|_| state.node_endpoints);
    nodes.map(|node| End::new(EndpointName::Node(node.name.clone()), false))
}

fn externals(state: &State) -> impl Iterator<Item = End> {
    state.externals.iter().map(|external| End {
        families: Some(external.addresses.iter().copied().map(IpFamily::of).collect()),
        ..End::new(EndpointName::External(external.name.clone()), false)
    })
}

fn probes_between(state: &State, from: &End, to: &End, probes: &[Probe]) -> Vec<Probe> {
    match (&from.name, &to.name) {
        (EndpointName::External(_), EndpointName::Service { .. }) => Vec::new(),
        (_, EndpointName::Service { namespace, name }) => {
            let service =
                state.cluster.services.iter().find(|s| s.namespace == *namespace && s.name == *name);
            let ports = || service.into_iter().flat_map(|service| &service.ports);
            let by_address = ports().map(|p| Probe::Port { port: p.port, protocol: p.protocol });
            let by_name = ports().map(|p| Probe::ByName { port: p.port, protocol: p.protocol });
            let looks_up = state.services_by_name && is_client_of_dns(state, &from.name);
            by_address.chain(by_name.filter(|_| looks_up)).collect()
        }
        (_, EndpointName::Pod { namespace, name }) => {
            let dns =
                state.dns.as_ref().filter(|dns| dns.pod.namespace == *namespace && dns.pod.name == *name);
            let is_sent = |probe: &&Probe| match (probe, dns) {
                (Probe::Dns { .. }, Some(_)) => is_client_of_dns(state, &from.name),
                // Only the DNS server gets lookups, and only a Service has a name.
                (Probe::Dns { .. }, None) | (Probe::ByName { .. }, _) => false,
                // The DNS server's port only answers DNS.
                (Probe::Port { port, .. }, Some(dns)) => *port != dns.port,
                (Probe::Port { .. }, None) => true,
            };
            probes.iter().filter(is_sent).copied().collect()
        }
        (_, EndpointName::Node(_) | EndpointName::External(_)) => {
            probes.iter().filter(|probe| matches!(probe, Probe::Port { .. })).copied().collect()
        }
    }
}

/// Returns whether an endpoint looks names up. Pods do, except for the DNS server itself, as long as the DNS
/// Service exists.
fn is_client_of_dns(state: &State, from: &EndpointName) -> bool {
    let Some(dns) = &state.dns else { return false };
    let is_server = *from == EndpointName::pod(&dns.pod.namespace, &dns.pod.name);
    let is_service =
        |service: &Service| service.namespace == dns.service.namespace && service.name == dns.service.name;
    matches!(from, EndpointName::Pod { .. }) && !is_server && state.cluster.services.iter().any(is_service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{self, Topology};
    use crate::source::Text;

    fn probes(texts: &[&str]) -> Vec<Probe> {
        texts.iter().flat_map(|text| Probe::parse(text).unwrap()).collect()
    }

    #[test]
    fn the_standard_topology_has_81_pairs() {
        let state = State::new(&Topology::standard(false));
        assert_eq!(cells(&state, &probes(&["80/TCP", "81/TCP", "80/UDP", "81/UDP"])).len(), 81 * 4);
    }

    #[test]
    fn a_pod_that_has_ended_neither_sends_nor_receives() {
        let mut state = State::new(&Topology::standard(false));
        state.cluster.pods[0].ended = true;
        assert_eq!(cells(&state, &probes(&["80/TCP"])).len(), 64);
    }

    #[test]
    fn services_are_called_by_their_names_where_the_scenario_wants_it() {
        let content = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: a}
topology:
  servicesByName: true
  namespaces: [{name: x, pods: [{name: a}], services: [{name: s, selector: {app: a}, ports: [{port: 8080}]}]}]
probes: [80/TCP]
steps: [{name: nothing}]
";
        let text = Text { name: "a.yaml".into(), content: content.to_owned() };
        let state = State::new(&scenario::load(&[text]).unwrap()[0].topology);
        let to_service: Vec<_> = cells(&state, &[])
            .iter()
            .filter(|cell| cell.to == EndpointName::service("x", "s"))
            .map(Cell::to_string)
            .collect();
        let by_dns = "kube-system/dns → service:x/s 8080/TCP";
        assert_eq!(to_service, ["x/a → service:x/s 8080/TCP", "x/a → service:x/s 8080/TCP by name", by_dns]);
    }

    /// Regression: such cells lacked an address family, as if the environment had none.
    #[test]
    fn nobody_looks_names_up_where_the_dns_service_is_gone() {
        let mut state = State::new(&Topology::standard(true));
        state.cluster.services.clear();
        assert_eq!(cells(&state, &probes(&["DNS"])), []);
    }

    #[test]
    fn lookups_go_from_pods_to_the_dns_server_only() {
        let state = State::new(&Topology::standard(true));
        let lookups = cells(&state, &probes(&["DNS"]));
        assert_eq!(lookups.len(), 9 * 2);
        assert!(lookups.iter().all(|cell| cell.to == EndpointName::pod("kube-system", "dns")));
    }
}
