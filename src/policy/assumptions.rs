//! The unknown facts on which the connections of two ends depend.
//!
//! They are computed only for pairs with undefined connections. So the sets of connections do not have to store them.

use std::collections::BTreeSet;

use super::address::{AtomId, IpFamily};
use super::bounds::Held;
use super::class::{Class, ClassId, HasFamily};
use super::compiled::{CompiledPeer, CompiledRule};
use super::coverage::Coverage;
use super::ends::{Group, GroupKind};
use super::engine::Engine;
use super::port::Connections;
use super::rule::Direction;
use super::rule_ports::HeldPorts;
use super::unknown::{Facts, FactsId, UnknownFacts};

impl Engine {
    /// Returns the unknown facts that may decide which of the `undefined` connections to or from a remote end the
    /// policies of a class allow.
    pub(super) fn assumptions(
        &self,
        subject: ClassId,
        direction: Direction,
        remote: Group,
        undefined: &Connections,
    ) -> UnknownFacts {
        let receiver = match (direction, remote.0) {
            (Direction::Ingress, _) => self.classes[subject].ports.as_slice(),
            (Direction::Egress, GroupKind::Pods(class)) => self.classes[class].ports.as_slice(),
            (Direction::Egress, GroupKind::External(_)) => &[],
        };
        let own = Group(GroupKind::Pods(subject));
        let families = match direction {
            Direction::Egress => self.unknown_families(own, remote),
            Direction::Ingress => self.unknown_families(remote, own),
        };
        let selecting = self.selecting(subject, direction);
        let mut found: BTreeSet<_> = selecting.iter().filter_map(|each| each.how.facts()).collect();
        for rule in selecting.iter().flat_map(|each| self.rules(each.policy, direction)).map(|rule| rule.rule)
        {
            let mut facts = self.of_rule(rule, remote, &families);
            facts.retain(|facts| !found.contains(facts));
            // Compare ports last: of thousands of rules, only a few add a new fact.
            let matters = || !HeldPorts::of(&rule.ports, receiver).all().intersection(undefined).is_empty();
            if !facts.is_empty() && matters() {
                found.extend(facts);
            }
        }
        found.into_iter().flat_map(|facts| self.facts.get(facts)).cloned().collect()
    }

    /// Returns the unknown facts that decide which families two ends have in common. Empty unless both families are
    /// possible and at least one of them is uncertain.
    fn unknown_families(&self, source: Group, destination: Group) -> Vec<FactsId> {
        let common = IpFamily::ALL.map(|family| self.common_family(source, destination, family));
        if common.contains(&HasFamily::No) || !common.contains(&HasFamily::Perhaps) {
            return Vec::new();
        }
        let is_open = |class: &Class| {
            IpFamily::ALL.into_iter().any(|family| class.has_family(family) == HasFamily::Perhaps)
        };
        let of_end = |end: Group| match end.0 {
            GroupKind::Pods(class) => Some(&self.classes[class]).filter(|class| is_open(class)),
            GroupKind::External(_) => None,
        };
        let open = [source, destination].into_iter().filter_map(of_end);
        open.map(|class| self.unknown_addresses(class)).collect()
    }

    /// Returns the unknown facts that decide whether a rule matches a remote end. A block matches in one family only,
    /// so the facts about `families` are included if a block may match.
    fn of_rule(&self, rule: &CompiledRule, remote: Group, families: &[FactsId]) -> BTreeSet<FactsId> {
        let mut facts = BTreeSet::new();
        for peer in rule.peers.iter().flatten().map(|peer| &self.peers[*peer]) {
            match remote.0 {
                GroupKind::Pods(class) => {
                    facts.extend(self.of_peer(peer, class));
                    if self.is_block_with(peer, class) {
                        facts.extend(families);
                    }
                }
                GroupKind::External(atom) => facts.extend(self.of_peer_outside(peer, atom)),
            }
        }
        facts
    }

    /// Returns the unknown facts that decide whether a peer matches a part of the address space.
    fn of_peer_outside(&self, peer: &CompiledPeer, atom: AtomId) -> Vec<FactsId> {
        let Facts { node_addresses, node_labels, domain_names, .. } = self.facts;
        let node = || self.node_addresses.hold(atom);
        match peer {
            CompiledPeer::Pods(_) | CompiledPeer::IpBlock(..) => Vec::new(),
            CompiledPeer::DomainNames => vec![domain_names],
            CompiledPeer::Nodes => match node() {
                None | Some(Held::Surely) => Vec::new(),
                Some(Held::Perhaps) => vec![node_addresses],
            },
            CompiledPeer::SomeNodes => match node() {
                None => Vec::new(),
                Some(Held::Surely) => vec![node_labels],
                Some(Held::Perhaps) => vec![node_addresses, node_labels],
            },
        }
    }

    fn of_peer(&self, peer: &CompiledPeer, id: ClassId) -> Option<FactsId> {
        let class = &self.classes[id];
        match peer {
            CompiledPeer::Pods(classes) => classes.of(id)?.facts(),
            CompiledPeer::IpBlock(_, atoms) => {
                let is_open = |family| class.coverage(family, atoms) == Coverage::Some;
                IpFamily::ALL.into_iter().any(is_open).then(|| self.unknown_addresses(class))
            }
            CompiledPeer::Nodes => None,
            CompiledPeer::SomeNodes => class.host_network.then_some(self.facts.node_labels),
            CompiledPeer::DomainNames => Some(self.facts.domain_names),
        }
    }

    /// Returns whether a peer is a block that may contain an address of a class.
    fn is_block_with(&self, peer: &CompiledPeer, id: ClassId) -> bool {
        match peer {
            CompiledPeer::IpBlock(block, atoms) => {
                self.classes[id].coverage(block.family(), atoms) != Coverage::None
            }
            CompiledPeer::Pods(_)
            | CompiledPeer::Nodes
            | CompiledPeer::SomeNodes
            | CompiledPeer::DomainNames => false,
        }
    }

    /// Returns the unknown fact that decides whether a block contains the addresses of a class.
    fn unknown_addresses(&self, class: &Class) -> FactsId {
        if class.host_network { self.facts.node_addresses } else { self.facts.pod_addresses }
    }
}
