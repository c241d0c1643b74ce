//! Parts of all policies of a cluster, for deviations that rewrite them.

use k8s_openapi::api::networking::v1::NetworkPolicySpec;

use crate::policy::{
    Cluster, ClusterRule, Direction, IpBlock, LabelSelector, NamespaceScope, NetworkPolicy, Peer, Peers, Pod,
    PortMatch, PortRange, PortSpec, Ports, Requirement, Rule,
};
use crate::snapshot::WrittenPolicy;

pub(super) fn each(cluster: &mut Cluster, change: impl FnMut(&mut NetworkPolicy)) {
    cluster.policies.iter_mut().for_each(change);
}

/// Returns the rules of each NetworkPolicy and direction.
pub(super) fn lists(cluster: &mut Cluster) -> impl Iterator<Item = &mut Vec<Rule>> {
    cluster.policies.iter_mut().flat_map(|policy| policy.ingress.iter_mut().chain(&mut policy.egress))
}

pub(super) fn rules(cluster: &mut Cluster) -> impl Iterator<Item = &mut Rule> {
    lists(cluster).flatten()
}

/// Returns the peers of each rule that names peers.
pub(super) fn peer_lists<'a>(
    rules: impl Iterator<Item = &'a mut Rule>,
) -> impl Iterator<Item = &'a mut Vec<Peer>> {
    rules.filter_map(|rule| match &mut rule.peers {
        Peers::Only(peers) => Some(peers),
        Peers::Any => None,
    })
}

/// Replaces each peer by others.
pub(super) fn replace_peers(cluster: &mut Cluster, others: impl Fn(Peer) -> Vec<Peer>) {
    for peers in peer_lists(rules(cluster)) {
        *peers = peers.drain(..).flat_map(&others).collect();
    }
}

/// Returns the two selectors of each peer that matches pods.
pub(super) fn pod_peers(
    cluster: &mut Cluster,
) -> impl Iterator<Item = (&mut NamespaceScope, &mut LabelSelector)> {
    peer_lists(rules(cluster)).flatten().filter_map(|peer| match peer {
        Peer::Pods { namespaces, pods } => Some((namespaces, pods)),
        Peer::IpBlock(_) => None,
    })
}

pub(super) fn blocks<'a>(rules: impl Iterator<Item = &'a mut Rule>) -> impl Iterator<Item = &'a mut IpBlock> {
    peer_lists(rules).flatten().filter_map(|peer| match peer {
        Peer::IpBlock(block) => Some(block),
        Peer::Pods { .. } => None,
    })
}

/// Returns the ports of each rule that names ports.
pub(super) fn port_lists(cluster: &mut Cluster) -> impl Iterator<Item = &mut Vec<PortMatch>> {
    rules(cluster).filter_map(|rule| match &mut rule.ports {
        Ports::Only(ports) => Some(ports),
        Ports::Any => None,
    })
}

/// Replaces each requirement of all selectors by others.
pub(super) fn replace_requirements(cluster: &mut Cluster, others: impl Fn(Requirement) -> Vec<Requirement>) {
    let replace = |selector: &mut LabelSelector| {
        *selector = selector.requirements().cloned().flat_map(&others).collect();
    };
    each(cluster, |policy| replace(&mut policy.subjects));
    for (namespaces, pods) in pod_peers(cluster) {
        replace(pods);
        if let NamespaceScope::Selected(namespaces) = namespaces {
            replace(namespaces);
        }
    }
}

/// Returns the rules of each cluster-scoped policy and direction.
pub(super) fn cluster_lists(cluster: &mut Cluster) -> impl Iterator<Item = &mut Vec<ClusterRule>> {
    cluster.cluster_policies.iter_mut().flat_map(|policy| [&mut policy.ingress, &mut policy.egress])
}

/// Returns the policies after a change of the form in which they were written. A policy is not in force if the change
/// returns `false`, or if the API server would refuse the result.
pub(super) fn rewritten(
    written: &[WrittenPolicy],
    change: impl Fn(&mut NetworkPolicySpec) -> bool,
) -> Vec<NetworkPolicy> {
    let policies = written.iter().filter_map(|written| {
        let mut object = (*written.object).clone();
        let is_in_force = change(object.spec.get_or_insert_default());
        WrittenPolicy::new(object).ok().filter(|_| is_in_force).map(|written| written.policy)
    });
    policies.collect()
}

/// Returns the scope of all namespaces.
pub(super) fn everywhere() -> NamespaceScope {
    NamespaceScope::Selected(LabelSelector::everything())
}

/// Returns a peer that matches all pods of some namespaces.
pub(super) fn all_pods(namespaces: NamespaceScope) -> Peer {
    Peer::Pods { namespaces, pods: LabelSelector::everything() }
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
