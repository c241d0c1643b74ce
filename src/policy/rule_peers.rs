//! The peers of a rule: whether they match a group for certain.

use super::address::{AtomId, AtomSet, IpFamily};
use super::bounds::Truth;
use super::class::Class;
use super::ends::Group;
use super::engine::Engine;
use super::matched::{CompiledPeer, Matched};
use super::membership::Membership;
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
    pub(super) fn may_be_node(self, remote: &Class) -> bool {
        remote.host_network && !self.subject.host_network
    }

    /// Returns whether a selector of pods matches a remote class.
    fn selects(self, peer: PeerId, remote: &Class) -> Truth {
        match self.engine.matches(peer, remote) {
            Some(how) => self.certainty(how, remote),
            None => Truth::No,
        }
    }

    /// Returns how certain a match of a remote class is. No selector matches a pod that counts as its node.
    pub(super) fn certainty(self, how: Matched, remote: &Class) -> Truth {
        match how {
            Matched::Surely if !self.may_be_node(remote) => Truth::Yes,
            Matched::Surely | Matched::Perhaps(_) => Truth::Perhaps,
        }
    }

    /// Returns the ports of a rule between the subject and a group.
    pub(super) fn ports(self, rule: &OrderedRule, remote: Group) -> HeldPorts {
        let Self { engine, subject, .. } = self;
        match self.direction {
            Direction::Ingress => HeldPorts::of(&rule.ports, engine.ports_of(subject)),
            Direction::Egress => {
                let remote = remote.cohort().map(|cohort| engine.class(cohort));
                let ports = HeldPorts::of(&rule.ports, remote.map_or(&[], |class| engine.ports_of(class)));
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
    /// Selectors of pods.
    pods: Vec<PeerId>,
    /// Atoms that blocks contain.
    atoms: AtomSet,
    /// Whether any one block contains an unknown address of each `AddressSet`, by the index of the set.
    among: Vec<Truth>,
    /// Whether nodes match.
    nodes: Truth,
}

impl RulePeers {
    /// Combines the peers of a rule. `None` matches everything.
    pub(super) fn new(engine: &Engine, peers: Option<&[PeerId]>) -> Self {
        let Some(peers) = peers else { return Self { anything: Truth::Yes, ..Self::default() } };
        let mut all = Self::default();
        let mut blocks = Vec::new();
        for id in peers {
            match engine.peer(*id) {
                CompiledPeer::Pods => all.pods.push(*id),
                CompiledPeer::IpBlock(_, atoms) => {
                    blocks.push(&atoms.inside);
                    all.among.resize(atoms.among.len(), Truth::No);
                    for (most, covered) in all.among.iter_mut().zip(&atoms.among) {
                        *most = (*most).max(*covered);
                    }
                }
                CompiledPeer::Nodes(are_all) => all.nodes = all.nodes.max(*are_all),
                CompiledPeer::DomainNames => all.anything = Truth::Perhaps,
            }
        }
        all.atoms = AtomSet::union_of(blocks);
        all
    }

    /// Returns whether the peers match the ends of a group.
    pub(super) fn hold(&self, view: View<'_>, group: Group) -> HeldByPeers {
        match group {
            Group::Pods(cohort) => self.hold_pods(view, view.engine.class(cohort)),
            Group::External(atom) => self.hold_outside(view.engine, atom),
        }
    }

    fn hold_pods(&self, view: View<'_>, class: &Class) -> HeldByPeers {
        let held = |peer: &PeerId| view.selects(*peer, class);
        let selected = self.pods.iter().map(held).max().unwrap_or_default();
        // Pods with `hostNetwork` have the addresses of their nodes.
        let node = self.nodes.min(Truth::of(class.host_network, false));
        let by_block = match class.membership(view.family) {
            Membership::In(atom) => Truth::of(self.atoms.contains(atom), false),
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
            by_block: Truth::of(self.atoms.contains(atom), false),
        }
    }
}
