//! A scenario that was read and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::spec_rule::SpecRule;
use super::step::Step;
use crate::policy::{Cluster, IpFamily, Protocol};
use crate::snapshot::Unmodelled;
use crate::world::{Action, Capability, PodChange, Probe, World};

/// A scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// `metadata.name`; unique in a run.
    pub name: String,
    /// The nodes that stand for its logical nodes, in this order. Empty unless the scenario is run on several groups
    /// of nodes.
    pub nodes: Vec<String>,
    /// `metadata.description`: what the scenario decides, and why that matters.
    pub description: String,
    /// `metadata.tags`
    pub tags: Vec<String>,
    /// `metadata.specRules`: spec rules that its steps decide, unless a step lists its own.
    pub spec_rules: BTreeSet<SpecRule>,
    /// `metadata.references`
    pub references: Vec<String>,
    /// The initial cluster.
    pub world: World,
    /// Probes that are sent between every two endpoints.
    pub probes: Vec<Probe>,
    /// The steps in order. At least one.
    pub steps: Vec<Step>,
    /// Set if the scenario demonstrates a mistake that netproof must find.
    pub demonstrates: Option<Demonstrates>,
    /// Objects in its manifests that have no effect on NetworkPolicy: their number by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Kinds of objects in its manifests that leave the expected answers unknown.
    pub unmodelled: Vec<Unmodelled>,
    /// Warnings about its manifests.
    pub warnings: Vec<String>,
    /// The file from which it was read.
    pub file: Arc<str>,
}

impl Scenario {
    /// Returns each step with the world after it, as far as the scenario determines that world.
    pub(crate) fn worlds(&self) -> impl Iterator<Item = (&Step, World)> {
        self.steps.iter().scan(self.world.clone(), |world, step| {
            for action in &step.actions {
                let applied = world.apply(action);
                debug_assert!(applied.is_ok(), "the loader has applied the same actions before");
            }
            Some((step, world.clone()))
        })
    }

    /// Returns a cluster with everything that exists in any step: each namespace and pod once for each set of
    /// labels that it has, and every version of every policy. This cluster cannot be evaluated. It shows
    /// which selectors never match anything.
    pub fn ever(&self) -> Cluster {
        let mut ever = self.world.cluster.clone();
        for (_, World { cluster, .. }) in self.worlds() {
            add(&mut ever.namespaces, cluster.namespaces);
            add(&mut ever.pods, cluster.pods);
            add(&mut ever.policies, cluster.policies);
            add(&mut ever.cluster_policies, cluster.cluster_policies);
        }
        ever
    }

    /// Returns the name that reports show: with the nodes, if the scenario is run on several groups of nodes.
    pub fn title(&self) -> String {
        match self.nodes.as_slice() {
            [] => self.name.clone(),
            nodes => format!("{} on {}", self.name, nodes.join(", ")),
        }
    }

    /// Returns everything that its steps require.
    pub fn requires(&self) -> BTreeSet<Capability> {
        self.steps.iter().flat_map(|step| step.requires.iter().copied()).collect()
    }

    /// Returns whether some cells can be measured only in an environment with this capability.
    pub fn uses(&self, capability: Capability) -> bool {
        let is_ipv4 = capability == Capability::Ipv4 && self.world.families.contains(&IpFamily::V4);
        is_ipv4 || self.needs().contains(&capability)
    }

    /// Returns what an environment must have so that every cell can be measured. IPv4 counts only if IPv6 is
    /// probed, too.
    pub fn needs(&self) -> BTreeSet<Capability> {
        let world = &self.world;
        let actions = || self.steps.iter().flat_map(|step| &step.actions);
        let added = actions().filter_map(Action::pod_change).filter_map(|change| match change {
            PodChange::Added(pod) => Some(pod),
            PodChange::Ended(_) | PodChange::Removed(_) => None,
        });
        let services = actions().filter_map(|action| {
            if let Action::SetService(written) = action { Some(&written.service) } else { None }
        });
        let has_family = |family| world.families.contains(&family);
        let is_sctp = |probe: &Probe| probe.protocol() == Protocol::Sctp;
        let needs = [
            (Capability::Sctp, self.probes.iter().any(is_sctp)),
            (Capability::Ipv4, has_family(IpFamily::V4) && has_family(IpFamily::V6)),
            (Capability::Ipv6, has_family(IpFamily::V6)),
            (Capability::Externals, !world.externals.is_empty()),
            (Capability::NodeEndpoints, world.node_endpoints),
            (Capability::HostNetwork, world.cluster.pods.iter().chain(added).any(|pod| pod.host_network)),
            (
                Capability::ClusterPolicies,
                actions().any(|action| matches!(action, Action::SetClusterPolicy(_))),
            ),
            (Capability::Nodes, world.cluster.services.iter().chain(services).any(|it| it.only_local)),
        ];
        needs.into_iter().filter(|(_, is_needed)| *is_needed).map(|(capability, _)| capability).collect()
    }
}

fn add<T: PartialEq>(all: &mut Vec<T>, now: Vec<T>) {
    for item in now {
        if !all.contains(&item) {
            all.push(item);
        }
    }
}

/// What a scenario demonstrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demonstrates {
    /// `policy-gap`: the policies do not say what their owner wants, and netproof must find that.
    PolicyGap,
}
