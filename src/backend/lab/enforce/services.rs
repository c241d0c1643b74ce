//! Rules for the addresses of Services. The sender's node translates them, before policies are enforced, to
//! one of the endpoints at random.

use std::net::{IpAddr, SocketAddr};

use super::ports::transport;
use super::table::{FAMILIES, Family, Table};
use crate::policy::{Backends, Cluster, Node, Pod, Protocol, Service, ServicePort};

/// Match on connections that need another source address, because their replies would not come back through
/// the node otherwise. These are connections of a pod to itself, and connections to a node port.
const MASQUERADED: &str = "meta mark 0x6e70";

pub(super) fn add(table: &mut Table, cluster: &Cluster, node: &Node) {
    let mut translate = Vec::new();
    let mut masquerade = Vec::new();
    for family in FAMILIES {
        let mut verdicts = Vec::new();
        for service in &cluster.services {
            let all: Vec<_> = endpoints(cluster, service).collect();
            let is_usable = |pod: &&Pod| !service.only_local || pod.node.as_ref() == Some(&node.name);
            let usable: Vec<_> = all.iter().copied().filter(is_usable).collect();
            for address in family.among(&service.addresses) {
                verdicts.extend(verdicts_for(table, service, &usable, *address, false));
            }
            // `internalTrafficPolicy` does not apply to node ports.
            for address in family.among(&node.addresses) {
                verdicts.extend(verdicts_for(table, service, &all, *address, true));
            }
        }
        let header = family.header;
        let map = table.verdict_map(&format!("{} . inet_proto . inet_service", family.address), verdicts);
        translate.push(format!("{header} daddr . meta l4proto . th dport vmap @{map}"));
        if let Some(own) = family.among(&node.addresses).next() {
            masquerade.push(format!("{MASQUERADED} {} snat {header} to {own}", family.only));
        }
    }
    table.base_chain("prerouting", "nat hook prerouting priority -100", &translate);
    table.base_chain("output", "nat hook output priority -100", &translate);
    table.base_chain("postrouting", "nat hook postrouting priority 100", &masquerade);
}

/// Returns where each port of a Service leads on one address. It is one of the node's own if `is_of_node`, and a
/// virtual address of the Service otherwise.
fn verdicts_for(
    table: &mut Table,
    service: &Service,
    pods: &[&Pod],
    address: IpAddr,
    is_of_node: bool,
) -> Vec<(String, String)> {
    let ports = service.ports.iter().filter_map(|port| {
        let number = if is_of_node { port.node_port? } else { port.port };
        let choose = choose_endpoint(table, pods, port, address)?;
        let masquerade = is_of_node.then(|| MASQUERADE.to_owned());
        let chain = table.chain(masquerade.into_iter().chain([choose]).collect());
        Some((format!("{address} . {} . {number}", transport(port.protocol)), format!("goto {chain}")))
    });
    ports.collect()
}

/// Returns a rule that leads from an address to one of the pods behind a port. `None` if there is none.
fn choose_endpoint(table: &mut Table, pods: &[&Pod], port: &ServicePort, from: IpAddr) -> Option<String> {
    let mut chains = Vec::new();
    for pod in pods {
        let Some(target) = port.target.resolve(pod, port.protocol) else { continue };
        for address in Family::of(from).among(&pod.addresses) {
            let endpoint = SocketAddr::new(*address, target.get());
            chains.push(table.chain(endpoint_rules(endpoint, port.protocol)));
        }
    }
    let choices: Vec<_> = chains.iter().enumerate().map(|(i, chain)| format!("{i} : goto {chain}")).collect();
    let choose = format!("numgen random mod {} vmap {{ {} }}", choices.len(), choices.join(", "));
    (!choices.is_empty()).then_some(choose)
}

fn endpoint_rules(endpoint: SocketAddr, protocol: Protocol) -> Vec<String> {
    let header = Family::of(endpoint.ip()).header;
    vec![
        format!("{header} saddr {} {MASQUERADE}", endpoint.ip()),
        format!("meta l4proto {} dnat {header} to {endpoint}", transport(protocol)),
    ]
}

const MASQUERADE: &str = "meta mark set 0x6e70";

fn endpoints<'a>(cluster: &'a Cluster, service: &'a Service) -> impl Iterator<Item = &'a Pod> {
    let leads_to = |pod: &Pod| match &service.backends {
        Backends::Selected(wanted) => wanted.iter().all(|(key, value)| pod.labels.get(key) == Some(value)),
        Backends::Addresses(_) | Backends::Unknown => false,
    };
    let is_endpoint = move |pod: &&Pod| !pod.ended && pod.namespace == service.namespace && leads_to(pod);
    cluster.pods.iter().filter(is_endpoint)
}
