//! From policies to nftables rules, for one node.
//!
//! As kube-router and kube-proxy do it: a node filters the traffic that it forwards from and to its
//! own pods, and translates Services. Compiled straight from the policy model; nothing here asks
//! the policy engine whether anything matches, or comparing the two would prove nothing.

mod chain;
mod filter;
mod ports;
mod select;
mod services;
mod table;
mod tiers;

use super::fault::{Fault, View};
use super::nft::Program;
use crate::policy::Node;
pub(super) use select::selects;
use table::Table;

/// The rules of a node.
pub(super) fn program(view: &View, node: &Node, fault: Option<Fault>) -> Program {
    let mut table = Table::new();
    services::add(&mut table, &view.cluster, node);
    filter::add(&mut table, view, node, fault);
    table.finish()
}
