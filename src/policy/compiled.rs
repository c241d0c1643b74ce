//! Compiled policies: each peer is stored with the classes and addresses that it matches.

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

/// A NetworkPolicy and its compiled rules.
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

/// A cluster-scoped policy and its compiled rules.
#[derive(Debug)]
pub(super) struct CompiledClusterPolicy {
    pub(super) policy: ClusterPolicy,
    pub(super) ingress: Vec<CompiledRule>,
    pub(super) egress: Vec<CompiledRule>,
}

impl CompiledClusterPolicy {
    /// Returns the compiled rules for a direction. Their indices are those of the policy's own rules.
    pub(super) fn rules(&self, direction: Direction) -> &[CompiledRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A rule with compiled peers.
#[derive(Debug)]
pub(super) struct CompiledRule {
    /// `None` if the rule matches everything.
    pub(super) peers: Option<Vec<PeerId>>,
    pub(super) ports: Ports,
}

/// A peer, and what it matches.
#[derive(Debug)]
pub(super) enum CompiledPeer {
    /// Classes whose labels and namespace match.
    Pods(MatchedClasses),
    /// A block, and the parts of the address space (atoms) inside it.
    IpBlock(IpBlock, MatchedAtoms),
    /// All nodes.
    Nodes,
    /// Nodes with certain labels. The labels of nodes are not known.
    SomeNodes,
    /// Domain names. Their addresses are not known.
    DomainNames,
}

/// Whether a match of a peer or a subject selector is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Matched {
    /// It matches, whatever the unknown facts are.
    Surely,
    /// It may match, depending on these unknown facts.
    Perhaps(FactsId),
}

/// Classes that a selector matches.
#[derive(Debug, Default)]
pub(super) struct MatchedClasses {
    pub(super) surely: FixedBitSet,
    /// Unknown facts on which the match depends, by the index of the class.
    pub(super) perhaps: BTreeMap<usize, FactsId>,
}

impl MatchedClasses {
    /// Returns whether a class matches for certain, or `None` if it does not match.
    pub(super) fn of(&self, class: ClassId) -> Option<Matched> {
        if self.surely.contains(class.index()) {
            return Some(Matched::Surely);
        }
        self.perhaps.get(&class.index()).map(|facts| Matched::Perhaps(*facts))
    }
}

/// Parts of the address space (atoms) that a block contains.
#[derive(Debug)]
pub(super) struct MatchedAtoms {
    inside: AtomSet,
    /// How much of each [`AddressSet`] the block contains, by the index of the set.
    among: Vec<Coverage>,
}

/// How much of an [`AddressSet`] a block contains.
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

    /// Returns the atoms as ranges of indices, ascending and disjoint.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.inside.ranges()
    }

    /// Returns how much of each [`AddressSet`] the block contains, by the index of the set.
    pub(super) fn among(&self) -> &[Coverage] {
        &self.among
    }

    /// Returns how much of a set the block contains.
    pub(super) fn coverage(&self, set: Id<AddressSet>) -> Coverage {
        self.among.get(set.index()).copied().unwrap_or(Coverage::Some)
    }
}
