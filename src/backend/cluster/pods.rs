//! Watch over the run's pods: which are ready, which cannot start, and which are gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ContainerState, Event as CoreEvent, Pod, PodStatus};
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::advice::{self, IMAGE_REASONS, UnusableImage};
use super::objects::RUN;
use super::request::{list, unless_missing};
use crate::backend::Error;
use crate::snapshot::Identity;

/// Maximum time for which a pod may be reported as unschedulable. The scheduler might not know a node yet.
const SCHEDULING: Duration = Duration::from_secs(4);

/// Maximum time until pods have ended, or until deleted pods are gone.
pub(super) const ENDING: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Last known state of a pod. Maps of these states use the pods' names on the cluster.
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
    /// It cannot start, or has failed.
    Failed(String),
}

impl PodState {
    /// Returns the image that the pod's node cannot use. `None` if this is not the problem.
    fn unusable_image(&self) -> Option<&UnusableImage> {
        match self {
            Self::NoImage(image) => Some(image),
            Self::Starting | Self::Unschedulable(_) | Self::Ready(_) | Self::Succeeded | Self::Failed(_) => {
                None
            }
        }
    }
}

type Pods = BTreeMap<Identity, PodState>;

/// A watch over the pods of a run. It ends when its last clone is dropped.
#[derive(Clone)]
pub(super) struct PodWatch {
    client: Client,
    pods: watch::Receiver<Pods>,
    _tasks: Arc<Tasks>,
}

struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Keeps the known states of the pods up to date, in one namespace or in all.
async fn follow(
    api: Api<Pod>,
    config: watcher::Config,
    namespace: Option<String>,
    sender: Arc<watch::Sender<Pods>>,
) {
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    let mut listed = Pods::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod)) => {
                sender.send_modify(|pods| drop(pods.insert(identity(&pod), state(&pod))));
            }
            Ok(Event::Delete(pod)) => sender.send_modify(|pods| drop(pods.remove(&identity(&pod)))),
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => drop(listed.insert(identity(&pod), state(&pod))),
            Ok(Event::InitDone) => {
                let listed = std::mem::take(&mut listed);
                let is_elsewhere =
                    |pod: &Identity| namespace.as_ref().is_some_and(|namespace| *namespace != pod.namespace);
                sender.send_modify(|pods| {
                    pods.retain(|pod, _| is_elsewhere(pod));
                    pods.extend(listed);
                });
            }
            // The watch restarts by itself.
            Err(error) => tracing::debug!("the watch over pods broke: {error}"),
        }
    }
}

impl PodWatch {
    /// Watches the pods of a run in these namespaces, or in all namespaces if none are named.
    pub(super) fn start(client: Client, run: &str, namespaces: &[String]) -> Self {
        let config = watcher::Config::default().labels(&format!("{RUN}={run}"));
        let (sender, pods) = watch::channel(Pods::new());
        let sender = Arc::new(sender);
        let follow = |namespace: Option<&String>| {
            let api: Api<Pod> = match namespace {
                Some(namespace) => Api::namespaced(client.clone(), namespace),
                None => Api::all(client.clone()),
            };
            tokio::spawn(follow(api, config.clone(), namespace.cloned(), Arc::clone(&sender))).abort_handle()
        };
        let tasks = match namespaces {
            [] => vec![follow(None)],
            _ => namespaces.iter().map(|namespace| follow(Some(namespace))).collect(),
        };
        Self { client, pods, _tasks: Arc::new(Tasks(tasks)) }
    }

    /// Returns the last known state of a pod. `None` if the pod does not exist.
    pub(super) fn state(&self, pod: &Identity) -> Option<PodState> {
        self.pods.borrow().get(pod).cloned()
    }

