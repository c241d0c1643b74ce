//! Faults in the order of cluster-scoped policies.

use super::{Description, seen, wrong};

/// A wrong way to combine the tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TierFault {
    /// NetworkPolicies come before the Admin tier.
    AdminAfterNetworkPolicies,
    /// The Baseline tier comes before NetworkPolicies.
    BaselineBeforeNetworkPolicies,
    /// The Baseline tier can deny what NetworkPolicies allow.
    BaselineNotOverridden,
    /// The Baseline tier is not enforced.
    BaselineIgnored,
    /// A NetworkPolicy for one direction takes a pod out of the Baseline tier for both.
    BaselineLeavesSelected,
    /// The highest priority number comes first.
    PrioritiesReversed,
    /// Policies come in the order of their names.
    PrioritiesIgnored,
    /// The last matching rule of a policy decides.
    LastRuleDecides,
    /// If any rule of a tier denies a packet, it is denied.
    DenyFirst,
    /// Only one of a pod's policies in a tier is in force.
    OnePolicyOnly,
    /// After `Accept`, NetworkPolicies can still deny.
    AcceptGoesOn,
    /// `Pass` accepts.
    PassAccepts,
    /// `Pass` does nothing.
    PassIgnored,
    /// `Pass` skips the Baseline tier.
    PassSkipsBaseline,
    /// Policies isolate their subjects.
    SubjectsIsolated,
}

impl TierFault {
    /// All faults of this kind.
    pub const ALL: [Self; 15] = [
        Self::AdminAfterNetworkPolicies,
        Self::BaselineBeforeNetworkPolicies,
        Self::BaselineNotOverridden,
        Self::BaselineIgnored,
        Self::BaselineLeavesSelected,
        Self::PrioritiesReversed,
        Self::PrioritiesIgnored,
        Self::LastRuleDecides,
        Self::DenyFirst,
        Self::OnePolicyOnly,
        Self::AcceptGoesOn,
        Self::PassAccepts,
        Self::PassIgnored,
        Self::PassSkipsBaseline,
        Self::SubjectsIsolated,
    ];

    pub(super) fn description(self) -> Description {
        match self {
            Self::AdminAfterNetworkPolicies => wrong(
                "admin-after-network-policies",
                &[40],
                "if a NetworkPolicy isolates a pod, the Admin tier is not evaluated",
            ),
            Self::BaselineBeforeNetworkPolicies => wrong(
                "baseline-before-network-policies",
                &[40],
                "the Baseline tier is evaluated before NetworkPolicies, so they cannot override it",
            ),
            Self::BaselineNotOverridden => wrong(
                "baseline-not-overridden",
                &[40],
                "what NetworkPolicies allow, the Baseline tier can still deny",
            ),
            Self::BaselineIgnored => wrong("baseline-ignored", &[40], "the Baseline tier is not enforced"),
            Self::BaselineLeavesSelected => seen(
                "baseline-leaves-selected",
                &[40],
                "a pod that a NetworkPolicy isolates for one direction is left out of the Baseline tier for both",
                "kubernetes-sigs/kube-network-policies at 5f81cc3, with BaselineAdminNetworkPolicy",
            ),
            Self::PrioritiesReversed => {
                wrong("priorities-reversed", &[41], "the policy with the highest priority number comes first")
            }
            Self::PrioritiesIgnored => {
                wrong("priorities-ignored", &[41], "the policies of a tier come in the order of their names")
            }
            Self::LastRuleDecides => {
                wrong("last-rule-decides", &[41], "of a policy's rules the last one that matches decides")
            }
            Self::DenyFirst => {
                wrong("deny-first", &[41], "a Deny rule of a tier decides even if an earlier rule matches")
            }
            Self::OnePolicyOnly => wrong(
                "one-policy-of-a-tier",
                &[41],
                "of the policies of a tier that select a pod, only the most important one is in force",
            ),
            Self::AcceptGoesOn => {
                wrong("accept-goes-on", &[41], "NetworkPolicies can still deny what a tier accepts")
            }
            Self::PassAccepts => wrong("pass-accepts", &[42], "Pass accepts: nothing after it can deny"),
            Self::PassIgnored => {
                wrong("pass-ignored", &[42], "Pass does nothing: the next rule of its tier decides")
            }
            Self::PassSkipsBaseline => wrong(
                "pass-skips-baseline",
                &[42],
                "after Pass, the Baseline tier is not evaluated, even if no NetworkPolicy isolates the pod",
            ),
            Self::SubjectsIsolated => wrong(
                "cluster-policies-isolate",
                &[39],
                "a cluster-scoped policy isolates its subjects as a NetworkPolicy does: what no rule matches is denied",
            ),
        }
    }
}
