//! Rules of cluster-scoped policies: chains around the NetworkPolicy chain of one pod for one direction.
//!
//! The chain of the Admin tier has a line for every way in which a packet can match a rule, in the order of
//! priorities and rules. It ends with a `goto` to the chain of the NetworkPolicies. If no NetworkPolicy
//! isolates the pod, it ends with a `goto` to the chain of the Baseline tier. That chain has the same
//! structure, and ends by letting the packet pass.

use std::net::IpAddr;

use super::chain::{FAMILIES, Family, Writer};
use super::select::{is_filtered, policies_of, selects};
use crate::deviation::{CompileFault, EnforcerState};
use crate::policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterRule, Direction, IpBlock, Pod, PodSelector, Tier,
};

/// The cluster-scoped policies with rules for a pod and a direction, in their order.
pub(super) struct Tiers<'a> {
    admin: Vec<&'a ClusterPolicy>,
    baseline: Vec<&'a ClusterPolicy>,
}

impl<'a> Tiers<'a> {
    pub(super) fn of(view: &'a EnforcerState, pod: &Pod, direction: Direction) -> Self {
        let is_subject = |policy: &&ClusterPolicy| {
            !policy.rules(direction).is_empty() && means(view, &policy.subjects, pod)
        };
        let mut policies: Vec<_> = view.cluster.cluster_policies.iter().filter(is_subject).collect();
        policies.sort_by_key(|policy| policy.priority);
        let (admin, baseline) = policies.into_iter().partition(|policy| policy.tier == Tier::Admin);
        Self { admin, baseline }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.admin.is_empty() && self.baseline.is_empty()
    }
}

/// Returns whether a selector of a cluster-scoped policy matches a pod.
fn means(view: &EnforcerState, selector: &PodSelector, pod: &Pod) -> bool {
    let mut namespaces = view.cluster.namespaces.iter();
    let in_scope = namespaces
        .any(|namespace| namespace.name == pod.namespace && selects(&selector.namespaces, &namespace.labels));
    in_scope && is_filtered(pod) && selects(&selector.pods, &pod.labels)
}

impl Writer<'_> {
    /// Writes the chain for all policies of the pod and returns its name, or `None` if it would let
    /// everything pass. `policies` is the chain of the NetworkPolicies that isolate the pod, if there are
    /// any.
    pub(super) fn tiers(mut self, tiers: &Tiers<'_>, policies: Option<String>) -> Option<String> {
        let after_admin = self.after_admin(tiers, policies.clone());
        let is_wrong = self.compile_fault() == Some(CompileFault::AdminAfterNetworkPolicies);
        if tiers.admin.is_empty() || (is_wrong && policies.is_some()) {
            return after_admin;
        }
        let passed = match self.compile_fault() {
            Some(CompileFault::PassSkipsBaseline) => policies,
            Some(_) | None => after_admin.clone(),
        };
        Some(self.tier(&tiers.admin, passed.as_deref(), after_admin.as_deref()))
    }

    /// Returns the name of the chain that follows the Admin tier. `None` if it would let everything pass.
    fn after_admin(&mut self, tiers: &Tiers<'_>, policies: Option<String>) -> Option<String> {
        if tiers.baseline.is_empty() {
            return policies;
        }
        match (policies, self.compile_fault()) {
            (Some(policies), Some(CompileFault::BaselineBeforeNetworkPolicies)) => {
                Some(self.tier(&tiers.baseline, Some(&policies), Some(&policies)))
            }
            (Some(policies), Some(CompileFault::BaselineNotOverridden)) => {
                let baseline = self.tier(&tiers.baseline, None, None);
                Some(self.table.chain(vec![format!("jump {policies}"), format!("goto {baseline}")]))
            }
            (Some(policies), Some(_) | None) => Some(policies),
            (None, Some(CompileFault::BaselineLeavesSelected))
                if !policies_of(&self.view.cluster, self.subject).is_empty() =>
            {
                None
            }
            (None, Some(_) | None) => Some(self.tier(&tiers.baseline, None, None)),
        }
    }

    /// Writes the chain of a tier and returns its name. `Pass` leads to the chain `passed`. A packet that no
    /// rule matches goes to the chain `unmatched`.
    fn tier(&mut self, policies: &[&ClusterPolicy], passed: Option<&str>, unmatched: Option<&str>) -> String {
        let to =
            |next: Option<&str>| next.map_or_else(|| "return".to_owned(), |chain| format!("goto {chain}"));
        let passed = to(passed);
        let count = match self.compile_fault() {
            Some(CompileFault::OnePolicyOnly) => 1,
            Some(_) | None => policies.len(),
        };
        let direction = self.direction;
        let mut lines = Vec::new();
        for rule in policies.iter().take(count).flat_map(|policy| policy.rules(direction)) {
            let verdict = match rule.action {
                Action::Accept => self.allowed(),
                Action::Deny => "drop",
                Action::Pass => &passed,
            };
            lines.extend(self.matched_by(rule).into_iter().map(|matched| format!("{matched} {verdict}")));
        }
        lines.push(to(unmatched));
        self.table.chain(lines)
    }

    /// Returns the conditions under which a packet matches a rule: one for each pair of peer and port.
    fn matched_by(&mut self, rule: &ClusterRule) -> Vec<String> {
        let mut matches = Vec::new();
        for family in FAMILIES {
            let peers: Vec<_> = rule.peers.iter().filter_map(|peer| self.end(peer, family)).collect();
            let ports = self.ports(&rule.ports, family);
            for peer in &peers {
                matches.extend(ports.iter().map(|port| format!("{peer} {port}")));
            }
        }
        matches
    }

    /// Returns the condition on the other end. The lab does not know what domain names resolve to, nor which
    /// labels nodes have. Such peers match nothing.
    fn end(&mut self, peer: &ClusterPeer, family: Family) -> Option<String> {
        let of_family = |address: &&IpAddr| address.is_ipv6() == family.ipv6;
        match peer {
            ClusterPeer::Pods(selector) => {
                let view = self.view;
                let pods =
                    view.cluster.pods.iter().filter(|pod| view.knows(pod) && means(view, selector, pod));
                let members = pods.flat_map(|pod| self.known_addresses(pod, family)).map(IpAddr::to_string);
                self.members(self.remote(), members.collect(), family)
            }
            ClusterPeer::Nodes(labels) if labels.is_everything() => {
                let nodes = self.view.cluster.nodes.iter();
                let members = nodes.flat_map(|node| node.addresses.iter().filter(of_family));
                let members = members.map(IpAddr::to_string).collect();
                self.members(self.remote(), members, family)
            }
            ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) => None,
            ClusterPeer::Network(block) => {
                (block.net().addr().is_ipv6() == family.ipv6).then(|| self.network(block, family))
            }
        }
    }

    fn network(&self, block: &IpBlock, family: Family) -> String {
        match block.net().prefix_len() {
            0 => family.only.to_owned(),
            _ => format!("{} {} {}", family.header, self.remote(), block.net()),
        }
    }
}
