//! Tests of pods that are deleted or evicted while they start.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{BoxError, service_fn};

use super::super::cluster_policies::Support;
use super::super::pods::{NotReady, PodWatch};
use super::{created, deployment, list, scenario, status};
use crate::backend::LostPod;
use crate::snapshot::Identity;

/// A cluster whose pods never get ready.
#[derive(Default)]
struct Pods {
    /// The names of the pods that were created and of those that netproof deleted, in order.
    created: Vec<String>,
    deleted: Vec<String>,
    /// Events that the watch has not sent yet.
    events: Vec<Value>,
}

impl Pods {
    /// Returns the status and the body of the answer to a request.
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        is_watch: bool,
        body: &Value,
        fate: impl Fn(&str) -> Option<Vec<Value>>,
    ) -> (u16, String) {
        match (method, path) {
            (&Method::POST, path) if path.ends_with("/pods") => {
                let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                let fate = fate(&name);
                self.created.push(name);
                match fate {
                    Some(events) => {
                        self.events.extend(events);
                        (201, body.to_string())
                    }
                    None => (403, status(403, "no more").1.to_string()),
                }
            }
            (&Method::POST, _) => (201, created().1.to_string()),
            (&Method::GET, "/api/v1/pods") if is_watch => {
                let events = std::mem::take(&mut self.events);
                (200, events.iter().map(|event| format!("{event}\n")).collect())
            }
            (&Method::GET, "/api/v1/pods") => (200, list(&[]).1.to_string()),
            (&Method::DELETE, path) => {
                let name = path.rsplit('/').next().unwrap();
                self.deleted.push(name.to_owned());
                self.events.push(event("DELETED", name, &Value::Null, true));
                (200, body.to_string())
            }
            _ => (404, status(404, "not found").1.to_string()),
        }
    }
}

fn event(kind: &str, name: &str, status: &Value, is_leaving: bool) -> Value {
    let leaving = is_leaving.then_some("2026-11-30T00:00:00Z");
    let metadata = json!({"name": name, "namespace": "netproof-r-1-x", "resourceVersion": "2",
        "deletionTimestamp": leaving});
    json!({"type": kind, "object": {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}})
}

/// Returns a client of a cluster. `fate` returns the events of a new pod, or `None` if the API server refuses it.
fn client(pods: &Arc<Mutex<Pods>>, fate: impl Fn(&str) -> Option<Vec<Value>> + Send + 'static) -> Client {
    let server = Arc::new(Mutex::new((Arc::clone(pods), fate)));
    let serve = move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (head, body) = request.into_parts();
            let body: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
            let is_watch = head.uri.query().is_some_and(|query| query.contains("watch="));
            let (code, answer) = {
                let server = server.lock().unwrap();
                let (pods, fate) = &*server;
                pods.lock().unwrap().answer(&head.method, head.uri.path(), is_watch, &body, fate)
            };
            // An API server keeps a watch open.
            sleep(Duration::from_millis(if is_watch { 5 } else { 0 })).await;
            Ok::<_, BoxError>(Response::builder().status(code).body(Body::from(answer.into_bytes()))?)
        }
    };
    Client::new(service_fn(serve), "default")
}

/// Starts a pod. Returns the error, the pods that were created and deleted, and those that were lost.
async fn start(
    fate: impl Fn(&str) -> Option<Vec<Value>> + Send + 'static,
) -> (String, Vec<String>, Vec<String>, Vec<LostPod>) {
    let pods = Arc::<Mutex<Pods>>::default();
    let mut deployment = deployment(client(&pods, fate), Support::new(), Vec::new());
    let world = scenario("topology: {namespaces: [{name: x, pods: [{name: a}]}]}\nsteps: [{name: s}]").world;
    let message = deployment.converge(&world).await.unwrap_err().to_string();
    let pods = pods.lock().unwrap();
    (message, pods.created.clone(), pods.deleted.clone(), deployment.take_lost_at_start())
}

fn lost(name: &str, why: &str) -> LostPod {
    LostPod { name: format!("netproof-r-1-x/{name}"), why: why.to_owned(), was_starting: true }
}

/// Regression: netproof waited until the end of `--pod-timeout`, and the scenario was not run.
#[tokio::test]
async fn a_pod_that_is_evicted_while_it_starts_is_replaced_at_once() {
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."});
    let (message, created, deleted, found) = start(move |name| match name {
        "a" => {
            Some(vec![event("ADDED", name, &Value::Null, false), event("MODIFIED", name, &evicted, false)])
        }
        _ => None,
    })
    .await;
    assert!(message.ends_with("no more"), "{message}");
    // The object of an evicted pod stays, so that its name is taken.
    assert_eq!((created, deleted), (vec!["a".to_owned(), "a-2".to_owned()], vec!["a".to_owned()]));
    assert_eq!(found, [lost("a", "Evicted: The node was low on memory.")]);
}

#[tokio::test]
async fn a_pod_that_is_deleted_again_is_an_error_that_says_so() {
    let (message, created, _, found) = start(|name| {
        let status = json!({"phase": "Pending"});
        Some(vec![event("ADDED", name, &status, false), event("DELETED", name, &status, false)])
    })
    .await;
    assert_eq!(
        message,
        "could not start pod netproof-r-1-x/a-2: it was deleted: netproof-r-1-x/a was lost before it in the same way"
    );
    assert_eq!(created, ["a", "a-2"]);
    assert_eq!(found, [lost("a", "it was deleted"), lost("a-2", "it was deleted")]);
}

/// A step may replace a pod by another one with the same name.
#[tokio::test]
async fn a_pod_is_not_lost_because_the_pod_before_it_was_deleted() {
    let pods = Arc::<Mutex<Pods>>::default();
    let before = Instant::now();
    let watch = PodWatch::start(client(&pods, |_| None), "r", &[]);
    pods.lock().unwrap().events.push(event("DELETED", "a", &Value::Null, true));
    let pod = Identity::new("netproof-r-1-x", "a");
    let ready = async |since: Instant, longest| watch.ready(std::slice::from_ref(&pod), since, longest).await;
    assert!(matches!(ready(before, Duration::from_secs(60)).await, Err(NotReady::Lost(_))));
    let after = ready(Instant::now(), Duration::from_millis(50)).await;
    assert!(matches!(after, Err(NotReady::Failed(_))), "{after:?}");
}
