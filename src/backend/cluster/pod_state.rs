//! The state of a pod, as its object tells it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerState, Pod, PodStatus};
use tokio::time::Instant;

use super::advice::{self, IMAGE_REASONS, UnusableImage};
use super::live::{NEVER, readiness_gates};

/// Last known state of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PodState {
    /// It has not started yet.
    Starting,
    /// It has not started yet, because no node has room.
    Unschedulable(String),
    /// It has not started yet, because its node cannot use the image.
    NoImage(UnusableImage),
    /// It runs, with these addresses.
    Ready(Vec<IpAddr>),
    /// It has ended successfully.
    Succeeded,
    /// It cannot start, or its agent has failed. Another pod in its place would fail, too.
    Failed(String),
    /// It is being deleted or evicted, for this reason. Its agent may still run.
    Leaving(String),
    /// The cluster has ended it or refused to start it, for this reason. Another pod in its place may start.
    Evicted(String),
    /// It no longer exists.
    Deleted {
        /// The reason.
        why: String,
        /// When the deletion was noticed.
        at: Instant,
    },
}

/// The reason of a deletion, if the object does not tell it.
const DELETED: &str = "it was deleted";

/// Reasons of the kubelet and of controllers for ending a pod, or for refusing to start it, that another pod may not
/// meet. A node without room has more reasons, which begin with `OutOf`.
const PASSING: [&str; 8] = [
    "Evicted",
    "NodeAffinity",
    "NodeLost",
    "NodeShutdown",
    "Preempting",
    "Shutdown",
    "Terminated",
    "UnexpectedAdmissionError",
];

/// Reasons for a container's waiting that time alone does not fix.
const HOPELESS: [&str; 4] =
    ["CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"];

impl PodState {
    /// Returns the state of a pod that no longer exists, after this state.
    pub(super) fn deleted(self) -> Self {
        let why = match self {
            Self::Deleted { .. } => return self,
            Self::Leaving(why) | Self::Evicted(why) | Self::Failed(why) => why,
            Self::Starting | Self::Unschedulable(_) | Self::NoImage(_) | Self::Ready(_) | Self::Succeeded => {
                DELETED.to_owned()
            }
        };
        Self::Deleted { why, at: Instant::now() }
    }

    /// Returns why a pod with these addresses no longer runs. `None` if it runs, or may run again.
    pub(super) fn loss(&self, addresses: &[IpAddr]) -> Option<String> {
        match self {
            Self::Failed(why) | Self::Leaving(why) | Self::Evicted(why) | Self::Deleted { why, .. } => {
                Some(why.clone())
            }
            Self::Succeeded => Some("it has ended".to_owned()),
            Self::Ready(now) if now != addresses => Some("its addresses have changed".to_owned()),
            Self::Starting | Self::Unschedulable(_) | Self::NoImage(_) | Self::Ready(_) => None,
        }
    }

    /// Returns the image that the pod's node cannot use. `None` if this is not the problem.
    pub(super) fn unusable_image(&self) -> Option<&UnusableImage> {
        match self {
            Self::NoImage(image) => Some(image),
            Self::Starting
            | Self::Unschedulable(_)
            | Self::Ready(_)
            | Self::Succeeded
            | Self::Failed(_)
            | Self::Leaving(_)
            | Self::Evicted(_)
            | Self::Deleted { .. } => None,
        }
    }
}

/// Returns the state of a pod that exists.
pub(super) fn state(pod: &Pod) -> PodState {
    let Some(status) = &pod.status else {
        return if is_leaving(pod) { PodState::Leaving(DELETED.to_owned()) } else { PodState::Starting };
    };
    if let Some(taken) = taken(pod, status) {
        return taken;
    }
    if status.phase.as_deref() == Some("Succeeded") {
        return PodState::Succeeded;
    }
    if let Some(unusable) = UnusableImage::of(pod) {
        let is_current = unusable.is_current(pod);
        return if is_current { PodState::NoImage(unusable) } else { PodState::Starting };
    }
    if let Some(problem) = failed(status).or_else(|| stuck(status)) {
        return PodState::Failed(problem);
    }
    let conditions = || status.conditions.iter().flatten();
    if let Some(condition) = conditions().find(|c| c.type_ == "PodScheduled" && c.status == "False") {
        return match condition.reason.as_deref() {
            Some("Unschedulable") => PodState::Unschedulable(condition.message.clone().unwrap_or_default()),
            Some(_) | None => PodState::Starting,
        };
    }
    // A twin is never ready itself, so that it gets no traffic.
    let ready = if is_twin(pod) { "ContainersReady" } else { "Ready" };
    let is_ready = conditions().any(|c| c.type_ == ready && c.status == "True");
    let addresses: Vec<IpAddr> =
        status.pod_ips.iter().flatten().filter_map(|address| address.ip.parse().ok()).collect();
    if is_ready && !addresses.is_empty() { PodState::Ready(addresses) } else { PodState::Starting }
}

