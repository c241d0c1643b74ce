//! Deviations in what isolates a pod, and in the order of cluster-scoped policies.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Effect::{Meaning, Rules};
use super::rewrite::cluster_lists;
use super::{CompileFault, Deviation, misread, seen, wrong};
use crate::policy::{Action, Cluster, ClusterPeer, ClusterRule, IpBlock, Ports, Tier};

/// Highest priority number of a cluster-scoped policy.
const LAST: u16 = 1000;

pub(super) const TABLE: &[Deviation] = &[
    seen("isolated-without-policy", &[1], "openshift/sdn#488")
        .says("as soon as there is any policy, pods that none selects are isolated, too")
        .by(Rules(CompileFault::UnselectedIsolated)),
    wrong("admin-after-network-policies", &[40])
        .says("if a NetworkPolicy isolates a pod, the Admin tier is not evaluated")
        .by(Rules(CompileFault::AdminAfterNetworkPolicies)),
    wrong("baseline-before-network-policies", &[40])
        .says("the Baseline tier is evaluated before NetworkPolicies, so they cannot override it")
        .by(Rules(CompileFault::BaselineBeforeNetworkPolicies)),
    wrong("baseline-not-overridden", &[40])
        .says("what NetworkPolicies allow, the Baseline tier can still deny")
        .by(Rules(CompileFault::BaselineNotOverridden)),
    wrong("baseline-ignored", &[40])
        .says("the Baseline tier is not enforced")
        .by(Meaning(|cluster| cluster.cluster_policies.retain(|policy| policy.tier != Tier::Baseline))),
    seen(
        "baseline-leaves-selected",
        &[40],
        "kubernetes-sigs/kube-network-policies at 5f81cc3, with BaselineAdminNetworkPolicy",
    )
    .says("a pod that a NetworkPolicy isolates for one direction is left out of the Baseline tier for both")
    .by(Rules(CompileFault::BaselineLeavesSelected)),
    misread("tiers-swapped", &[40])
        .says("the Baseline tier comes before NetworkPolicies, and the Admin tier after them")
        .by(Meaning(|cluster| {
            for policy in &mut cluster.cluster_policies {
                policy.tier = match policy.tier {
                    Tier::Admin => Tier::Baseline,
                    Tier::Baseline => Tier::Admin,
                };
            }
        })),
    wrong("priorities-reversed", &[41]).says("the policy with the highest priority number comes first").by(
        Meaning(|cluster| {
            for policy in &mut cluster.cluster_policies {
                policy.priority = LAST.saturating_sub(policy.priority);
            }
        }),
    ),
    wrong("priorities-ignored", &[41]).says("the policies of a tier come in the order of their names").by(
        Meaning(|cluster| {
            let policies = &mut cluster.cluster_policies;
            policies.sort_by(|a, b| (&a.name.name, a.priority).cmp(&(&b.name.name, b.priority)));
            policies.iter_mut().zip(0..).for_each(|(policy, place)| policy.priority = place);
        }),
    ),
    wrong("last-rule-decides", &[41])
        .says("of a policy's rules the last one that matches decides")
        .by(Meaning(|cluster| cluster_lists(cluster).for_each(|rules| rules.reverse()))),
    wrong("deny-first", &[41]).says("a Deny rule of a tier decides even if an earlier rule matches").by(
        Meaning(|cluster| {
            let mut others = cluster.clone();
            cluster_lists(cluster).for_each(|rules| rules.retain(|rule| rule.action == Action::Deny));
            cluster_lists(&mut others).for_each(|rules| rules.retain(|rule| rule.action != Action::Deny));
            others.cluster_policies.iter_mut().for_each(|policy| policy.priority += LAST + 1);
            cluster.cluster_policies.extend(others.cluster_policies);
        }),
    ),
    wrong("one-policy-of-a-tier", &[41])
        .says("of the policies of a tier that select a pod, only the most important one is in force")
        .by(Rules(CompileFault::OnePolicyOnly)),
    wrong("accept-goes-on", &[41])
        .says("NetworkPolicies can still deny what a tier accepts")
        .by(Meaning(|cluster| replace(cluster, Action::Accept, Action::Pass))),
    wrong("pass-accepts", &[42])
        .says("Pass accepts: nothing after it can deny")
        .by(Meaning(|cluster| replace(cluster, Action::Pass, Action::Accept))),
    wrong("pass-ignored", &[42]).says("Pass does nothing: the next rule of its tier decides").by(Meaning(
        |cluster| cluster_lists(cluster).for_each(|rules| rules.retain(|rule| rule.action != Action::Pass)),
    )),
    wrong("pass-skips-baseline", &[42])
        .says("after Pass, the Baseline tier is not evaluated, even if no NetworkPolicy isolates the pod")
        .by(Rules(CompileFault::PassSkipsBaseline)),
    wrong("cluster-policies-isolate", &[39])
        .says(
            "a cluster-scoped policy isolates its subjects as a NetworkPolicy does: what no rule \
             matches is denied",
        )
        .by(Meaning(|cluster| {
            let mut denials = cluster.clone();
            for rules in cluster_lists(&mut denials) {
                rules.truncate(1);
                rules.fill(denial());
            }
            // Two policies of one tier with the same priority would be ambiguous.
            let after = denials.cluster_policies.iter_mut().zip(LAST + 1..);
            after.for_each(|(policy, priority)| policy.priority = priority);
            cluster.cluster_policies.extend(denials.cluster_policies);
        })),
];

fn replace(cluster: &mut Cluster, action: Action, with: Action) {
    let replaced = cluster_lists(cluster).flatten().filter(|rule| rule.action == action);
    replaced.for_each(|rule| rule.action = with);
}

/// Returns a rule that denies everything.
fn denial() -> ClusterRule {
    let everything = [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())];
    let peers = everything.map(|net| ClusterPeer::Network(IpBlock::new(net, [])));
    ClusterRule { action: Action::Deny, peers: peers.into(), ports: Ports::Any }
}
