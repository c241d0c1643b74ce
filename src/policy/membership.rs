//! Where the addresses of pods are in the address space. Perhaps only ranges of them are known.

use fixedbitset::FixedBitSet;
use ipnet::IpNet;

use super::address::{AddressSpace, AtomId, AtomSet, IpBlock, IpFamily};
use super::arena::{Id, Interner};
use super::bounds::Truth;
use super::map::HashMap;
use super::model::Pod;

/// What is known about the address of a class in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Membership {
    /// No address of this family.
    NoAddress,
    /// A known address, in this atom.
    In(AtomId),
    /// An unknown address, in one of these atoms.
    Among(Id<AddressSet>),
    /// Nothing is known: the class may have no address of this family, or one in any of these atoms.
    Perhaps(Id<AddressSet>),
}

impl Membership {
    /// Returns whether there is an address of the family.
    pub(super) fn has_family(self) -> Truth {
        match self {
            Self::NoAddress => Truth::No,
            Self::Perhaps(_) => Truth::Perhaps,
            Self::In(_) | Self::Among(_) => Truth::Yes,
        }
    }

    /// Returns how much a block contains of the atoms in which the address may be.
    pub(super) fn coverage(self, block: &MatchedAtoms) -> Truth {
        match self {
            Self::NoAddress => Truth::No,
            Self::In(atom) => Truth::of(block.inside.contains(atom), false),
            Self::Among(set) | Self::Perhaps(set) => block.coverage(set),
        }
    }
}

/// Computes the [`Membership`] of pods, and stores the sets of atoms in which unknown addresses may be.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    sets: Interner<AddressSet>,
    by_ranges: HashMap<Vec<IpNet>, [Membership; 2]>,
}

impl Memberships {
    /// Returns the membership of a pod in each family. Also returns whether a set was added.
    pub(super) fn of(&mut self, pod: &Pod, space: &AddressSpace) -> ([Membership; 2], bool) {
        if !pod.addresses.is_empty() {
            let of_family = |family| {
                let atom = pod.address(family).and_then(|address| space.atom(address));
                atom.map_or(Membership::NoAddress, Membership::In)
            };
            return (IpFamily::ALL.map(of_family), false);
        }
        if let Some(known) = self.by_ranges.get(&pod.address_ranges) {
            return (*known, false);
        }
        let before = self.sets.arena().len();
        let found = IpFamily::ALL.map(|family| self.among(&pod.address_ranges, family, space));
        self.by_ranges.insert(pod.address_ranges.clone(), found);
        (found, self.sets.arena().len() > before)
    }

    fn among(&mut self, ranges: &[IpNet], family: IpFamily, space: &AddressSpace) -> Membership {
        let of_family: Vec<_> = ranges.iter().filter(|range| IpFamily::of(range.addr()) == family).collect();
        // The ranges are complete: if a family has no range, no pod has an address of that family.
        if of_family.is_empty() && !ranges.is_empty() {
            return Membership::NoAddress;
        }
        let atoms = space.atoms();
        let possible = atoms.iter().filter(|(_, part)| {
            part.family() == family
                && (of_family.is_empty() || of_family.iter().any(|range| part.overlaps(range)))
        });
        let mut set = AddressSet::with_capacity(atoms.len());
        set.extend(possible.map(|(id, _)| id.index()));
        let set = self.sets.intern(set);
        if ranges.is_empty() { Membership::Perhaps(set) } else { Membership::Among(set) }
    }

    /// Returns the sets to which [`Membership`] refers, in the order of their ids.
    pub(super) fn sets(&self) -> impl Iterator<Item = &AddressSet> {
        self.sets.arena().iter().map(|(_, set)| set)
    }
}

/// Set of parts of the address space (atoms). An unknown address is in one of them.
pub(super) type AddressSet = FixedBitSet;

/// Parts of the address space (atoms) that a block contains.
#[derive(Debug, Default)]
pub(super) struct MatchedAtoms {
    pub(super) inside: AtomSet,
    /// Whether the block contains an unknown address of each [`AddressSet`], by the index of the set.
    pub(super) among: Vec<Truth>,
}

impl MatchedAtoms {
    pub(super) fn new(inside: AtomSet) -> Self {
        Self { inside, among: Vec::new() }
    }

    /// Adds the sets from the first that is not known yet. `sets` are all sets, in the order of their ids.
    pub(super) fn extend<'a>(&mut self, sets: impl Iterator<Item = &'a AddressSet>) {
        let Self { inside, among } = self;
        let coverage = |set: &AddressSet| {
            let number: usize = inside.ranges().map(|range| set.count_ones(range)).sum();
            match number {
                0 => Truth::No,
                all if all == set.count_ones(..) => Truth::Yes,
                _ => Truth::Perhaps,
            }
        };
        among.extend(sets.skip(among.len()).map(coverage).collect::<Vec<_>>());
    }

    /// Returns whether the block contains an unknown address of a set.
    pub(super) fn coverage(&self, set: Id<AddressSet>) -> Truth {
        self.among.get(set.index()).copied().unwrap_or(Truth::Perhaps)
    }
}

impl IpBlock {
    /// Returns whether the block contains an unknown address in the ranges of its own family. Without any ranges, the
    /// block contains it perhaps.
    pub(super) fn coverage(&self, ranges: &[IpNet]) -> Truth {
        if self.is_whole_family() {
            return Truth::Yes;
        }
        // Networks are nested or disjoint.
        let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let of_range = |range: &IpNet| {
            let net = self.net();
            if !overlap(&net, range) || self.except().iter().any(|hole| hole.contains(range)) {
                Truth::No
            } else if net.contains(range) && !self.except().iter().any(|hole| overlap(hole, range)) {
                Truth::Yes
            } else {
                Truth::Perhaps
            }
        };
        let is_of_family = |range: &&IpNet| IpFamily::of(range.addr()) == self.family();
        let mut all = ranges.iter().filter(is_of_family).map(of_range);
        match all.next() {
            None if ranges.is_empty() => Truth::Perhaps,
            None => Truth::No,
            Some(first) if all.all(|next| next == first) => first,
            Some(_) => Truth::Perhaps,
        }
    }
}
