//! Rewrites rules into what a network plugin with a quirk makes of them.

use std::collections::HashSet;

use super::quirk::Quirk;
use crate::policy::{
    Cluster, ClusterPolicy, Direction, IpBlock, NamespaceScope, NetworkPolicy, Peer, Peers, Pod, PortMatch,
    PortRange, PortSpec, Ports, Rule,
};

/// Returns the cluster with every rule rewritten by these quirks, one quirk after the other.
pub(super) fn rewritten(cluster: &Cluster, quirks: &[Quirk]) -> Cluster {
    let rewriter = Rewriter { cluster };
    let policies = cluster.policies.iter().map(|policy| {
        let rules = |direction| {
            let mut rules = policy.rules(direction)?.to_vec();
            for quirk in quirks {
                let rewrite = |rule| rewriter.rewrite(*quirk, policy, direction, rule);
                rules = rules.into_iter().flat_map(rewrite).collect();
            }
            Some(rules)
        };
        let (ingress, egress) = (rules(Direction::Ingress), rules(Direction::Egress));
        NetworkPolicy { ingress, egress, ..policy.clone() }
    });
    Cluster { policies: policies.collect(), ..cluster.clone() }
}

/// Returns the cluster with the rules of one direction only. No policy isolates for the other direction.
pub(super) fn one_direction(cluster: &Cluster, direction: Direction) -> Cluster {
    let policies = cluster.policies.iter().cloned().map(|policy| match direction {
        Direction::Egress => NetworkPolicy { ingress: None, ..policy },
        Direction::Ingress => NetworkPolicy { egress: None, ..policy },
    });
    let cluster_policies = cluster.cluster_policies.iter().cloned().map(|policy| match direction {
        Direction::Egress => ClusterPolicy { ingress: Vec::new(), ..policy },
        Direction::Ingress => ClusterPolicy { egress: Vec::new(), ..policy },
    });
    let (policies, cluster_policies) = (policies.collect(), cluster_policies.collect());
    Cluster { policies, cluster_policies, ..cluster.clone() }
}

struct Rewriter<'a> {
    cluster: &'a Cluster,
}

impl<'a> Rewriter<'a> {
    fn rewrite(&self, quirk: Quirk, policy: &NetworkPolicy, direction: Direction, rule: Rule) -> Vec<Rule> {
        match quirk {
            Quirk::PodAddressInIpBlock => vec![self.without_pods_in_blocks(rule)],
            Quirk::UnresolvedPortName => self.names_dropped(policy, direction, rule),
            Quirk::PortNameIsProtocol => vec![names_as_protocols(rule)],
            Quirk::PortNameOfOwnNamespace => vec![self.names_of_own_namespace(policy, direction, rule)],
            Quirk::PortNamesMixed => vec![self.names_mixed(policy, direction, rule)],
            Quirk::OtherDirectionOfSamePolicy
            | Quirk::ServicePortDiffers
            | Quirk::NewPodsOpenAtFirst
            | Quirk::RulesReplacedInParts => vec![rule],
        }
    }

    fn without_pods_in_blocks(&self, mut rule: Rule) -> Rule {
        if let Peers::Only(peers) = &mut rule.peers {
            let pods = self.cluster.pods.iter().filter(|pod| !pod.host_network);
            let holes: Vec<_> =
                pods.flat_map(|pod| &pod.addresses).map(|address| (*address).into()).collect();
            for peer in peers {
                if let Peer::IpBlock(block) = peer {
                    let own = block.except().iter().copied();
                    *block = IpBlock::new(block.net(), own.chain(holes.iter().copied()));
                }
            }
        }
        rule
    }

    fn names_dropped(&self, policy: &NetworkPolicy, direction: Direction, rule: Rule) -> Vec<Rule> {
        if !self.are_unresolved(policy, direction, &rule) {
            return vec![rule];
        }
        let Peers::Only(peers) = &rule.peers else { return vec![rule] };
        let pods = peers.iter().filter(|peer| matches!(peer, Peer::Pods { .. })).cloned().collect();
        vec![Rule { peers: Peers::Only(pods), ports: Ports::Any }, rule]
    }

    fn names_of_own_namespace(&self, policy: &NetworkPolicy, direction: Direction, rule: Rule) -> Rule {
        match (direction, rule) {
            (Direction::Egress, Rule { peers: Peers::Any, ports: Ports::Only(ports) }) => {
                let pods = self.filtered_pods();
                let own: Vec<_> = pods.filter(|pod| pod.namespace == policy.namespace).collect();
                Rule { peers: Peers::Any, ports: numbers(&ports, &own) }
            }
            (Direction::Egress | Direction::Ingress, rule) => rule,
        }
    }

