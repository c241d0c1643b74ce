//! Rules that enforce policies.
//!
//! Every pod of the node that policies select has a chain for each direction. A packet may pass if it
//! returned from the chain of its sender and from the chain of its receiver.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::address;
use super::super::hosts::node_number;
use super::chain::{FAMILIES, Family, Writer};
use super::select::{addresses, is_filtered, policies_of};
use super::table::Table;
use super::tiers::Tiers;
use crate::deviation::{CompileFault, DatapathFault, EnforcerState, Fault};
use crate::policy::{Direction, Node, Pod};
use crate::snapshot::Identity;

pub(super) fn add(table: &mut Table, view: &EnforcerState, node: &Node, fault: Option<Fault>) {
    let datapath = fault.and_then(Fault::datapath);
    let has = |wanted| datapath == Some(wanted);
    if has(DatapathFault::NoEnforcement) {
        return;
    }
    let mut first = Vec::new();
    if has(DatapathFault::DeadPath) {
        first.extend(FAMILIES.into_iter().flat_map(|family| dead_path(table, view, family)));
    }
    if has(DatapathFault::DropReplies) {
        first.push("meta l4proto udp ct direction reply drop".to_owned());
    }
    if !has(DatapathFault::Stateless) {
        first.push("ct state established,related accept".to_owned());
    }
    if let Some(fault) = datapath {
        first.extend(open(table, view, node, fault));
    }
    let egress = match has(DatapathFault::IgnoreEgress) {
        true => Vec::new(),
        false => direction_rules(table, view, node, Direction::Egress, fault),
    };
    let ingress = match has(DatapathFault::IgnoreIngress) {
        true => Vec::new(),
        false => direction_rules(table, view, node, Direction::Ingress, fault),
    };
    if has(DatapathFault::OwnNodeClosed) {
        table.base_chain("own", "filter hook output priority 0", &[&*first, &*ingress].concat());
    }
    if has(DatapathFault::BeforeTranslation) {
        table.base_chain("early", "filter hook prerouting priority -150", &[&*first, &*egress].concat());
        table.base_chain("forward", "filter hook forward priority 0", &[first, ingress].concat());
    } else {
        table.base_chain("forward", "filter hook forward priority 0", &[first, egress, ingress].concat());
    }
}

