//! Deviations in what the name of a port stands for.

use super::Effect::{Meaning, Rules};
use super::rewrite::{
    Context, cluster_lists, filtered_pods, lists_in_context, numbered, numbers, port_lists, rules,
};
use super::{CompileFault, Deviation, misread, seen, wrong};
use crate::policy::{Cluster, Direction, Peer, Peers, Pod, PortMatch, PortSpec, Ports, Rule};

pub(super) const TABLE: &[Deviation] = &[
    wrong("name-of-first-port", &[17])
        .says("a port's name stands for the first port that a pod declares, whatever its name")
        .by(Rules(CompileFault::NameOfFirstPort)),
    wrong("name-of-any-protocol", &[17])
        .says("a port's name is looked up without its protocol: a UDP port's name opens TCP")
        .by(Rules(CompileFault::NameOfAnyProtocol)),
    seen("name-of-one-pod", &[17], "cilium/cilium#30003")
        .says("a port name stands for the number of the first pod, in all pods")
        .by(Meaning(|cluster| {
            names_of_pods(cluster, |ports, pods| {
                Ports::Only(ports.iter().flat_map(|port| numbers(port, pods).into_iter().take(1)).collect())
            });
        })),
    seen("name-of-every-pod", &[17], "noironetworks/aci-containers#1707")
        .says("a port name stands for the numbers of all pods together, in every pod")
        .by(Meaning(|cluster| names_of_pods(cluster, |ports, pods| numbered(&ports, pods)))),
    seen("name-of-sender", &[17], "aws/amazon-network-policy-controller-k8s#52")
        .says("a port's name is looked up in the pod that sends")
        .by(Rules(CompileFault::NameOfSender)),
    seen(
        "name-is-any-port",
        &[17],
        "kubernetes-sigs/kube-network-policies at 5f81cc3, with AdminNetworkPolicy",
    )
    .says("a port's name stands for all ports and protocols of the pods that have it")
    .by(Rules(CompileFault::NameIsAnyPort)),
    seen("unknown-name-is-any-port", &[17], "cloudnativelabs/kube-router at 7c2c277 (profile kube-router)")
        .says("a rule whose port name no pod defines counts as a rule without ports: it allows all ports")
        .by(Meaning(|cluster| {
            names_of_pods(cluster, |ports, pods| {
                let is_unknown = ports.iter().any(|port| numbers(port, pods).is_empty());
                if is_unknown { Ports::Any } else { Ports::Only(ports) }
            });
        })),
    misread("names-are-nothing", &[17])
        .says("a port's name is not known: it allows nothing")
        .by(Meaning(|cluster| port_lists(cluster).for_each(|ports| ports.retain(|port| !is_name(port))))),
    wrong("name-with-block-lost", &[18])
        .says(
            "an ingress rule with an ipBlock and a port name is ignored: the name is not resolved on \
             the receiving pod",
        )
        .by(Meaning(|cluster| {
            for rules in cluster.policies.iter_mut().filter_map(|policy| policy.ingress.as_mut()) {
                rules.retain(|rule| blocks_with_names(rule).is_none());
            }
        })),
    wrong("name-towards-block-is-any-port", &[18])
        .says(
            "an egress rule with an ipBlock and a port name allows all ports, because the name cannot \
             be resolved",
        )
        .by(Meaning(|cluster| blocks_on(cluster, |_, _| Ports::Any))),
    misread("name-towards-block-of-every-pod", &[18])
        .says("in an egress rule with an ipBlock, a port name stands for the numbers of all pods together")
        .by(Meaning(|cluster| blocks_on(cluster, numbered))),
];

/// Changes the ports of all rules, based on the pods that policies can select.
fn names_of_pods(cluster: &mut Cluster, change: impl Fn(Vec<PortMatch>, &[&Pod]) -> Ports) {
    let known = cluster.clone();
    let pods: Vec<_> = filtered_pods(&known).collect();
    let changed = |ports: &mut Ports| {
        if let Ports::Only(list) = ports {
            *ports = change(std::mem::take(list), &pods);
        }
    };
    rules(cluster).for_each(|rule| changed(&mut rule.ports));
    cluster_lists(cluster).flatten().for_each(|rule| changed(&mut rule.ports));
}

/// Adds an egress rule for the blocks of each egress rule that has both blocks and port names. `ports` returns the
/// ports of the added rule.
fn blocks_on(cluster: &mut Cluster, ports: impl Fn(&[PortMatch], &[&Pod]) -> Ports) {
    lists_in_context(cluster, |context: &Context<'_>, rules| {
        if context.direction == Direction::Egress {
            let pods: Vec<_> = filtered_pods(context.cluster).collect();
            let blocks: Vec<_> = rules.iter().filter_map(blocks_with_names).collect();
            let added = |(blocks, names): (_, Vec<_>)| Rule {
                peers: Peers::Only(blocks),
                ports: ports(&names, &pods),
            };
            rules.extend(blocks.into_iter().map(added));
        }
    });
}

/// Returns the blocks and the port names of a rule. `None` unless it has both.
fn blocks_with_names(rule: &Rule) -> Option<(Vec<Peer>, Vec<PortMatch>)> {
    let (Peers::Only(peers), Ports::Only(ports)) = (&rule.peers, &rule.ports) else { return None };
    let blocks: Vec<_> = peers.iter().filter(|peer| matches!(peer, Peer::IpBlock(_))).cloned().collect();
    let names: Vec<_> = ports.iter().filter(|port| is_name(port)).cloned().collect();
    (!blocks.is_empty() && !names.is_empty()).then_some((blocks, names))
}

pub(super) fn is_name(port: &PortMatch) -> bool {
    matches!(port.ports, PortSpec::Named(_))
}
