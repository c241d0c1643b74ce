//! Changes of the network under test.

use std::collections::BTreeMap;

use crate::policy::{ClusterPolicyName, Pod};
use crate::snapshot::{Identity, WrittenClusterPolicy, WrittenPolicy, WrittenService};

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
    /// Sets or removes labels of a pod.
    LabelPod {
        /// The pod.
        pod: Identity,
        /// `None` removes the label.
        labels: BTreeMap<String, Option<String>>,
    },
    /// Sets or removes labels of a namespace.
    LabelNamespace {
        /// The namespace.
        namespace: String,
        /// `None` removes the label.
        labels: BTreeMap<String, Option<String>>,
    },
    /// Starts a pod. Its addresses are not known yet.
    AddPod(Pod),
    /// Lets a pod end by itself. It succeeds, and its object stays without a network.
    EndPod(Identity),
    /// Deletes a pod.
    RemovePod(Identity),
}

/// What happens to a pod in a step.
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
    /// Returns the pod that the action starts, ends or deletes. `None` if there is none.
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
