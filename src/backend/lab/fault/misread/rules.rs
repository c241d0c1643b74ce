//! Faults in which rules count, and in how their peers and ports belong together.

use super::super::rewrite::{lists, rules};
use crate::policy::{Cluster, Peer, Peers, PortMatch, Ports, Rule};

/// Number of rules per policy in a table that is too small for more.
const FEW_RULES: usize = 16;

pub(super) fn empty_rule_denies(cluster: &mut Cluster) {
    lists(cluster, |rules| {
        rules.retain(|rule| *rule != Rule { peers: Peers::Any, ports: Ports::Any });
    });
}

pub(super) fn first_rule_only(cluster: &mut Cluster) {
    lists(cluster, |rules| rules.truncate(1));
}

pub(super) fn few_rules(cluster: &mut Cluster) {
    lists(cluster, |rules| rules.truncate(FEW_RULES));
}

pub(super) fn crossed_rules(cluster: &mut Cluster) {
    lists(cluster, cross);
}

pub(super) fn zipped_peers_and_ports(cluster: &mut Cluster) {
    lists(cluster, zip);
}

pub(super) fn ignore_ports(cluster: &mut Cluster) {
    rules(cluster, |rule| rule.ports = Ports::Any);
}

pub(super) fn ignore_peers(cluster: &mut Cluster) {
    rules(cluster, |rule| {
        if rule.ports != Ports::Any {
            rule.peers = Peers::Any;
        }
    });
}

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
            let pairs = peers.iter().zip(ports);
            let pair = |(peer, port): (&Peer, &PortMatch)| Rule {
                peers: Peers::Only(vec![peer.clone()]),
                ports: Ports::Only(vec![port.clone()]),
            };
            pairs.map(pair).collect()
        }
        (Peers::Any, _) | (_, Ports::Any) => vec![rule],
    });
    *rules = zipped.collect();
}
