//! Faults in the compilation of policies to rules, after the policies were read correctly.

use super::{Description, seen, wrong};

/// A wrong way to combine policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompileFault {
    /// Only the first policy that selects a pod decides.
    FirstPolicyOnly,
    /// All policies that select a pod must allow a packet.
    EveryPolicy,
    /// Only the first eight policies of a pod are in force.
    FewPolicies,
    /// Ingress and egress rules of a policy share a chain.
    SharedChains,
    /// A peer to which a pod may send may also send to the pod, and the reverse.
    BothWays,
    /// The exceptions of an `ipBlock` are denied even if other peers or policies allow them.
    ExceptDenies,
    /// An `ipBlock` does not match pods.
    IpBlockWithoutPods,
    /// Only one address of each pod is known.
    OneAddress,
    /// A port name means a pod's first port.
    NameOfFirstPort,
    /// A port name is looked up without its protocol.
    NameOfAnyProtocol,
    /// A port name has one number for all pods.
    NameOfOnePod,
    /// A port name means the numbers of all pods.
    NameOfEveryPod,
    /// A port name is looked up in the sender.
    NameOfSender,
    /// A port name means all ports of the pods that have it.
    NameIsAnyPort,
    /// A port name that no pod has means every port.
    UnknownNameIsAnyPort,
    /// A rule with both a port name and an `ipBlock` is ignored for ingress.
    NameWithBlockLost,
    /// In an egress rule with an `ipBlock`, a port name means every port.
    NameTowardsBlockIsAnyPort,
    /// Pods that no policy selects are isolated, too.
    UnselectedIsolated,
}

impl CompileFault {
    /// All faults of this kind.
    pub const ALL: [Self; 18] = [
        Self::FirstPolicyOnly,
        Self::EveryPolicy,
        Self::FewPolicies,
        Self::SharedChains,
        Self::BothWays,
        Self::ExceptDenies,
        Self::IpBlockWithoutPods,
        Self::OneAddress,
        Self::NameOfFirstPort,
        Self::NameOfAnyProtocol,
        Self::NameOfOnePod,
        Self::NameOfEveryPod,
        Self::NameOfSender,
        Self::NameIsAnyPort,
        Self::UnknownNameIsAnyPort,
        Self::NameWithBlockLost,
        Self::NameTowardsBlockIsAnyPort,
        Self::UnselectedIsolated,
    ];

    pub(super) fn description(self) -> Description {
        match self {
            Self::FirstPolicyOnly => wrong(
                "first-policy-only",
                &[11],
                "the first policy that selects a pod decides alone, as in a firewall with first match",
            ),
            Self::EveryPolicy => wrong(
                "every-policy",
                &[11],
                "all policies that select a pod have to allow a connection, instead of any",
            ),
            Self::FewPolicies => wrong(
                "few-policies",
                &[11],
                "of the policies that select a pod, only the first eight are in force, as if a table were full",
            ),
            Self::SharedChains => seen(
                "shared-chains",
                &[1, 11],
                "a policy's ingress and egress rules share a chain: what its egress allows may come in",
                "cloudnativelabs/kube-router at 7c2c277 (profile kube-router)",
            ),
            Self::BothWays => wrong(
                "both-ways",
                &[11, 14],
                "rules are installed for both directions so that replies pass: the receiver may also open connections",
            ),
            Self::ExceptDenies => seen(
                "except-denies",
                &[22],
                "addresses in except are denied even if another peer or policy allows them",
                "antrea-io/antrea#367, ovn-kubernetes/ovn-kubernetes#845",
            ),
            Self::IpBlockWithoutPods => seen(
                "ipblock-without-pods",
                &[21],
                "an ipBlock matches addresses outside the cluster only",
                "cilium/cilium#9209",
            ),
            Self::OneAddress => wrong(
                "one-address",
                &[23],
                "selectors know only one address of each pod: the other family is denied",
            ),
            Self::NameOfFirstPort => wrong(
                "name-of-first-port",
                &[17],
                "a port's name stands for the first port that a pod declares, whatever its name",
            ),
            Self::NameOfAnyProtocol => wrong(
                "name-of-any-protocol",
                &[17],
                "a port's name is looked up without its protocol: a UDP port's name opens TCP",
            ),
            Self::NameOfOnePod => seen(
                "name-of-one-pod",
                &[17],
                "a port name stands for the number of the first pod, in all pods",
                "cilium/cilium#30003",
            ),
            Self::NameOfEveryPod => seen(
                "name-of-every-pod",
                &[17],
                "a port name stands for the numbers of all pods together, in every pod",
                "noironetworks/aci-containers#1707",
            ),
            Self::NameOfSender => seen(
                "name-of-sender",
                &[17],
                "a port's name is looked up in the pod that sends",
                "aws/amazon-network-policy-controller-k8s#52",
            ),
            Self::NameIsAnyPort => seen(
                "name-is-any-port",
                &[17],
                "a port's name stands for all ports and protocols of the pods that have it",
                "kubernetes-sigs/kube-network-policies at 5f81cc3, with AdminNetworkPolicy",
            ),
            Self::UnknownNameIsAnyPort => seen(
                "unknown-name-is-any-port",
                &[17],
                "a rule whose port name no pod defines counts as a rule without ports: it allows all ports",
                "cloudnativelabs/kube-router at 7c2c277 (profile kube-router)",
            ),
            Self::NameWithBlockLost => wrong(
                "name-with-block-lost",
                &[18],
                "an ingress rule with an ipBlock and a port name is ignored: the name is not resolved on the receiving pod",
            ),
            Self::NameTowardsBlockIsAnyPort => wrong(
                "name-towards-block-is-any-port",
                &[18],
                "an egress rule with an ipBlock and a port name allows all ports, because the name cannot be resolved",
            ),
            Self::UnselectedIsolated => seen(
                "isolated-without-policy",
                &[1],
                "as soon as there is any policy, pods that none selects are isolated, too",
                "openshift/sdn#488",
            ),
        }
    }
}
