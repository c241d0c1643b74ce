//! Rules for the addresses of Services. The sender's node translates them, before policies are enforced, to
//! one of the endpoints at random.

use std::net::{IpAddr, SocketAddr};

use super::select::addresses;
use super::table::Table;
use crate::policy::{Backends, Cluster, Labels, Node, Pod, Port, Protocol, Service, ServicePort};

/// Match on connections that need another source address, because their replies would not come back through
/// the node otherwise. These are connections of a pod to itself, and connections to a node port.
const MASQUERADED: &str = "meta mark 0x6e70";

pub(super) fn add(table: &mut Table, cluster: &Cluster, node: &Node) {
    let mut translate = Vec::new();
    let mut masquerade = Vec::new();
    for (ipv6, header, address) in [(false, "ip", "ipv4_addr"), (true, "ip6", "ipv6_addr")] {
        let mut verdicts = Vec::new();
        for service in &cluster.services {
            for virtual_address in service.addresses.iter().filter(|address| address.is_ipv6() == ipv6) {
                verdicts.extend(service_verdicts(table, cluster, node, service, *virtual_address));
            }
            for address in node.addresses.iter().filter(|address| address.is_ipv6() == ipv6) {
                verdicts.extend(node_port_verdicts(table, cluster, service, *address));
            }
        }
        let map = table.verdict_map(&format!("{address} . inet_proto . inet_service"), verdicts);
        translate.push(format!("{header} daddr . meta l4proto . th dport vmap @{map}"));
        if let Some(own) = node.addresses.iter().find(|address| address.is_ipv6() == ipv6) {
            masquerade.push(format!("{MASQUERADED} meta nfproto {} snat {header} to {own}", family(ipv6)));
        }
    }
    table.base_chain("prerouting", "nat hook prerouting priority -100", &translate);
    table.base_chain("output", "nat hook output priority -100", &translate);
    table.base_chain("postrouting", "nat hook postrouting priority 100", &masquerade);
}

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "ipv6" } else { "ipv4" }
}

/// Returns where each port of one virtual address leads.
fn service_verdicts(
    table: &mut Table,
    cluster: &Cluster,
    node: &Node,
    service: &Service,
    virtual_address: IpAddr,
) -> Vec<(String, String)> {
    let is_usable = |pod: &Pod| !service.only_local || pod.node.as_ref() == Some(&node.name);
    let pods: Vec<&Pod> = endpoints(cluster, service).filter(|pod| is_usable(pod)).collect();
    let mut verdicts = Vec::new();
    for port in &service.ports {
        if let Some(choose) = choose_endpoint(table, &pods, port, virtual_address.is_ipv6()) {
            let chain = table.chain(vec![choose]);
            verdicts.push((key(virtual_address, port.protocol, port.port), format!("goto {chain}")));
        }
    }
    verdicts
}

/// Returns where each node port of a Service leads on one of the node's own addresses.
fn node_port_verdicts(
    table: &mut Table,
    cluster: &Cluster,
    service: &Service,
    address: IpAddr,
) -> Vec<(String, String)> {
    // `internalTrafficPolicy` does not apply to node ports.
    let pods: Vec<&Pod> = endpoints(cluster, service).collect();
    let mut verdicts = Vec::new();
    for port in &service.ports {
        let Some(node_port) = port.node_port else { continue };
        if let Some(choose) = choose_endpoint(table, &pods, port, address.is_ipv6()) {
            let chain = table.chain(vec![MASQUERADE.to_owned(), choose]);
            verdicts.push((key(address, port.protocol, node_port), format!("goto {chain}")));
        }
    }
    verdicts
}

fn key(address: IpAddr, protocol: Protocol, port: Port) -> String {
    format!("{address} . {} . {port}", protocol.name().to_lowercase())
}

/// Returns a rule that leads to one of the pods behind a port. `None` if there is none.
fn choose_endpoint(table: &mut Table, pods: &[&Pod], port: &ServicePort, ipv6: bool) -> Option<String> {
    let mut chains = Vec::new();
    for pod in pods {
        let Some(target) = port.target.resolve(pod, port.protocol) else { continue };
        for address in addresses(pod, ipv6) {
            let endpoint = SocketAddr::new(*address, target.get());
            chains.push(table.chain(endpoint_rules(endpoint, port.protocol)));
        }
    }
    let choices: Vec<_> = chains.iter().enumerate().map(|(i, chain)| format!("{i} : goto {chain}")).collect();
    let choose = format!("numgen random mod {} vmap {{ {} }}", choices.len(), choices.join(", "));
    (!choices.is_empty()).then_some(choose)
}

fn endpoint_rules(endpoint: SocketAddr, protocol: Protocol) -> Vec<String> {
    let header = if endpoint.is_ipv6() { "ip6" } else { "ip" };
    vec![
        format!("{header} saddr {} {MASQUERADE}", endpoint.ip()),
        format!("meta l4proto {} dnat {header} to {endpoint}", protocol.name().to_lowercase()),
    ]
}

const MASQUERADE: &str = "meta mark set 0x6e70";

fn endpoints<'a>(cluster: &'a Cluster, service: &'a Service) -> impl Iterator<Item = &'a Pod> {
    cluster.pods.iter().filter(move |pod| {
        !pod.ended && pod.namespace == service.namespace && leads_to(&service.backends, &pod.labels)
    })
}

fn leads_to(backends: &Backends, labels: &Labels) -> bool {
    match backends {
        Backends::Selected(wanted) => wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
        Backends::Addresses(_) | Backends::Unknown => false,
    }
}
