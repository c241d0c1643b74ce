//! A mock API server, for answers that a real server does not give on demand.

mod agents;
mod leftovers;
mod live;
mod lost;
mod policies;
mod read;
mod site;
mod survey;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use kube::Client;
use kube::api::ApiResource;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use super::agent_source::AgentSource;
use super::cluster_policies::Support;
use super::deployment::Deployment;
use super::foreign::Foreign;
use super::names::Names;
use super::objects::Maker;
use super::pods::PodWatch;
use super::settings::{Control, Resources, Settings};
use super::shared::Shared;
use super::site::Site;
use super::survey::{Survey, SurveyedNode};
use super::{Target, access};
use crate::backend::Error;
use crate::scenario::{Scenario, standard_world};
use crate::snapshot::Identity;
use crate::world::World;

/// An answer: an HTTP status and a body.
pub(super) type Answer = (u16, Value);

/// Returns a client of a server that answers by method and path.
pub(super) fn client(mut answer: impl FnMut(&Method, &str) -> Answer + Send + 'static) -> Client {
    client_with_bodies(move |method, path, _| answer(method, path))
}

/// Returns a client of a server that answers by method, path and body.
fn client_with_bodies(mut answer: impl FnMut(&Method, &str, &Value) -> Answer + Send + 'static) -> Client {
    client_with_queries(move |method, uri, body| answer(method, uri.path(), body))
}

/// Returns a client of a server that answers by method, path with query, and body.
fn client_with_queries(answer: impl FnMut(&Method, &Uri, &Value) -> Answer + Send + 'static) -> Client {
    let answer = Arc::new(Mutex::new(answer));
    let serve = move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (status, body) = answer.lock().unwrap()(&head.method, &head.uri, &body);
            let body = Body::from(serde_json::to_vec(&body)?);
            Ok::<_, BoxError>(Response::builder().status(status).body(body)?)
        }
    };
    Client::new(service_fn(serve), "default")
}

