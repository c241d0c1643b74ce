//! Faults in the interpretation of policies.

use super::{Description, seen, wrong};

/// A wrong interpretation of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterpretationFault {
    /// Omitted `policyTypes` means both directions.
    OmittedTypesAreBoth,
    /// Omitted `policyTypes` means ingress only.
    OmittedTypesAreIngress,
    /// Omitted `policyTypes` means the directions that have rules.
    OmittedTypesFollowRules,
    /// Rules apply even if `policyTypes` does not name their direction.
    TypesIgnored,
    /// A policy without ingress rules does not isolate for ingress.
    NoIngressRulesIgnored,
    /// A policy without egress rules does not isolate for egress.
    NoEgressRulesIgnored,
    /// `[{}]` allows nothing.
    EmptyRuleDenies,
    /// A rule without peers allows nothing.
    EmptyPeersDeny,
    /// A rule without peers allows only the cluster's pods.
    EmptyPeersArePods,
    /// A rule without ports allows nothing.
    EmptyPortsDeny,
    /// `namespaceSelector: {}` matches every address.
    AllNamespacesAreEverybody,
    /// A peer with two selectors matches if either of them matches.
    SelectorsOr,
    /// The `podSelector` of a peer with two selectors is ignored.
    PodSelectorLost,
    /// The `namespaceSelector` of a peer with two selectors is ignored.
    NamespaceSelectorLost,
    /// A `podSelector` alone selects in every namespace.
    PodSelectorEverywhere,
    /// Only the first peer of a rule counts.
    FirstPeerOnly,
    /// Only the first rule of a policy counts.
    FirstRuleOnly,
    /// Only the first 16 rules of a policy count.
    FewRules,
    /// The peers of every rule are allowed on the ports of every rule.
    CrossedRules,
    /// The first peer gets the first port, the second peer the second port, and so on.
    ZippedPeersAndPorts,
    /// Rules allow their peers on every port.
    IgnorePorts,
    /// Rules allow their ports to every address.
    IgnorePeers,
    /// Only the first port of a rule counts.
    FirstPortOnly,
    /// An allowed port is open for every protocol.
    ProtocolIgnored,
    /// A port entry without a number allows every port of every protocol.
    NumberlessIsEveryProtocol,
    /// An entry for a port overrides an entry for all ports.
    PortBesideAllOverrides,
    /// A policy that names only SCTP ports isolates no pod.
    SctpPolicyIgnored,
    /// Only the first port of a range is allowed.
    EndPortFirstOnly,
    /// The last port of a range is not allowed.
    EndPortExclusive,
    /// A range has no end.
    EndPortOpen,
    /// The exceptions of an `ipBlock` are allowed.
    IgnoreExcept,
    /// Only the first exception of an `ipBlock` counts.
    FirstExceptOnly,
    /// The exceptions of one `ipBlock` apply to all blocks of the policy in the same direction.
    ExceptAcrossPeers,
    /// `0.0.0.0/0` contains IPv6 addresses.
    ZeroHoldsIpv6,
    /// A rule that has only `ipBlock` peers allows every address.
    IpBlocksAreEverybody,
    /// A policy with a CIDR that has host bits isolates no pod.
    HostBitsDropPolicy,
    /// A policy whose peers match nothing isolates no pod.
    UnmatchedPeersIgnored,
    /// A rule whose peers match nothing allows every address.
    UnmatchedPeersAreEverybody,
    /// A policy isolates all pods of its namespace.
    SubjectsIgnored,
    /// A policy isolates the pods that it selects in every namespace.
    SubjectsEverywhere,
    /// Of several policies with the same name, only one is in force.
    SameNameCollides,
    /// `NotIn` requires the key.
    NotInNeedsKey,
    /// `NotIn` with several values matches if the label differs from any of them.
    NotInAnyValue,
    /// A `namespaceSelector` of negations also matches addresses outside the cluster.
    NegationsMatchOutside,
    /// A peer with several labels matches if any of them matches.
    AnyLabel,
    /// `DoesNotExist` is not evaluated.
    DoesNotExistIgnored,
    /// Only the first value of `In` counts.
    InFirstValueOnly,
    /// `matchExpressions` are not evaluated.
    ExpressionsIgnored,
    /// An empty value also matches a missing label.
    EmptyMatchesMissing,
    /// Labels are compared without regard to case.
    CaseIgnored,
    /// The label `kubernetes.io/metadata.name` is not known.
    NameLabelUnknown,
}

