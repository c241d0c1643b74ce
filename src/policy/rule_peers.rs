//! The peers of a rule: how surely they hold all pods of a class, or a part of the address space.

use fixedbitset::FixedBitSet;

use super::address::AtomId;
use super::class::{Class, ClassId, Membership};
use super::compiled::{CompiledPeer, Coverage, PeerId};
use super::engine::Engine;
use super::row::View;

/// As what pods with `hostNetwork` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    /// As pods: the reading under which one of them is a subject itself.
    Pods,
    /// As pods or as their nodes.
    Either,
}

impl Hosts {
    /// As what they count beside a subject. Where a subject with `hostNetwork` counts as its node, no policy
    /// applies to it, so its rules are those of the other reading.
    pub(super) fn beside(subject: &Class) -> Self {
        if subject.host_network { Self::Pods } else { Self::Either }
    }

    /// Whether the names of ports are resolved on the pods of a class for certain.
    pub(super) fn resolve_names_on(self, class: &Class) -> bool {
        self == Self::Pods || !class.host_network
    }
}

/// How surely a rule holds a remote end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    Perhaps,
    Surely,
}

impl Held {
    pub(super) fn of(surely: bool, perhaps: bool) -> Option<Self> {
        if surely { Some(Self::Surely) } else { perhaps.then_some(Self::Perhaps) }
    }
}

/// How surely the peers of a rule hold a remote end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HeldByPeers {
    /// By anything but a block of addresses, or because the rule names no peers.
    pub(super) by_selector: Option<Held>,
    pub(super) by_block: Option<Held>,
}

impl HeldByPeers {
    /// By whatever holds it.
    pub(super) fn any(self) -> Option<Held> {
        self.by_selector.max(self.by_block)
    }
}

/// The peers of a rule, added up once, so that no question about a remote end goes through all of them.
#[derive(Debug, Default)]
pub(super) struct RulePeers {
    /// The rule names no peers.
    everybody: bool,
    /// The classes that selectors match whatever is not known, and those that they match perhaps.
    surely: FixedBitSet,
    perhaps: FixedBitSet,
    /// The parts of the address space in blocks.
    atoms: FixedBitSet,
    /// Of each set of parts in which an address may be: how much of it the block has that has most of it.
    among: Vec<Coverage>,
    nodes: bool,
    some_nodes: bool,
    domain_names: bool,
}

impl RulePeers {
    /// Adds up peers, `None` being everybody.
    pub(super) fn new(engine: &Engine, peers: Option<&[PeerId]>) -> Self {
        let Some(peers) = peers else { return Self { everybody: true, ..Self::default() } };
        let mut all = Self {
            surely: FixedBitSet::with_capacity(engine.classes.len()),
            perhaps: FixedBitSet::with_capacity(engine.classes.len()),
            atoms: FixedBitSet::with_capacity(engine.space.atoms().len()),
            ..Self::default()
        };
        for id in peers {
            match &engine.peers[*id] {
                CompiledPeer::Pods(classes) => {
                    all.surely.union_with(&classes.surely);
                    all.perhaps.extend(classes.perhaps.keys().copied());
                }
                CompiledPeer::IpBlock(_, atoms) => {
                    atoms.ranges().for_each(|range| all.atoms.insert_range(range));
                    all.among.resize(atoms.among().len(), Coverage::None);
                    for (most, covered) in all.among.iter_mut().zip(atoms.among()) {
                        *most = (*most).max(*covered);
                    }
                }
                CompiledPeer::Nodes => all.nodes = true,
                CompiledPeer::SomeNodes => all.some_nodes = true,
                CompiledPeer::DomainNames => all.domain_names = true,
            }
        }
        all
    }

    /// How surely they hold the pods of a class.
    pub(super) fn hold(&self, view: View<'_>, id: ClassId) -> HeldByPeers {
        let View { engine, family, hosts } = view;
        let class = &engine.classes[id];
        // Pods with `hostNetwork` have the addresses of their nodes.
        let is_host = class.host_network;
        let is_surely_selected = self.surely.contains(id.index()) && (!is_host || hosts == Hosts::Pods);
        let is_selected = self.surely.contains(id.index()) || self.perhaps.contains(id.index());
        let surely = self.everybody || is_surely_selected || (is_host && self.nodes);
        let perhaps = is_selected || (is_host && self.some_nodes) || self.domain_names;
        let by_block = match class.membership(family) {
            Membership::In(atom) => self.atoms.contains(atom.index()).then_some(Held::Surely),
            Membership::Among(set) | Membership::Perhaps(set) => match self.among.get(set.index()) {
                Some(Coverage::All) => Some(Held::Surely),
                Some(Coverage::Some) => Some(Held::Perhaps),
                // Without blocks there is no coverage of anything.
                Some(Coverage::None) | None => None,
            },
            Membership::NoAddress => None,
        };
        HeldByPeers { by_selector: Held::of(surely, perhaps), by_block }
    }

    /// How surely they hold a part of the address space, nodes included.
    pub(super) fn hold_outside(&self, engine: &Engine, atom: AtomId) -> HeldByPeers {
        let node = if self.nodes || self.some_nodes { engine.node_addresses.hold(atom) } else { None };
        let is_node = self.nodes && node == Some(Held::Surely);
        HeldByPeers {
            by_selector: Held::of(self.everybody || is_node, self.domain_names || node.is_some()),
            by_block: self.atoms.contains(atom.index()).then_some(Held::Surely),
        }
    }

    /// The parts of the address space that they may hold.
    pub(super) fn atoms(&self, engine: &Engine) -> Vec<AtomId> {
        match self.everybody || self.domain_names || self.nodes || self.some_nodes {
            true => engine.space.atoms().ids().collect(),
            false => self.atoms.ones().map(AtomId::new).collect(),
        }
    }
}
