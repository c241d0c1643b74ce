//! Rules that enforce policies.
//!
//! Every pod of the node that policies select has a chain for each direction. A packet may pass if it
//! returned from the chain of its sender and from the chain of its receiver.

use std::collections::BTreeSet;

use super::super::address;
use super::chain::Writer;
use super::ports::transport;
use super::select::{is_filtered, policies_of};
use super::table::{FAMILIES, Family, Table};
use super::tiers::Tiers;
use crate::deviation::{CompileFault, DatapathFault, EnforcerState, Fault, Traffic};
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
    if let Some(DatapathFault::Opens(traffic)) = datapath {
        first.extend(open(table, view, node, traffic));
    }
    let mut rules = |direction| match has(DatapathFault::Ignores(direction)) {
        true => Vec::new(),
        false => direction_rules(table, view, node, direction, fault),
    };
    let (egress, ingress) = (rules(Direction::Egress), rules(Direction::Ingress));
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
    let mut chains: Vec<(&Pod, String)> = Vec::new();
    for pod in local_pods(view, node).filter(is_guarded) {
        let policies = policies_of(&view.cluster, pod);
        let isolating: Vec<_> = policies.iter().copied().filter(|p| p.rules(direction).is_some()).collect();
        let tiers = Tiers::of(view, pod, direction);
        let mut writer = Writer { table: &mut *table, view, direction, subject: pod, fault };
        let mut chain = (!isolating.is_empty()).then(|| writer.chain(&isolating, &policies));
        if !tiers.is_empty() {
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
                family.among(&pod.addresses).map(move |address| (address, format!("jump {chain}")))
            });
            let map = table.verdict_map(family.address, jumps);
            format!("{} {own} vmap @{map}", family.header)
        })
        .into()
}

fn local_pods<'a>(view: &'a EnforcerState, node: &'a Node) -> impl Iterator<Item = &'a Pod> {
    view.cluster.pods.iter().filter(move |pod| pod.node.as_ref() == Some(&node.name))
}

/// Returns the rules that let some packets pass.
fn open(table: &mut Table, view: &EnforcerState, node: &Node, traffic: Traffic) -> Vec<String> {
    let matched = match traffic {
        Traffic::Over(protocol) => format!("meta l4proto {}", transport(protocol)),
        Traffic::Ipv6 => "meta nfproto ipv6".to_owned(),
        Traffic::ToServices => "ct status dnat".to_owned(),
        Traffic::Lookups => "udp dport 53".to_owned(),
        Traffic::Share(percent) => format!("ct state new numgen random mod 100 < {percent}"),
        Traffic::OnNode | Traffic::BetweenNodes | Traffic::Outside | Traffic::FromNodes => {
            return FAMILIES.into_iter().flat_map(|f| by_place(table, view, node, traffic, f)).collect();
        }
    };
    vec![format!("{matched} accept")]
}

/// Returns the rules that drop everything between the first two nodes, including their pods and canaries.
fn dead_path(table: &mut Table, view: &EnforcerState, family: Family) -> Vec<String> {
    let [one, other, ..] = view.cluster.nodes.as_slice() else { return Vec::new() };
    if !view.has_policies() {
        return Vec::new();
    }
    let [one, other] = [(0, one), (1, other)].map(|(index, node)| {
        let canaries = [0, 1].into_iter().flat_map(|which| address::canary(index, which));
        let pods = local_pods(view, node).flat_map(|pod| &pod.addresses);
        let all: Vec<_> = canaries.chain(pods.chain(&node.addresses).copied()).collect();
        table.set(family.address, family.among(&all))
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
    traffic: Traffic,
    family: Family,
) -> Vec<String> {
    let cluster = &view.cluster;
    let nodes = || cluster.nodes.iter().flat_map(|node| family.among(&node.addresses));
    let pods = || cluster.pods.iter().flat_map(|pod| family.among(&pod.addresses));
    let Family { header, address, .. } = family;
    if traffic == Traffic::FromNodes {
        let nodes = table.set(address, nodes());
        return vec![format!("{header} saddr @{nodes} accept")];
    }
    if traffic == Traffic::Outside {
        let inside = table.set(address, pods().chain(nodes()));
        return ["saddr", "daddr"].map(|end| format!("{header} {end} != @{inside} accept")).into();
    }
    let local: BTreeSet<_> = local_pods(view, node).flat_map(|pod| family.among(&pod.addresses)).collect();
    let elsewhere = table.set(address, pods().filter(|address| !local.contains(address)));
    let here = table.set(address, local);
    if traffic == Traffic::OnNode {
        return vec![format!("{header} saddr @{here} {header} daddr @{here} accept")];
    }
    vec![
        format!("{header} saddr @{here} {header} daddr @{elsewhere} accept"),
        format!("{header} saddr @{elsewhere} {header} daddr @{here} accept"),
    ]
}
