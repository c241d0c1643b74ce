//! The rules that enforce policies.
//!
//! Every isolated pod of the node has a chain for each direction: the rules of all policies that
//! select it, each of which returns, and a `drop` at the end. A packet that returned from its
//! sender's chain and from its receiver's may pass.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::fault::Fault;
use super::select::{addresses, is_filtered, pods_of_peer, policies_of};
use super::table::Table;
use crate::policy::{
    Cluster, Direction, IpBlock, NetworkPolicy, Node, Peer, Peers, Pod, PortSpec, Ports, Protocol, Rule,
};

pub(super) fn add(table: &mut Table, cluster: &Cluster, node: &Node, fault: Option<Fault>) {
    let is = |other| fault == Some(other);
    let mut rules = Vec::new();
    if is(Fault::DropReplies) {
        rules.push("meta l4proto udp ct direction reply drop".to_owned());
    }
    rules.push("ct state established,related accept".to_owned());
    if is(Fault::IgnoreUdp) {
        rules.push("meta l4proto udp accept".to_owned());
    }
    if !is(Fault::NoEnforcement) {
        for direction in Direction::ALL {
            let ignored = match direction {
                Direction::Egress => is(Fault::IgnoreEgress),
                Direction::Ingress => is(Fault::IgnoreIngress),
            };
            if !ignored {
                rules.extend(direction_rules(table, cluster, node, direction, fault));
            }
        }
    }
    table.base_chain("forward", "filter hook forward priority 0", &rules);
}

/// A family, as nftables spells it.
#[derive(Clone, Copy)]
struct Family {
    ipv6: bool,
    header: &'static str,
    address: &'static str,
    only: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family { ipv6: false, header: "ip", address: "ipv4_addr", only: "meta nfproto ipv4" },
    Family { ipv6: true, header: "ip6", address: "ipv6_addr", only: "meta nfproto ipv6" },
];

/// Sends the packets of isolated pods to their chains.
fn direction_rules(
    table: &mut Table,
    cluster: &Cluster,
    node: &Node,
    direction: Direction,
    fault: Option<Fault>,
) -> Vec<String> {
    let own = match direction {
        Direction::Egress => "saddr",
        Direction::Ingress => "daddr",
    };
    let local = cluster.pods.iter().filter(|pod| is_filtered(pod) && pod.node.as_ref() == Some(&node.name));
    let mut chains: Vec<(&Pod, String)> = Vec::new();
    for pod in local {
        let isolating: Vec<_> =
            policies_of(cluster, pod).into_iter().filter(|p| p.rules(direction).is_some()).collect();
        if !isolating.is_empty() {
            let body = Writer { table, cluster, direction, subject: pod, fault }.chain(&isolating);
            chains.push((pod, table.chain(body)));
        }
    }
    FAMILIES
        .map(|family| {
            let jumps = chains.iter().flat_map(|(pod, chain)| {
                addresses(pod, family.ipv6).map(move |address| (address, format!("jump {chain}")))
            });
            let map = table.verdict_map(family.address, jumps);
            format!("{} {own} vmap @{map}", family.header)
        })
        .into()
}

/// Writes the chain of one pod for one direction.
struct Writer<'a> {
    table: &'a mut Table,
    cluster: &'a Cluster,
    direction: Direction,
    subject: &'a Pod,
    fault: Option<Fault>,
}

impl Writer<'_> {
    fn chain(&mut self, policies: &[&NetworkPolicy]) -> Vec<String> {
        let mut lines = Vec::new();
        for policy in policies {
            for rule in policy.rules(self.direction).unwrap_or_default() {
                self.rule(policy, rule, &mut lines);
            }
        }
        lines.push("drop".to_owned());
        lines
    }

    /// One line for every way in which a packet can match: a peer, and a port.
    fn rule(&mut self, policy: &NetworkPolicy, rule: &Rule, lines: &mut Vec<String>) {
        for family in FAMILIES {
            let peers = self.peers(policy, &rule.peers, family);
            let ports = self.ports(&rule.ports, family);
            for peer in &peers {
                lines.extend(ports.iter().map(|port| format!("{peer} {port} return")));
            }
        }
    }

    fn remote(&self) -> &'static str {
        match self.direction {
            Direction::Egress => "daddr",
            Direction::Ingress => "saddr",
        }
    }

    fn peers(&mut self, policy: &NetworkPolicy, peers: &Peers, family: Family) -> Vec<String> {
        match peers {
            Peers::Any => vec![family.only.to_owned()],
            Peers::Only(peers) => peers.iter().filter_map(|peer| self.peer(policy, peer, family)).collect(),
        }
    }

    fn peer(&mut self, policy: &NetworkPolicy, peer: &Peer, family: Family) -> Option<String> {
        let (header, remote) = (family.header, self.remote());
        match peer {
            Peer::Pods { namespaces, pods } => {
                let named = pods_of_peer(self.cluster, policy, namespaces, pods);
                let members: BTreeSet<String> =
                    named.flat_map(|pod| addresses(pod, family.ipv6)).map(IpAddr::to_string).collect();
                if members.is_empty() {
                    return None;
                }
                let set = self.table.set(family.address, members);
                Some(format!("{header} {remote} @{set}"))
            }
            Peer::IpBlock(block) => {
                (block.net().addr().is_ipv6() == family.ipv6).then(|| self.block(block, family))
            }
        }
    }

    fn block(&self, block: &IpBlock, family: Family) -> String {
        let (header, remote) = (family.header, self.remote());
        let mut expression = match block.net().prefix_len() {
            0 => family.only.to_owned(),
            _ => format!("{header} {remote} {}", block.net()),
        };
        if self.fault != Some(Fault::IgnoreExcept) {
            for hole in block.except() {
                expression.push_str(&format!(" {header} {remote} != {hole}"));
            }
        }
        expression
    }

    fn ports(&mut self, ports: &Ports, family: Family) -> Vec<String> {
        match ports {
            Ports::Any => vec![String::new()],
            Ports::Only(_) if self.fault == Some(Fault::IgnorePorts) => vec![String::new()],
            Ports::Only(matches) => {
                matches.iter().filter_map(|m| self.port(m.protocol, &m.ports, family)).collect()
            }
        }
    }

    fn port(&mut self, protocol: Protocol, ports: &PortSpec, family: Family) -> Option<String> {
        let transport = protocol.name().to_lowercase();
        match ports {
            PortSpec::Any => Some(format!("meta l4proto {transport}")),
            PortSpec::Range(range) if self.fault == Some(Fault::EndportFirstOnly) => {
                Some(format!("{transport} dport {}", range.first()))
            }
            PortSpec::Range(range) => Some(format!("{transport} dport {range}")),
            PortSpec::Named(name) => match self.direction {
                Direction::Ingress => {
                    self.subject.named_port(name, protocol).map(|port| format!("{transport} dport {port}"))
                }
                Direction::Egress => self.named_port_of_receivers(name, protocol, family),
            },
        }
    }

    /// A named port has its own number in every pod that may receive.
    fn named_port_of_receivers(&mut self, name: &str, protocol: Protocol, family: Family) -> Option<String> {
        let mut members = BTreeSet::new();
        for pod in self.cluster.pods.iter().filter(|pod| is_filtered(pod)) {
            if let Some(port) = pod.named_port(name, protocol) {
                members.extend(addresses(pod, family.ipv6).map(|address| format!("{address} . {port}")));
            }
        }
        if members.is_empty() {
            return None;
        }
        let set = self.table.set(&format!("{} . inet_service", family.address), members);
        Some(format!("{} daddr . {} dport @{set}", family.header, protocol.name().to_lowercase()))
    }
}
