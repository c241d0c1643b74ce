//! Deviations in selectors that match nothing.

use super::Effect::Meaning;
use super::rewrite::lists_in_context;
use super::{Deviation, misread, seen, wrong};
use crate::policy::{Cluster, LabelSelector, Peers, Pod};

pub(super) const TABLE: &[Deviation] = &[
    wrong("unmatched-peers-ignored", &[13])
        .says("a policy whose peers match nobody is empty, and isolates nobody")
        .by(Meaning(drop_unmatched)),
    seen("unmatched-peers-are-everybody", &[13], "cloudnativelabs/kube-router#85")
        .says("a rule whose peers match nobody is a rule without peers: it allows everybody")
        .by(Meaning(|cluster| {
            lists_in_context(cluster, |context, rules| {
                for rule in rules.iter_mut().filter(|rule| context.matches_nothing(rule)) {
                    rule.peers = Peers::Any;
                }
            });
        })),
    misread("unmatched-subjects-are-all", &[13])
        .says("a policy that selects no pod isolates every pod of its namespace")
        .by(Meaning(|cluster| {
            let Cluster { policies, pods, .. } = cluster;
            for policy in policies {
                if !pods.iter().any(|pod: &Pod| policy.selects(pod)) {
                    policy.subjects = LabelSelector::everything();
                }
            }
        })),
];

/// Removes policies that have rules, if the peers of none of the rules match anything.
fn drop_unmatched(cluster: &mut Cluster) {
    let mut matched = cluster.clone();
    lists_in_context(&mut matched, |context, rules| rules.retain(|rule| !context.matches_nothing(rule)));
    let mut matched = matched.policies.iter().map(|policy| policy.ports().next().is_some());
    cluster.policies.retain(|policy| matched.next() == Some(true) || policy.ports().next().is_none());
}
