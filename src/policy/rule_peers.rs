//! The peers of a rule: whether they match a class, or a part of the address space, for certain.

use fixedbitset::FixedBitSet;

use super::address::AtomId;
use super::class::{Class, ClassId, Membership};
use super::compiled::{CompiledPeer, Coverage, PeerId};
use super::engine::Engine;
use super::row::View;

/// How remote pods with `hostNetwork` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    /// As pods. This is the reading in which a subject with `hostNetwork` counts as a pod itself.
    Pods,
    /// As pods or as their nodes: both readings are possible.
    Either,
}

impl Hosts {
    /// Returns how remote pods with `hostNetwork` count for a subject. If the subject has `hostNetwork` too, its
    /// rules apply only in the reading in which it counts as a pod. In the other reading, no policy applies to it.
    pub(super) fn beside(subject: &Class) -> Self {
        if subject.host_network { Self::Pods } else { Self::Either }
    }

    /// Returns whether port names are resolved on the pods of a class for certain.
    pub(super) fn resolve_names_on(self, class: &Class) -> bool {
        self == Self::Pods || !class.host_network
    }
}

/// Whether a match of a remote end is certain.
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

/// Whether the peers of a rule match a remote end, by kind of peer. `None` if they do not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HeldByPeers {
    /// Match by any peer other than an `ipBlock`, or because the rule names no peers.
    pub(super) by_selector: Option<Held>,
    pub(super) by_block: Option<Held>,
}

impl HeldByPeers {
    /// Returns the more certain of the two matches.
    pub(super) fn any(self) -> Option<Held> {
        self.by_selector.max(self.by_block)
    }
}

/// The peers of a rule, combined into sets. So a query about a remote end does not have to go through all peers.
#[derive(Debug, Default)]
pub(super) struct RulePeers {
    /// Whether the rule names no peers.
    everybody: bool,
    /// Classes that selectors match for certain.
    surely: FixedBitSet,
    /// Classes that selectors may match.
    perhaps: FixedBitSet,
    /// Atoms that blocks contain.
    atoms: FixedBitSet,
    /// The largest coverage that any one block has of each `AddressSet`, by the index of the set.
    among: Vec<Coverage>,
    nodes: bool,
    some_nodes: bool,
    domain_names: bool,
}

impl RulePeers {
    /// Combines the peers of a rule. `None` matches everything.
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

    /// Returns whether the peers match the pods of a class.
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
                // A rule without blocks has no entries in `among`.
                Some(Coverage::None) | None => None,
            },
            Membership::NoAddress => None,
        };
        HeldByPeers { by_selector: Held::of(surely, perhaps), by_block }
    }

    /// Returns whether the peers match a part of the address space, which may contain addresses of nodes.
    pub(super) fn hold_outside(&self, engine: &Engine, atom: AtomId) -> HeldByPeers {
        let node = if self.nodes || self.some_nodes { engine.node_addresses.hold(atom) } else { None };
        let is_node = self.nodes && node == Some(Held::Surely);
        HeldByPeers {
            by_selector: Held::of(self.everybody || is_node, self.domain_names || node.is_some()),
            by_block: self.atoms.contains(atom.index()).then_some(Held::Surely),
        }
    }

    /// Returns the parts of the address space that the peers may match.
    pub(super) fn atoms(&self, engine: &Engine) -> Vec<AtomId> {
        match self.everybody || self.domain_names || self.nodes || self.some_nodes {
            true => engine.space.atoms().ids().collect(),
            false => self.atoms.ones().map(AtomId::new).collect(),
        }
    }
}
