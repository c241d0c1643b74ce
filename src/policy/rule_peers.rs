//! The peers of a rule: how surely they hold all pods of a class, or a part of the address space.

use super::address::{AtomId, IpFamily};
use super::class::ClassId;
use super::compiled::{CompiledPeer, Coverage, Matched, PeerId};
use super::engine::Engine;

/// How surely a rule holds a remote end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    Perhaps,
    Surely,
}

/// How surely the peers of a rule hold a remote end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HeldByPeers {
    /// By anything but a block of addresses, or because the rule names no peers.
    pub(super) by_selector: Option<Held>,
    pub(super) by_block: Option<Held>,
}

impl HeldByPeers {
    /// By any of them, `None` being everybody; `how` says it of a peer.
    fn of(engine: &Engine, peers: Option<&[PeerId]>, how: impl Fn(&CompiledPeer) -> Option<Held>) -> Self {
        let Some(peers) = peers else {
            return Self { by_selector: Some(Held::Surely), by_block: None };
        };
        peers.iter().fold(Self::default(), |all, id| {
            let peer = &engine.peers[*id];
            let held = how(peer);
            match peer {
                CompiledPeer::IpBlock(..) => Self { by_block: all.by_block.max(held), ..all },
                CompiledPeer::Pods(_)
                | CompiledPeer::Nodes
                | CompiledPeer::SomeNodes
                | CompiledPeer::DomainNames => Self { by_selector: all.by_selector.max(held), ..all },
            }
        })
    }

    /// By whatever holds it.
    pub(super) fn any(self) -> Option<Held> {
        self.by_selector.max(self.by_block)
    }
}

/// How surely `peers` hold the pods of a class.
pub(super) fn held(engine: &Engine, peers: Option<&[PeerId]>, id: ClassId, family: IpFamily) -> HeldByPeers {
    let class = &engine.classes[id];
    HeldByPeers::of(engine, peers, |peer| match peer {
        CompiledPeer::Pods(classes) => classes.of(id).map(|matched| match matched {
            Matched::Surely if !class.host_network => Held::Surely,
            Matched::Surely | Matched::Perhaps(_) => Held::Perhaps,
        }),
        CompiledPeer::IpBlock(_, atoms) => match class.coverage(family, atoms) {
            Coverage::All => Some(Held::Surely),
            Coverage::Some => Some(Held::Perhaps),
            Coverage::None => None,
        },
        // They have the addresses of their nodes.
        CompiledPeer::Nodes => class.host_network.then_some(Held::Surely),
        CompiledPeer::SomeNodes => class.host_network.then_some(Held::Perhaps),
        CompiledPeer::DomainNames => Some(Held::Perhaps),
    })
}

/// How surely `peers` hold a part of the address space outside the cluster.
pub(super) fn held_outside(engine: &Engine, peers: Option<&[PeerId]>, atom: AtomId) -> HeldByPeers {
    HeldByPeers::of(engine, peers, |peer| match peer {
        CompiledPeer::Pods(_) | CompiledPeer::Nodes | CompiledPeer::SomeNodes => None,
        CompiledPeer::IpBlock(_, atoms) => atoms.contains(atom).then_some(Held::Surely),
        CompiledPeer::DomainNames => Some(Held::Perhaps),
    })
}