/// Returns the rules that send the packets of isolated pods to their chains.
fn direction_rules(
    table: &mut Table,
    view: &EnforcerState,
    node: &Node,
    direction: Direction,
    fault: Option<Fault>,
) -> Vec<String> {
    let own = match direction {
        Direction::Egress => "saddr",
        Direction::Ingress => "daddr",
    };
    let is_guarded = |pod: &&Pod| is_filtered(pod) && !view.unguarded.contains(&Identity::of_pod(pod));
    let local = local_pods(view, node).filter(is_guarded);
    let mut chains: Vec<(&Pod, String)> = Vec::new();
    for pod in local {
        let policies = policies_of(&view.cluster, pod);
        let isolating: Vec<_> = policies.iter().copied().filter(|p| p.rules(direction).is_some()).collect();
        let tiers = Tiers::of(view, pod, direction);
        let mut chain = None;
        if !isolating.is_empty() {
            let writer = Writer { table: &mut *table, view, direction, subject: pod, fault };
            chain = Some(writer.chain(&isolating, &policies));
        }
        if !tiers.is_empty() {
            let writer = Writer { table: &mut *table, view, direction, subject: pod, fault };
            chain = writer.tiers(&tiers, chain);
        }
        if fault.and_then(Fault::compile) == Some(CompileFault::UnselectedIsolated) && view.has_policies() {
            chain = chain.or_else(|| Some(table.chain(vec!["drop".to_owned()])));
        }
        chains.extend(chain.map(|chain| (pod, chain)));
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

fn local_pods<'a>(view: &'a EnforcerState, node: &'a Node) -> impl Iterator<Item = &'a Pod> {
    view.cluster.pods.iter().filter(move |pod| pod.node.as_ref() == Some(&node.name))
}

/// Returns the rules that let packets pass because of a datapath fault.
fn open(table: &mut Table, view: &EnforcerState, node: &Node, fault: DatapathFault) -> Vec<String> {
    let plain = |rule: &str| vec![rule.to_owned()];
    match fault {
        DatapathFault::IgnoreUdp => plain("meta l4proto udp accept"),
        DatapathFault::IgnoreTcp => plain("meta l4proto tcp accept"),
        DatapathFault::IgnoreSctp => plain("meta l4proto sctp accept"),
        DatapathFault::IgnoreIpv6 => plain("meta nfproto ipv6 accept"),
        DatapathFault::ServicesOpen => plain("ct status dnat accept"),
        DatapathFault::LookupsOpen => plain("udp dport 53 accept"),
        DatapathFault::LeaksTenPercent => plain("ct state new numgen random mod 100 < 10 accept"),
        DatapathFault::LeaksOnePercent => plain("ct state new numgen random mod 100 < 1 accept"),
        DatapathFault::SameNodeOpen
        | DatapathFault::CrossNodeOpen
        | DatapathFault::OutsideOpen
        | DatapathFault::NodesOpen => {
            FAMILIES.into_iter().flat_map(|family| by_place(table, view, node, fault, family)).collect()
        }
        DatapathFault::NoEnforcement
        | DatapathFault::IgnoreIngress
        | DatapathFault::IgnoreEgress
        | DatapathFault::OwnNodeClosed
        | DatapathFault::BeforeTranslation
        | DatapathFault::LookupsOverTcpClosed
        | DatapathFault::DropReplies
        | DatapathFault::Stateless
        | DatapathFault::EgressShortcut
        | DatapathFault::DeadPath
        | DatapathFault::DeliversLate => Vec::new(),
    }
}

/// Returns the rules that drop everything between the first two nodes, including their pods and canaries.
fn dead_path(table: &mut Table, view: &EnforcerState, family: Family) -> Vec<String> {
    let [one, other, ..] = view.cluster.nodes.as_slice() else { return Vec::new() };
    if !view.has_policies() {
        return Vec::new();
    }
    let [one, other] = [(0, one), (1, other)].map(|(index, node)| {
        let pods = local_pods(view, node).flat_map(|pod| pod.addresses.iter().copied());
        let canaries = [0, 1].into_iter().flat_map(|which| address::canary(node_number(index), which));
        let all = pods.chain(canaries).chain(node.addresses.iter().copied());
        let of_family = all.filter(|address| address.is_ipv6() == family.ipv6);
        table.set(family.address, of_family.map(|address| address.to_string()).collect())
    });
    let header = family.header;
    [(&one, &other), (&other, &one)]
        .map(|(from, to)| format!("{header} saddr @{from} {header} daddr @{to} drop"))
        .into()
}

/// Returns the rules that let packets pass because of the location of their ends.
fn by_place(
    table: &mut Table,
    view: &EnforcerState,
    node: &Node,
    fault: DatapathFault,
    family: Family,
) -> Vec<String> {
    let of_family = |addresses: &[IpAddr]| -> BTreeSet<String> {
        let of_family = addresses.iter().filter(|address| address.is_ipv6() == family.ipv6);
        of_family.map(IpAddr::to_string).collect()
    };
    let pods = |pods: &mut dyn Iterator<Item = &Pod>| -> BTreeSet<String> {
        pods.flat_map(|pod| of_family(&pod.addresses)).collect()
    };
    let cluster = &view.cluster;
    let nodes: BTreeSet<String> = cluster.nodes.iter().flat_map(|node| of_family(&node.addresses)).collect();
    let everywhere = pods(&mut cluster.pods.iter());
    let header = family.header;
    if fault == DatapathFault::NodesOpen {
        let nodes = table.set(family.address, nodes);
        return vec![format!("{header} saddr @{nodes} accept")];
    }
    if fault == DatapathFault::OutsideOpen {
        let inside = table.set(family.address, &everywhere | &nodes);
        return ["saddr", "daddr"].map(|end| format!("{header} {end} != @{inside} accept")).into();
    }
    let here = pods(&mut local_pods(view, node));
    let elsewhere = table.set(family.address, &everywhere - &here);
    let here = table.set(family.address, here);
    if fault == DatapathFault::SameNodeOpen {
        return vec![format!("{header} saddr @{here} {header} daddr @{here} accept")];
    }
    vec![
        format!("{header} saddr @{here} {header} daddr @{elsewhere} accept"),
        format!("{header} saddr @{elsewhere} {header} daddr @{here} accept"),
    ]
}
