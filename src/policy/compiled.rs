//! Compiled policies: each peer is stored with the classes and addresses that it matches.

use std::collections::BTreeMap;

use fixedbitset::FixedBitSet;

use super::address::IpBlock;
use super::arena::Id;
use super::class::ClassId;
use super::coverage::MatchedAtoms;
use super::name::RuleName;
use super::ordered::{OrderedPolicy, OrderedRule};
use super::rule::Direction;
use super::unknown::FactsId;

pub(super) type CompiledPolicy = OrderedPolicy<PeerId>;
pub(super) type CompiledRule = OrderedRule<PeerId>;
pub(super) type PolicyId = Id<CompiledPolicy>;
pub(super) type PeerId = Id<CompiledPeer>;

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

impl CompiledPeer {
    /// Returns the block, or `None` if the peer is not an `ipBlock`.
    pub(super) fn block(&self) -> Option<&IpBlock> {
        match self {
            Self::IpBlock(block, _) => Some(block),
            Self::Pods(_) | Self::Nodes | Self::SomeNodes | Self::DomainNames => None,
        }
    }
}

/// A rule, and its place in its policy.
#[derive(Clone, Copy)]
pub(super) struct RuleRef<'a> {
    pub(super) id: PolicyId,
    pub(super) policy: &'a CompiledPolicy,
    pub(super) direction: Direction,
    pub(super) index: usize,
    pub(super) rule: &'a CompiledRule,
}

impl RuleRef<'_> {
    pub(super) fn name(self) -> RuleName {
        RuleName { policy: self.policy.name.clone(), direction: self.direction, index: self.index }
    }
}

/// A policy that selects a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Selecting {
    pub(super) policy: PolicyId,
    pub(super) how: Matched,
}

/// Whether a match of a peer or a subject selector is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Matched {
    /// It matches, whatever the unknown facts are.
    Surely,
    /// It may match, depending on these unknown facts.
    Perhaps(FactsId),
}

impl Matched {
    /// Returns the unknown facts on which the match depends.
    pub(super) fn facts(self) -> Option<FactsId> {
        match self {
            Self::Surely => None,
            Self::Perhaps(facts) => Some(facts),
        }
    }
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
