//! Address ranges: `ipBlock`, and the parts (atoms) into which all blocks divide the address space.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::arena::{Arena, Id};
use super::joined;

named! {
    /// IPv4 or IPv6. Policies are evaluated for each family separately.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum IpFamily {
        /// IPv4.
        #[serde(rename = "IPv4")]
        V4 = "IPv4",
        /// IPv6.
        #[serde(rename = "IPv6")]
        V6 = "IPv6",
    }
}

impl IpFamily {
    /// Returns the family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Returns the first of these addresses that is of this family.
    pub fn first_of(self, addresses: &[IpAddr]) -> Option<IpAddr> {
        addresses.iter().copied().find(|address| Self::of(*address) == self)
    }

    /// Returns the element for this family, of one for each family in the order of [`Self::ALL`].
    pub(super) fn pick<T>(self, [v4, v6]: [T; 2]) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }

    fn last_number(self) -> u128 {
        match self {
            Self::V4 => u128::from(u32::MAX),
            Self::V6 => u128::MAX,
        }
    }

    fn address(self, number: u128) -> IpAddr {
        match self {
            // INVARIANT: numbers of this family are computed from addresses of this family.
            Self::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            Self::V6 => Ipv6Addr::from(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// A range of addresses, with exceptions (`networking.k8s.io/v1 IPBlock`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpBlock {
    net: IpNet,
    except: Vec<IpNet>,
    /// The ranges of `except`, without ranges that another entry contains. Networks are nested or disjoint, so these
    /// ranges are disjoint. They are ascending, so one search finds the only range that may contain an address.
    holes: Vec<AddressRange>,
}

impl IpBlock {
    /// Creates a block with the addresses of `net` that are not in `except`. Host bits are cleared.
    pub fn new(net: IpNet, except: impl IntoIterator<Item = IpNet>) -> Self {
        let mut except: Vec<_> = except.into_iter().map(|hole| hole.trunc()).collect();
        except.sort_unstable();
        let mut holes: Vec<AddressRange> = Vec::new();
        for hole in &except {
            let next = AddressRange { first: hole.network(), last: hole.broadcast() };
            if holes.last().is_none_or(|before| before.last < next.first) {
                holes.push(next);
            }
        }
        Self { net: net.trunc(), except, holes }
    }

    /// Returns whether the block contains `address`. A block contains no addresses of the other family.
    pub fn contains(&self, address: IpAddr) -> bool {
        // `IpAddr` orders IPv4 before IPv6.
        let hole = self.holes.partition_point(|hole| hole.first <= address).checked_sub(1);
        let is_in_hole = hole.and_then(|at| self.holes.get(at)).is_some_and(|hole| address <= hole.last);
        self.net.contains(&address) && !is_in_hole
    }

    /// Returns the range before exceptions, with host bits cleared.
    pub fn net(&self) -> IpNet {
        self.net
    }

    /// Returns the exceptions, ascending, with host bits cleared.
    pub fn except(&self) -> &[IpNet] {
        &self.except
    }

    /// Returns the family of the block.
    pub fn family(&self) -> IpFamily {
        IpFamily::of(self.net.addr())
    }

    /// Returns whether the block is `0.0.0.0/0` or `::/0`, without exceptions.
    pub fn is_whole_family(&self) -> bool {
        self.net.prefix_len() == 0 && self.except.is_empty()
    }
}

impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.except.as_slice() {
            [] => self.net.fmt(f),
            except => write!(f, "{} except {}", self.net, joined(except, ", ")),
        }
    }
}

/// An inclusive range of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// Returns the lowest address of the range.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Returns the highest address of the range.
    pub fn last(self) -> IpAddr {
        self.last
    }

    /// Returns the family of the range.
    pub fn family(self) -> IpFamily {
        IpFamily::of(self.first)
    }

    /// Returns whether an address is both in the range and in `net`.
    pub fn overlaps(self, net: &IpNet) -> bool {
        // All addresses of IPv4 are before those of IPv6, so ranges of different families never overlap.
        self.first <= net.broadcast() && net.network() <= self.last
    }

    /// Returns the parts of the range that are not in `net`.
    pub fn without(self, net: &IpNet) -> Vec<Self> {
        if !self.overlaps(net) {
            return vec![self];
        }
        let (first, last, family) = (net.network(), net.broadcast(), self.family());
        let before = (self.first < first)
            .then(|| Self { first: self.first, last: family.address(number(first).saturating_sub(1)) });
        let after = (last < self.last)
            .then(|| Self { first: family.address(number(last).saturating_add(1)), last: self.last });
        before.into_iter().chain(after).collect()
    }

    /// Returns this range and `next` as one range, if `next` begins right after the end of this one.
    pub fn join(self, next: Self) -> Option<Self> {
        let adjacent =
            self.family() == next.family() && number(self.last).checked_add(1) == Some(number(next.first));
        adjacent.then_some(Self { first: self.first, last: next.last })
    }
}