    fn names_mixed(&self, policy: &NetworkPolicy, direction: Direction, rule: Rule) -> Rule {
        // Without peers there are no addresses to mix.
        if direction == Direction::Egress && matches!(rule.peers, Peers::Any) {
            return rule;
        }
        let receivers = self.receivers(policy, direction, &rule);
        match &rule.ports {
            Ports::Only(ports) => {
                let is_mixed = share_a_number(&receivers)
                    || ports.iter().any(|port| has_several_numbers(port, &receivers));
                if is_mixed { Rule { ports: numbers(ports, &receivers), ..rule } } else { rule }
            }
            Ports::Any => rule,
        }
    }

    /// Returns whether all ports of a rule are names that no receiving pod of the rule has.
    fn are_unresolved(&self, policy: &NetworkPolicy, direction: Direction, rule: &Rule) -> bool {
        let Ports::Only(ports) = &rule.ports else { return false };
        let receivers = self.receivers(policy, direction, rule);
        let is_unresolved = |port: &PortMatch| match &port.ports {
            PortSpec::Named(name) => {
                receivers.iter().all(|pod| pod.named_port(name, port.protocol).is_none())
            }
            PortSpec::Any | PortSpec::Range(_) => false,
        };
        ports.iter().all(is_unresolved)
    }

    /// Returns the pods that policies can select.
    fn filtered_pods(&self) -> impl Iterator<Item = &'a Pod> {
        self.cluster.pods.iter().filter(|pod| !pod.ended && !pod.host_network)
    }

    /// Returns the receiving pods of a rule.
    fn receivers(&self, policy: &NetworkPolicy, direction: Direction, rule: &Rule) -> Vec<&'a Pod> {
        let receives = |pod: &Pod| match direction {
            Direction::Ingress => policy.selects(pod),
            Direction::Egress => match &rule.peers {
                Peers::Any => true,
                Peers::Only(peers) => peers.iter().any(|peer| self.is_peer(policy, peer, pod)),
            },
        };
        self.filtered_pods().filter(|pod| receives(pod)).collect()
    }

    fn is_peer(&self, policy: &NetworkPolicy, peer: &Peer, pod: &Pod) -> bool {
        let Peer::Pods { namespaces, pods } = peer else { return false };
        let in_namespace = match namespaces {
            NamespaceScope::Own => pod.namespace == policy.namespace,
            NamespaceScope::Selected(selector) => self
                .cluster
                .namespaces
                .iter()
                .any(|namespace| namespace.name == pod.namespace && selector.matches(&namespace.labels)),
        };
        in_namespace && pods.matches(&pod.labels)
    }
}

fn names_as_protocols(mut rule: Rule) -> Rule {
    if let Ports::Only(ports) = &mut rule.ports {
        let is_number = |port: &PortMatch| matches!(port.ports, PortSpec::Range(_));
        let is_name = |port: &PortMatch| matches!(port.ports, PortSpec::Named(_));
        let numbered: Vec<_> =
            ports.iter().filter(|port| is_number(port)).map(|port| port.protocol).collect();
        ports.retain(|port| !is_name(port) || !numbered.contains(&port.protocol));
        for port in ports.iter_mut().filter(|port| is_name(port)) {
            port.ports = PortSpec::Any;
        }
    }
    rule
}

/// Returns the ports with every name replaced by the numbers that any of these pods gives it.
fn numbers(ports: &[PortMatch], pods: &[&Pod]) -> Ports {
    let numbers = |port: &PortMatch| match &port.ports {
        PortSpec::Named(name) => pods
            .iter()
            .filter_map(|pod| pod.named_port(name, port.protocol))
            .map(|number| PortSpec::Range(PortRange::single(number)))
            .map(|ports| PortMatch { protocol: port.protocol, ports })
            .collect(),
        PortSpec::Any | PortSpec::Range(_) => vec![port.clone()],
    };
    Ports::Only(ports.iter().flat_map(numbers).collect())
}

/// Returns whether two of the pods have a port of the same name, protocol and number.
fn share_a_number(pods: &[&Pod]) -> bool {
    let mut seen = HashSet::new();
    pods.iter().any(|pod| {
        let named = pod.ports.iter().filter(|port| port.name.is_some());
        let own: HashSet<_> = named.map(|port| (&port.name, port.protocol, port.port)).collect();
        let is_shared = own.iter().any(|port| seen.contains(port));
        seen.extend(own);
        is_shared
    })
}

/// Returns whether a port's name stands for different numbers in these pods.
fn has_several_numbers(port: &PortMatch, pods: &[&Pod]) -> bool {
    match &port.ports {
        PortSpec::Named(name) => {
            let numbers: HashSet<_> =
                pods.iter().filter_map(|pod| pod.named_port(name, port.protocol)).collect();
            numbers.len() > 1
        }
        PortSpec::Any | PortSpec::Range(_) => false,
    }
}
