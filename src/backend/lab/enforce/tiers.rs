//! Rules of cluster-scoped policies: chains around the NetworkPolicy chain of one pod for one direction.
//!
//! The chain of the Admin tier has a line for every way in which a packet can match a rule, in the order of
//! priorities and rules. It ends with a `goto` to the chain of the NetworkPolicies. If no NetworkPolicy
//! isolates the pod, it ends with a `goto` to the chain of the Baseline tier. That chain has the same
//! structure, and ends by letting the packet pass.

use super::chain::Writer;
use super::select::{means, policies_of};
use super::table::{FAMILIES, Family};
use crate::deviation::{CompileFault, EnforcerState};
use crate::policy::{Action, ClusterPeer, ClusterPolicy, Direction, Pod, Tier};

/// The cluster-scoped policies with rules for a pod and a direction, in their order.
pub(super) struct Tiers<'a> {
    admin: Vec<&'a ClusterPolicy>,
    baseline: Vec<&'a ClusterPolicy>,
}

impl<'a> Tiers<'a> {
    pub(super) fn of(view: &'a EnforcerState, pod: &Pod, direction: Direction) -> Self {
        let is_subject = |policy: &&ClusterPolicy| {
            !policy.rules(direction).is_empty() && means(&view.cluster, &policy.subjects, pod)
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

impl Writer<'_> {
    /// Writes the chain for all policies of the pod and returns its name, or `None` if it would let
    /// everything pass. `policies` is the chain of the NetworkPolicies that isolate the pod, if there are
    /// any.
    pub(super) fn tiers(&mut self, tiers: &Tiers<'_>, policies: Option<String>) -> Option<String> {
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
            lines.extend(self.lines(FAMILIES, &rule.ports, verdict, |writer, family| {
                rule.peers.iter().filter_map(|peer| writer.end(peer, family)).collect()
            }));
        }
        lines.push(to(unmatched));
        self.table.chain(lines)
    }

    /// Returns the condition on the other end. The lab does not know what domain names resolve to, nor which
    /// labels nodes have. Such peers match nothing.
    fn end(&mut self, peer: &ClusterPeer, family: Family) -> Option<String> {
        let cluster = &self.view.cluster;
        match peer {
            ClusterPeer::Pods(selector) => self.pods(|pod| means(cluster, selector, pod), family),
            ClusterPeer::Nodes(labels) if labels.is_everything() => {
                let members = cluster.nodes.iter().flat_map(|node| family.among(&node.addresses));
                self.members(self.remote(), members.collect(), family)
            }
            ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) => None,
            ClusterPeer::Network(block) => self.network(block, family),
        }
    }
}
