//! Cells of a state's matrix.

use std::fmt;

use crate::policy::IpFamily;
use crate::world::{EndpointName, Probe, World};

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
pub fn cells(world: &World, probes: &[Probe]) -> Vec<Cell> {
    let ends = ends(world);
    let sends = |end: &&End| !matches!(end.name, EndpointName::Service { .. });
    let mut cells = Vec::new();
    for from in ends.iter().filter(sends) {
        for to in &ends {
            if !from.is_filtered && !to.is_filtered {
                continue;
            }
            for probe in probes_between(world, from, to, probes) {
                let cell = |family| Cell { from: from.name.clone(), to: to.name.clone(), family, probe };
                let families = world.families.iter().copied();
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

/// Returns the endpoints of a state, in the order in which they are shown.
fn ends(world: &World) -> Vec<End> {
    let pods = world.cluster.pods.iter().filter(|pod| !pod.ended);
    let pods = pods.map(|pod| End::new(EndpointName::of_pod(pod), !pod.host_network));
    // Leave out the DNS Service. Its only probes are lookups, and these are shown at the pod.
    let dns = world.dns.as_ref().map(|dns| dns.service_name());
    let services = world.cluster.services.iter().map(EndpointName::of_service);
    let services = services.filter(|name| dns.as_ref() != Some(name)).map(|name| End::new(name, true));
    let nodes = world.cluster.nodes.iter().filter(|_| world.node_endpoints);
    let nodes = nodes.map(|node| End::new(EndpointName::Node(node.name.clone()), false));
    let externals = world.externals.iter().map(|external| End {
        families: Some(external.addresses.iter().copied().map(IpFamily::of).collect()),
        ..End::new(EndpointName::External(external.name.clone()), false)
    });
    pods.chain(services).chain(nodes).chain(externals).collect()
}

fn probes_between(world: &World, from: &End, to: &End, probes: &[Probe]) -> Vec<Probe> {
    match (&from.name, &to.name) {
        (EndpointName::External(_), EndpointName::Service { .. }) => Vec::new(),
        (_, EndpointName::Service { namespace, name }) => {
            let service = world.service(namespace, name);
            let ports = || service.into_iter().flat_map(|service| &service.ports);
            let by_address = ports().map(|p| Probe::Port { port: p.port, protocol: p.protocol });
            let by_name = ports().map(|p| Probe::ByName { port: p.port, protocol: p.protocol });
            let looks_up = world.services_by_name && is_client_of_dns(world, &from.name);
            by_address.chain(by_name.filter(|_| looks_up)).collect()
        }
        (_, EndpointName::Pod { namespace, name }) => {
            let dns =
                world.dns.as_ref().filter(|dns| dns.pod.namespace == *namespace && dns.pod.name == *name);
            let is_sent = |probe: &&Probe| match (probe, dns) {
                (Probe::Dns { .. }, Some(_)) => is_client_of_dns(world, &from.name),
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
fn is_client_of_dns(world: &World, from: &EndpointName) -> bool {
    let Some(dns) = &world.dns else { return false };
    let is_server = *from == dns.pod_name();
    let has_service = world.service(&dns.service.namespace, &dns.service.name).is_some();
    matches!(from, EndpointName::Pod { .. }) && !is_server && has_service
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{self, standard_world};
    use crate::source::Text;

    fn probes(texts: &[&str]) -> Vec<Probe> {
        texts.iter().flat_map(|text| Probe::parse(text).unwrap()).collect()
    }

    #[test]
    fn the_standard_topology_has_81_pairs() {
        let world = standard_world(false);
        assert_eq!(cells(&world, &probes(&["80/TCP", "81/TCP", "80/UDP", "81/UDP"])).len(), 81 * 4);
    }

    #[test]
    fn a_pod_that_has_ended_neither_sends_nor_receives() {
        let mut world = standard_world(false);
        world.cluster.pods[0].ended = true;
        assert_eq!(cells(&world, &probes(&["80/TCP"])).len(), 64);
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
        let world = scenario::load(&[text]).unwrap()[0].world.clone();
        let to_service: Vec<_> = cells(&world, &[])
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
        let mut world = standard_world(true);
        world.cluster.services.clear();
        assert_eq!(cells(&world, &probes(&["DNS"])), []);
    }

    #[test]
    fn lookups_go_from_pods_to_the_dns_server_only() {
        let world = standard_world(true);
        let lookups = cells(&world, &probes(&["DNS"]));
        assert_eq!(lookups.len(), 9 * 2);
        assert!(lookups.iter().all(|cell| cell.to == EndpointName::pod("kube-system", "dns")));
    }
}
