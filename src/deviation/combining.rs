//! Deviations in how the policies of a pod are combined, after they were read correctly.

use super::Effect::Rules;
use super::{Deviation, seen, wrong};

/// A wrong way to compile policies to rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompileFault {
    FirstPolicyOnly,
    EveryPolicy,
    FewPolicies,
    SharedChains,
    BothWays,
    ExceptDenies,
    IpBlockWithoutPods,
    OneAddress,
    NameOfFirstPort,
    NameOfAnyProtocol,
    NameOfSender,
    NameIsAnyPort,
    UnselectedIsolated,
    AdminAfterNetworkPolicies,
    BaselineBeforeNetworkPolicies,
    BaselineNotOverridden,
    BaselineLeavesSelected,
    OnePolicyOnly,
    PassSkipsBaseline,
}

pub(super) const TABLE: &[Deviation] = &[
    wrong("first-policy-only", &[11])
        .says("the first policy that selects a pod decides alone, as in a firewall with first match")
        .by(Rules(CompileFault::FirstPolicyOnly)),
    wrong("every-policy", &[11])
        .says("all policies that select a pod have to allow a connection, instead of any")
        .by(Rules(CompileFault::EveryPolicy)),
    wrong("few-policies", &[11])
        .says(
            "of the policies that select a pod, only the first eight are in force, as if a table were \
             full",
        )
        .by(Rules(CompileFault::FewPolicies)),
    seen("shared-chains", &[1, 11], "cloudnativelabs/kube-router at 7c2c277 (profile kube-router)")
        .says("a policy's ingress and egress rules share a chain: what its egress allows may come in")
        .by(Rules(CompileFault::SharedChains)),
    wrong("both-ways", &[11, 14])
        .says(
            "rules are installed for both directions so that replies pass: the receiver may also open \
             connections",
        )
        .by(Rules(CompileFault::BothWays)),
    seen("except-denies", &[22], "antrea-io/antrea#367, ovn-kubernetes/ovn-kubernetes#845")
        .says("addresses in except are denied even if another peer or policy allows them")
        .by(Rules(CompileFault::ExceptDenies)),
    seen("ipblock-without-pods", &[21], "cilium/cilium#9209")
        .says("an ipBlock matches addresses outside the cluster only")
        .by(Rules(CompileFault::IpBlockWithoutPods)),
    wrong("one-address", &[23])
        .says("selectors know only one address of each pod: the other family is denied")
        .by(Rules(CompileFault::OneAddress)),
];
