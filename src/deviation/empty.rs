//! Deviations in rules and lists that are empty or missing.

use super::Effect::Meaning;
use super::rewrite::{all_pods, everywhere, lists, rules};
use super::{Deviation, misread, seen, wrong};
use crate::policy::{Cluster, NamespaceScope, Peers, Ports, Rule};

pub(super) const TABLE: &[Deviation] = &[
    wrong("empty-rule-denies", &[4])
        .says("the rule {} allows nothing instead of everything")
        .by(Meaning(|cluster| drop_rules(cluster, |rule| is_any(rule) == (true, true)))),
    wrong("empty-peers-deny", &[5])
        .says("a rule with ports and an empty or missing from or to allows nobody")
        .by(Meaning(|cluster| drop_rules(cluster, |rule| is_any(rule) == (true, false)))),
    wrong("empty-peers-are-pods", &[5])
        .says("an empty or missing from or to means the cluster's pods: nothing outside is allowed")
        .by(Meaning(|cluster| {
            for rule in rules(cluster).filter(|rule| rule.peers == Peers::Any) {
                rule.peers = Peers::Only(vec![all_pods(everywhere())]);
            }
        })),
    seen("empty-ports-deny", &[6], "CentaurusInfra/mizar#392")
        .says("a rule with peers and empty or missing ports allows nothing")
        .by(Meaning(|cluster| drop_rules(cluster, |rule| is_any(rule) == (false, true)))),
    misread("all-own-pods-are-everybody", &[5])
        .says("podSelector: {} as the only peer means every address, like an empty list")
        .by(Meaning(|cluster| {
            let all_own_pods = Peers::Only(vec![all_pods(NamespaceScope::Own)]);
            for rule in rules(cluster).filter(|rule| rule.peers == all_own_pods) {
                rule.peers = Peers::Any;
            }
        })),
];

/// Returns whether a rule allows any peer, and whether it allows any port.
fn is_any(rule: &Rule) -> (bool, bool) {
    (rule.peers == Peers::Any, rule.ports == Ports::Any)
}

fn drop_rules(cluster: &mut Cluster, is_dropped: impl Fn(&Rule) -> bool) {
    lists(cluster).for_each(|rules| rules.retain(|rule| !is_dropped(rule)));
}
