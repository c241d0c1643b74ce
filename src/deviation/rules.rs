//! Deviations in which rules count, and in how their peers and ports belong together.

use super::Effect::Meaning;
use super::rewrite::{lists, rules};
use super::{Deviation, seen, wrong};
use crate::policy::{Peer, Peers, PortMatch, Ports, Rule};

/// Number of rules per policy in a table that is too small for more.
const FEW_RULES: usize = 16;

pub(super) const TABLE: &[Deviation] = &[
    wrong("first-rule-only", &[11])
        .says("only the first rule of a policy counts")
        .by(Meaning(|cluster| lists(cluster).for_each(|rules| rules.truncate(1)))),
    wrong("few-rules", &[11])
        .says("only the first sixteen rules of a policy are in force, as if a table were full")
        .by(Meaning(|cluster| lists(cluster).for_each(|rules| rules.truncate(FEW_RULES)))),
    seen("crossed-rules", &[12], "aws/amazon-network-policy-controller-k8s#218")
        .says("the peers of all rules of a policy are allowed on the ports of all of them")
        .by(Meaning(|cluster| lists(cluster).for_each(cross))),
    wrong("zipped-peers-and-ports", &[12])
        .says("a rule's first peer gets its first port, the second the second, and so on")
        .by(Meaning(|cluster| lists(cluster).for_each(zip))),
    wrong("ignore-ports", &[12])
        .says("rules allow their peers on every port and protocol")
        .by(Meaning(|cluster| rules(cluster).for_each(|rule| rule.ports = Ports::Any))),
    wrong("ignore-peers", &[12]).says("rules with ports allow them to everybody").by(Meaning(|cluster| {
        for rule in rules(cluster).filter(|rule| rule.ports != Ports::Any) {
            rule.peers = Peers::Any;
        }
    })),
];

/// Combines the peers of every rule with the ports of every rule.
fn cross(rules: &mut Vec<Rule>) {
    let crossed = rules.iter().flat_map(|with_peers| {
        let peers = &with_peers.peers;
        rules.iter().map(|with_ports| Rule { peers: peers.clone(), ports: with_ports.ports.clone() })
    });
    *rules = crossed.collect();
}

/// Pairs each peer of a rule with the port at the same index.
fn zip(rules: &mut Vec<Rule>) {
    let zipped = rules.drain(..).flat_map(|rule| match (&rule.peers, &rule.ports) {
        (Peers::Only(peers), Ports::Only(ports)) => {
            let pair = |(peer, port): (&Peer, &PortMatch)| Rule {
                peers: Peers::Only(vec![peer.clone()]),
                ports: Ports::Only(vec![port.clone()]),
            };
            peers.iter().zip(ports).map(pair).collect()
        }
        (Peers::Any, _) | (_, Ports::Any) => vec![rule],
    });
    *rules = zipped.collect();
}
