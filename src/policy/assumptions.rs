//! The unknown facts on which the connections of two ends depend.
//!
//! They are computed only for pairs with undefined connections. So the sets of connections do not have to store them.

use std::collections::BTreeSet;

use super::address::IpFamily;
use super::bounds::Truth;
use super::class::Class;
use super::ends::Group;
use super::engine::Engine;
use super::matched::{CompiledPeer, Matched};
use super::ordered::PeerId;
use super::port::Connections;
use super::rule::Direction;
use super::rule_ports::HeldPorts;
use super::unknown::{Facts, FactsId, UnknownFacts};

impl Engine {
    /// Returns the unknown facts that may decide which of the `undefined` connections to or from a remote end the
    /// policies of a class allow.
    pub(super) fn assumptions(
        &self,
        subject: Group,
        direction: Direction,
        remote: Group,
        undefined: &Connections,
    ) -> UnknownFacts {
        let Group::Pods(own) = subject else { return UnknownFacts::new() };
        let receiver = match direction {
            Direction::Ingress => Some(own),
            Direction::Egress => remote.cohort(),
        };
        let receiver = receiver.map_or(&[][..], |cohort| self.ports_of(self.class(cohort)));
        let families = match direction {
            Direction::Egress => self.unknown_families(subject, remote),
            Direction::Ingress => self.unknown_families(remote, subject),
        };
        let selecting = self.selecting(self.class(own), direction);
        let mut found: BTreeSet<_> = selecting.iter().filter_map(|each| each.how.facts()).collect();
        for rule in selecting.iter().flat_map(|each| self.rules(each.policy, direction)).map(|rule| rule.rule)
        {
            let peers = rule.peers.iter().flatten();
            let mut facts: BTreeSet<_> =
                peers.flat_map(|peer| self.of_peer(*peer, remote, &families)).collect();
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
        if common.contains(&Truth::No) || !common.contains(&Truth::Perhaps) {
            return Vec::new();
        }
        let is_open = |class: &Class| {
            IpFamily::ALL.into_iter().any(|family| class.has_family(family) == Truth::Perhaps)
        };
        let cohorts = [source, destination].into_iter().filter_map(Group::cohort);
        let open = cohorts.map(|cohort| self.class(cohort)).filter(|class| is_open(class));
        open.map(|class| self.unknown_addresses(class)).collect()
    }

    /// Returns the unknown facts that decide whether a peer matches a remote end. A block matches in one family only,
    /// so the facts about `families` are included if it may match.
    fn of_peer(&self, id: PeerId, remote: Group, families: &[FactsId]) -> Vec<FactsId> {
        let Facts { node_addresses, node_labels, domain_names, .. } = self.facts;
        match (self.peer(id), remote) {
            (CompiledPeer::Pods, Group::Pods(cohort)) => {
                self.matches(id, self.class(cohort)).and_then(Matched::facts).into_iter().collect()
            }
            (CompiledPeer::IpBlock(block, atoms), Group::Pods(cohort)) => {
                let class = self.class(cohort);
                let is_open = |family| class.coverage(family, atoms) == Truth::Perhaps;
                let own = IpFamily::ALL.into_iter().any(is_open).then(|| self.unknown_addresses(class));
                let may_match = class.coverage(block.family(), atoms) != Truth::No;
                own.into_iter().chain(families.iter().copied().filter(|_| may_match)).collect()
            }
            (CompiledPeer::Pods | CompiledPeer::IpBlock(..), Group::External(_)) => Vec::new(),
            (CompiledPeer::Nodes(are_all), remote) => {
                let is_node = match remote {
                    Group::Pods(cohort) => Truth::of(self.class(cohort).host_network, false),
                    Group::External(atom) => self.node_addresses.hold(atom),
                };
                let addresses = (is_node == Truth::Perhaps).then_some(node_addresses);
                let needs_labels = is_node != Truth::No && *are_all == Truth::Perhaps;
                addresses.into_iter().chain(needs_labels.then_some(node_labels)).collect()
            }
            (CompiledPeer::DomainNames, _) => vec![domain_names],
        }
    }

    /// Returns the unknown fact that decides whether a block contains the addresses of a class.
    fn unknown_addresses(&self, class: &Class) -> FactsId {
        if class.host_network { self.facts.node_addresses } else { self.facts.pod_addresses }
    }
}
