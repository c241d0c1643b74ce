//! Policies whose peers have been matched.

use std::collections::BTreeMap;
use std::ops::Range;

use fixedbitset::FixedBitSet;

use super::address::{AtomId, AtomSet, IpBlock};
use super::arena::Id;
use super::class::{AddressSet, ClassId};
use super::cluster_policy::ClusterPolicy;
use super::model::{Direction, NetworkPolicy, Ports};
use super::unknown::UnknownFacts;

pub(super) type PolicyId = Id<CompiledPolicy>;
pub(super) type ClusterPolicyId = Id<CompiledClusterPolicy>;
pub(super) type PeerId = Id<CompiledPeer>;
pub(super) type FactsId = Id<UnknownFacts>;

/// A policy whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledPolicy {
    pub(super) policy: NetworkPolicy,
    pub(super) ingress: Vec<CompiledRule>,
    pub(super) egress: Vec<CompiledRule>,
}

impl CompiledPolicy {
    pub(super) fn rules(&self, direction: Direction) -> &[CompiledRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A cluster-scoped policy whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledClusterPolicy {
    pub(super) policy: ClusterPolicy,
    pub(super) ingress: Vec<CompiledRule>,
    pub(super) egress: Vec<CompiledRule>,
}

impl CompiledClusterPolicy {
    /// The compiled rules for a direction, as long as those of the policy.
    pub(super) fn rules(&self, direction: Direction) -> &[CompiledRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A rule whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledRule {
    /// `None` is everybody.
    pub(super) peers: Option<Vec<PeerId>>,
    pub(super) ports: Ports,
}

/// A peer, matched against everything that it can name.
#[derive(Debug)]
pub(super) enum CompiledPeer {
    /// The classes whose labels and namespace match.
    Pods(MatchedClasses),
    /// The block, and the parts of the address space inside it.
    IpBlock(IpBlock, MatchedAtoms),
    /// All nodes.
    Nodes,
    /// Nodes with certain labels, which are not known.
    SomeNodes,
    /// Names, of which it is not known what they are resolved to.
    DomainNames,
}

/// How surely a peer or a subject selector matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Matched {
    /// Whatever is not known.
    Surely,
    /// Depending on these facts.
    Perhaps(FactsId),
}

/// The classes that a selector matches.
#[derive(Debug, Default)]
pub(super) struct MatchedClasses {
    pub(super) surely: FixedBitSet,
    /// By the index of the class.
    pub(super) perhaps: BTreeMap<usize, FactsId>,
}

impl MatchedClasses {
    /// How surely a class is matched; `None` if it is not.
    pub(super) fn of(&self, class: ClassId) -> Option<Matched> {
        if self.surely.contains(class.index()) {
            return Some(Matched::Surely);
        }
        self.perhaps.get(&class.index()).map(|facts| Matched::Perhaps(*facts))
    }
}

/// The parts of the address space that a block holds.
#[derive(Debug)]
pub(super) struct MatchedAtoms {
    inside: AtomSet,
    /// Of each set of parts in which an address may be: whether the block holds all of them, or none.
    among: Vec<Coverage>,
}

/// How much of a set of parts a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coverage {
    None,
    Some,
    All,
}

impl MatchedAtoms {
    pub(super) fn new<'a>(inside: AtomSet, sets: impl Iterator<Item = &'a AddressSet>) -> Self {
        let coverage = |set: &AddressSet| {
            let number: usize = inside.ranges().map(|range| set.count_ones(range)).sum();
            match number {
                0 => Coverage::None,
                all if all == set.count_ones(..) => Coverage::All,
                _ => Coverage::Some,
            }
        };
        Self { among: sets.map(coverage).collect(), inside }
    }

    pub(super) fn contains(&self, atom: AtomId) -> bool {
        self.inside.contains(atom)
    }

    /// The parts as ranges of indices, ascending and disjoint.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.inside.ranges()
    }

    /// How much the block holds of each set of parts in which an address may be.
    pub(super) fn among(&self) -> &[Coverage] {
        &self.among
    }

    /// How much of a set the block holds.
    pub(super) fn coverage(&self, set: Id<AddressSet>) -> Coverage {
        self.among.get(set.index()).copied().unwrap_or(Coverage::Some)
    }
}
