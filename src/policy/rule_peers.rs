//! The peers of a rule: whether they match a group for certain.

use fixedbitset::FixedBitSet;

use super::address::{AtomId, IpFamily};
use super::bounds::Held;
use super::class::{Class, ClassId, Membership};
use super::compiled::{CompiledPeer, CompiledRule, PeerId};
use super::coverage::Coverage;
use super::ends::GroupKind;
use super::engine::Engine;
use super::rule::Direction;
use super::rule_ports::HeldPorts;

/// The subject, direction and family for which rules are evaluated.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) engine: &'a Engine,
    pub(super) subject: &'a Class,
    pub(super) direction: Direction,
    pub(super) family: IpFamily,
}

impl View<'_> {
    /// Returns whether a remote pod may count as its node. If the subject has `hostNetwork` too, its rules apply only
    /// in the reading in which both count as pods. In the other reading, no policy applies to the subject.
    fn may_be_node(self, remote: &Class) -> bool {
        remote.host_network && !self.subject.host_network
    }

    /// Returns the ports of a rule between the subject and a group.
    pub(super) fn ports(self, rule: &CompiledRule, remote: GroupKind) -> HeldPorts {
        let receiver = match (self.direction, remote) {
            (Direction::Ingress, _) => Some(self.subject),
            (Direction::Egress, GroupKind::Pods(class)) => Some(&self.engine.classes[class]),
            (Direction::Egress, GroupKind::External(_)) => None,
        };
        let ports = HeldPorts::of(&rule.ports, receiver.map_or(&[], |class| &class.ports));
        match (self.direction, receiver) {
            (Direction::Egress, Some(class)) if self.may_be_node(class) => ports.on_host(),
            (Direction::Egress | Direction::Ingress, _) => ports,
        }
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
                    atoms.inside.ranges().for_each(|range| all.atoms.insert_range(range));
                    all.among.resize(atoms.among.len(), Coverage::None);
                    for (most, covered) in all.among.iter_mut().zip(&atoms.among) {
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

    /// Returns whether the peers match the ends of a group.
    pub(super) fn hold(&self, view: View<'_>, group: GroupKind) -> HeldByPeers {
        match group {
            GroupKind::Pods(class) => self.hold_pods(view, class),
            GroupKind::External(atom) => self.hold_outside(view.engine, atom),
        }
    }

    fn hold_pods(&self, view: View<'_>, id: ClassId) -> HeldByPeers {
        let class = &view.engine.classes[id];
        // Pods with `hostNetwork` have the addresses of their nodes.
        let is_host = class.host_network;
        let is_surely_selected = self.surely.contains(id.index()) && !view.may_be_node(class);
        let is_selected = self.surely.contains(id.index()) || self.perhaps.contains(id.index());
        let surely = self.everybody || is_surely_selected || (is_host && self.nodes);
        let perhaps = is_selected || (is_host && self.some_nodes) || self.domain_names;
        let by_block = match class.membership(view.family) {
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
    fn hold_outside(&self, engine: &Engine, atom: AtomId) -> HeldByPeers {
        let node = if self.nodes || self.some_nodes { engine.node_addresses.hold(atom) } else { None };
        let is_node = self.nodes && node == Some(Held::Surely);
        HeldByPeers {
            by_selector: Held::of(self.everybody || is_node, self.domain_names || node.is_some()),
            by_block: self.atoms.contains(atom.index()).then_some(Held::Surely),
        }
    }

    /// Returns the groups that the peers may match: all classes, and some parts of the address space.
    pub(super) fn groups(&self, engine: &Engine) -> Vec<GroupKind> {
        let classes = engine.classes.ids().map(GroupKind::Pods);
        match self.everybody || self.domain_names || self.nodes || self.some_nodes {
            true => classes.chain(engine.space.atoms().ids().map(GroupKind::External)).collect(),
            false => classes.chain(self.atoms.ones().map(AtomId::new).map(GroupKind::External)).collect(),
        }
    }
}
