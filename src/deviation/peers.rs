//! Deviations in the peers of rules.

use super::Effect::Meaning;
use super::rewrite::{all_pods, everywhere, peer_lists, pod_peers, replace_peers, rules};
use super::{Deviation, misread, wrong};
use crate::policy::{Cluster, LabelSelector, NamespaceScope, Peer, Peers};

pub(super) const TABLE: &[Deviation] = &[
    wrong("all-namespaces-are-everybody", &[8])
        .says("namespaceSelector: {} also allows addresses outside the cluster, and nodes")
        .by(Meaning(|cluster| {
            let all_pods = all_pods(everywhere());
            for rule in rules(cluster) {
                if matches!(&rule.peers, Peers::Only(peers) if peers.contains(&all_pods)) {
                    rule.peers = Peers::Any;
                }
            }
        })),
    misread("all-namespaces-are-own", &[8])
        .says("namespaceSelector: {} counts as left out: it means the policy's namespace")
        .by(Meaning(|cluster| change_scopes(cluster, &everywhere(), &NamespaceScope::Own))),
    wrong("selectors-or", &[9]).says("the two selectors of a peer are two peers: either is enough").by(
        Meaning(|cluster| {
            replace_peers(cluster, |peer| match peer {
                Peer::Pods { namespaces, pods } if are_both(&namespaces, &pods) => {
                    vec![all_pods(namespaces), Peer::Pods { namespaces: NamespaceScope::Own, pods }]
                }
                Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
            });
        }),
    ),
    wrong("pod-selector-lost", &[9])
        .says("of a peer with two selectors only namespaceSelector counts")
        .by(Meaning(|cluster| with_both(cluster).for_each(|(_, pods)| *pods = LabelSelector::everything()))),
    wrong("namespace-selector-lost", &[9, 10])
        .says("of a peer with two selectors only podSelector counts, in the policy's namespace")
        .by(Meaning(|cluster| with_both(cluster).for_each(|(scope, _)| *scope = NamespaceScope::Own))),
    wrong("pod-selector-everywhere", &[10])
        .says("a podSelector alone selects pods of every namespace")
        .by(Meaning(|cluster| change_scopes(cluster, &NamespaceScope::Own, &everywhere()))),
    wrong("first-peer-only", &[9])
        .says("only the first peer of a rule counts")
        .by(Meaning(|cluster| peer_lists(rules(cluster)).for_each(|peers| peers.truncate(1)))),
];

/// Returns the selectors of each peer that has both.
fn with_both(cluster: &mut Cluster) -> impl Iterator<Item = (&mut NamespaceScope, &mut LabelSelector)> {
    pod_peers(cluster).filter(|(namespaces, pods)| are_both(namespaces, pods))
}

fn are_both(namespaces: &NamespaceScope, pods: &LabelSelector) -> bool {
    *namespaces != NamespaceScope::Own && !pods.is_everything()
}

/// Changes the namespaces of the peers that select pods in the namespaces `from`.
pub(super) fn change_scopes(cluster: &mut Cluster, from: &NamespaceScope, to: &NamespaceScope) {
    let scopes = pod_peers(cluster).map(|(scope, _)| scope).filter(|scope| *scope == from);
    scopes.for_each(|scope| scope.clone_from(to));
}
