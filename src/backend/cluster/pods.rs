//! Watch over the run's pods: which are ready, which cannot start, and which are gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::advice::UnusableImage;
use super::objects::RUN;
use super::pod_state::{PodState, state};
use super::request::{list, unless_missing};
use crate::backend::Error;
use crate::snapshot::Identity;

/// Maximum time for which a pod may be reported as unschedulable. The scheduler might not know a node yet.
const SCHEDULING: Duration = Duration::from_secs(4);

/// Maximum time until pods have ended, or until deleted pods are gone.
pub(super) const ENDING: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// The states of pods by their names on the cluster. Deleted pods stay in it.
type Pods = BTreeMap<Identity, PodState>;

/// The name of a pod on the cluster, and its addresses.
pub(super) type RunningPod = (Identity, Vec<IpAddr>);

/// The reason why pods are not ready.
#[derive(Debug)]
pub(super) enum NotReady {
    /// These pods were deleted or evicted before they were ready, each for this reason.
    Lost(Vec<(Identity, String)>),
    /// A pod cannot start, or it is too late.
    Failed(Error),
}

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
            Ok(Event::Delete(pod)) => {
                sender.send_modify(|pods| drop(pods.insert(identity(&pod), state(&pod).deleted())));
            }
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => drop(listed.insert(identity(&pod), state(&pod))),
            Ok(Event::InitDone) => {
                let listed = std::mem::take(&mut listed);
                let is_elsewhere =
                    |pod: &Identity| namespace.as_ref().is_some_and(|namespace| *namespace != pod.namespace);
                sender.send_modify(|pods| {
                    let here = pods.iter_mut().filter(|(pod, _)| !is_elsewhere(pod));
                    for (_, state) in here.filter(|(pod, _)| !listed.contains_key(*pod)) {
                        *state = std::mem::replace(state, PodState::Starting).deleted();
                    }
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

    /// Returns the last known state of a pod. `None` if the pod has never been seen.
    pub(super) fn state(&self, pod: &Identity) -> Option<PodState> {
        self.pods.borrow().get(pod).cloned()
    }

    /// Returns whether a pod is known to exist.
    pub(super) fn exists(&self, pod: &Identity) -> bool {
        is_there(&self.pods.borrow(), pod)
    }

    /// Returns the pods that are known to exist.
    pub(super) fn existing(&self) -> Vec<Identity> {
        let pods = self.pods.borrow();
        pods.keys().filter(|pod| is_there(&pods, pod)).cloned().collect()
    }

    /// Returns why a pod that was ready with these addresses no longer runs. `None` if it runs, or may run again.
    pub(super) fn loss(&self, pod: &Identity, addresses: &[IpAddr]) -> Option<String> {
        self.pods.borrow().get(pod)?.loss(addresses)
    }

    /// Waits until pods are ready. Returns their addresses, in the same order. The pods were created after `since`:
    /// before, other pods may have had the same names.
    ///
    /// # Errors
    /// As soon as a pod is lost or cannot start, or if the time is over.
    #[tracing::instrument(name = "wait_until_pods_are_ready", level = "debug", skip_all)]
    pub(super) async fn ready(
        &self,
        wanted: &[Identity],
        since: Instant,
        longest: Duration,
    ) -> Result<Vec<Vec<IpAddr>>, NotReady> {
        let mut pods = self.pods.clone();
        let deadline = Instant::now() + longest;
        let mut unschedulable_since = None;
        loop {
            let (waiting, alarm) = {
                let pods = pods.borrow_and_update();
                let states: Vec<_> = wanted.iter().map(|pod| (pod, pods.get(pod))).collect();
                let lost =
                    states.iter().filter_map(|(pod, state)| Some(((*pod).clone(), lost(*state, since)?)));
                let lost: Vec<_> = lost.collect();
                if !lost.is_empty() {
                    return Err(NotReady::Lost(lost));
                }
                if let Some(failure) = states.iter().find_map(|(pod, state)| failure(pod, *state)) {
                    return Err(NotReady::Failed(failure));
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
                    Ok(Err(_)) => {
                        let ended = Error::failed("wait for pods", "the watch over them ended");
                        return Err(NotReady::Failed(ended));
                    }
                    Err(_) => return Err(NotReady::Failed(self.too_late(waiting, longest).await)),
                },
                () = sleep_until(alarm.as_ref().map_or(deadline, |(_, at)| *at)), if alarm.is_some() => {
                    let Some(((pod, why), _)) = alarm else { continue };
                    let refused = Error::failed(format!("start pod {pod}"), format!("no node takes it: {why}"));
                    return Err(NotReady::Failed(refused));
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
        let are_gone = |pods: &Pods| !unwanted.iter().any(|pod| is_there(pods, pod));
        self.until("delete pods", "they were still there", longest, are_gone).await.map(drop)
    }

    /// Waits until pods have ended successfully.
    pub(super) async fn succeeded(&self, ending: &[Identity], longest: Duration) -> Result<(), Error> {
        let is_running = |state: &PodState| match state {
            PodState::Starting
            | PodState::Unschedulable(_)
            | PodState::NoImage(_)
            | PodState::Ready(_)
            | PodState::Leaving(_) => true,
            PodState::Succeeded | PodState::Failed(_) | PodState::Evicted(_) | PodState::Deleted { .. } => {
                false
            }
        };
        let are_settled = |pods: &Pods| !ending.iter().any(|pod| pods.get(pod).is_some_and(is_running));
        let pods = self.until("let pods end", "they still ran", longest, are_settled).await?;
        let failure = ending.iter().find_map(|pod| match pods.get(pod) {
            Some(PodState::Failed(why) | PodState::Evicted(why)) => Some(format!("{pod} failed: {why}")),
            Some(PodState::Deleted { .. }) | None => Some(format!("{pod} was deleted")),
            Some(
                PodState::Starting
                | PodState::Unschedulable(_)
                | PodState::NoImage(_)
                | PodState::Ready(_)
                | PodState::Leaving(_)
                | PodState::Succeeded,
            ) => None,
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

fn is_there(pods: &Pods, pod: &Identity) -> bool {
    pods.get(pod).is_some_and(|state| !matches!(state, PodState::Deleted { .. }))
}

/// Returns why a pod that was created after `since` is lost. `None` if it is not.
fn lost(state: Option<&PodState>, since: Instant) -> Option<String> {
    match state? {
        PodState::Leaving(why) | PodState::Evicted(why) => Some(why.clone()),
        PodState::Deleted { why, at } => (*at >= since).then(|| why.clone()),
        PodState::Starting
        | PodState::Unschedulable(_)
        | PodState::NoImage(_)
        | PodState::Ready(_)
        | PodState::Succeeded
        | PodState::Failed(_) => None,
    }
}

fn failure(pod: &Identity, state: Option<&PodState>) -> Option<Error> {
    match state? {
        PodState::Failed(why) => Some(Error::failed(format!("start pod {pod}"), why)),
        PodState::Succeeded => Some(Error::failed(format!("start pod {pod}"), "it has ended")),
        PodState::Starting
        | PodState::Unschedulable(_)
        | PodState::NoImage(_)
        | PodState::Ready(_)
        | PodState::Leaving(_)
        | PodState::Evicted(_)
        | PodState::Deleted { .. } => None,
    }
}

fn addresses(state: Option<&PodState>) -> Option<Vec<IpAddr>> {
    if let Some(PodState::Ready(addresses)) = state { Some(addresses.clone()) } else { None }
}
