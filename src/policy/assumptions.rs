//! The facts that are not known and on which the connections of two ends depend.
//!
//! Asked only about pairs that have something undefined, so that the sets themselves need not carry it.

use std::collections::BTreeSet;

use super::address::IpFamily;
use super::class::{Class, ClassId};
use super::compiled::{CompiledPeer, CompiledRule, Coverage, FactsId, Matched};
use super::engine::Engine;
use super::model::Direction;
use super::port::Connections;
use super::reach::{Group, GroupKind};
use super::rule_ports::HeldPorts;
use super::unknown::UnknownFacts;

impl Engine {
    /// The facts that are not known and on which it may depend which of the `undefined` connections the policies of
    /// a class allow, towards a remote end.
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
        let mut found = self.of_selection(subject, direction);
        for rule in self.rules_about(subject, direction) {
            let mut facts = self.of_rule(rule, remote);
            facts.retain(|facts| !found.contains(facts));
            // Ports last: of thousands of rules few add a fact that others did not.
            let matters = || !HeldPorts::of(&rule.ports, receiver).all().intersection(undefined).is_empty();
            if !facts.is_empty() && matters() {
                found.extend(facts);
            }
        }
        found.into_iter().flat_map(|facts| self.facts.get(facts)).cloned().collect()
    }

    /// The facts on which it depends which policies select a class.
    fn of_selection(&self, subject: ClassId, direction: Direction) -> BTreeSet<FactsId> {
        let isolating = self.isolating(subject, direction).perhaps.iter().map(|(_, facts)| *facts);
        let tiers = self.cluster_policies(subject, direction).filter_map(|policy| match policy.selects {
            Matched::Surely => None,
            Matched::Perhaps(facts) => Some(facts),
        });
        isolating.chain(tiers).collect()
    }

    /// The rules of all policies that select a class, or perhaps do.
    fn rules_about(&self, subject: ClassId, direction: Direction) -> impl Iterator<Item = &CompiledRule> {
        let policies =
            self.isolating(subject, direction).all().map(move |id| self.policies[id].rules(direction));
        let tiers = self.cluster_policies(subject, direction);
        let tiers = tiers.map(move |policy| self.cluster_policies[policy.id].rules(direction));
        policies.chain(tiers).flatten()
    }

    /// The facts on which it depends whether a rule matches a remote end.
    fn of_rule(&self, rule: &CompiledRule, remote: Group) -> BTreeSet<FactsId> {
        let peers = rule.peers.iter().flatten().map(|peer| &self.peers[*peer]);
        let facts = peers.filter_map(|peer| match (remote.0, peer) {
            (GroupKind::Pods(class), peer) => self.of_peer(peer, class),
            (GroupKind::External(_), CompiledPeer::DomainNames) => Some(self.facts.domain_names),
            (
                GroupKind::External(_),
                CompiledPeer::Pods(_)
                | CompiledPeer::IpBlock(..)
                | CompiledPeer::Nodes
                | CompiledPeer::SomeNodes,
            ) => None,
        });
        facts.collect()
    }

    fn of_peer(&self, peer: &CompiledPeer, id: ClassId) -> Option<FactsId> {
        let class = &self.classes[id];
        match peer {
            CompiledPeer::Pods(classes) => match classes.of(id)? {
                Matched::Surely => None,
                Matched::Perhaps(facts) => Some(facts),
            },
            CompiledPeer::IpBlock(_, atoms) => {
                let is_open = |family| class.coverage(family, atoms) == Coverage::Some;
                IpFamily::ALL.into_iter().any(is_open).then(|| self.unknown_addresses(class))
            }
            CompiledPeer::Nodes => None,
            CompiledPeer::SomeNodes => class.host_network.then_some(self.facts.node_labels),
            CompiledPeer::DomainNames => Some(self.facts.domain_names),
        }
    }

    /// The fact that decides whether a block holds the pods of a class.
    fn unknown_addresses(&self, class: &Class) -> FactsId {
        if class.host_network { self.facts.node_addresses } else { self.facts.pod_addresses }
    }
}
