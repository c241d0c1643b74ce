//! The kinds of workloads.

use std::fmt;

/// The kinds of workloads. A pod without an owner is a workload of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// A pod without an owner.
    Pod,
    /// `apps/v1 Deployment`
    Deployment,
    /// `apps/v1 StatefulSet`
    StatefulSet,
    /// `apps/v1 DaemonSet`
    DaemonSet,
    /// `apps/v1 ReplicaSet`
    ReplicaSet,
    /// `v1 ReplicationController`
    ReplicationController,
    /// `batch/v1 Job`
    Job,
    /// `batch/v1 CronJob`
    CronJob,
}

impl WorkloadKind {
    /// Returns the kind's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }

    /// Returns whether Kubernetes' own controller of this kind makes objects of kind `other`. A user may make any
    /// object and set its controller to this kind, but then the object does not come from the template that netproof
    /// reads.
    pub(super) fn makes(self, other: Self) -> bool {
        match self {
            Self::Deployment => other == Self::ReplicaSet,
            Self::CronJob => other == Self::Job,
            Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::ReplicationController
            | Self::Job => other == Self::Pod,
            Self::Pod => false,
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