    /// Waits until pods are ready. Returns their addresses, in the same order.
    #[tracing::instrument(name = "wait_until_pods_are_ready", level = "debug", skip_all)]
    pub(super) async fn ready(
        &self,
        wanted: &[Identity],
        longest: Duration,
    ) -> Result<Vec<Vec<IpAddr>>, Error> {
        let mut pods = self.pods.clone();
        let deadline = Instant::now() + longest;
        let mut unschedulable_since = None;
        loop {
            let (waiting, alarm) = {
                let pods = pods.borrow_and_update();
                let states: Vec<_> = wanted.iter().map(|pod| (pod, pods.get(pod))).collect();
                if let Some(failure) = states.iter().find_map(|(pod, state)| failure(pod, *state)) {
                    return Err(failure);
                }
                let ready: Vec<_> = states.iter().filter_map(|(_, state)| addresses(*state)).collect();
                if ready.len() == wanted.len() {
                    return Ok(ready);
                }
                let unschedulable = states.iter().find_map(|(pod, state)| {
                    let Some(PodState::Unschedulable(why)) = state else { return None };
                    Some(((*pod).clone(), why.clone()))
                });
                if unschedulable.is_none() {
                    unschedulable_since = None;
                }
                let alarm = unschedulable
                    .map(|found| (found, *unschedulable_since.get_or_insert_with(Instant::now) + SCHEDULING));
                let waiting = states.iter().find(|(_, state)| addresses(*state).is_none());
                (waiting.map(|(pod, _)| (*pod).clone()), alarm)
            };
            tokio::select! {
                changed = timeout_at(deadline, pods.changed()) => match changed {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(Error::failed("wait for pods", "the watch over them ended")),
                    Err(_) => return Err(self.too_late(waiting, longest).await),
                },
                () = sleep_until(alarm.as_ref().map_or(deadline, |(_, at)| *at)), if alarm.is_some() => {
                    let Some(((pod, why), _)) = alarm else { continue };
                    return Err(Error::failed(format!("start pod {pod}"), format!("no node takes it: {why}")));
                }
            }
        }
    }

    /// Waits until the states of pods meet a condition. Returns the states.
    async fn until(
        &self,
        doing: &str,
        late: &str,
        longest: Duration,
        is_met: impl FnMut(&Pods) -> bool,
    ) -> Result<Pods, Error> {
        let mut pods = self.pods.clone();
        match timeout(longest, pods.wait_for(is_met)).await {
            Ok(Ok(pods)) => Ok(pods.clone()),
            Ok(Err(_)) => Err(Error::failed(doing, "the watch over them ended")),
            Err(_) => Err(Error::failed(doing, format!("{late} after {} s", longest.as_secs()))),
        }
    }

