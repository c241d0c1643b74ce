//! Deviations of network plugins that profiles describe.

use std::collections::HashSet;
use std::time::Duration;

use super::Effect::{Meaning, Route};
use super::port_names::is_name;
use super::rewrite::{
    Context, blocks, filtered_pods, lists_in_context, numbered, numbers, port_lists, rules,
};
use super::{Deviation, quirk};
use crate::policy::{Cluster, Direction, IpBlock, Peer, Peers, Pod, PortMatch, PortSpec, Ports, Rule};

/// A quirk that no change of the rules can express. The module `profile` evaluates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteQuirk {
    /// What the rules of one direction allow also passes the other direction of the same policy.
    OtherDirection,
    /// The policies of the two directions see different ports.
    ServicePort,
    /// Only a moment is excused. It may last until the settle deadline.
    NewPodsOpen,
    /// Only a moment is excused.
    ReplacedInParts,
}

impl RouteQuirk {
    /// Returns whether the quirk excuses only a moment, and does not change how policies are read.
    pub fn is_momentary(self) -> bool {
        matches!(self, Self::NewPodsOpen | Self::ReplacedInParts)
    }

    /// Returns the longest moment that the quirk excuses. `None` if the moment may last until the settle deadline, or
    /// if the quirk excuses no moment.
    pub fn longest_moment(self) -> Option<Duration> {
        (self == Self::ReplacedInParts).then_some(Duration::from_secs(2))
    }
}

pub(super) const TABLE: &[Deviation] = &[
    quirk("pod-address-in-ip-block", &[21]).says("an ipBlock does not match the addresses of pods").by(
        Meaning(|cluster| {
            let pods = cluster.pods.iter().filter(|pod| !pod.host_network);
            let pods = pods.flat_map(|pod| &pod.addresses).map(|address| (*address).into());
            let pods: Vec<_> = pods.collect();
            for block in blocks(rules(cluster)) {
                *block = IpBlock::new(block.net(), block.except().iter().chain(&pods).copied());
            }
        }),
    ),
    quirk("unresolved-port-name", &[17])
        .says(
            "a rule whose ports are names that no receiving pod has also counts as a rule without \
             ports, for its pods",
        )
        .by(Meaning(|cluster| {
            lists_in_context(cluster, |context, rules| {
                *rules = rules.drain(..).flat_map(|rule| with_unresolved(context, rule)).collect();
            });
        })),
    quirk("port-name-is-protocol", &[17])
        .says(
            "a port name stands for every port of its protocol, or for none if a rule also has numbers \
             of the protocol",
        )
        .by(Meaning(|cluster| port_lists(cluster).for_each(names_as_protocols))),
    quirk("port-name-of-own-namespace", &[17])
        .says(
            "a port name in an egress rule without peers stands for the numbers that pods of the \
             policy's own namespace give it, at every address",
        )
        .by(Meaning(|cluster| {
            ports_in_context(cluster, |context, rule, ports| {
                if context.direction == Direction::Ingress || rule.peers != Peers::Any {
                    return None;
                }
                let own = filtered_pods(context.cluster).filter(|pod| pod.namespace == context.namespace);
                Some(numbered(ports, &own.collect::<Vec<_>>()))
            });
        })),
    quirk("port-names-mixed", &[17])
        .says(
            "if receiving pods of a rule give its port name different numbers, or give any name the \
             same number, the name stands for all numbers in all of them",
        )
        .by(Meaning(|cluster| {
            ports_in_context(cluster, |context, rule, ports| {
                // Without peers there are no addresses to mix.
                if context.direction == Direction::Egress && rule.peers == Peers::Any {
                    return None;
                }
                let receivers = context.receivers(rule);
                let is_mixed = share_a_number(&receivers)
                    || ports.iter().any(|port| has_several_numbers(port, &receivers));
                is_mixed.then(|| numbered(ports, &receivers))
            });
        })),
    quirk("other-direction-of-same-policy", &[1, 11])
        .says(
            "if the rules of one direction allow a packet, it also passes the other direction of the \
             same policy",
        )
        .by(Route(RouteQuirk::OtherDirection)),
    quirk("service-port-differs", &[19])
        .says("egress rules see a Service's port instead of the pod's, and ingress rules see the pod's port")
        .by(Route(RouteQuirk::ServicePort)),
    quirk("new-pods-open-at-first", &[36])
        .says("a new pod is isolated a moment after its start")
        .by(Route(RouteQuirk::NewPodsOpen)),
    quirk("rules-replaced-in-parts", &[33])
        .says(
            "while the rules of a policy are replaced, the peers of some rules can use the ports of \
             others",
        )
        .by(Route(RouteQuirk::ReplacedInParts)),
];

/// Changes the ports of every rule that names ports, if `change` returns others.
fn ports_in_context(
    cluster: &mut Cluster,
    change: impl Fn(&Context<'_>, &Rule, &[PortMatch]) -> Option<Ports>,
) {
    lists_in_context(cluster, |context, rules| {
        for rule in rules {
            let Ports::Only(ports) = &rule.ports else { continue };
            if let Some(changed) = change(context, rule, ports) {
                rule.ports = changed;
            }
        }
    });
}

/// Adds a rule for all ports if all ports of a rule are names that no receiving pod of the rule has.
fn with_unresolved(context: &Context<'_>, rule: Rule) -> Vec<Rule> {
    let (Peers::Only(peers), Ports::Only(ports)) = (&rule.peers, &rule.ports) else { return vec![rule] };
    let receivers = context.receivers(&rule);
    if ports.iter().any(|port| !numbers(port, &receivers).is_empty()) {
        return vec![rule];
    }
    let pods = peers.iter().filter(|peer| matches!(peer, Peer::Pods { .. })).cloned().collect();
    vec![Rule { peers: Peers::Only(pods), ports: Ports::Any }, rule]
}

fn names_as_protocols(ports: &mut Vec<PortMatch>) {
    let numbers = ports.iter().filter(|port| matches!(port.ports, PortSpec::Range(_)));
    let numbered: Vec<_> = numbers.map(|port| port.protocol).collect();
    ports.retain(|port| !is_name(port) || !numbered.contains(&port.protocol));
    for port in ports.iter_mut().filter(|port| is_name(port)) {
        port.ports = PortSpec::Any;
    }
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
    let numbers = numbers(port, pods);
    numbers.iter().any(|number| Some(number) != numbers.first())
}
