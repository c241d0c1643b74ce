//! Where nodes have their addresses: what rules about nodes mean for the address space.

use fixedbitset::FixedBitSet;
use ipnet::IpNet;

use super::address::{AddressSpace, AtomId, IpBlock, IpFamily};
use super::class::HasFamily;
use super::cluster_policy::{ClusterPeer, ClusterPolicy};
use super::model::Node;
use super::rule_peers::Held;

/// Where nodes have their addresses, as far as that is known.
#[derive(Debug)]
pub(super) struct NodeAddresses {
    ranges: Vec<IpNet>,
    /// Whether every node has an address of a family.
    families: [HasFamily; 2],
    /// The parts of the address space that are an address of a node.
    surely: FixedBitSet,
    /// The parts in which nodes may have addresses.
    perhaps: FixedBitSet,
    /// The parts in which the known addresses and ranges of nodes are, also where the space is not cut by them.
    known: FixedBitSet,
}

/// The blocks by which the address space is cut, so that each part is in the ranges of nodes as a whole or not at
/// all. None where no policy names nodes: each part is evaluated for every workload.
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
    /// The addresses of these nodes, and of others in the ranges. The space has been cut by [`blocks`] if a policy
    /// names nodes.
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
            // Whether `nodes` means an address that is translated on the way is not specified.
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

    /// Ranges that hold all addresses of nodes; empty if these are not known.
    pub(super) fn ranges(&self) -> &[IpNet] {
        &self.ranges
    }

    /// Whether every node has an address of a family.
    pub(super) fn has_family(&self, family: IpFamily) -> HasFamily {
        let [v4, v6] = self.families;
        match family {
            IpFamily::V4 => v4,
            IpFamily::V6 => v6,
        }
    }

    /// Whether a part has addresses that are known to be, or that may be, those of nodes.
    pub(super) fn touch(&self, atom: AtomId) -> bool {
        self.known.contains(atom.index())
    }

    /// How surely the addresses of a part are those of nodes. To be asked only where a policy names nodes.
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
