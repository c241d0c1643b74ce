//! Addresses of nodes: which parts of the address space a rule about nodes matches.

use fixedbitset::FixedBitSet;
use ipnet::IpNet;

use super::address::{AddressSpace, AtomId, IpBlock, IpFamily};
use super::class::HasFamily;
use super::cluster_policy::{ClusterPeer, ClusterPolicy};
use super::model::Node;
use super::rule_peers::Held;

/// Addresses of nodes, as far as known.
#[derive(Debug)]
pub(super) struct NodeAddresses {
    ranges: Vec<IpNet>,
    /// Whether every node has an address of each family.
    families: [HasFamily; 2],
    /// Atoms that are addresses of nodes.
    surely: FixedBitSet,
    /// Atoms that may be addresses of nodes.
    perhaps: FixedBitSet,
    /// Atoms that contain known addresses, or overlap known ranges, of nodes. This does not depend on whether the
    /// address space is divided at the addresses of nodes.
    known: FixedBitSet,
}

/// Returns the blocks at which the address space must be divided, so that each atom is completely inside or
/// completely outside the ranges of nodes. Empty if no policy names nodes: atoms are costly, because each atom is
/// evaluated for every workload.
pub(super) fn blocks(nodes: &[Node], ranges: &[IpNet], policies: &[ClusterPolicy]) -> Vec<IpBlock> {
    let is_nodes = |peer: &ClusterPeer| match peer {
        ClusterPeer::Nodes(_) => true,
        ClusterPeer::Pods(_) | ClusterPeer::Network(_) | ClusterPeer::DomainNames(_) => false,
    };
    if !policies.iter().flat_map(ClusterPolicy::peers).any(is_nodes) {
        return Vec::new();
    }
    let addresses = nodes.iter().flat_map(|node| node.addresses.iter().chain(&node.external_addresses));
    let nets = addresses.map(|address| IpNet::from(*address)).chain(ranges.iter().copied());
    nets.map(|net| IpBlock::new(net, [])).collect()
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
        let addresses = nodes.iter().flat_map(|node| node.addresses.iter().chain(&node.external_addresses));
        for net in addresses.map(|address| IpNet::from(*address)).chain(ranges.iter().copied()) {
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
    pub(super) fn has_family(&self, family: IpFamily) -> HasFamily {
        let [v4, v6] = self.families;
        match family {
            IpFamily::V4 => v4,
            IpFamily::V6 => v6,
        }
    }

    /// Returns whether an atom contains known addresses, or overlaps known ranges, of nodes.
    pub(super) fn touch(&self, atom: AtomId) -> bool {
        self.known.contains(atom.index())
    }

    /// Returns whether the addresses of an atom are addresses of nodes. Valid only if a policy names nodes.
    pub(super) fn hold(&self, atom: AtomId) -> Option<Held> {
        Held::of(self.surely.contains(atom.index()), self.perhaps.contains(atom.index()))
    }
}

fn of_every_node(family: IpFamily, nodes: &[Node], ranges: &[IpNet]) -> HasFamily {
    let lacks_it = |node: &Node| !node.addresses.is_empty() && node.address(family).is_none();
    if ranges.is_empty() {
        HasFamily::Perhaps
    } else if !ranges.iter().any(|range| IpFamily::of(range.addr()) == family) {
        HasFamily::No
    } else if nodes.iter().any(lacks_it) {
        HasFamily::Perhaps
    } else {
        HasFamily::Yes
    }
}
