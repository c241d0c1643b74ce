//! Pods that every policy treats alike.

use std::collections::HashMap;
use std::net::IpAddr;

use fixedbitset::FixedBitSet;
use ipnet::IpNet;

use super::address::{AddressSpace, AtomId, IpFamily};
use super::arena::{Arena, Id, Interner};
use super::compiled::{Coverage, MatchedAtoms};
use super::model::{ContainerPort, Namespace, Pod};
use super::unknown::PartialLabels;

pub(super) type ClassId = Id<Class>;

/// Parts of the address space of which one holds an address that is not known.
pub(super) type AddressSet = FixedBitSet;

/// Pods of one namespace that no policy can tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Class {
    pub(super) namespace: Id<Namespace>,
    pub(super) labels: Id<PartialLabels>,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) host_network: bool,
    pub(super) ended: bool,
    pub(super) addresses: [Membership; 2],
}

/// Where a class stands towards the `ipBlock`s of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Membership {
    /// It has no address of this family.
    NoAddress,
    /// Its address of this family is in this part.
    In(AtomId),
    /// Its address of this family is not known, but in one of these parts.
    Among(Id<AddressSet>),
    /// Nothing is known about its addresses. It may have none of this family, or one in any of these parts.
    Perhaps(Id<AddressSet>),
}

/// Whether an end has an address of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HasFamily {
    No,
    Perhaps,
    Yes,
}

impl Class {
    /// Whether it has an address of a family.
    pub(super) fn has_family(&self, family: IpFamily) -> HasFamily {
        match self.membership(family) {
            Membership::NoAddress => HasFamily::No,
            Membership::Perhaps(_) => HasFamily::Perhaps,
            Membership::In(_) | Membership::Among(_) => HasFamily::Yes,
        }
    }

    pub(super) fn membership(&self, family: IpFamily) -> Membership {
        let [v4, v6] = self.addresses;
        match family {
            IpFamily::V4 => v4,
            IpFamily::V6 => v6,
        }
    }

    /// How much a block holds of the parts in which its address may be.
    pub(super) fn coverage(&self, family: IpFamily, block: &MatchedAtoms) -> Coverage {
        match self.membership(family) {
            Membership::NoAddress => Coverage::None,
            Membership::In(atom) if block.contains(atom) => Coverage::All,
            Membership::In(_) => Coverage::None,
            Membership::Among(set) | Membership::Perhaps(set) => block.coverage(set),
        }
    }
}

/// Says where pods stand, and keeps the sets of parts in which unknown addresses are.
pub(super) struct Memberships<'a> {
    space: &'a AddressSpace,
    sets: Interner<AddressSet>,
    by_ranges: HashMap<Vec<IpNet>, [Membership; 2]>,
}

impl<'a> Memberships<'a> {
    pub(super) fn new(space: &'a AddressSpace) -> Self {
        Self { space, sets: Interner::default(), by_ranges: HashMap::new() }
    }

    /// Where a pod stands in each family.
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
        // Who gives ranges gives all of them: without one of a family, no pod has an address of it.
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

    /// The sets to which [`Membership`] refers.
    pub(super) fn into_sets(self) -> Arena<AddressSet> {
        self.sets.into_arena()
    }
}
