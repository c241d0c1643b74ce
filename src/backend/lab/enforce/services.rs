//! The rules that give Services their virtual addresses: translated at the sender's node, before
//! policies are enforced, to one of the endpoints at random.

use std::net::{IpAddr, SocketAddr};

use super::select::addresses;
use super::table::Table;
use crate::policy::{Backends, Cluster, Labels, Node, Pod, Protocol, Service};

/// Marks connections of a pod to itself, which need another source, or the pod would answer itself
/// directly.
const HAIRPIN: &str = "meta mark 0x6e70";

pub(super) fn add(table: &mut Table, cluster: &Cluster, node: &Node) {
    let mut translate = Vec::new();
    let mut masquerade = Vec::new();
    for (ipv6, header, address) in [(false, "ip", "ipv4_addr"), (true, "ip6", "ipv6_addr")] {
        let mut verdicts = Vec::new();
        for service in &cluster.services {
            for virtual_address in service.addresses.iter().filter(|address| address.is_ipv6() == ipv6) {
                verdicts.extend(service_verdicts(table, cluster, service, *virtual_address));
            }
        }
        let map = table.verdict_map(&format!("{address} . inet_proto . inet_service"), verdicts);
        translate.push(format!("{header} daddr . meta l4proto . th dport vmap @{map}"));
        if let Some(own) = node.addresses.iter().find(|address| address.is_ipv6() == ipv6) {
            masquerade.push(format!("{HAIRPIN} meta nfproto {} snat {header} to {own}", family(ipv6)));
        }
    }
    table.base_chain("prerouting", "nat hook prerouting priority -100", &translate);
    table.base_chain("output", "nat hook output priority -100", &translate);
    table.base_chain("postrouting", "nat hook postrouting priority 100", &masquerade);
}

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "ipv6" } else { "ipv4" }
}

/// Where each port of one virtual address leads.
fn service_verdicts(
    table: &mut Table,
    cluster: &Cluster,
    service: &Service,
    virtual_address: IpAddr,
) -> Vec<(String, String)> {
    let mut verdicts = Vec::new();
    for port in &service.ports {
        let transport = port.protocol.name().to_lowercase();
        let mut chains = Vec::new();
        for pod in endpoints(cluster, service) {
            let Some(target) = port.target.resolve(pod, port.protocol) else { continue };
            for address in addresses(pod, virtual_address.is_ipv6()) {
                let endpoint = SocketAddr::new(*address, target.get());
                chains.push(table.chain(endpoint_rules(endpoint, port.protocol)));
            }
        }
        if chains.is_empty() {
            continue;
        }
        let choices: Vec<_> =
            chains.iter().enumerate().map(|(i, chain)| format!("{i} : goto {chain}")).collect();
        let choose = format!("numgen random mod {} vmap {{ {} }}", choices.len(), choices.join(", "));
        let chain = table.chain(vec![choose]);
        verdicts.push((format!("{virtual_address} . {transport} . {}", port.port), format!("goto {chain}")));
    }
    verdicts
}

fn endpoint_rules(endpoint: SocketAddr, protocol: Protocol) -> Vec<String> {
    let header = if endpoint.is_ipv6() { "ip6" } else { "ip" };
    vec![
        format!("{header} saddr {} {HAIRPIN_SET}", endpoint.ip()),
        format!("meta l4proto {} dnat {header} to {endpoint}", protocol.name().to_lowercase()),
    ]
}

const HAIRPIN_SET: &str = "meta mark set 0x6e70";

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
