//! The ends between which sets of connections are computed, and what they may send to each other.

use super::address::AtomId;
use super::arena::Id;
use super::class::CohortId;
use super::port::Connections;
use super::unknown::UnknownFacts;

/// Ends that every policy treats alike: pods of one class, or a part of the address space (atom) outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Pods.
    Pods(CohortId),
    /// Addresses outside the cluster.
    External(AtomId),
}

impl Group {
    /// Returns the cohort, or `None` if the ends are not pods.
    pub(super) fn cohort(self) -> Option<CohortId> {
        match self {
            Self::Pods(cohort) => Some(cohort),
            Self::External(_) => None,
        }
    }
}

/// The connections that one end may open to another.
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

/// The connections that addresses outside the cluster may open to a group.
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
