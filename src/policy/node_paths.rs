//! Traffic that involves nodes: between a pod and its own node, and from outside the cluster through nodes to a
//! Service.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::address::IpFamily;
use super::bounds::{Bounds, Truth};
use super::class::Class;
use super::ends::{ConnectionsId, FromAnywhere, Group};
use super::engine::Engine;
use super::matched::{CompiledPeer, Matched, RuleRef, Selecting};
use super::ordered::OrderedRule;
use super::port::Connections;
use super::reach::Reach;
use super::rule::Direction;
use super::rule_ports::HeldPorts;
use super::tier_sets::SetWalk;
use super::unknown::UnknownFacts;

impl Reach<'_> {
    /// Returns what pods may send to their own nodes (`Egress`) or receive from them (`Ingress`), or `None` if all
    /// pods use the networks of their nodes.
    ///
    /// NetworkPolicies always allow this traffic. The specification does not say whether cluster-scoped policies can
    /// deny packets from a pod to its own node. So packets that they deny are undefined.
    pub fn own_node(&mut self, pods: &[Group], direction: Direction) -> Option<ConnectionsId> {
        let engine = self.engine;
        let classes = pods.iter().filter_map(|group| Some(engine.class(group.cohort()?)));
        let classes = classes.filter(|class| !class.host_network);
        let (mut all, mut assumptions) = (None::<Bounds>, UnknownFacts::new());
        for class in classes {
            let bounds = match direction {
                Direction::Ingress => Bounds::certain(Connections::all()),
                Direction::Egress => {
                    assumptions.extend(engine.own_node_assumptions(class));
                    self.towards_own_node(class, &mut assumptions).leaving_open(&self.node_ports)
                }
            };
            all = Some(all.map_or(bounds.clone(), |all| all.union(&bounds)));
        }
        let bounds = all?;
        Some(self.push(bounds, assumptions))
    }

    /// Returns what pods of a class may send to their own nodes, over all families that both have.
    fn towards_own_node(&mut self, class: &Class, facts: &mut UnknownFacts) -> Bounds {
        let engine = self.engine;
        let families = engine.families_of_own_node(class).map(|(family, has)| match has {
            Truth::No => None,
            Truth::Perhaps | Truth::Yes => {
                let bounds = engine.to_own_node_in(class, family);
                Some((has, self.algebra.bounds.intern(bounds)))
            }
        });
        if let [Some((v4, over_v4)), Some((v6, over_v6))] = families
            && v4.min(v6) == Truth::Perhaps
            && over_v4 != over_v6
        {
            facts.extend(engine.facts_about_own_node_families(class));
        }
        let id = self.algebra.over_families(families);
        self.algebra.bounds.arena()[id].clone()
    }

    /// Returns what every address outside may send to a group. The result is computed once for all Services that lead
    /// there.
    fn found_from_anywhere(&mut self, pods: Group) -> Arc<FromAnywhere> {
        if let Some(known) = self.from_anywhere.get(&pods) {
            return Arc::clone(known);
        }
        let mut ids = BTreeSet::new();
        for (outside, range) in self.external() {
            if self.engine.has_family(pods, range.family()) != Truth::No {
                ids.insert(self.between(&[outside], &[pods]));
            }
        }
        let found = Arc::new(FromAnywhere::new(ids.into_iter().map(|id| self.connections(id))));
        self.from_anywhere.insert(pods, Arc::clone(&found));
        found
    }

    /// Returns what reaches pods through nodes, by node ports or by a load balancer. Each group of pods comes with
    /// the ports to which a Service leads.
    ///
    /// The packets may have the client's address, or the address of any node. So only connections that are allowed
    /// from every address are certain. The rest is undefined, because a pod's own node may always send to the pod.
    pub fn through_nodes(&mut self, pods: &[(Group, Connections)]) -> ConnectionsId {
        if let Some(known) = self.through_nodes.get(pods) {
            return *known;
        }
        let (mut all, mut assumptions) = (Bounds::default(), UnknownFacts::new());
        for (pod, ports) in pods {
            let from = self.found_from_anywhere(*pod);
            for (allowed, facts) in &from.open {
                if !ports.difference(allowed).is_empty() {
                    assumptions.extend(facts.iter().cloned());
                }
            }
            let certain = ports.intersection(&from.certain);
            all = all.union(&Bounds { certain, possible: ports.clone() });
        }
        let id = self.push(all, assumptions);
        self.through_nodes.insert(pods.to_vec(), id);
        id
    }
}

