//! Faults in the peers of rules.

use std::collections::BTreeSet;

use super::super::rewrite::{each, everybody, in_namespaces, lists, peers, pod_peers, rules};
use crate::backend::lab::enforce::selects;
use crate::policy::{Cluster, LabelSelector, NamespaceScope, NetworkPolicy, Peer, Peers, Ports};

pub(super) fn empty_peers_deny(cluster: &mut Cluster) {
    lists(cluster, |rules| {
        rules.retain(|rule| rule.peers != Peers::Any || rule.ports == Ports::Any);
    });
}

pub(super) fn empty_peers_are_pods(cluster: &mut Cluster) {
    rules(cluster, |rule| {
        if rule.peers == Peers::Any {
            rule.peers = Peers::Only(vec![everybody()]);
        }
    });
}

pub(super) fn all_namespaces_are_everybody(cluster: &mut Cluster) {
    rules(cluster, |rule| {
        if matches!(&rule.peers, Peers::Only(peers) if peers.contains(&everybody())) {
            rule.peers = Peers::Any;
        }
    });
}

pub(super) fn selectors_or(cluster: &mut Cluster) {
    pod_peers(cluster, |namespaces, pods| {
        let alone = Peer::Pods { namespaces: NamespaceScope::Own, pods };
        vec![in_namespaces(namespaces, LabelSelector::everything()), alone]
    });
}

pub(super) fn pod_selector_lost(cluster: &mut Cluster) {
    pod_peers(cluster, |namespaces, _| vec![in_namespaces(namespaces, LabelSelector::everything())]);
}

pub(super) fn namespace_selector_lost(cluster: &mut Cluster) {
    pod_peers(cluster, |_, pods| vec![Peer::Pods { namespaces: NamespaceScope::Own, pods }]);
}

pub(super) fn pod_selector_everywhere(cluster: &mut Cluster) {
    peers(cluster, |peer| match peer {
        Peer::Pods { namespaces: NamespaceScope::Own, pods } => {
            vec![in_namespaces(LabelSelector::everything(), pods)]
        }
        Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
    });
}

pub(super) fn first_peer_only(cluster: &mut Cluster) {
    rules(cluster, |rule| {
        if let Peers::Only(peers) = &mut rule.peers {
            peers.truncate(1);
        }
    });
}

pub(super) fn unmatched_peers_ignored(cluster: &mut Cluster) {
    let unmatched: BTreeSet<_> = cluster
        .policies
        .iter()
        .filter(|policy| is_unmatched(policy, cluster))
        .map(|policy| (policy.namespace.clone(), policy.name.clone()))
        .collect();
    let is_matched = |p: &NetworkPolicy| !unmatched.contains(&(p.namespace.clone(), p.name.clone()));
    cluster.policies.retain(is_matched);
}

pub(super) fn unmatched_peers_are_everybody(cluster: &mut Cluster) {
    let known = cluster.clone();
    each(cluster, |policy| {
        for rule in [&mut policy.ingress, &mut policy.egress].into_iter().flatten().flatten() {
            if match_nobody(&rule.peers, &policy.namespace, &known) {
                rule.peers = Peers::Any;
            }
        }
    });
}

/// Returns whether a policy has rules, and the peers of none of them match anything.
fn is_unmatched(policy: &NetworkPolicy, cluster: &Cluster) -> bool {
    let rules: Vec<_> = policy.ingress.iter().chain(&policy.egress).flatten().collect();
    !rules.is_empty() && rules.iter().all(|rule| match_nobody(&rule.peers, &policy.namespace, cluster))
}

/// Returns whether a rule names peers and none of them matches anything. `namespace` is the namespace of the
/// policy.
fn match_nobody(peers: &Peers, namespace: &str, cluster: &Cluster) -> bool {
    match peers {
        Peers::Any => false,
        Peers::Only(peers) => !peers.iter().any(|peer| matches_any(peer, namespace, cluster)),
    }
}

/// Returns whether a peer may match anything. `namespace` is the namespace of the policy. An `ipBlock` always
/// may.
fn matches_any(peer: &Peer, namespace: &str, cluster: &Cluster) -> bool {
    let Peer::Pods { namespaces, pods } = peer else { return true };
    cluster.pods.iter().any(|pod| {
        let in_scope = match namespaces {
            NamespaceScope::Own => pod.namespace == namespace,
            NamespaceScope::Selected(selector) => cluster
                .namespaces
                .iter()
                .any(|namespace| namespace.name == pod.namespace && selects(selector, &namespace.labels)),
        };
        in_scope && selects(pods, &pod.labels)
    })
}