/// CIDR notation if possible (`10.0.0.0/8`), otherwise `10.0.0.1-10.0.0.9`.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = self.family();
        let (first, last) = (number(self.first), number(self.last));
        let differing = 128 - (first ^ last).leading_zeros();
        let host_bits = if differing == 128 { u128::MAX } else { (1 << differing) - 1 };
        if first & host_bits == 0 && last & host_bits == host_bits {
            let bits = match family {
                IpFamily::V4 => 32,
                IpFamily::V6 => 128,
            };
            write!(f, "{}/{}", self.first, bits - differing)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Identifies a part (atom) of an [`AddressSpace`].
pub(super) type AtomId = Id<AddressRange>;

/// The addresses of both families, divided into atoms wherever an `ipBlock` or an exception begins or ends.
///
/// All addresses of an atom are inside the same blocks and outside the same blocks. So the result for one address of
/// an atom is the result for all of them.
#[derive(Debug, Default)]
pub(super) struct AddressSpace {
    // INVARIANT: ascending and without gaps within a family, IPv4 first.
    atoms: Arena<AddressRange>,
}

impl AddressSpace {
    pub(super) fn new(blocks: &[&IpBlock]) -> Self {
        let mut atoms = Arena::default();
        for family in IpFamily::ALL {
            let nets = blocks
                .iter()
                .filter(|block| block.family() == family)
                .flat_map(|block| block.except.iter().chain([&block.net]));
            let mut starts = vec![0];
            for net in nets {
                starts.push(number(net.network()));
                starts.extend(number(net.broadcast()).checked_add(1));
            }
            starts.retain(|start| *start <= family.last_number());
            starts.sort_unstable();
            starts.dedup();
            let ends = starts.iter().skip(1).map(|next| next - 1).chain([family.last_number()]);
            for (first, last) in starts.iter().zip(ends) {
                atoms.push(AddressRange { first: family.address(*first), last: family.address(last) });
            }
        }
        Self { atoms }
    }

    /// Returns the atom that contains `address`.
    pub(super) fn atom(&self, address: IpAddr) -> Option<AtomId> {
        // `IpAddr` orders IPv4 before IPv6, and so do the atoms.
        let after = self.atoms.partition_point(|range| range.first <= address);
        after.checked_sub(1).map(Id::new)
    }

    /// Returns the atoms inside a block. The block must be one of the blocks with which the space was created.
    pub(super) fn atoms_of(&self, block: &IpBlock) -> AtomSet {
        let from = |address: IpAddr| self.atoms.partition_point(|range| range.first < address);
        let after = |address: IpAddr| self.atoms.partition_point(|range| range.first <= address);
        let (mut next, end) = (from(block.net.network()), after(block.net.broadcast()));
        let mut ranges = Vec::with_capacity(block.holes.len() + 1);
        for hole in &block.holes {
            let (hole_begins, hole_ends) = (from(hole.first).min(end), after(hole.last));
            if next < hole_begins {
                ranges.push(next..hole_begins);
            }
            next = next.max(hole_ends);
        }
        if next < end {
            ranges.push(next..end);
        }
        AtomSet { ranges }
    }

    /// Returns all atoms, ascending, IPv4 first.
    pub(super) fn atoms(&self) -> &Arena<AddressRange> {
        &self.atoms
    }
}

/// A set of atoms of an [`AddressSpace`].
#[derive(Debug, Default)]
pub(super) struct AtomSet {
    // INVARIANT: ascending, disjoint and not empty. These are ranges of indices and not bit sets, because with one
    // bit set for each block, memory would grow with the square of the count of blocks.
    ranges: Vec<Range<usize>>,
}

impl AtomSet {
    /// Returns the atoms that are in any of these sets.
    pub(super) fn union_of<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut ranges: Vec<_> = sets.into_iter().flat_map(Self::ranges).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let is_adjacent = next.start <= last.end;
            if is_adjacent {
                last.end = last.end.max(next.end);
            }
            is_adjacent
        });
        Self { ranges }
    }

    /// Returns whether the set contains an atom.
    pub(super) fn contains(&self, atom: AtomId) -> bool {
        let after = self.ranges.partition_point(|range| range.start <= atom.index());
        let last = after.checked_sub(1).and_then(|at| self.ranges.get(at));
        last.is_some_and(|range| atom.index() < range.end)
    }

    /// Returns the ranges of indices, ascending and disjoint.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.ranges.iter().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(net: &str, except: &[&str]) -> IpBlock {
        IpBlock::new(net.parse().unwrap(), except.iter().map(|hole| hole.parse().unwrap()))
    }

    #[test]
    fn a_block_with_host_bits_counts_as_its_network() {
        assert!(block("10.0.0.77/24", &[]).contains("10.0.0.1".parse().unwrap()));
        assert_eq!(block("10.0.0.77/24", &["10.0.0.9/30"]).to_string(), "10.0.0.0/24 except 10.0.0.8/30");
    }

    #[test]
    fn all_of_ipv4_holds_no_ipv6_address() {
        assert!(!block("0.0.0.0/0", &[]).contains("::1".parse().unwrap()));
        assert!(!block("::/0", &[]).contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn without_blocks_each_family_is_one_part() {
        let space = AddressSpace::new(&[]);
        let parts: Vec<_> = space.atoms().iter().map(|(_, range)| range.to_string()).collect();
        assert_eq!(parts, ["0.0.0.0/0", "::/0"]);
    }

    #[test]
    fn parts_are_cut_at_the_edges_of_blocks_and_holes() {
        let blocks = [block("10.0.0.0/8", &["10.1.0.0/16"]), block("255.255.255.255/32", &[])];
        let space = AddressSpace::new(&blocks.iter().collect::<Vec<_>>());
        let parts: Vec<_> = space.atoms().iter().map(|(_, range)| range.to_string()).collect();
        assert_eq!(
            parts,
            [
                "0.0.0.0-9.255.255.255",
                "10.0.0.0/16",
                "10.1.0.0/16",
                "10.2.0.0-10.255.255.255",
                "11.0.0.0-255.255.255.254",
                "255.255.255.255/32",
                "::/0",
            ]
        );
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        // Only a few bits differ, so that networks are often nested.
        let v4 = (0u32..64, 24u8..=32).prop_map(|(bits, len)| (IpAddr::from((bits << 2).to_be_bytes()), len));
        let any_v4 = (any::<u32>(), 0u8..=32).prop_map(|(bits, len)| (IpAddr::from(bits.to_be_bytes()), len));
        let v6 = (any::<u128>(), 0u8..=128).prop_map(|(bits, len)| (IpAddr::from(bits.to_be_bytes()), len));
        prop_oneof![3 => v4, 1 => any_v4, 1 => v6]
            .prop_map(|(address, len)| IpNet::new(address, len).unwrap())
    }

    fn any_block() -> impl Strategy<Value = IpBlock> {
        let except = prop::collection::vec(any_net(), 0..8);
        (any_net(), except).prop_map(|(net, except)| IpBlock::new(net, except))
    }

    /// Returns whether a block contains an address, by comparing it with every exception.
    fn naively_contains(block: &IpBlock, address: IpAddr) -> bool {
        block.net().contains(&address) && !block.except().iter().any(|hole| hole.contains(&address))
    }

    proptest! {
        #[test]
        fn one_address_of_a_part_answers_for_all(blocks in prop::collection::vec(any_block(), 0..6)) {
            let space = AddressSpace::new(&blocks.iter().collect::<Vec<_>>());
            for (id, range) in space.atoms().iter() {
                prop_assert_eq!(space.atom(range.first()), Some(id));
                prop_assert_eq!(space.atom(range.last()), Some(id));
                for block in &blocks {
                    let is_inside = naively_contains(block, range.first());
                    prop_assert_eq!(block.contains(range.first()), is_inside);
                    prop_assert_eq!(block.contains(range.last()), is_inside);
                    let atoms = space.atoms_of(block);
                    prop_assert_eq!(atoms.ranges().any(|range| range.contains(&id.index())), is_inside);
                    prop_assert_eq!(atoms.contains(id), is_inside);
                }
            }
        }
    }

    /// Regression test: a block with 65,000 exceptions took minutes, because each address was compared with each
    /// exception.
    #[test]
    fn many_holes_are_kept_as_ranges() {
        let holes = (0..65_000u32).map(|i| IpNet::new(IpAddr::from((i << 1).to_be_bytes()), 32).unwrap());
        let block = IpBlock::new("0.0.0.0/0".parse().unwrap(), holes);
        let space = AddressSpace::new(&[&block]);
        assert_eq!(space.atoms_of(&block).ranges().count(), 65_000);
    }
}