impl InterpretationFault {
    /// All faults of this kind.
    pub const ALL: [Self; 51] = [
        Self::OmittedTypesAreBoth,
        Self::OmittedTypesAreIngress,
        Self::OmittedTypesFollowRules,
        Self::TypesIgnored,
        Self::NoIngressRulesIgnored,
        Self::NoEgressRulesIgnored,
        Self::EmptyRuleDenies,
        Self::EmptyPeersDeny,
        Self::EmptyPeersArePods,
        Self::EmptyPortsDeny,
        Self::AllNamespacesAreEverybody,
        Self::SelectorsOr,
        Self::PodSelectorLost,
        Self::NamespaceSelectorLost,
        Self::PodSelectorEverywhere,
        Self::FirstPeerOnly,
        Self::FirstRuleOnly,
        Self::FewRules,
        Self::CrossedRules,
        Self::ZippedPeersAndPorts,
        Self::IgnorePorts,
        Self::IgnorePeers,
        Self::FirstPortOnly,
        Self::ProtocolIgnored,
        Self::NumberlessIsEveryProtocol,
        Self::PortBesideAllOverrides,
        Self::SctpPolicyIgnored,
        Self::EndPortFirstOnly,
        Self::EndPortExclusive,
        Self::EndPortOpen,
        Self::IgnoreExcept,
        Self::FirstExceptOnly,
        Self::ExceptAcrossPeers,
        Self::ZeroHoldsIpv6,
        Self::IpBlocksAreEverybody,
        Self::HostBitsDropPolicy,
        Self::UnmatchedPeersIgnored,
        Self::UnmatchedPeersAreEverybody,
        Self::SubjectsIgnored,
        Self::SubjectsEverywhere,
        Self::SameNameCollides,
        Self::NotInNeedsKey,
        Self::NotInAnyValue,
        Self::NegationsMatchOutside,
        Self::AnyLabel,
        Self::DoesNotExistIgnored,
        Self::InFirstValueOnly,
        Self::ExpressionsIgnored,
        Self::EmptyMatchesMissing,
        Self::CaseIgnored,
        Self::NameLabelUnknown,
    ];