pub(super) fn status(code: u16, message: &str) -> Answer {
    let reason = if code == 404 { "NotFound" } else { "" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    (code, body)
}

/// Returns the answer with a list of objects.
pub(super) fn list(items: &[Value]) -> Answer {
    let metadata = json!({"resourceVersion": "1"});
    (200, json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

/// Returns the answer whether a user may do something.
fn review(may: bool) -> Answer {
    (201, json!({"metadata": {}, "spec": {}, "status": {"allowed": may}}))
}

/// Returns a scenario that has these fields.
pub(super) fn scenario(fields: &str) -> Scenario {
    let head = "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: s}";
    Scenario::from_text(&format!("{head}\n{fields}"))
}

/// Returns the state after the steps of a scenario. The pods get these addresses, in order.
pub(super) fn state_after(fields: &str, addresses: &[&str]) -> World {
    let scenario = scenario(fields);
    let mut world = scenario.world.clone();
    for (pod, address) in world.cluster.pods.iter_mut().zip(addresses) {
        pod.addresses = vec![address.parse().unwrap()];
    }
    for action in scenario.steps.iter().flat_map(|step| &step.actions) {
        world.apply(action).unwrap();
    }
    world
}

pub(super) fn settings() -> Settings {
    Settings {
        target: Target::default(),
        namespace_prefix: None,
        prepared_namespaces: Vec::new(),
        image: Some("probe".to_owned()),
        base_image: None,
        image_pull_policy: None,
        image_pull_secret: None,
        resources: Resources::default(),
        nodes: Vec::new(),
        every_node: false,
        site: Site::default(),
        control: Control::PortForward,
        pod_timeout: Duration::from_secs(30),
        deadline: Duration::from_secs(60),
        outside: Vec::new(),
        token: None,
        host_network: false,
        keep: false,
    }
}

/// Returns a deployment of the run `r` that has no objects yet. It may use the given kinds of cluster-scoped
/// policies. The cluster has the given kinds of foreign policies.
pub(super) fn deployment(
    client: Client,
    cluster_policies: Support,
    foreign_policies: Vec<ApiResource>,
) -> Deployment {
    let source = AgentSource::Image("probe".to_owned());
    deployment_with(client, settings(), source, cluster_policies, foreign_policies)
}

/// Returns a deployment of the run `r` on a site with these requirements.
pub(super) fn deployment_on_site(client: Client, site: Site) -> Deployment {
    let (settings, source) = (Settings { site, ..settings() }, AgentSource::Image("probe".to_owned()));
    deployment_with(client, settings, source, Support::new(), Vec::new())
}

/// Like `deployment`, with these settings and agents from this source.
fn deployment_with(
    client: Client,
    settings: Settings,
    source: AgentSource,
    cluster_policies: Support,
    foreign_policies: Vec<ApiResource>,
) -> Deployment {
    let shared = shared_with(client, settings, source, cluster_policies, foreign_policies);
    let names = Names::new("netproof-r-1".to_owned());
    Deployment::new(Arc::new(shared), names, vec!["n".to_owned()])
}

/// Returns the state of the run `r` on a cluster with the node `n`.
fn shared_with(
    client: Client,
    settings: Settings,
    source: AgentSource,
    cluster_policies: Support,
    foreign_policies: Vec<ApiResource>,
) -> Shared {
    let watch = PodWatch::start(client.clone(), "r", &[]);
    let maker = Maker { run: "r".to_owned(), token: "t".to_owned(), settings, source };
    let survey = Survey {
        nodes: vec![SurveyedNode::ready("n")],
        plugin: None,
        foreign: Foreign { kinds: foreign_policies, ..Foreign::default() },
        cluster_policies,
    };
    Shared::new(client, maker, "netproof-r".to_owned(), None, survey, watch, None)
}

/// Converges a deployment to the standard topology.
async fn converge(client: Client) -> Result<(), Error> {
    converge_to(client, &standard_world(false)).await
}

/// Converges a deployment to a state.
async fn converge_to(client: Client, world: &World) -> Result<(), Error> {
    deployment(client, Support::new(), Vec::new()).converge(world).await.map(drop)
}

/// Returns the answer to a request that created an object.
fn created() -> Answer {
    (201, json!({"metadata": {"name": "x"}}))
}

#[tokio::test]
async fn what_refuses_a_pod_is_told_in_its_own_words() {
    let refusals = [
        "pods \"a\" is forbidden: exceeded quota: team, requested: limits.cpu=500m, used: limits.cpu=16, limited: limits.cpu=16",
        "pods \"a\" is forbidden: [minimum cpu usage per Container is 100m, but request is 5m]",
        "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": forbidden sysctls",
    ];
    for refusal in refusals {
        let client = client(move |method, path| match (method, path) {
            (&Method::POST, path) if path.ends_with("/pods") => status(403, refusal),
            (&Method::POST, _) => created(),
            _ => status(404, "not found"),
        });
        let error = converge(client).await.unwrap_err().to_string();
        assert!(error.starts_with("could not create pod x/a: ") || error.contains("create pod"), "{error}");
        assert!(error.contains(&format!(": {refusal}")), "{error}");
    }
}

#[tokio::test]
async fn a_namespace_of_somebody_else_is_not_taken_over() {
    let client = client(|method, path| match (method, path) {
        (&Method::POST, _) => status(409, "namespaces \"netproof-r-1-x\" already exists"),
        (&Method::GET, "/api/v1/namespaces/netproof-r-1-x") => {
            (200, json!({"metadata": {"name": "netproof-r-1-x", "labels": {"netproof.dev/run": "other"}}}))
        }
        _ => status(404, "not found"),
    });
    let error = converge(client).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    let message = error.to_string();
    assert!(message.starts_with("namespace netproof-r-1-"), "{message}");
    assert!(message.contains("is there already: choose another beginning"), "{message}");
}

/// A new namespace has no service account at first, its quota is not counted yet, and an API server may be unavailable for
/// some time.
#[tokio::test]
async fn what_passes_is_waited_for() {
    let (tries, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, counted_too) = (Arc::clone(&tries), Arc::clone(&asked));
    let client = client(move |method, path| match (method, path) {
        (&Method::POST, "/api/v1/namespaces") if counted_too.fetch_add(1, Ordering::Relaxed) == 0 => {
            status(503, "apiserver not ready")
        }
        (&Method::POST, path) if path.ends_with("/pods") => match counted.fetch_add(1, Ordering::Relaxed) {
            0..3 => status(
                403,
                "pods \"a\" is forbidden: error looking up service account x/default: serviceaccount \"default\" not found",
            ),
            3..6 => status(403, "pods \"a\" is forbidden: status unknown for quota: team, resources: pods"),
            _ => status(403, "no more"),
        },
        (&Method::POST, _) => created(),
        _ => status(404, "not found"),
    });
    let error = converge(client).await.unwrap_err().to_string();
    assert!(error.ends_with("no more"), "{error}");
    assert!(tries.load(Ordering::Relaxed) > 6 && asked.load(Ordering::Relaxed) > 3);
}

#[tokio::test]
async fn the_server_gets_addresses_for_names() {
    let step = "steps:\n- name: by name\n  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec: {podSelector: {}, ingress: [{from: [
      {ipBlock: {cidr: \"{x/a}/24\", except: [\"{x/b}/32\"]}}, {ipBlock: {cidr: \"{x/c:IPv6}/128\"}}]}]}\n";
    let world = state_after(step, &["10.1.2.3", "10.1.2.4"]);
    let sent = Arc::new(Mutex::new(Value::Null));
    let kept = Arc::clone(&sent);
    let client = client_with_bodies(move |method, path, body| match (method, path) {
        (&Method::POST, path) if path.ends_with("/networkpolicies") => {
            *kept.lock().unwrap() = body["spec"]["ingress"][0]["from"].clone();
            (201, json!({"metadata": {"name": "p"}}))
        }
        (&Method::POST, path) if path.ends_with("/pods") => status(403, "no pods"),
        (&Method::POST, _) => created(),
        _ => status(404, "not found"),
    });
    assert!(converge_to(client, &world).await.is_err());
    let sent = sent.lock().unwrap().clone();
    assert_eq!(
        sent,
        json!([{"ipBlock": {"cidr": "10.1.2.0/24", "except": ["10.1.2.4/32"]}}, {"ipBlock": {"cidr": "3fff::3/128"}}])
    );
}

#[tokio::test]
async fn missing_permissions_are_asked_for_by_rule() {
    let client = client(|_, path| {
        assert_eq!(path, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
        review(false)
    });
    let message = access::check_run(&client, &settings()).await.unwrap_err().to_string();
    let rules = message.matches("- apiGroups:").count();
    assert_eq!(rules, 7, "{message}");
    assert!(message.contains("  resources: [pods/portforward]\n  verbs: [create, get]"), "{message}");
    assert!(!message.contains("pods/exec"), "{message}");
}

/// A pod that ended by itself must be distinguished from a pod that failed and from a pod that was deleted.
#[tokio::test]
async fn pods_that_end_have_to_succeed() {
    let client = client(|_, path| match path {
        "/api/v1/pods" => {
            let pod = |name: &str, phase: &str| json!({"metadata": {"name": name, "namespace": "x"}, "status": {"phase": phase}});
            list(&[pod("good", "Succeeded"), pod("bad", "Failed"), pod("slow", "Running")])
        }
        _ => status(404, "not found"),
    });
    let watch = PodWatch::start(client, "r", &[]);
    let ended = async |name: &str| {
        let pod = Identity::new("x", name);
        // Before the watch has listed the pods, every pod seems to be missing.
        while watch.state(&Identity { name: "good".to_owned(), ..pod.clone() }).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        watch.succeeded(&[pod], Duration::from_millis(200)).await.map_err(|error| error.to_string())
    };
    assert_eq!(ended("good").await, Ok(()));
    assert!(ended("bad").await.unwrap_err().contains("x/bad failed"));
    assert!(ended("gone").await.unwrap_err().contains("x/gone was deleted"));
    assert!(ended("slow").await.unwrap_err().contains("still ran"));
}
