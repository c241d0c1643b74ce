//! A step: what happens, and what must hold afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::assertion::Assertion;
use super::capability::Capability;
use super::keep_open::KeepOpen;
use super::spec_rule::SpecRule;
use crate::policy::{ClusterPolicyName, Pod};
use crate::snapshot::{Identity, WrittenClusterPolicy, WrittenPolicy, WrittenService};

/// A step of a scenario.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name; unique in its scenario.
    pub name: String,
    /// Why it matters.
    pub description: String,
    /// The items that it decides, by default those of its scenario.
    pub items: BTreeSet<SpecRule>,
    /// What the place has to have, by the scenario or the step itself. Cells for which it is lacking are
    /// skipped.
    pub requires: BTreeSet<Capability>,
    /// What happens, in order. Nothing may: then the step only says what must hold.
    pub actions: Vec<Action>,
    /// The connections that are open while it happens.
    pub keep_open: Vec<KeepOpen>,
    /// What the policies then mean, by hand.
    pub expect: Vec<Assertion>,
    /// What their owner wants.
    pub intent: Vec<Assertion>,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Creates or replaces a policy.
    SetPolicy(WrittenPolicy),
    /// Deletes a policy.
    DeletePolicy(Identity),
    /// Creates or replaces a cluster-scoped policy.
    SetClusterPolicy(WrittenClusterPolicy),
    /// Deletes a cluster-scoped policy.
    DeleteClusterPolicy(ClusterPolicyName),
    /// Creates or replaces a Service.
    SetService(WrittenService),
    /// Deletes a Service.
    DeleteService(Identity),
    /// Sets labels of a pod, or takes them away.
    LabelPod {
        /// The pod.
        pod: Identity,
        /// `None` takes the label away.
        labels: BTreeMap<String, Option<String>>,
    },
    /// Sets labels of a namespace, or takes them away.
    LabelNamespace {
        /// The namespace.
        namespace: String,
        /// `None` takes the label away.
        labels: BTreeMap<String, Option<String>>,
    },
    /// Starts a pod. Its addresses are not known yet.
    AddPod(Pod),
    /// Lets a pod end by itself: it succeeds, and stays as a record without a network.
    EndPod(Identity),
    /// Deletes a pod.
    RemovePod(Identity),
}

/// What becomes of a pod in a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PodChange<'a> {
    /// It starts.
    Added(&'a Pod),
    /// It ends by itself.
    Ended(&'a Identity),
    /// It is deleted.
    Removed(&'a Identity),
}

impl Action {
    /// The pod that comes or goes; `None` if none does.
    pub fn pod_change(&self) -> Option<PodChange<'_>> {
        match self {
            Self::AddPod(pod) => Some(PodChange::Added(pod)),
            Self::EndPod(pod) => Some(PodChange::Ended(pod)),
            Self::RemovePod(pod) => Some(PodChange::Removed(pod)),
            Self::SetPolicy(_)
            | Self::DeletePolicy(_)
            | Self::SetClusterPolicy(_)
            | Self::DeleteClusterPolicy(_)
            | Self::SetService(_)
            | Self::DeleteService(_)
            | Self::LabelPod { .. }
            | Self::LabelNamespace { .. } => None,
        }
    }
}
