//! Addresses of nodes: which parts of the address space a rule about nodes matches.

use fixedbitset::FixedBitSet;
use ipnet::IpNet;

use super::address::{AddressSpace, AtomId, IpBlock, IpFamily};
use super::bounds::Truth;
use super::model::Node;

/// Addresses of nodes, as far as known.
#[derive(Debug, Default)]
pub(super) struct NodeAddresses {
    ranges: Vec<IpNet>,
    /// Whether every node has an address of each family.
    families: [Truth; 2],
    /// Atoms that are addresses of nodes.
    surely: FixedBitSet,
    /// Atoms that may be addresses of nodes.
    perhaps: FixedBitSet,
    /// Atoms that contain known addresses, or overlap known ranges, of nodes. This does not depend on whether the
    /// address space is divided at the addresses of nodes.
    known: FixedBitSet,
}

/// Returns the blocks at which the address space must be divided, so that each atom is completely inside or
/// completely outside the ranges of nodes.
pub(super) fn blocks(nodes: &[Node], ranges: &[IpNet]) -> Vec<IpBlock> {
    known_nets(nodes, ranges).map(|net| IpBlock::new(net, [])).collect()
}

fn known_nets<'a>(nodes: &'a [Node], ranges: &'a [IpNet]) -> impl Iterator<Item = IpNet> + use<'a> {
    let addresses = nodes.iter().flat_map(|node| node.addresses.iter().chain(&node.external_addresses));
    addresses.map(|address| IpNet::from(*address)).chain(ranges.iter().copied())
}

impl NodeAddresses {
    /// Finds the addresses of these nodes, and of other nodes in the ranges. If a policy names nodes, the space must
    /// be divided at the [`blocks`].
    pub(super) fn new(space: &AddressSpace, nodes: &[Node], ranges: Vec<IpNet>) -> Self {
        let none = FixedBitSet::with_capacity(space.atoms().len());
        let (mut surely, mut perhaps) = (none.clone(), none);
        if ranges.is_empty() {
            perhaps.insert_range(..);
        }
        for range in &ranges {
            let block = IpBlock::new(*range, []);
            space.atoms_of(&block).ranges().for_each(|range| perhaps.insert_range(range));
        }
        for node in nodes {
            surely.extend(node.addresses.iter().filter_map(|at| space.atom(*at)).map(AtomId::index));
            // The specification does not say whether `nodes` includes addresses that are translated on the way.
            perhaps
                .extend(node.external_addresses.iter().filter_map(|at| space.atom(*at)).map(AtomId::index));
        }
        let mut known = FixedBitSet::with_capacity(space.atoms().len());
        for net in known_nets(nodes, &ranges) {
            let ends = [net.network(), net.broadcast()].map(|end| space.atom(end).map(AtomId::index));
            if let [Some(first), Some(last)] = ends {
                known.insert_range(first..last + 1);
            }
        }
        let families = IpFamily::ALL.map(|family| of_every_node(family, nodes, &ranges));
        Self { ranges, families, surely, perhaps, known }
    }

    /// Returns the ranges that contain all addresses of nodes. Empty if no ranges are known.
    pub(super) fn ranges(&self) -> &[IpNet] {
        &self.ranges
    }

    /// Returns whether every node has an address of a family.
    pub(super) fn has_family(&self, family: IpFamily) -> Truth {
        family.pick(self.families)
    }

    /// Returns whether an atom contains known addresses, or overlaps known ranges, of nodes.
    pub(super) fn touch(&self, atom: AtomId) -> bool {
        self.known.contains(atom.index())
    }

    /// Returns whether the addresses of an atom are addresses of nodes. Valid only if a policy names nodes.
    pub(super) fn hold(&self, atom: AtomId) -> Truth {
        Truth::of(self.surely.contains(atom.index()), self.perhaps.contains(atom.index()))
    }
}

fn of_every_node(family: IpFamily, nodes: &[Node], ranges: &[IpNet]) -> Truth {
    if ranges.is_empty() {
        Truth::Perhaps
    } else if !ranges.iter().any(|range| IpFamily::of(range.addr()) == family) {
        Truth::No
    } else if nodes.iter().any(|node| node.lacks(family)) {
        Truth::Perhaps
    } else {
        Truth::Yes
    }
}
