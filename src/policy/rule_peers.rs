//! The peers of a rule: whether they match a group for certain.

use fixedbitset::FixedBitSet;

use super::address::{AtomId, IpFamily};
use super::bounds::Truth;
use super::class::{Class, ClassId, Membership};
use super::ends::Group;
use super::engine::Engine;
use super::matcher::CompiledPeer;
use super::ordered::{OrderedRule, PeerId};
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
    pub(super) fn ports(self, rule: &OrderedRule, remote: Group) -> HeldPorts {
        let Self { engine, subject, .. } = self;
        match self.direction {
            Direction::Ingress => HeldPorts::of(&rule.ports, &subject.ports),
            Direction::Egress => {
                let remote = remote.class().map(|class| &engine.classes[class]);
                let ports = HeldPorts::of(&rule.ports, remote.map_or(&[], |class| &class.ports));
                if remote.is_some_and(|class| self.may_be_node(class)) { ports.on_host() } else { ports }
            }
        }
    }
}

/// Whether the peers of a rule match a remote end, by kind of peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HeldByPeers {
    /// Match by any peer other than an `ipBlock`, or because the rule names no peers.
    pub(super) by_selector: Truth,
    pub(super) by_block: Truth,
}

impl HeldByPeers {
    /// Returns the more certain of the two matches.
    pub(super) fn any(self) -> Truth {
        self.by_selector.max(self.by_block)
    }
}

/// The peers of a rule, combined into sets. So a query about a remote end does not have to go through all peers.
#[derive(Debug, Default)]
pub(super) struct RulePeers {
    /// Whether everything matches: `Yes` if the rule names no peers, `Perhaps` if it has domain names.
    anything: Truth,
    /// Classes that selectors match for certain.
    surely: FixedBitSet,
    /// Classes that selectors may match.
    perhaps: FixedBitSet,
    /// Atoms that blocks contain.
    atoms: FixedBitSet,
    /// Whether any one block contains an unknown address of each `AddressSet`, by the index of the set.
    among: Vec<Truth>,
    /// Whether nodes match.
    nodes: Truth,
}

impl RulePeers {
    /// Combines the peers of a rule. `None` matches everything.
    pub(super) fn new(engine: &Engine, peers: Option<&[PeerId]>) -> Self {
        let Some(peers) = peers else { return Self { anything: Truth::Yes, ..Self::default() } };
        let mut all = Self {
            surely: FixedBitSet::with_capacity(engine.classes.len()),
            perhaps: FixedBitSet::with_capacity(engine.classes.len()),
            atoms: FixedBitSet::with_capacity(engine.space.atoms().len()),
            ..Self::default()
        };
        for id in peers {
            match engine.peer(*id) {
                CompiledPeer::Pods(classes) => {
                    all.surely.union_with(&classes.surely);
                    all.perhaps.extend(classes.perhaps.keys().copied());
                }
                CompiledPeer::IpBlock(_, atoms) => {
                    atoms.inside.ranges().for_each(|range| all.atoms.insert_range(range));
                    all.among.resize(atoms.among.len(), Truth::No);
                    for (most, covered) in all.among.iter_mut().zip(&atoms.among) {
                        *most = (*most).max(*covered);
                    }
                }
                CompiledPeer::Nodes(are_all) => all.nodes = all.nodes.max(*are_all),
                CompiledPeer::DomainNames => all.anything = Truth::Perhaps,
            }
        }
        all
    }

    /// Returns whether the peers match the ends of a group.
    pub(super) fn hold(&self, view: View<'_>, group: Group) -> HeldByPeers {
        match group {
            Group::Pods(class) => self.hold_pods(view, class),
            Group::External(atom) => self.hold_outside(view.engine, atom),
        }
    }

    fn hold_pods(&self, view: View<'_>, id: ClassId) -> HeldByPeers {
        let class = &view.engine.classes[id];
        let is_selected = self.surely.contains(id.index());
        let may_be_selected = is_selected || self.perhaps.contains(id.index());
        let selected = Truth::of(is_selected && !view.may_be_node(class), may_be_selected);
        // Pods with `hostNetwork` have the addresses of their nodes.
        let node = self.nodes.min(Truth::of(class.host_network, false));
        let by_block = match class.membership(view.family) {
            Membership::In(atom) => Truth::of(self.atoms.contains(atom.index()), false),
            // A rule without blocks has no entries in `among`.
            Membership::Among(set) | Membership::Perhaps(set) => {
                self.among.get(set.index()).copied().unwrap_or_default()
            }
            Membership::NoAddress => Truth::No,
        };
        HeldByPeers { by_selector: self.anything.max(selected).max(node), by_block }
    }

    /// Returns whether the peers match a part of the address space, which may contain addresses of nodes.
    fn hold_outside(&self, engine: &Engine, atom: AtomId) -> HeldByPeers {
        let node = if self.nodes == Truth::No { Truth::No } else { engine.node_addresses.hold(atom) };
        HeldByPeers {
            by_selector: self.anything.max(node.min(self.nodes)),
            by_block: Truth::of(self.atoms.contains(atom.index()), false),
        }
    }

    /// Returns the groups that the peers may match: all classes, and some parts of the address space.
    pub(super) fn groups(&self, engine: &Engine) -> Vec<Group> {
        let classes = engine.classes.ids().map(Group::Pods);
        match self.anything.max(self.nodes) != Truth::No {
            true => classes.chain(engine.space.atoms().ids().map(Group::External)).collect(),
            false => classes.chain(self.atoms.ones().map(AtomId::new).map(Group::External)).collect(),
        }
    }
}
