//! The parts (atoms) into which the blocks of all policies divide the address space, and the addresses of pods in them.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::address::{AddressSpace, AtomId, IpFamily};
use super::map::HashMap;
use super::matched::CompiledPeer;
use super::membership::{MatchedAtoms, Membership, Memberships};
use super::model::{Node, Pod};
use super::node_addresses::{self, NodeAddresses};

/// Where the addresses of pods are.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    memberships: Memberships,
    /// For each atom, the first one that is inside the same blocks.
    alike: Vec<AtomId>,
}

/// Blocks that contain the atoms are stored for no more than this count of atoms times blocks. The other atoms count as
/// different from each other, which is never wrong.
const MOST_STORED: usize = 4_000_000;

impl Cuts {
    /// Divides the address space at the blocks of these peers, and at the addresses of nodes if a peer `names_nodes`. Sets
    /// the atoms of the blocks.
    pub(super) fn cut(
        &mut self,
        peers: &mut [CompiledPeer],
        nodes: &[Node],
        node_ranges: &[IpNet],
        names_nodes: bool,
    ) -> (AddressSpace, NodeAddresses) {
        let of_nodes = match names_nodes {
            true => node_addresses::blocks(nodes, node_ranges),
            // Parts of the address space are costly, because each part is evaluated for every workload.
            false => Vec::new(),
        };
        let of_peers = peers.iter().filter_map(CompiledPeer::block);
        let blocks: Vec<_> = of_peers.chain(&of_nodes).collect();
        let space = AddressSpace::new(&blocks);
        let node_addresses = NodeAddresses::new(&space, nodes, node_ranges.to_vec());
        *self = Self::default();
        for peer in peers.iter_mut() {
            match peer {
                CompiledPeer::IpBlock(block, atoms) => *atoms = MatchedAtoms::new(space.atoms_of(block)),
                CompiledPeer::Pods | CompiledPeer::Nodes(_) | CompiledPeer::DomainNames => {}
            }
        }
        self.alike = alike(peers, &space);
        (space, node_addresses)
    }

    /// Returns the membership of a pod in each family: as far as blocks can tell it, and exactly.
    pub(super) fn membership(
        &mut self,
        pod: &Pod,
        space: &AddressSpace,
        peers: &mut [CompiledPeer],
    ) -> [[Membership; 2]; 2] {
        let (exact, is_new) = self.memberships.of(pod, space);
        if is_new {
            for peer in peers {
                match peer {
                    CompiledPeer::IpBlock(_, atoms) => atoms.extend(self.memberships.sets()),
                    CompiledPeer::Pods | CompiledPeer::Nodes(_) | CompiledPeer::DomainNames => {}
                }
            }
        }
        let told = exact.map(|membership| match membership {
            Membership::In(atom) => Membership::In(self.alike.get(atom.index()).copied().unwrap_or(atom)),
            Membership::NoAddress | Membership::Among(_) | Membership::Perhaps(_) => membership,
        });
        [told, exact]
    }
}

/// Returns, for each atom, the first one of its family that is inside the same blocks.
fn alike(peers: &[CompiledPeer], space: &AddressSpace) -> Vec<AtomId> {
    let mut edges = Vec::new();
    for (at, peer) in peers.iter().enumerate() {
        let atoms = match peer {
            CompiledPeer::IpBlock(_, atoms) => atoms,
            CompiledPeer::Pods | CompiledPeer::Nodes(_) | CompiledPeer::DomainNames => continue,
        };
        for range in atoms.inside.ranges() {
            edges.extend([(range.start, at), (range.end, at)]);
        }
    }
    edges.sort_unstable();
    let mut edges = edges.into_iter().peekable();
    let (mut inside, mut stored) = (BTreeSet::new(), 0);
    let mut first = HashMap::<(IpFamily, Vec<usize>), AtomId>::default();
    let mut alike = Vec::with_capacity(space.atoms().len());
    for (atom, range) in space.atoms().iter() {
        while let Some((_, block)) = edges.next_if(|(at, _)| *at == atom.index()) {
            // Each block begins and ends in turn.
            if !inside.remove(&block) {
                inside.insert(block);
            }
        }
        if stored > MOST_STORED {
            alike.push(atom);
            continue;
        }
        let key = (range.family(), inside.iter().copied().collect::<Vec<_>>());
        stored += key.1.len();
        alike.push(*first.entry(key).or_insert(atom));
    }
    alike
}
