//! Deviations in the peers of rules.

use super::Effect::Meaning;
use super::rewrite::{all_pods, in_namespaces, in_own_namespace, peers, rules};
use super::{Deviation, misread, wrong};
use crate::policy::{Cluster, LabelSelector, NamespaceScope, Peer, Peers};

pub(super) const TABLE: &[Deviation] = &[
    wrong("all-namespaces-are-everybody", &[8])
        .says("namespaceSelector: {} also allows addresses outside the cluster, and nodes")
        .by(Meaning(|cluster| {
            rules(cluster, |rule| {
                if matches!(&rule.peers, Peers::Only(peers) if peers.contains(&all_pods())) {
                    rule.peers = Peers::Any;
                }
            });
        })),
    misread("all-namespaces-are-own", &[8])
        .says("namespaceSelector: {} counts as left out: it means the policy's namespace")
        .by(Meaning(|cluster| {
            peers(cluster, |peer| match peer {
                Peer::Pods { namespaces: NamespaceScope::Selected(selector), pods }
                    if selector.is_everything() =>
                {
                    vec![in_own_namespace(pods)]
                }
                Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
            });
        })),
    wrong("selectors-or", &[9]).says("the two selectors of a peer are two peers: either is enough").by(
        Meaning(|cluster| {
            with_both_selectors(cluster, |namespaces, pods| {
                vec![in_namespaces(namespaces, LabelSelector::everything()), in_own_namespace(pods)]
            });
        }),
    ),
    wrong("pod-selector-lost", &[9]).says("of a peer with two selectors only namespaceSelector counts").by(
        Meaning(|cluster| {
            with_both_selectors(cluster, |namespaces, _| {
                vec![in_namespaces(namespaces, LabelSelector::everything())]
            });
        }),
    ),
    wrong("namespace-selector-lost", &[9, 10])
        .says("of a peer with two selectors only podSelector counts, in the policy's namespace")
        .by(Meaning(|cluster| with_both_selectors(cluster, |_, pods| vec![in_own_namespace(pods)]))),
    wrong("pod-selector-everywhere", &[10]).says("a podSelector alone selects pods of every namespace").by(
        Meaning(|cluster| {
            peers(cluster, |peer| match peer {
                Peer::Pods { namespaces: NamespaceScope::Own, pods } => {
                    vec![in_namespaces(LabelSelector::everything(), pods)]
                }
                Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
            });
        }),
    ),
    wrong("first-peer-only", &[9]).says("only the first peer of a rule counts").by(Meaning(|cluster| {
        rules(cluster, |rule| {
            if let Peers::Only(peers) = &mut rule.peers {
                peers.truncate(1);
            }
        });
    })),
];

/// Changes the peers that have both selectors.
fn with_both_selectors(cluster: &mut Cluster, change: impl Fn(LabelSelector, LabelSelector) -> Vec<Peer>) {
    peers(cluster, |peer| match peer {
        Peer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods } if !pods.is_everything() => {
            change(namespaces, pods)
        }
        Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
    });
}