fn is_twin(pod: &Pod) -> bool {
    readiness_gates(pod).any(|gate| gate == NEVER)
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Returns the state of a pod that is deleted or evicted. `None` for other pods.
fn taken(pod: &Pod, status: &PodStatus) -> Option<PodState> {
    let said = |reason: &Option<String>, message: &Option<String>| match (reason, message) {
        (Some(reason), message) => Some(advice::reason_and_message(reason, message.as_deref())),
        (None, message) => message.clone(),
    };
    // https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
    let mut conditions = status.conditions.iter().flatten();
    let disruption = conditions.find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    let disruption = disruption.and_then(|condition| said(&condition.reason, &condition.message));
    if status.phase.as_deref() == Some("Failed") {
        let is_passing = |reason: &str| PASSING.contains(&reason) || reason.starts_with("OutOf");
        let own = status.reason.as_deref().is_some_and(is_passing);
        let own = own.then(|| said(&status.reason, &status.message)).flatten();
        // The last message of a container is then not the cause.
        let deleted = || is_leaving(pod).then(|| DELETED.to_owned());
        return own.or(disruption).or_else(deleted).map(PodState::Evicted);
    }
    match (disruption, is_leaving(pod)) {
        (Some(why), _) => Some(PodState::Leaving(why)),
        (None, true) => Some(PodState::Leaving(DELETED.to_owned())),
        (None, false) => None,
    }
}

fn failed(status: &PodStatus) -> Option<String> {
    if status.phase.as_deref() != Some("Failed") {
        return None;
    }
    let of_container = status.container_statuses.iter().flatten().find_map(|container| {
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        let said = terminated.message.clone().or(terminated.reason.clone()).unwrap_or_default();
        let advice = advice::for_exit(terminated.exit_code, &said);
        let advice = advice.map(|advice| format!(": {advice}")).unwrap_or_default();
        Some(format!("its agent ended with code {}: {said}{advice}", terminated.exit_code))
    });
    let of_pod = status.message.clone().or(status.reason.clone());
    Some(of_pod.or(of_container).unwrap_or_else(|| "it ended".to_owned()))
}

/// Returns why a container of the pod cannot start. `None` if none is stuck.
fn stuck(status: &PodStatus) -> Option<String> {
    let states = status.container_statuses.iter().flatten().filter_map(|container| container.state.as_ref());
    let mut waiting = states.filter_map(|state: &ContainerState| state.waiting.as_ref());
    waiting.find_map(|waiting| {
        let is_hopeless = |reason: &&str| HOPELESS.contains(reason) || IMAGE_REASONS.contains(reason);
        let reason = waiting.reason.as_deref().filter(is_hopeless)?;
        Some(advice::reason_and_message(reason, waiting.message.as_deref()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: impl Into<serde_json::Value>) -> PodState {
        let status = status.into();
        let pod = serde_json::json!({"metadata": {"name": "a", "namespace": "x"}, "status": status});
        state(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn pods_are_ready_with_an_address_only() {
        let ready = serde_json::json!([{"type": "Ready", "status": "True"}]);
        let ips = serde_json::json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
        assert_eq!(of(serde_json::json!({"phase": "Running", "conditions": ready})), PodState::Starting);
        assert_eq!(of(serde_json::json!({"phase": "Running", "podIPs": ips})), PodState::Starting);
        let addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let status = serde_json::json!({"phase": "Running", "conditions": ready, "podIPs": ips});
        assert_eq!(of(status), PodState::Ready(addresses));
    }

    /// The kubelet reports a twin as not ready, whatever its containers do.
    #[test]
    fn a_twin_runs_as_soon_as_its_container_is_ready() {
        let of = |gate: &str, condition: &str| {
            let pod = serde_json::json!({
                "metadata": {"name": "a", "namespace": "x"},
                "spec": {"containers": [], "readinessGates": [{"conditionType": gate}]},
                "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [
                    {"type": "Ready", "status": "False"}, {"type": condition, "status": "True"}]}});
            state(&serde_json::from_value(pod).unwrap())
        };
        assert_eq!(of(NEVER, "ContainersReady"), PodState::Ready(vec!["10.0.0.1".parse().unwrap()]));
        assert_eq!(of(NEVER, "Initialized"), PodState::Starting);
        assert_eq!(of("example.com/gate", "ContainersReady"), PodState::Starting, "of another user");
    }

    #[test]
    fn the_reason_of_the_kubelet_is_told() {
        let waiting = |reason: &str| {
            of(serde_json::json!({"phase": "Pending", "containerStatuses": [{
                "name": "agent", "ready": false, "restartCount": 0, "image": "i", "imageID": "",
                "state": {"waiting": {"reason": reason, "message": "no such image"}}}]}))
        };
        assert_eq!(
            waiting("CreateContainerError"),
            PodState::Failed("CreateContainerError: no such image".to_owned())
        );
        assert_eq!(waiting("ContainerCreating"), PodState::Starting);
    }

    /// The kubelet needs a moment until its status is about the new image.
    #[test]
    fn an_unusable_image_is_that_of_the_pod() {
        let of = |image: &str, policy: &str| {
            let pod = serde_json::json!({
                "metadata": {"name": "a", "namespace": "x"},
                "spec": {"nodeName": "n", "containers": [{"name": "agent", "image": image, "imagePullPolicy": policy}]},
                "status": {"containerStatuses": [{
                    "name": "agent", "ready": false, "restartCount": 0, "image": "i", "imageID": "",
                    "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}});
            state(&serde_json::from_value(pod).unwrap())
        };
        let PodState::NoImage(unusable) = of("i", "Always") else { panic!("it cannot be used") };
        assert_eq!((unusable.node.as_str(), unusable.is_always_pulled), ("n", true));
        assert_eq!(unusable.why, "ErrImagePull: no such image");
        assert_eq!(of("j", "IfNotPresent"), PodState::Starting);
    }

    #[test]
    fn a_pod_that_is_taken_away_says_why() {
        let evicted = serde_json::json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory",
            "containerStatuses": [{"name": "agent", "ready": false, "restartCount": 0, "image": "i", "imageID": "",
                "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}]});
        assert_eq!(of(evicted), PodState::Evicted("Evicted: low on memory".to_owned()));
        let full = serde_json::json!({"phase": "Failed", "reason": "OutOfpods", "message": "Too many pods"});
        assert_eq!(of(full), PodState::Evicted("OutOfpods: Too many pods".to_owned()));
        let target = serde_json::json!([{"type": "DisruptionTarget", "status": "True",
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}]);
        let leaving = of(serde_json::json!({"phase": "Running", "conditions": target}));
        let why = "EvictionByEvictionAPI: Eviction API: evicting".to_owned();
        assert_eq!(leaving, PodState::Leaving(why.clone()));
        assert!(matches!(leaving.deleted(), PodState::Deleted { why: deleted, .. } if deleted == why));
    }

    #[test]
    fn a_deleted_pod_is_leaving_whatever_its_container_did() {
        for phase in ["Pending", "Running"] {
            let pod = serde_json::json!({"status": {"phase": phase},
                "metadata": {"name": "a", "namespace": "x", "deletionTimestamp": "2026-11-30T00:00:00Z"}});
            let leaving = PodState::Leaving("it was deleted".to_owned());
            assert_eq!(state(&serde_json::from_value(pod).unwrap()), leaving);
        }
        let killed = serde_json::json!({"status": {"phase": "Failed"},
            "metadata": {"name": "a", "namespace": "x", "deletionTimestamp": "2026-11-30T00:00:00Z"}});
        let state = state(&serde_json::from_value(killed).unwrap());
        assert_eq!(state, PodState::Evicted("it was deleted".to_owned()));
    }

    #[test]
    fn a_pod_is_lost_unless_it_may_run_again() {
        let addresses = ["10.0.0.1".parse().unwrap()];
        let loss = |state: PodState| state.loss(&addresses);
        assert_eq!(loss(PodState::Ready(addresses.to_vec())), None);
        // Its node does not answer, and may be back in a moment.
        assert_eq!(loss(PodState::Starting), None);
        assert_eq!(loss(PodState::Ready(Vec::new())).unwrap(), "its addresses have changed");
        let failed = PodState::Failed("its agent ended with code 137: OOMKilled".to_owned());
        assert_eq!(loss(failed).unwrap(), "its agent ended with code 137: OOMKilled");
        assert_eq!(loss(PodState::Ready(addresses.to_vec()).deleted()).unwrap(), "it was deleted");
    }

    #[test]
    fn an_ended_pod_says_how() {
        let status = serde_json::json!({"phase": "Failed", "reason": "DeadlineExceeded"});
        assert_eq!(of(status), PodState::Failed("DeadlineExceeded".to_owned()));
        let status = serde_json::json!({"phase": "Failed", "containerStatuses": [{
            "name": "agent", "ready": false, "restartCount": 0, "image": "i", "imageID": "",
            "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}]});
        assert_eq!(of(status), PodState::Failed("its agent ended with code 2: Error".to_owned()));
        assert_eq!(of(serde_json::json!({"phase": "Succeeded"})), PodState::Succeeded);
    }
}
