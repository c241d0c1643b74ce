//! Deviations in the path of packets: some packets never meet the rules, or meet them too early.

use super::Effect::Packets;
use super::{Deviation, seen, wrong};
use crate::policy::{Direction, Protocol};

/// A fault in the path of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatapathFault {
    NoEnforcement,
    Ignores(Direction),
    /// These packets pass whatever the policies say.
    Opens(Traffic),
    OwnNodeClosed,
    BeforeTranslation,
    LookupsOverTcpClosed,
    DropReplies,
    Stateless,
    EgressShortcut,
    DeadPath,
    DeliversLate,
}

/// The packets that a fault lets pass, whatever the policies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    All,
    /// At the enforcer of this direction.
    At(Direction),
    Some(Traffic),
}

impl DatapathFault {
    /// Returns which packets it lets pass. `None` if it does something else.
    pub fn passing(self) -> Option<Passing> {
        match self {
            Self::NoEnforcement => Some(Passing::All),
            Self::Ignores(direction) => Some(Passing::At(direction)),
            Self::Opens(traffic) => Some(Passing::Some(traffic)),
            Self::OwnNodeClosed
            | Self::BeforeTranslation
            | Self::LookupsOverTcpClosed
            | Self::DropReplies
            | Self::Stateless
            | Self::EgressShortcut
            | Self::DeadPath
            | Self::DeliversLate => None,
        }
    }
}

/// Packets that have something in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Over(Protocol),
    Ipv6,
    /// Between pods of one node.
    OnNode,
    /// Between pods of two nodes.
    BetweenNodes,
    Outside,
    FromNodes,
    ToServices,
    Lookups,
    /// This percentage of the connections.
    Share(u8),
}

pub(super) const TABLE: &[Deviation] = &[
    seen("no-enforcement", &[1, 4], "every CNI plugin without NetworkPolicy, flannel for one")
        .says("policies are accepted and nothing enforces them")
        .by(Packets(DatapathFault::NoEnforcement)),
    wrong("ignore-ingress", &[1, 11])
        .says("ingress rules are not enforced: every packet arrives")
        .by(Packets(DatapathFault::Ignores(Direction::Ingress))),
    seen("ignore-egress", &[1, 11], "implementations from before egress rules, such as Weave Net until 2.4")
        .says("egress rules are not enforced: pods send wherever they like")
        .by(Packets(DatapathFault::Ignores(Direction::Egress))),
    wrong("ignore-udp", &[7, 15])
        .says("UDP passes whatever the policies say")
        .by(Packets(DatapathFault::Opens(Traffic::Over(Protocol::Udp)))),
    wrong("ignore-tcp", &[7, 15])
        .says("TCP passes whatever the policies say")
        .by(Packets(DatapathFault::Opens(Traffic::Over(Protocol::Tcp)))),
    wrong("ignore-sctp", &[15])
        .says("SCTP passes whatever the policies say")
        .by(Packets(DatapathFault::Opens(Traffic::Over(Protocol::Sctp)))),
    seen("ignore-ipv6", &[23], "aws/aws-network-policy-agent#55")
        .says("only one family is enforced: IPv6 passes whatever the policies say")
        .by(Packets(DatapathFault::Opens(Traffic::Ipv6))),
    seen("same-node-open", &[11], "weaveworks/weave#3956, kubernetes/kubernetes#68055")
        .says("connections between pods of one node are not enforced")
        .by(Packets(DatapathFault::Opens(Traffic::OnNode))),
    wrong("cross-node-open", &[11])
        .says("connections between pods of two nodes are not enforced")
        .by(Packets(DatapathFault::Opens(Traffic::BetweenNodes))),
    seen("outside-open", &[5, 8], "aws/aws-network-policy-agent#55")
        .says("connections from and to addresses outside the cluster are not enforced")
        .by(Packets(DatapathFault::Opens(Traffic::Outside))),
    seen(
        "nodes-open",
        &[8, 27],
        "implementations that count all nodes as hosts to trust, such as Cilium with remote nodes as host",
    )
    .says("every node may send to every isolated pod, not only to its own")
    .by(Packets(DatapathFault::Opens(Traffic::FromNodes))),
    seen("own-node-closed", &[27], "cloudnativelabs/kube-router#195")
        .says("a pod's own node may not send to it: health checks fail as soon as anything isolates it")
        .by(Packets(DatapathFault::OwnNodeClosed)),
    seen("services-open", &[19], "kubernetes/kubernetes#68055, weaveworks/weave#3452")
        .says("connections through a Service are not enforced")
        .by(Packets(DatapathFault::Opens(Traffic::ToServices))),
    seen("before-translation", &[19], "aws/amazon-network-policy-controller-k8s#210")
        .says("egress rules see a Service's address and port instead of those of its pods")
        .by(Packets(DatapathFault::BeforeTranslation)),
    wrong("lookups-open", &[29])
        .says("UDP to port 53 always passes so that lookups work, which lets pods send anything out")
        .by(Packets(DatapathFault::Opens(Traffic::Lookups))),
    wrong("lookups-over-tcp-closed", &[29])
        .says("rules that allow TCP to port 53 are ignored: long DNS answers are lost")
        .by(Packets(DatapathFault::LookupsOverTcpClosed)),
    wrong("drop-replies", &[14])
        .says(
            "UDP datagrams arrive and their replies are lost: to the sender it looks like a denial, but \
             the datagram was delivered",
        )
        .by(Packets(DatapathFault::DropReplies)),
    wrong("stateless", &[14])
        .says(
            "there is no connection tracking: replies have to be allowed by the policies as if they \
             were new",
        )
        .by(Packets(DatapathFault::Stateless)),
    seen("egress-shortcut", &[11], "k3s-io/k3s#2390, cloudnativelabs/kube-router#916")
        .says("if both pods are on one node and egress allows a packet, ingress is not checked")
        .by(Packets(DatapathFault::EgressShortcut)),
    wrong("dead-path", &[1])
        .says(
            "as soon as there is any policy, nothing passes between the first two nodes, as with a \
             tunnel that broke",
        )
        .by(Packets(DatapathFault::DeadPath)),
    wrong("leaks-10-percent", &[1, 4])
        .says(
            "one connection in ten passes whatever the policies say, as where one of several queues \
             lacks the rules",
        )
        .by(Packets(DatapathFault::Opens(Traffic::Share(10))))
        .not_in_selftest(),
    wrong("leaks-1-percent", &[1, 4])
        .says(
            "one connection in a hundred passes whatever the policies say: --confidence says how many \
             probes find that",
        )
        .by(Packets(DatapathFault::Opens(Traffic::Share(1))))
        .not_in_selftest(),
    wrong("delivers-after-5s", &[1, 4])
        .says(
            "packets that are denied are held back for five seconds and delivered then: --linger says \
             how long to wait for them",
        )
        .by(Packets(DatapathFault::DeliversLate))
        .not_in_selftest(),
];