impl Engine {
    /// Returns, for each family, whether pods of a class and their own nodes have it in common.
    fn families_of_own_node(&self, class: &Class) -> [(IpFamily, Truth); 2] {
        let common = IpFamily::ALL
            .map(|family| (family, class.has_family(family).min(self.node_addresses.has_family(family))));
        match common {
            // A pod always reaches its node, so the nodes have addresses that are not in the input.
            [(_, Truth::No), (_, Truth::No)] => {
                IpFamily::ALL.map(|family| (family, class.has_family(family).min(Truth::Perhaps)))
            }
            [_, _] => common,
        }
    }

    /// Returns the unknown facts that decide over which families pods of a class reach their own nodes.
    fn facts_about_own_node_families(&self, class: &Class) -> UnknownFacts {
        let of_pods = IpFamily::ALL.map(|family| class.has_family(family));
        let of_nodes = IpFamily::ALL.map(|family| self.node_addresses.has_family(family));
        let all = [(of_pods, self.facts.pod_addresses), (of_nodes, self.facts.node_addresses)];
        let open = all.into_iter().filter(|(has, _)| has.contains(&Truth::Perhaps));
        open.flat_map(|(_, facts)| self.facts.get(facts)).cloned().collect()
    }

    fn to_own_node_in(&self, class: &Class, family: IpFamily) -> Bounds {
        let policies = self.selecting(class, Direction::Egress);
        let is_isolating = |each: &Selecting| self.is_in_union(each.policy) && each.how == Matched::Surely;
        let everything = Bounds::certain(Connections::all());
        let walk = SetWalk {
            direction: Direction::Egress,
            rule: |rule: RuleRef<'_>| {
                let ports = HeldPorts::of(&rule.rule.ports, &[]).by_number;
                Some(Bounds::of(self.holds_own_node(rule.rule, family), &ports))
            },
            union: Some(everything),
            is_isolated: policies.iter().any(is_isolating),
        };
        Bounds { possible: Connections::all(), ..self.walk(&walk, policies) }
    }

    /// Returns whether a rule of a cluster-scoped policy matches a pod's own node, which may be any node.
    fn holds_own_node(&self, rule: &OrderedRule, family: IpFamily) -> Truth {
        let Some(peers) = &rule.peers else { return Truth::Yes };
        let held = peers.iter().map(|peer| match self.peer(*peer) {
            CompiledPeer::Pods => Truth::No,
            CompiledPeer::IpBlock(block, _) if block.family() != family => Truth::No,
            CompiledPeer::IpBlock(block, _) => block.coverage(self.node_addresses.ranges()),
            CompiledPeer::Nodes(are_all) => *are_all,
            CompiledPeer::DomainNames => Truth::Perhaps,
        });
        held.max().unwrap_or_default()
    }

    fn own_node_assumptions(&self, class: &Class) -> UnknownFacts {
        let policies = self.selecting(class, Direction::Egress).iter();
        let policies = policies.filter(|each| !self.is_in_union(each.policy));
        let rules = policies.flat_map(|each| self.rules(each.policy, Direction::Egress));
        let peers = rules.flat_map(|rule| rule.rule.peers.iter().flatten());
        let facts = peers.filter_map(|peer| match self.peer(*peer) {
            CompiledPeer::IpBlock(block, _) => {
                let is_open = block.coverage(self.node_addresses.ranges()) == Truth::Perhaps;
                is_open.then_some(self.facts.node_addresses)
            }
            CompiledPeer::Nodes(are_all) => (*are_all != Truth::Yes).then_some(self.facts.node_labels),
            CompiledPeer::DomainNames => Some(self.facts.domain_names),
            CompiledPeer::Pods => None,
        });
        facts.flat_map(|facts| self.facts.get(facts)).cloned().collect()
    }
}
