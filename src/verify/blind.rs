//! Rules that select pods in namespaces that were not seen. What they allow cannot be compared with what is wanted.

use std::collections::BTreeSet;

use crate::policy::{Direction, NamespaceScope, NetworkPolicy, Peer, Peers};
use crate::snapshot::{Identity, Snapshot};

/// Kinds of objects without which it is not known what a selector of namespaces matches.
const KINDS: [&str; 2] = ["Namespace", "Pod"];

/// Returns the NetworkPolicies that may let in, or let out to, pods that were not seen.
pub(super) fn blind(snapshot: &Snapshot) -> BTreeSet<Identity> {
    let is_whole = !snapshot.unseen.iter().any(|unseen| KINDS.contains(&unseen.kind.as_str()));
    let policies = snapshot.cluster.policies.iter().filter(|policy| !is_whole && selects_namespaces(policy));
    policies.map(Identity::of_policy).collect()
}

fn selects_namespaces(policy: &NetworkPolicy) -> bool {
    let rules = Direction::ALL.into_iter().filter_map(|direction| policy.rules(direction)).flatten();
    rules.into_iter().any(|rule| match &rule.peers {
        // Whoever is let in from everywhere is let in from a namespace that nobody owns, too.
        Peers::Any => false,
        Peers::Only(peers) => peers.iter().any(|peer| match peer {
            Peer::Pods { namespaces: NamespaceScope::Selected(_), .. } => true,
            Peer::Pods { namespaces: NamespaceScope::Own, .. } | Peer::IpBlock(_) => false,
        }),
    })
}
