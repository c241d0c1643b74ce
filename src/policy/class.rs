//! Classes: groups of pods that every policy treats alike. Perhaps only ranges of their addresses are known.

use std::collections::HashMap;

use fixedbitset::FixedBitSet;
use ipnet::IpNet;

use super::address::{AddressSpace, AtomId, AtomSet, IpBlock, IpFamily};
use super::arena::{Arena, Id, Interner};
use super::bounds::Truth;
use super::label::PartialLabels;
use super::model::{ContainerPort, Namespace, Pod};

pub(super) type ClassId = Id<Class>;

/// Pods of one namespace that no policy can distinguish.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Class {
    pub(super) namespace: Id<Namespace>,
    pub(super) labels: Id<PartialLabels>,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) host_network: bool,
    pub(super) ended: bool,
    pub(super) addresses: [Membership; 2],
}

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

impl Class {
    /// Returns whether the class has an address of a family.
    pub(super) fn has_family(&self, family: IpFamily) -> Truth {
        match self.membership(family) {
            Membership::NoAddress => Truth::No,
            Membership::Perhaps(_) => Truth::Perhaps,
            Membership::In(_) | Membership::Among(_) => Truth::Yes,
        }
    }

    pub(super) fn membership(&self, family: IpFamily) -> Membership {
        family.pick(self.addresses)
    }

    /// Returns how much a block contains of the atoms in which the address of the class may be.
    pub(super) fn coverage(&self, family: IpFamily, block: &MatchedAtoms) -> Truth {
        match self.membership(family) {
            Membership::NoAddress => Truth::No,
            Membership::In(atom) => Truth::of(block.inside.contains(atom), false),
            Membership::Among(set) | Membership::Perhaps(set) => block.coverage(set),
        }
    }
}

/// Computes the [`Membership`] of pods, and stores the sets of atoms in which unknown addresses may be.
pub(super) struct Memberships<'a> {
    space: &'a AddressSpace,
    sets: Interner<AddressSet>,
    by_ranges: HashMap<Vec<IpNet>, [Membership; 2]>,
}

impl<'a> Memberships<'a> {
    pub(super) fn new(space: &'a AddressSpace) -> Self {
        Self { space, sets: Interner::default(), by_ranges: HashMap::new() }
    }

    /// Returns the membership of a pod in each family.
    pub(super) fn of(&mut self, pod: &Pod) -> [Membership; 2] {
        if !pod.addresses.is_empty() {
            return IpFamily::ALL.map(|family| {
                let atom = pod.address(family).and_then(|address| self.space.atom(address));
                atom.map_or(Membership::NoAddress, Membership::In)
            });
        }
        if let Some(known) = self.by_ranges.get(&pod.address_ranges) {
            return *known;
        }
        let found = IpFamily::ALL.map(|family| self.among(&pod.address_ranges, family));
        self.by_ranges.insert(pod.address_ranges.clone(), found);
        found
    }

    fn among(&mut self, ranges: &[IpNet], family: IpFamily) -> Membership {
        let of_family: Vec<_> = ranges.iter().filter(|range| IpFamily::of(range.addr()) == family).collect();
        // The ranges are complete: if a family has no range, no pod has an address of that family.
        if of_family.is_empty() && !ranges.is_empty() {
            return Membership::NoAddress;
        }
        let atoms = self.space.atoms();
        let possible = atoms.iter().filter(|(_, part)| {
            part.family() == family
                && (of_family.is_empty() || of_family.iter().any(|range| part.overlaps(range)))
        });
        let mut set = AddressSet::with_capacity(atoms.len());
        set.extend(possible.map(|(id, _)| id.index()));
        let set = self.sets.intern(set);
        if ranges.is_empty() { Membership::Perhaps(set) } else { Membership::Among(set) }
    }

    /// Returns the sets to which [`Membership`] refers.
    pub(super) fn into_sets(self) -> Arena<AddressSet> {
        self.sets.into_arena()
    }
}

/// Set of parts of the address space (atoms). An unknown address is in one of them.
pub(super) type AddressSet = FixedBitSet;

/// Parts of the address space (atoms) that a block contains.
#[derive(Debug)]
pub(super) struct MatchedAtoms {
    pub(super) inside: AtomSet,
    /// Whether the block contains an unknown address of each [`AddressSet`], by the index of the set.
    pub(super) among: Vec<Truth>,
}

impl MatchedAtoms {
    pub(super) fn new<'a>(inside: AtomSet, sets: impl Iterator<Item = &'a AddressSet>) -> Self {
        let coverage = |set: &AddressSet| {
            let number: usize = inside.ranges().map(|range| set.count_ones(range)).sum();
            match number {
                0 => Truth::No,
                all if all == set.count_ones(..) => Truth::Yes,
                _ => Truth::Perhaps,
            }
        };
        Self { among: sets.map(coverage).collect(), inside }
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
