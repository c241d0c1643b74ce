//! How much of the addresses that an end may have a block contains.

use fixedbitset::FixedBitSet;
use ipnet::IpNet;

use super::address::{AtomSet, IpBlock, IpFamily};
use super::arena::Id;

/// Set of parts of the address space (atoms). An unknown address is in one of them.
pub(super) type AddressSet = FixedBitSet;

/// How much of an [`AddressSet`] a block contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coverage {
    None,
    Some,
    All,
}

/// Parts of the address space (atoms) that a block contains.
#[derive(Debug)]
pub(super) struct MatchedAtoms {
    pub(super) inside: AtomSet,
    /// How much of each [`AddressSet`] the block contains, by the index of the set.
    pub(super) among: Vec<Coverage>,
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

    /// Returns how much of a set the block contains.
    pub(super) fn coverage(&self, set: Id<AddressSet>) -> Coverage {
        self.among.get(set.index()).copied().unwrap_or(Coverage::Some)
    }
}

impl IpBlock {
    /// Returns how much of the ranges of its own family the block contains. Without any ranges, the addresses are
    /// unknown, so the block contains some of them.
    pub(super) fn coverage(&self, ranges: &[IpNet]) -> Coverage {
        if self.is_whole_family() {
            return Coverage::All;
        }
        // Networks are nested or disjoint.
        let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let of_range = |range: &IpNet| {
            let net = self.net();
            if !overlap(&net, range) || self.except().iter().any(|hole| hole.contains(range)) {
                Coverage::None
            } else if net.contains(range) && !self.except().iter().any(|hole| overlap(hole, range)) {
                Coverage::All
            } else {
                Coverage::Some
            }
        };
        let is_of_family = |range: &&IpNet| IpFamily::of(range.addr()) == self.family();
        let mut all = ranges.iter().filter(is_of_family).map(of_range);
        match all.next() {
            None if ranges.is_empty() => Coverage::Some,
            None => Coverage::None,
            Some(first) if all.all(|next| next == first) => first,
            Some(_) => Coverage::Some,
        }
    }
}
