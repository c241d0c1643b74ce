//! Faults in the path of packets: some packets never meet the rules, or meet them too early.

use super::{Description, seen, wrong};

/// A fault in the path of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatapathFault {
    /// Nothing is enforced.
    NoEnforcement,
    /// Ingress is not enforced.
    IgnoreIngress,
    /// Egress is not enforced.
    IgnoreEgress,
    /// UDP is not enforced.
    IgnoreUdp,
    /// TCP is not enforced.
    IgnoreTcp,
    /// SCTP is not enforced.
    IgnoreSctp,
    /// IPv6 is not enforced.
    IgnoreIpv6,
    /// Traffic within a node is not enforced.
    SameNodeOpen,
    /// Traffic between nodes is not enforced.
    CrossNodeOpen,
    /// Traffic from and to addresses outside the cluster is not enforced.
    OutsideOpen,
    /// Every node may send to every pod.
    NodesOpen,
    /// A node cannot send to its own pods.
    OwnNodeClosed,
    /// Traffic through a Service is not enforced.
    ServicesOpen,
    /// Egress is enforced before Services are translated.
    BeforeTranslation,
    /// Lookups over UDP are not enforced.
    LookupsOpen,
    /// Rules that allow lookups over TCP are ignored.
    LookupsOverTcpClosed,
    /// Replies to UDP datagrams are lost.
    DropReplies,
    /// Replies must be allowed, too.
    Stateless,
    /// If egress allows a packet, ingress is not checked on the same node.
    EgressShortcut,
    /// Nothing passes between the first two nodes once there are policies.
    DeadPath,
    /// One connection in ten is not enforced.
    LeaksTenPercent,
    /// One connection in a hundred is not enforced.
    LeaksOnePercent,
    /// Denied packets are delivered after five seconds.
    DeliversLate,
}

impl DatapathFault {
    /// All faults of this kind.
    pub const ALL: [Self; 23] = [
        Self::NoEnforcement,
        Self::IgnoreIngress,
        Self::IgnoreEgress,
        Self::IgnoreUdp,
        Self::IgnoreTcp,
        Self::IgnoreSctp,
        Self::IgnoreIpv6,
        Self::SameNodeOpen,
        Self::CrossNodeOpen,
        Self::OutsideOpen,
        Self::NodesOpen,
        Self::OwnNodeClosed,
        Self::ServicesOpen,
        Self::BeforeTranslation,
        Self::LookupsOpen,
        Self::LookupsOverTcpClosed,
        Self::DropReplies,
        Self::Stateless,
        Self::EgressShortcut,
        Self::DeadPath,
        Self::LeaksTenPercent,
        Self::LeaksOnePercent,
        Self::DeliversLate,
    ];

    pub(super) fn description(self) -> Description {
        match self {
            Self::NoEnforcement => seen(
                "no-enforcement",
                &[1, 4],
                "policies are accepted and nothing enforces them",
                "every CNI plugin without NetworkPolicy, flannel for one",
            ),
            Self::IgnoreIngress => {
                wrong("ignore-ingress", &[1, 11], "ingress rules are not enforced: every packet arrives")
            }
            Self::IgnoreEgress => seen(
                "ignore-egress",
                &[1, 11],
                "egress rules are not enforced: pods send wherever they like",
                "implementations from before egress rules, such as Weave Net until 2.4",
            ),
            Self::IgnoreUdp => wrong("ignore-udp", &[7, 15], "UDP passes whatever the policies say"),
            Self::IgnoreTcp => wrong("ignore-tcp", &[7, 15], "TCP passes whatever the policies say"),
            Self::IgnoreSctp => wrong("ignore-sctp", &[15], "SCTP passes whatever the policies say"),
            Self::IgnoreIpv6 => seen(
                "ignore-ipv6",
                &[23],
                "only one family is enforced: IPv6 passes whatever the policies say",
                "aws/aws-network-policy-agent#55",
            ),
            Self::SameNodeOpen => seen(
                "same-node-open",
                &[11],
                "connections between pods of one node are not enforced",
                "weaveworks/weave#3956, kubernetes/kubernetes#68055",
            ),
            Self::CrossNodeOpen => {
                wrong("cross-node-open", &[11], "connections between pods of two nodes are not enforced")
            }
            Self::OutsideOpen => seen(
                "outside-open",
                &[5, 8],
                "connections from and to addresses outside the cluster are not enforced",
                "aws/aws-network-policy-agent#55",
            ),
            Self::NodesOpen => seen(
                "nodes-open",
                &[8, 27],
                "every node may send to every isolated pod, not only to its own",
                "implementations that count all nodes as hosts to trust, such as Cilium with remote nodes as host",
            ),
            Self::OwnNodeClosed => seen(
                "own-node-closed",
                &[27],
                "a pod's own node may not send to it: health checks fail as soon as anything isolates it",
                "cloudnativelabs/kube-router#195",
            ),
            Self::ServicesOpen => seen(
                "services-open",
                &[19],
                "connections through a Service are not enforced",
                "kubernetes/kubernetes#68055, weaveworks/weave#3452",
            ),
            Self::BeforeTranslation => seen(
                "before-translation",
                &[19],
                "egress rules see a Service's address and port instead of those of its pods",
                "aws/amazon-network-policy-controller-k8s#210",
            ),
            Self::LookupsOpen => wrong(
                "lookups-open",
                &[29],
                "UDP to port 53 always passes so that lookups work, which lets pods send anything out",
            ),
            Self::LookupsOverTcpClosed => wrong(
                "lookups-over-tcp-closed",
                &[29],
                "rules that allow TCP to port 53 are ignored: long DNS answers are lost",
            ),
            Self::DropReplies => wrong(
                "drop-replies",
                &[14],
                "UDP datagrams arrive and their replies are lost: to the sender it looks like a denial, but the datagram was delivered",
            ),
            Self::Stateless => wrong(
                "stateless",
                &[14],
                "there is no connection tracking: replies have to be allowed by the policies as if they were new",
            ),
            Self::EgressShortcut => seen(
                "egress-shortcut",
                &[11],
                "if both pods are on one node and egress allows a packet, ingress is not checked",
                "k3s-io/k3s#2390, cloudnativelabs/kube-router#916",
            ),
            Self::DeadPath => wrong(
                "dead-path",
                &[1],
                "as soon as there is any policy, nothing passes between the first two nodes, as with a tunnel that broke",
            ),
            Self::LeaksTenPercent => wrong(
                "leaks-10-percent",
                &[1, 4],
                "one connection in ten passes whatever the policies say, as where one of several queues lacks the rules",
            ),
            Self::LeaksOnePercent => wrong(
                "leaks-1-percent",
                &[1, 4],
                "one connection in a hundred passes whatever the policies say: --confidence says how many probes find that",
            ),
            Self::DeliversLate => wrong(
                "delivers-after-5s",
                &[1, 4],
                "packets that are denied are held back for five seconds and delivered then: --linger says how long to wait for them",
            ),
        }
    }
}