    pub(super) fn description(self) -> Description {
        match self {
            Self::OmittedTypesAreBoth => wrong(
                "omitted-types-are-both",
                &[2],
                "a policy without policyTypes isolates in both directions: pods with an ingress policy cannot send any more",
            ),
            Self::OmittedTypesAreIngress => wrong(
                "omitted-types-are-ingress",
                &[2],
                "a policy without policyTypes isolates for ingress only: its egress rules restrict nothing",
            ),
            Self::OmittedTypesFollowRules => wrong(
                "omitted-types-follow-rules",
                &[2],
                "a policy without policyTypes isolates in the directions that have rules: one with egress rules alone lets everything in",
            ),
            Self::TypesIgnored => wrong(
                "types-ignored",
                &[3],
                "rules of a direction that policyTypes does not name are in force",
            ),
            Self::NoIngressRulesIgnored => wrong(
                "no-ingress-rules-ignored",
                &[4],
                "a default-deny for ingress has no rules, and so does nothing",
            ),
            Self::NoEgressRulesIgnored => wrong(
                "no-egress-rules-ignored",
                &[4],
                "a default-deny without egress rules does not isolate for egress",
            ),
            Self::EmptyRuleDenies => {
                wrong("empty-rule-denies", &[4], "the rule {} allows nothing instead of everything")
            }
            Self::EmptyPeersDeny => wrong(
                "empty-peers-deny",
                &[5],
                "a rule with ports and an empty or missing from or to allows nobody",
            ),
            Self::EmptyPeersArePods => wrong(
                "empty-peers-are-pods",
                &[5],
                "an empty or missing from or to means the cluster's pods: nothing outside is allowed",
            ),
            Self::EmptyPortsDeny => seen(
                "empty-ports-deny",
                &[6],
                "a rule with peers and empty or missing ports allows nothing",
                "CentaurusInfra/mizar#392",
            ),
            Self::AllNamespacesAreEverybody => wrong(
                "all-namespaces-are-everybody",
                &[8],
                "namespaceSelector: {} also allows addresses outside the cluster, and nodes",
            ),
            Self::SelectorsOr => {
                wrong("selectors-or", &[9], "the two selectors of a peer are two peers: either is enough")
            }
            Self::PodSelectorLost => {
                wrong("pod-selector-lost", &[9], "of a peer with two selectors only namespaceSelector counts")
            }
            Self::NamespaceSelectorLost => wrong(
                "namespace-selector-lost",
                &[9, 10],
                "of a peer with two selectors only podSelector counts, in the policy's namespace",
            ),
            Self::PodSelectorEverywhere => {
                wrong("pod-selector-everywhere", &[10], "a podSelector alone selects pods of every namespace")
            }
            Self::FirstPeerOnly => wrong("first-peer-only", &[9], "only the first peer of a rule counts"),
            Self::FirstRuleOnly => wrong("first-rule-only", &[11], "only the first rule of a policy counts"),
            Self::FewRules => wrong(
                "few-rules",
                &[11],
                "only the first sixteen rules of a policy are in force, as if a table were full",
            ),
            Self::CrossedRules => seen(
                "crossed-rules",
                &[12],
                "the peers of all rules of a policy are allowed on the ports of all of them",
                "aws/amazon-network-policy-controller-k8s#218",
            ),
            Self::ZippedPeersAndPorts => wrong(
                "zipped-peers-and-ports",
                &[12],
                "a rule's first peer gets its first port, the second the second, and so on",
            ),
            Self::IgnorePorts => {
                wrong("ignore-ports", &[12], "rules allow their peers on every port and protocol")
            }
            Self::IgnorePeers => wrong("ignore-peers", &[12], "rules with ports allow them to everybody"),
            Self::FirstPortOnly => wrong("first-port-only", &[6], "only the first port of a rule counts"),
            Self::ProtocolIgnored => {
                wrong("protocol-ignored", &[7, 15], "a port that is allowed is open for every protocol")
            }
            Self::NumberlessIsEveryProtocol => wrong(
                "numberless-is-every-protocol",
                &[7],
                "a port entry without a number allows every protocol",
            ),
            Self::PortBesideAllOverrides => seen(
                "port-beside-all-overrides",
                &[7],
                "if a rule has an entry for all ports of a protocol and one for a single port, only the single port is allowed",
                "projectcalico/calico#4373",
            ),
            Self::SctpPolicyIgnored => wrong(
                "sctp-policy-ignored",
                &[15],
                "a policy that only names SCTP ports is dropped where SCTP is not known: it isolates nobody",
            ),
            Self::EndPortFirstOnly => seen(
                "endport-first-only",
                &[16],
                "endPort is not known: of a range only its first port is allowed",
                "cilium/cilium#28684, noironetworks/aci-containers#1653",
            ),
            Self::EndPortExclusive => {
                wrong("endport-exclusive", &[16], "the last port of a range is not allowed")
            }
            Self::EndPortOpen => {
                wrong("endport-open", &[16], "a range has no end: every port from its first on is allowed")
            }
            Self::IgnoreExcept => seen(
                "ignore-except",
                &[22],
                "the addresses that an ipBlock excepts are allowed like the rest of it",
                "cloudnativelabs/kube-router#326, aws/amazon-vpc-cni-k8s#2609",
            ),
            Self::FirstExceptOnly => {
                wrong("first-except-only", &[22], "only the first range that an ipBlock excepts is denied")
            }
            Self::ExceptAcrossPeers => seen(
                "except-across-peers",
                &[22],
                "the except of one ipBlock also applies to the other blocks of the policy in that direction",
                "ovn-kubernetes/ovn-kubernetes#845, kubeovn/kube-ovn#3193",
            ),
            Self::ZeroHoldsIpv6 => {
                wrong("zero-holds-ipv6", &[23], "0.0.0.0/0, with or without except, also allows IPv6")
            }
            Self::IpBlocksAreEverybody => seen(
                "ipblocks-are-everybody",
                &[13, 22],
                "ipBlock is not supported: a rule with only ipBlocks counts as a rule without peers and allows pods, too",
                "weaveworks/weave#3347",
            ),
            Self::HostBitsDropPolicy => seen(
                "host-bits-drop-policy",
                &[38],
                "a policy with a CIDR that has host bits, such as 10.0.0.0/0, is dropped: it isolates nobody",
                "Azure/azure-container-networking#4867",
            ),
            Self::UnmatchedPeersIgnored => wrong(
                "unmatched-peers-ignored",
                &[13],
                "a policy whose peers match nobody is empty, and isolates nobody",
            ),
            Self::UnmatchedPeersAreEverybody => seen(
                "unmatched-peers-are-everybody",
                &[13],
                "a rule whose peers match nobody is a rule without peers: it allows everybody",
                "cloudnativelabs/kube-router#85",
            ),
            Self::SubjectsIgnored => {
                wrong("subjects-ignored", &[1, 13], "a policy isolates every pod of its namespace")
            }
            Self::SubjectsEverywhere => wrong(
                "subjects-everywhere",
                &[1, 10],
                "a policy isolates the pods that it selects in every namespace",
            ),
            Self::SameNameCollides => wrong(
                "same-name-collides",
                &[11],
                "policies are stored by name without namespace: of two policies with one name, only one is in force",
            ),
            Self::NotInNeedsKey => seen(
                "notin-needs-key",
                &[24],
                "NotIn does not match objects that lack the key",
                "mattfenwick/cyclonus",
            ),
            Self::NotInAnyValue => seen(
                "notin-any-value",
                &[24],
                "NotIn with several values matches if the label differs from any one value: it matches everything",
                "Azure/azure-container-networking#4866",
            ),
            Self::NegationsMatchOutside => seen(
                "negations-match-outside",
                &[8, 24],
                "a namespaceSelector with NotIn or DoesNotExist also matches addresses outside the cluster",
                "cilium/cilium#46996, Azure/azure-container-networking#4868",
            ),
            Self::AnyLabel => seen(
                "any-label",
                &[24],
                "a peer with several labels matches if one of them matches",
                "Azure/AKS#1135",
            ),
            Self::DoesNotExistIgnored => {
                wrong("does-not-exist-ignored", &[24], "DoesNotExist is not evaluated: it matches everything")
            }
            Self::InFirstValueOnly => {
                wrong("in-first-value-only", &[24], "of the values of In only the first counts")
            }
            Self::ExpressionsIgnored => {
                wrong("expressions-ignored", &[24], "matchExpressions are not evaluated beside matchLabels")
            }
            Self::EmptyMatchesMissing => wrong(
                "empty-matches-missing",
                &[24, 38],
                "a label with an empty value also matches objects that do not have it",
            ),
            Self::CaseIgnored => wrong("case-ignored", &[38], "labels are compared without regard to case"),
            Self::NameLabelUnknown => wrong(
                "name-label-unknown",
                &[25],
                "kubernetes.io/metadata.name is not known: namespaces cannot be named",
            ),
        }
    }
}
