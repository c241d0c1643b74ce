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
    let node = |direction| match direction {
        Direction::Egress => nodes.from.as_deref(),
        Direction::Ingress => nodes.to.as_deref(),
    };
    directions.into_iter().map(node).collect()
}
