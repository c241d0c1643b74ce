//! Helpers that rewrite parts of all policies of a cluster.

use crate::policy::{
    Cluster, ClusterPolicy, ClusterRule, Direction, IpBlock, LabelSelector, NamespaceScope, NetworkPolicy,
    Peer, Peers, Pod, PortMatch, PortRange, PortSpec, Ports, Requirement, Rule,
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

pub(super) fn selectors(cluster: &mut Cluster, change: impl Fn(Requirement) -> Vec<Requirement>) {
    let changed = |selector: &LabelSelector| -> LabelSelector {
        selector.requirements().cloned().flat_map(&change).collect()
    };
    each(cluster, |policy| policy.subjects = changed(&policy.subjects));
    peers(cluster, |peer| match peer {
        Peer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods } => {
            vec![in_namespaces(changed(&namespaces), changed(&pods))]
        }
        Peer::Pods { namespaces: NamespaceScope::Own, pods } => vec![in_own_namespace(changed(&pods))],
        Peer::IpBlock(_) => vec![peer],
    });
}

/// Changes the rules of cluster-scoped policies.
pub(super) fn cluster_rules(cluster: &mut Cluster, change: impl Fn(&mut Vec<ClusterRule>)) {
    for ClusterPolicy { ingress, egress, .. } in &mut cluster.cluster_policies {
        change(ingress);
        change(egress);
    }
}

pub(super) fn in_namespaces(namespaces: LabelSelector, pods: LabelSelector) -> Peer {
    Peer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods }
}

pub(super) fn in_own_namespace(pods: LabelSelector) -> Peer {
    Peer::Pods { namespaces: NamespaceScope::Own, pods }
}

/// Returns a peer that matches all pods.
pub(super) fn all_pods() -> Peer {
    in_namespaces(LabelSelector::everything(), LabelSelector::everything())
}

/// The policy and the direction of a list of rules, in a cluster.
pub(super) struct Context<'a> {
    /// The cluster, without its policies.
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    pub(super) subjects: &'a LabelSelector,
    pub(super) direction: Direction,
}

/// Changes the rules of every policy, based on the pods that the cluster has.
pub(super) fn lists_in_context(cluster: &mut Cluster, change: impl Fn(&Context<'_>, &mut Vec<Rule>)) {
    let mut policies = std::mem::take(&mut cluster.policies);
    for NetworkPolicy { namespace, subjects, ingress, egress, .. } in &mut policies {
        for (direction, rules) in [(Direction::Ingress, ingress), (Direction::Egress, egress)] {
            if let Some(rules) = rules {
                change(&Context { cluster, namespace, subjects, direction }, rules);
            }
        }
    }
    cluster.policies = policies;
}

impl<'a> Context<'a> {
    /// Returns the receiving pods of a rule.
    pub(super) fn receivers(&self, rule: &Rule) -> Vec<&'a Pod> {
        let receives = |pod: &&Pod| match (self.direction, &rule.peers) {
            (Direction::Ingress, _) => pod.namespace == self.namespace && self.subjects.matches(&pod.labels),
            (Direction::Egress, Peers::Any) => true,
            (Direction::Egress, Peers::Only(peers)) => peers.iter().any(|peer| self.is_peer(peer, pod)),
        };
        filtered_pods(self.cluster).filter(receives).collect()
    }

    /// Returns whether a rule names peers and none of them matches anything. An `ipBlock` always may.
    pub(super) fn matches_nothing(&self, rule: &Rule) -> bool {
        let may_match = |peer: &Peer| {
            matches!(peer, Peer::IpBlock(_)) || self.cluster.pods.iter().any(|pod| self.is_peer(peer, pod))
        };
        matches!(&rule.peers, Peers::Only(peers) if !peers.iter().any(may_match))
    }

    fn is_peer(&self, peer: &Peer, pod: &Pod) -> bool {
        let Peer::Pods { namespaces, pods } = peer else { return false };
        let in_scope = match namespaces {
            NamespaceScope::Own => pod.namespace == self.namespace,
            NamespaceScope::Selected(selector) => self
                .cluster
                .namespaces
                .iter()
                .any(|namespace| namespace.name == pod.namespace && selector.matches(&namespace.labels)),
        };
        in_scope && pods.matches(&pod.labels)
    }
}

/// Returns the pods that policies can select.
pub(super) fn filtered_pods(cluster: &Cluster) -> impl Iterator<Item = &Pod> {
    cluster.pods.iter().filter(|pod| !pod.ended && !pod.host_network)
}

/// Returns the ports that an entry stands for: the numbers that any of these pods gives a name, or the entry itself.
pub(super) fn numbers(port: &PortMatch, pods: &[&Pod]) -> Vec<PortMatch> {
    let PortSpec::Named(name) = &port.ports else { return vec![port.clone()] };
    let numbers = pods.iter().filter_map(|pod| pod.named_port(name, port.protocol));
    let ranges = numbers.map(|number| PortSpec::Range(PortRange::single(number)));
    ranges.map(|ports| PortMatch { ports, protocol: port.protocol }).collect()
}

/// Returns the ports with every name replaced by the numbers that any of these pods gives it.
pub(super) fn numbered(ports: &[PortMatch], pods: &[&Pod]) -> Ports {
    Ports::Only(ports.iter().flat_map(|port| numbers(port, pods)).collect())
}
