//! Whether anything enforces policies at all.
//!
//! A cluster whose network plugin knows no policies delivers everything. To say so, it takes denials of more than one
//! kind: a plugin that only forgets TCP delivers every denied packet, too, if only TCP was sent.

use std::collections::BTreeSet;

use crate::policy::{Decision, Direction, IpFamily, Protocol};
use crate::verdict::{CellResult, RunResult, Verdict};
use crate::world::EndpointName;

/// Count of denials from which on it may be said that nothing enforces policies.
const ENOUGH: usize = 100;

/// The judged denials of a run, or of its first part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// Count of judged denials.
    pub denials: usize,
    /// Count of those that were delivered.
    pub delivered: usize,
    protocols: BTreeSet<Protocol>,
    directions: BTreeSet<Direction>,
    families: BTreeSet<IpFamily>,
    /// Nodes of the ends of pods.
    nodes: BTreeSet<String>,
    is_on_one_node: bool,
    is_between_nodes: bool,
    /// Whether a denial was asked at a pod's own address.
    is_direct: bool,
}

impl Enforcement {
    /// Returns the denials of a run.
    pub fn of(run: &RunResult) -> Self {
        let mut enforcement = Self::default();
        run.cells().for_each(|cell| enforcement.add(cell));
        enforcement
    }

    /// Adds a cell. Only judged denials count.
    pub fn add(&mut self, cell: &CellResult) {
        if cell.expected.decision != Decision::Deny || cell.excused.is_some() || !cell.is_judged() {
            return;
        }
        self.denials += 1;
        // A leak that stopped, or that there is only beside other scenarios, shows that something enforces.
        let was_denied = cell.delivered_until.is_some() || cell.alone == Some(Verdict::Match);
        self.delivered += usize::from(cell.verdict == Verdict::Leak && !was_denied);
        self.protocols.insert(cell.cell.probe.protocol());
        self.directions.extend(cell.expected.deciding_policies().into_iter().map(|(_, direction)| direction));
        self.families.insert(cell.cell.family);
        self.is_direct |= matches!(cell.cell.to, EndpointName::Pod { .. });
        if let (Some(from), Some(to)) = (&cell.nodes.from, &cell.nodes.to) {
            self.nodes.extend([from.clone(), to.clone()]);
            self.is_on_one_node |= from == to;
            self.is_between_nodes |= from != to;
        }
    }

    /// Returns whether nothing enforces policies: every denied packet was delivered, there were enough of them, and they
    /// were of every kind for which enforcement may be missing alone.
    pub fn is_absent(&self) -> bool {
        self.denials >= ENOUGH && self.is_all_delivered() && self.one_sided().is_empty()
    }

    /// Returns whether every denied packet was delivered.
    pub fn is_all_delivered(&self) -> bool {
        self.denials > 0 && self.delivered == self.denials
    }

    /// Returns why the denials do not show that nothing is enforced, although all of them were delivered: what alone was
    /// asked. Empty if they were of every kind.
    pub fn one_sided(&self) -> Vec<String> {
        let mut only = Vec::new();
        if let [protocol] = self.protocols.iter().collect::<Vec<_>>()[..] {
            only.push(protocol.to_string());
        }
        if let [direction] = self.directions.iter().collect::<Vec<_>>()[..] {
            only.push(format!("denials by {direction} rules"));
        }
        if !self.families.contains(&IpFamily::V4) {
            only.push(IpFamily::V6.to_string());
        }
        if !self.is_direct {
            only.push("connections to Services, nodes and addresses outside".to_owned());
        } else if self.nodes.len() > 1 && !self.is_on_one_node {
            only.push("connections between nodes".to_owned());
        } else if self.nodes.len() > 1 && !self.is_between_nodes {
            only.push("connections within one node".to_owned());
        }
        only
    }
}
