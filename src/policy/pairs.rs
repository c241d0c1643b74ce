//! What ends may send to each other.

use super::arena::Id;
use super::port::Connections;
use super::unknown::UnknownFacts;

/// What one end may send to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PairConnections {
    /// Connections that the policies allow.
    pub allowed: Connections,
    /// Connections that the specification leaves to the implementation, or that depend on unknown facts.
    pub undefined: Connections,
    /// Unknown facts on which `undefined` depends.
    pub assumptions: UnknownFacts,
}

impl PairConnections {
    /// Returns whether nothing is allowed and nothing is undefined.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.undefined.is_empty()
    }
}

/// Identifies the [`PairConnections`] of a pair in a [`Reach`](super::reach::Reach). Equal connections have equal ids.
pub type ConnectionsId = Id<PairConnections>;

/// What every address outside the cluster may send to a group.
#[derive(Debug)]
pub(super) struct FromAnywhere {
    /// Connections that are allowed from every address.
    pub(super) certain: Connections,
    /// For each set of addresses whose connections depend on unknown facts: the allowed connections, and these facts.
    pub(super) open: Vec<(Connections, UnknownFacts)>,
}

impl FromAnywhere {
    pub(super) fn new<'a>(from: impl Iterator<Item = &'a PairConnections>) -> Self {
        let mut all = Self { certain: Connections::all(), open: Vec::new() };
        for PairConnections { allowed, assumptions, .. } in from {
            all.certain = all.certain.intersection(allowed);
            if !assumptions.is_empty() {
                all.open.push((allowed.clone(), assumptions.clone()));
            }
        }
        all
    }
}
