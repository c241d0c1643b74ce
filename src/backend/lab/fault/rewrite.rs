//! Helpers that rewrite parts of all policies of a cluster.

use crate::policy::{
    Cluster, IpBlock, LabelSelector, NamespaceScope, NetworkPolicy, Peer, Peers, PortMatch, PortRange,
    PortSpec, Ports, Requirement, Rule,
};

pub(super) fn each(cluster: &mut Cluster, change: impl Fn(&mut NetworkPolicy)) {
    cluster.policies.iter_mut().for_each(change);
}

pub(super) fn lists(cluster: &mut Cluster, change: impl Fn(&mut Vec<Rule>)) {
    each(cluster, |policy| [&mut policy.ingress, &mut policy.egress].into_iter().flatten().for_each(&change));
}

pub(super) fn rules(cluster: &mut Cluster, change: impl Fn(&mut Rule)) {
    lists(cluster, |rules| rules.iter_mut().for_each(&change));
}

pub(super) fn peers(cluster: &mut Cluster, change: impl Fn(Peer) -> Vec<Peer>) {
    rules(cluster, |rule| {
        if let Peers::Only(peers) = &mut rule.peers {
            *peers = peers.drain(..).flat_map(&change).collect();
        }
    });
}

/// Changes the peers that have both selectors.
pub(super) fn pod_peers(cluster: &mut Cluster, change: impl Fn(LabelSelector, LabelSelector) -> Vec<Peer>) {
    peers(cluster, |peer| match peer {
        Peer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods } if !pods.is_everything() => {
            change(namespaces, pods)
        }
        Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
    });
}

pub(super) fn blocks(cluster: &mut Cluster, change: impl Fn(&IpBlock) -> IpBlock) {
    peers(cluster, |peer| match peer {
        Peer::IpBlock(block) => vec![Peer::IpBlock(change(&block))],
        Peer::Pods { .. } => vec![peer],
    });
}

pub(super) fn ports(cluster: &mut Cluster, change: impl Fn(PortMatch) -> Vec<PortMatch>) {
    rules(cluster, |rule| {
        if let Ports::Only(ports) = &mut rule.ports {
            *ports = ports.drain(..).flat_map(&change).collect();
        }
    });
}

pub(super) fn ranges(cluster: &mut Cluster, change: impl Fn(PortRange) -> PortRange) {
    ports(cluster, |port| match port.ports {
        PortSpec::Range(range) => vec![PortMatch { ports: PortSpec::Range(change(range)), ..port }],
        PortSpec::Any | PortSpec::Named(_) => vec![port],
    });
}

pub(super) fn selectors(cluster: &mut Cluster, change: impl Fn(Requirement) -> Vec<Requirement>) {
    let changed = |selector: &LabelSelector| -> LabelSelector {
        selector.requirements().cloned().flat_map(&change).collect()
    };
    each(cluster, |policy| policy.subjects = changed(&policy.subjects));
    peers(cluster, |peer| match peer {
        Peer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods } => {
            vec![in_namespaces(changed(&namespaces), changed(&pods))]
        }
        Peer::Pods { namespaces: NamespaceScope::Own, pods } => {
            vec![Peer::Pods { namespaces: NamespaceScope::Own, pods: changed(&pods) }]
        }
        Peer::IpBlock(_) => vec![peer],
    });
}

pub(super) fn in_namespaces(namespaces: LabelSelector, pods: LabelSelector) -> Peer {
    Peer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods }
}

/// Returns a peer that matches all pods.
pub(super) fn everybody() -> Peer {
    in_namespaces(LabelSelector::everything(), LabelSelector::everything())
}
