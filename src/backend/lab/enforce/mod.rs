//! Compilation of policies to nftables rules, for one node.
//!
//! It works like kube-router and kube-proxy: a node filters the traffic that it forwards from and to its own
//! pods, and translates Services. The rules are compiled directly from the policy model. Nothing here asks
//! the policy engine whether anything matches, because then a comparison of the two would prove nothing.

mod chain;
mod filter;
mod ports;
mod select;
mod services;
mod table;
mod tiers;

use std::net::IpAddr;

use super::nft::{Program, TABLE};
use crate::backend::{SENTINEL_PORT, SENTINEL_PORTS};
use crate::deviation::{EnforcerState, Fault};
use crate::policy::Node;
use table::{Family, Table};

/// Returns the rules of a node.
pub(super) fn program(view: &EnforcerState, node: &Node, fault: Option<Fault>) -> Program {
    let mut table = Table::default();
    table.program.preparation.push(format!("add table {TABLE}"));
    services::add(&mut table, &view.cluster, node);
    filter::add(&mut table, view, node, fault);
    table.program
}

/// Isolates the sentinels with these addresses, except for their open port. A closed port rejects packets at
/// once, so that a probe of it takes no time.
pub(super) fn isolate<'a>(rules: &mut Program, sentinels: impl IntoIterator<Item = &'a IpAddr>, open: u16) {
    let chain = format!("{TABLE} sentinels");
    rules
        .switch
        .push(format!("add chain {chain} {{ type filter hook forward priority -5; policy accept; }}"));
    let closed = (SENTINEL_PORT..SENTINEL_PORT + SENTINEL_PORTS).filter(|port| *port != open);
    let closed = closed.map(|port| port.to_string()).collect::<Vec<_>>().join(", ");
    for address in sentinels {
        let header = Family::of(*address).header;
        let rule = format!("{header} daddr {address} tcp dport {{ {closed} }} reject with tcp reset");
        rules.switch.push(format!("add rule {chain} {rule}"));
    }
}
