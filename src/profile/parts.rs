//! The quirk `rules-replaced-in-parts`: while the rules of a policy are replaced, the peers of some rules can use the
//! ports of others.

use crate::policy::{Cluster, NetworkPolicy, Peers, Ports, Rule};

/// Returns the cluster after a change, with one rule instead of the rules that the change replaced. This rule has the
/// peers of all old and new rules, on the ports of all of them. `None` if no policy with the same subjects changed.
pub(crate) fn mixed(before: &Cluster, after: &Cluster) -> Option<Cluster> {
    let mut is_mixed = false;
    let policies = after.policies.iter().map(|new| {
        let is_it = |old: &&NetworkPolicy| (&old.namespace, &old.name) == (&new.namespace, &new.name);
        // A policy whose subjects changed did not isolate its new subjects before.
        let old =
            before.policies.iter().find(is_it).filter(|old| *old != new && old.subjects == new.subjects);
        let Some(old) = old else { return new.clone() };
        is_mixed = true;
        let mix = |old: &Option<Vec<Rule>>, new: &Option<Vec<Rule>>| match (old, new) {
            (Some(old), Some(new)) => Some(one_rule(old.iter().chain(new))),
            (None, _) | (_, None) => new.clone(),
        };
        NetworkPolicy {
            ingress: mix(&old.ingress, &new.ingress),
            egress: mix(&old.egress, &new.egress),
            ..new.clone()
        }
    });
    let policies = policies.collect();
    is_mixed.then(|| Cluster { policies, ..after.clone() })
}

/// Returns one rule with the peers of all rules, on the ports of all of them. Without any rules, it matches nothing.
fn one_rule<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<Rule> {
    let (mut peers, mut ports) = (Peers::Only(Vec::new()), Ports::Only(Vec::new()));
    for rule in rules {
        peers = match (peers, &rule.peers) {
            (Peers::Only(all), Peers::Only(more)) => {
                Peers::Only(all.into_iter().chain(more.clone()).collect())
            }
            (Peers::Any, _) | (_, Peers::Any) => Peers::Any,
        };
        ports = match (ports, &rule.ports) {
            (Ports::Only(all), Ports::Only(more)) => {
                Ports::Only(all.into_iter().chain(more.clone()).collect())
            }
            (Ports::Any, _) | (_, Ports::Any) => Ports::Any,
        };
    }
    vec![Rule { peers, ports }]
}
