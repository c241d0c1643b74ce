//! What no question asks, although a pass needs it. With one of these, a check is at best inconclusive.

use std::collections::BTreeSet;

use super::outside::Outside;
use super::ports::{PortOf, is_free, of_intent};
use crate::policy::{Direction, IpFamily, NamespaceScope, NetworkPolicy, Peer, Peers, Pod, Port, Protocol};
use crate::snapshot::{Identity, Snapshot};
use crate::tenants::{Intent, Mode, Party, Tenancy, Wish};

/// Kinds of objects without which it is not known what a selector of namespaces matches.
const KINDS: [&str; 2] = ["Namespace", "Pod"];

/// Port of the API server's Service.
const HTTPS: u16 = 443;

/// Returns what a check with these probe pods and these destinations outside lacks.
pub(super) fn lacks(
    snapshot: &Snapshot,
    tenancy: &Tenancy,
    pods: &[&Pod],
    outside: &Outside,
    families: &[IpFamily],
) -> Vec<String> {
    let blind = blind(snapshot).into_iter().map(|policy| {
        format!("what NetworkPolicy {policy} allows is not known, because it selects namespaces that were not seen")
    });
    let reserved = reserved(tenancy, pods).into_iter().map(|(protocol, port)| {
        format!("{port}/{protocol} is not asked, because agents of netproof use it, and it must be reached")
    });
    let unreached = outside.without_families(families).filter(|(_, to, ports)| {
        pods.iter().any(|pod| {
            ports.iter().any(|at| is_required(tenancy.intent(Party::of_pod(pod), *to, at.1, at.0)))
        })
    });
    let unreached =
        unreached.map(|(to, ..)| format!("{to} is not asked, because no pod has an address of its family"));
    let unreached: BTreeSet<String> = unreached.collect();
    blind.chain(reserved).chain(unreached).chain(api_server(snapshot, tenancy, pods)).collect()
}

fn is_required(intent: Option<Intent>) -> bool {
    intent.is_some_and(|intent| intent.wish == Wish::Required && intent.mode == Mode::Enforce)
}

/// Returns the ports that must be reached and that no agent can open.
fn reserved(tenancy: &Tenancy, pods: &[&Pod]) -> BTreeSet<PortOf> {
    let taken = of_intent(tenancy).into_iter().filter(|at| !is_free(at));
    let is_required = |at: &PortOf| {
        let pairs = pods.iter().flat_map(|from| pods.iter().map(move |to| (*from, *to)));
        pairs
            .filter(|(from, to)| from != to)
            .any(|(from, to)| is_required(tenancy.intent(Party::of_pod(from), Party::of_pod(to), at.1, at.0)))
    };
    taken.filter(is_required).collect()
}

/// Returns what is missing if the API server must be reached, and its Service was not seen.
fn api_server(snapshot: &Snapshot, tenancy: &Tenancy, pods: &[&Pod]) -> Option<String> {
    let Identity { namespace, name } = Identity::api_server();
    let to = Party::Service { namespace: &namespace, name: &name };
    let port = Port::new(HTTPS)?;
    let is_seen =
        snapshot.cluster.services.iter().any(|it| Identity::of_service(it) == Identity::api_server());
    let is_missing = !is_seen
        && pods.iter().any(|pod| is_required(tenancy.intent(Party::of_pod(pod), to, port, Protocol::Tcp)));
    is_missing
        .then(|| format!("the API server is not asked, because the Service {namespace}/{name} was not seen"))
}

/// Returns the NetworkPolicies that may let in, or let out to, pods that were not seen.
fn blind(snapshot: &Snapshot) -> BTreeSet<Identity> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{LabelSelector, Ports, Rule};
    use crate::snapshot::Unseen;

    #[test]
    fn a_policy_that_selects_namespaces_is_blind_only_if_some_were_not_seen() {
        let policy = |name: &str, namespaces| NetworkPolicy {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            subjects: LabelSelector::everything(),
            ingress: Some(vec![Rule {
                peers: Peers::Only(vec![Peer::Pods { namespaces, pods: LabelSelector::everything() }]),
                ports: Ports::Any,
            }]),
            egress: None,
        };
        let mut snapshot = Snapshot::default();
        snapshot.cluster.policies = vec![
            policy("same-namespace", NamespaceScope::Own),
            policy("others", NamespaceScope::Selected(LabelSelector::everything())),
        ];
        assert_eq!(blind(&snapshot), BTreeSet::new());
        snapshot.unseen.push(Unseen {
            kind: "Namespace".to_owned(),
            namespace: None,
            outside: vec!["shop".to_owned()],
            effect: String::new(),
            why: String::new(),
            is_needed: false,
        });
        assert_eq!(blind(&snapshot), [Identity::new("shop", "others")].into());
    }
}
