//! What policies and peers match: the compiled forms, and how certain a match is.

use super::address::IpBlock;
use super::arena::Id;
use super::bounds::Truth;
use super::membership::MatchedAtoms;
use super::name::RuleName;
use super::ordered::{OrderedPolicy, OrderedRule};
use super::rule::Direction;
use super::unknown::FactsId;

pub(super) type PolicyId = Id<OrderedPolicy>;

/// A peer, and what it matches.
#[derive(Debug)]
pub(super) enum CompiledPeer {
    /// Pods. Each class knows which of these peers match it.
    Pods,
    /// A block, and the parts of the address space (atoms) inside it.
    IpBlock(IpBlock, MatchedAtoms),
    /// Nodes: all of them (`Yes`), or those with certain labels (`Perhaps`). The labels of nodes are not known.
    Nodes(Truth),
    /// Domain names. Their addresses are not known.
    DomainNames,
}

impl CompiledPeer {
    /// Returns the block, or `None` if the peer is not an `ipBlock`.
    pub(super) fn block(&self) -> Option<&IpBlock> {
        match self {
            Self::IpBlock(block, _) => Some(block),
            Self::Pods | Self::Nodes(_) | Self::DomainNames => None,
        }
    }
}

/// A rule, and its place in its policy.
#[derive(Clone, Copy)]
pub(super) struct RuleRef<'a> {
    pub(super) id: PolicyId,
    pub(super) policy: &'a OrderedPolicy,
    pub(super) direction: Direction,
    pub(super) index: usize,
    pub(super) rule: &'a OrderedRule,
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
