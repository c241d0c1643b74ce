//! The nodes of a cell, and which of them must deny it.

use std::collections::BTreeSet;

use crate::policy::{Direction, Expectation, Reason};

/// Nodes on which the ends of a cell are. `None` for an end that is on no node, or on several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nodes {
    /// Node of the source.
    pub from: Option<String>,
    /// Node of the destination.
    pub to: Option<String>,
}

impl Nodes {
    /// Returns the node that enforces policies in a direction.
    pub(super) fn enforcing(&self, direction: Direction) -> Option<&str> {
        match direction {
            Direction::Egress => self.from.as_deref(),
            Direction::Ingress => self.to.as_deref(),
        }
    }
}

/// Returns the directions in which policies deny a denied flow.
pub(super) fn denying(expected: &Expectation) -> impl Iterator<Item = Direction> {
    expected.reasons.iter().filter_map(|reason| match reason {
        Reason::Isolated { direction, .. } => Some(*direction),
        Reason::DeniedBy(rule) => Some(rule.direction),
        Reason::NotIsolated(_)
        | Reason::AllowedBy { .. }
        | Reason::PassedBy(_)
        | Reason::OwnAddress
        | Reason::OwnNode
        | Reason::NoPodNetwork
        | Reason::Undefined(_)
        | Reason::Reading { .. } => None,
    })
}

/// Returns the nodes that must deny in these directions. `None` if one of them is not known.
pub(super) fn nodes_of(
    directions: impl IntoIterator<Item = Direction>,
    nodes: &Nodes,
) -> Option<BTreeSet<&str>> {
    directions.into_iter().map(|direction| nodes.enforcing(direction)).collect()
}

/// Returns the node of a set of one node.
pub(super) fn only(nodes: BTreeSet<&str>) -> Option<&str> {
    let mut nodes = nodes.into_iter();
    nodes.next().filter(|_| nodes.next().is_none())
}
