//! A scenario, read and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::capability::Capability;
use super::probe::Probe;
use super::spec_rule::SpecRule;
use super::state::State;
use super::step::{Action, PodChange, Step};
use super::topology::Topology;
use crate::policy::{IpFamily, Protocol};
use crate::snapshot::Unmodelled;

/// A scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// `metadata.name`; unique in a run.
    pub name: String,
    /// `metadata.description`: what it decides and why that matters.
    pub description: String,
    /// `metadata.tags`
    pub tags: Vec<String>,
    /// `metadata.items`: what its steps decide, unless they say it themselves.
    pub items: BTreeSet<SpecRule>,
    /// `metadata.references`
    pub references: Vec<String>,
    /// The cluster at the beginning.
    pub topology: Topology,
    /// What is sent between every two endpoints.
    pub probes: Vec<Probe>,
    /// What happens, in order. At least one.
    pub steps: Vec<Step>,
    /// Set if the scenario shows a mistake that has to be found.
    pub demonstrates: Option<Demonstrates>,
    /// The objects of its manifests that have no part in NetworkPolicy, by kind and number.
    pub ignored: BTreeMap<String, usize>,
    /// The kinds of objects of its manifests without which the expected answers are not known.
    pub unmodelled: Vec<Unmodelled>,
    /// What to warn of.
    pub warnings: Vec<String>,
    /// The file that it was read from.
    pub file: Arc<str>,
}

impl Scenario {
    /// What its steps require, all together.
    pub fn requires(&self) -> BTreeSet<Capability> {
        self.steps.iter().flat_map(|step| step.requires.iter().copied()).collect()
    }

    /// What a place has to have so that every cell can be measured. IPv4 only counts beside IPv6.
    pub fn needs(&self) -> BTreeSet<Capability> {
        let state = State::new(&self.topology);
        let actions = || self.steps.iter().flat_map(|step| &step.actions);
        let added = actions().filter_map(Action::pod_change).filter_map(|change| match change {
            PodChange::Added(pod) => Some(pod),
            PodChange::Ended(_) | PodChange::Removed(_) => None,
        });
        let services = actions().filter_map(|action| match action {
            Action::SetService(service) => Some(&service.service),
            Action::SetPolicy(_)
            | Action::DeletePolicy(_)
            | Action::SetClusterPolicy(_)
            | Action::DeleteClusterPolicy(_)
            | Action::DeleteService(_)
            | Action::LabelPod { .. }
            | Action::LabelNamespace { .. }
            | Action::AddPod(_)
            | Action::EndPod(_)
            | Action::RemovePod(_) => None,
        });
        let has_family = |family| state.families.contains(&family);
        let is_sctp = |probe: &Probe| probe.protocol() == Protocol::Sctp;
        let needs = [
            (Capability::Sctp, self.probes.iter().any(is_sctp)),
            (Capability::Ipv4, has_family(IpFamily::V4) && has_family(IpFamily::V6)),
            (Capability::Ipv6, has_family(IpFamily::V6)),
            (Capability::Externals, !state.externals.is_empty()),
            (Capability::NodeEndpoints, state.node_endpoints),
            (Capability::HostNetwork, state.cluster.pods.iter().chain(added).any(|pod| pod.host_network)),
            (
                Capability::ClusterPolicies,
                actions().any(|action| matches!(action, Action::SetClusterPolicy(_))),
            ),
            (Capability::Nodes, state.cluster.services.iter().chain(services).any(|it| it.only_local)),
        ];
        needs.into_iter().filter(|(_, is_needed)| *is_needed).map(|(capability, _)| capability).collect()
    }
}

/// What a scenario demonstrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demonstrates {
    /// `policy-gap`: the policies do not say what their owner wanted, and that has to be found.
    PolicyGap,
}
