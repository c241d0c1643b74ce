//! Classes: groups of pods that every policy treats alike.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address::{AddressSpace, AtomId, IpFamily};
use super::arena::{Arena, Id, Interner};
use super::coverage::{AddressSet, Coverage, MatchedAtoms};
use super::label::PartialLabels;
use super::model::{ContainerPort, Namespace, Pod};

pub(super) type ClassId = Id<Class>;

/// Pods of one namespace that no policy can distinguish.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Class {
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

/// Whether an end of a flow has an address of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HasFamily {
    No,
    Perhaps,
    Yes,
}

impl Class {
    /// Returns whether the class has an address of a family.
    pub(super) fn has_family(&self, family: IpFamily) -> HasFamily {
        match self.membership(family) {
            Membership::NoAddress => HasFamily::No,
            Membership::Perhaps(_) => HasFamily::Perhaps,
            Membership::In(_) | Membership::Among(_) => HasFamily::Yes,
        }
    }

    pub(super) fn membership(&self, family: IpFamily) -> Membership {
        family.pick(self.addresses)
    }

    /// Returns how much a block contains of the atoms in which the address of the class may be.
    pub(super) fn coverage(&self, family: IpFamily, block: &MatchedAtoms) -> Coverage {
        match self.membership(family) {
            Membership::NoAddress => Coverage::None,
            Membership::In(atom) if block.inside.contains(atom) => Coverage::All,
            Membership::In(_) => Coverage::None,
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
            return IpFamily::ALL.map(|family| self.at(pod.address(family)));
        }
        if let Some(known) = self.by_ranges.get(&pod.address_ranges) {
            return *known;
        }
        let found = IpFamily::ALL.map(|family| self.among(&pod.address_ranges, family));
        self.by_ranges.insert(pod.address_ranges.clone(), found);
        found
    }

    fn at(&self, address: Option<IpAddr>) -> Membership {
        address.and_then(|address| self.space.atom(address)).map_or(Membership::NoAddress, Membership::In)
    }

    fn among(&mut self, ranges: &[IpNet], family: IpFamily) -> Membership {
        let of_family: Vec<_> = ranges.iter().filter(|range| IpFamily::of(range.addr()) == family).collect();
        // The ranges are complete: if a family has no range, no pod has an address of that family.
        if of_family.is_empty() && !ranges.is_empty() {
            return Membership::NoAddress;
        }
        let overlaps = |range: &IpNet, (first, last): (IpAddr, IpAddr)| {
            range.network() <= last && first <= range.broadcast()
        };
        let atoms = self.space.atoms();
        let possible = atoms.iter().filter(|(_, part)| {
            let ends = (part.first(), part.last());
            part.family() == family
                && (of_family.is_empty() || of_family.iter().any(|range| overlaps(range, ends)))
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