    /// Waits until a node cannot use the image of one of these pods. Returns all such pods with the images.
    pub(super) async fn unusable_images(&self, pods: &[Identity]) -> Vec<(Identity, UnusableImage)> {
        let unusable = |states: &Pods| -> Vec<_> {
            let images =
                pods.iter().filter_map(|pod| Some((pod.clone(), states.get(pod)?.unusable_image()?.clone())));
            images.collect()
        };
        let mut watched = self.pods.clone();
        let found = watched.wait_for(|states| !unusable(states).is_empty()).await;
        match found.map(|states| unusable(&states)) {
            Ok(found) => found,
            // The watch has ended, so nothing changes any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until the watch has noticed that a pod no longer has an image.
    pub(super) async fn is_replaced(&self, pod: &Identity, image: &str) -> Result<(), Error> {
        let is_replaced = |pods: &Pods| {
            let unusable = pods.get(pod).and_then(PodState::unusable_image);
            unusable.is_none_or(|unusable| unusable.image != image)
        };
        let doing = format!("change the image of pod {pod}");
        self.until(&doing, "it was not changed", ENDING, is_replaced).await.map(drop)
    }

    /// Returns what the kubelet says if the node is pulling the image of a pod that is not ready.
    pub(super) async fn pull(&self, pod: &Identity) -> Option<String> {
        if self.state(pod) != Some(PodState::Starting) {
            return None;
        }
        let last = self.last_event(pod, "").await?;
        (last.reason.as_deref() == Some("Pulling")).then(|| last.message.unwrap_or_default())
    }

    /// Waits until pods no longer exist, according to the watch.
    #[tracing::instrument(name = "wait_until_pods_are_gone", level = "debug", skip_all)]
    pub(super) async fn gone(&self, unwanted: &[Identity], longest: Duration) -> Result<(), Error> {
        let are_gone = |pods: &Pods| unwanted.iter().all(|pod| !pods.contains_key(pod));
        self.until("delete pods", "they were still there", longest, are_gone).await.map(drop)
    }

    /// Waits until pods have ended successfully.
    pub(super) async fn succeeded(&self, ending: &[Identity], longest: Duration) -> Result<(), Error> {
        let is_settled =
            |state: Option<&_>| matches!(state, Some(PodState::Succeeded | PodState::Failed(_)) | None);
        let are_settled = |pods: &Pods| ending.iter().all(|pod| is_settled(pods.get(pod)));
        let pods = self.until("let pods end", "they still ran", longest, are_settled).await?;
        let failure = ending.iter().find_map(|pod| match pods.get(pod) {
            Some(PodState::Failed(why)) => Some(format!("{pod} failed: {why}")),
            Some(
                PodState::Starting
                | PodState::Unschedulable(_)
                | PodState::NoImage(_)
                | PodState::Ready(_)
                | PodState::Succeeded,
            ) => None,
            None => Some(format!("{pod} was deleted")),
        });
        failure.map_or(Ok(()), |failure| Err(Error::failed("let pods end", failure)))
    }

    async fn too_late(&self, pod: Option<Identity>, longest: Duration) -> Error {
        let Some(pod) = pod else { return Error::failed("wait for pods", "they did not get ready") };
        let mut message = format!("it was not ready after {} s", longest.as_secs());
        if let Some(event) = self.last_warning(&pod).await {
            message = format!("{message}: {event}");
        }
        Error::failed(format!("start pod {pod}"), message)
    }

    /// Returns the latest warning event about a pod.
    async fn last_warning(&self, pod: &Identity) -> Option<String> {
        let last = self.last_event(pod, ",type=Warning").await?;
        Some(format!("{}: {}", last.reason.unwrap_or_default(), last.message.unwrap_or_default()))
    }

    /// Returns the latest event about a pod that these field selectors select.
    async fn last_event(&self, pod: &Identity, selectors: &str) -> Option<CoreEvent> {
        let events: Api<CoreEvent> = Api::namespaced(self.client.clone(), &pod.namespace);
        let of_pod = ListParams::default().fields(&format!("involvedObject.name={}{selectors}", pod.name));
        let events = events.list(&of_pod).await.ok()?.items;
        // The times of creation have whole seconds. Names of events end with a time that is more exact.
        events
            .into_iter()
            .max_by_key(|event| (event.metadata.creation_timestamp.clone(), event.metadata.name.clone()))
    }
}

/// Requests the deletion of pods, with this grace period in seconds or with their own.
pub(super) async fn delete_all(
    client: &Client,
    namespace: &str,
    selector: &str,
    grace: Option<u32>,
) -> Result<(), kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let parameters = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
    unless_missing(pods.delete_collection(&parameters, &ListParams::default().labels(selector)).await)
}

/// Waits until pods no longer exist, according to the API server itself.
pub(super) async fn until_gone(client: &Client, namespace: &str, selector: &str) -> Result<(), Error> {
    let selected = ListParams::default().labels(selector);
    let start = Instant::now();
    loop {
        match list::<Pod>(client, namespace, &selected).await?.first() {
            None => return Ok(()),
            Some(pod) if start.elapsed() >= ENDING => {
                let message = format!("{} was still there after {} s", pod.name_any(), ENDING.as_secs());
                return Err(Error::failed(format!("delete the pods of {namespace}"), message));
            }
            Some(_) => sleep(PAUSE).await,
        }
    }
}

fn identity(pod: &Pod) -> Identity {
    Identity { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any() }
}

fn failure(pod: &Identity, state: Option<&PodState>) -> Option<Error> {
    match state {
        Some(PodState::Failed(why)) => Some(Error::failed(format!("start pod {pod}"), why)),
        Some(PodState::Succeeded) => Some(Error::failed(format!("start pod {pod}"), "it has ended")),
        // Another image may be usable.
        Some(PodState::Starting | PodState::Unschedulable(_) | PodState::NoImage(_) | PodState::Ready(_))
        | None => None,
    }
}

fn addresses(state: Option<&PodState>) -> Option<Vec<IpAddr>> {
    if let Some(PodState::Ready(addresses)) = state { Some(addresses.clone()) } else { None }
}

/// Reasons for a container's waiting that time alone does not fix.
const HOPELESS: [&str; 4] =
    ["CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"];

fn state(pod: &Pod) -> PodState {
    let Some(status) = &pod.status else { return PodState::Starting };
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
    let is_ready = conditions().any(|c| c.type_ == "Ready" && c.status == "True");
    let addresses: Vec<IpAddr> =
        status.pod_ips.iter().flatten().filter_map(|address| address.ip.parse().ok()).collect();
    if is_ready && !addresses.is_empty() { PodState::Ready(addresses) } else { PodState::Starting }
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
        Some(match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        })
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
