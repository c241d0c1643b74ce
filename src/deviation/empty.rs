//! Deviations in rules and lists that are empty or missing.

use super::Effect::Meaning;
use super::rewrite::{all_pods, in_own_namespace, lists, rules};
use super::{Deviation, misread, seen, wrong};
use crate::policy::{LabelSelector, Peers, Ports, Rule};

pub(super) const TABLE: &[Deviation] = &[
    wrong("empty-rule-denies", &[4]).says("the rule {} allows nothing instead of everything").by(Meaning(
        |cluster| {
            lists(cluster, |rules| {
                rules.retain(|rule| *rule != Rule { peers: Peers::Any, ports: Ports::Any });
            });
        },
    )),
    wrong("empty-peers-deny", &[5])
        .says("a rule with ports and an empty or missing from or to allows nobody")
        .by(Meaning(|cluster| {
            lists(cluster, |rules| {
                rules.retain(|rule| rule.peers != Peers::Any || rule.ports == Ports::Any);
            });
        })),
    wrong("empty-peers-are-pods", &[5])
        .says("an empty or missing from or to means the cluster's pods: nothing outside is allowed")
        .by(Meaning(|cluster| {
            rules(cluster, |rule| {
                if rule.peers == Peers::Any {
                    rule.peers = Peers::Only(vec![all_pods()]);
                }
            });
        })),
    seen("empty-ports-deny", &[6], "CentaurusInfra/mizar#392")
        .says("a rule with peers and empty or missing ports allows nothing")
        .by(Meaning(|cluster| {
            lists(cluster, |rules| {
                rules.retain(|rule| rule.ports != Ports::Any || rule.peers == Peers::Any);
            });
        })),
    misread("all-own-pods-are-everybody", &[5])
        .says("podSelector: {} as the only peer means every address, like an empty list")
        .by(Meaning(|cluster| {
            rules(cluster, |rule| {
                if rule.peers == Peers::Only(vec![in_own_namespace(LabelSelector::everything())]) {
                    rule.peers = Peers::Any;
                }
            });
        })),
];
