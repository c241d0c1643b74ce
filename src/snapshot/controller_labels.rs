//! The labels that controllers and the API server add to pods from templates.
//!
//! Follows `pkg/controller/deployment/sync.go`, `statefulset/stateful_set_utils.go`, `daemon/update.go` and
//! `pkg/registry/batch/job/strategy.go` of Kubernetes.

use k8s_openapi::api::batch::v1 as batch;

use super::workload_kind::WorkloadKind;
use crate::policy::Pod;

/// Label with the hash of a Deployment's template.
pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
const REVISION_HASH: &str = "controller-revision-hash";
const GENERATION: &str = "pod-template-generation";
pub(super) const STATEFUL_SET_POD: &str = "statefulset.kubernetes.io/pod-name";
pub(super) const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
const JOB_NAMES: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const JOB_UIDS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
/// The keys without a prefix.
pub(super) const KEYS: [&str; 5] =
    [POD_TEMPLATE_HASH, REVISION_HASH, GENERATION, "job-name", "controller-uid"];
const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Labels of a node that the API server copies to a pod when the pod is bound to the node, since Kubernetes 1.35
/// (<https://kep.k8s.io/4742>).
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// The controller that makes pods from a template, with what its labels depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller<'a> {
    Deployment,
    /// Its pods are numbered from `first`.
    StatefulSet {
        first: u32,
    },
    DaemonSet,
    /// A ReplicaSet or ReplicationController. It adds no labels.
    Replicas,
    Job(JobLabels<'a>),
}

/// What the labels of a Job's pods depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JobLabels<'a> {
    /// The Job's name; `None` if a CronJob makes the Job, or if the API server completes the name.
    pub(super) name: Option<&'a str>,
    is_indexed: bool,
    /// `spec.manualSelector`. If it is set, the API server adds no labels.
    has_manual_selector: bool,
}

impl<'a> JobLabels<'a> {
    pub(super) fn new(name: Option<&'a str>, spec: Option<&batch::JobSpec>) -> Self {
        let mode = spec.and_then(|spec| spec.completion_mode.as_deref());
        Self {
            name,
            is_indexed: mode == Some("Indexed"),
            has_manual_selector: spec.and_then(|spec| spec.manual_selector).unwrap_or(false),
        }
    }
}

impl Controller<'_> {
    /// Adds the labels that all pods of the workload get.
    pub(super) fn label(self, pod: &mut Pod) {
        match self {
            Self::Deployment => set_unknown(pod, POD_TEMPLATE_HASH),
            Self::StatefulSet { .. } => {
                for key in [REVISION_HASH, STATEFUL_SET_POD, POD_INDEX] {
                    set_unknown(pod, key);
                }
            }
            Self::DaemonSet => {
                set_unknown(pod, REVISION_HASH);
                set_unknown(pod, GENERATION);
            }
            Self::Replicas => {}
            Self::Job(job) => job.label(pod),
        }
    }
}

impl JobLabels<'_> {
    fn label(self, pod: &mut Pod) {
        let keys = JOB_NAMES.map(|key| (key, self.name)).into_iter().chain(JOB_UIDS.map(|key| (key, None)));
        for (key, value) in keys.filter(|_| !self.has_manual_selector) {
            // The API server keeps the labels that the template already has. The template of a Job in a cluster has
            // them.
            match value {
                Some(_) | None if pod.labels.contains_key(key) => {}
                Some(value) => set(pod, key, value.to_owned()),
                None => set_unknown(pod, key),
            }
        }
        if self.is_indexed {
            set_unknown(pod, COMPLETION_INDEX);
        }
    }
}

/// Returns whether every pod of a workload has its own value of a label. The other labels that controllers set depend
/// on the template or on the workload.
pub(super) fn differs_in_every_pod(kind: WorkloadKind, key: &str) -> bool {
    let is_of_job = JOB_NAMES.contains(&key) || JOB_UIDS.contains(&key);
    [STATEFUL_SET_POD, POD_INDEX, COMPLETION_INDEX].contains(&key)
        || (kind == WorkloadKind::CronJob && is_of_job)
}

/// Adds the labels that a pod without a node may get with its node. If the pod already has such a label, the node's
/// value overwrites it, if the node has the label.
pub(super) fn bind_later(pod: &mut Pod) {
    for key in TOPOLOGY {
        if pod.labels.contains_key(key) {
            set_unknown(pod, key);
        } else {
            pod.unknown_labels.perhaps.insert(key.to_owned());
        }
    }
}

/// Returns the pod with this number of a StatefulSet, made from the pod that represents all of them.
pub(super) fn numbered(pod: &Pod, number: u32) -> Pod {
    let mut numbered = Pod { name: format!("{}-{number}", pod.name), ..pod.clone() };
    let name = numbered.name.clone();
    set(&mut numbered, STATEFUL_SET_POD, name);
    set(&mut numbered, POD_INDEX, number.to_string());
    numbered
}

fn set(pod: &mut Pod, key: &str, value: String) {
    pod.unknown_labels.values.remove(key);
    pod.labels.insert(key.to_owned(), value);
}

/// Makes the value of a label unknown. Controllers overwrite the template's values of their keys.
fn set_unknown(pod: &mut Pod, key: &str) {
    pod.labels.remove(key);
    pod.unknown_labels.values.insert(key.to_owned());
}
