//! Tests of checks of a live cluster: what is refused before anything is created.

use std::sync::{Arc, Mutex};

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::super::agent_source::AgentSource;
use super::super::cluster_policies::Support;
use super::super::live::Live;
use super::super::prepared::Prepared;
use super::super::settings::Settings;
use super::{Answer, access, client_with_bodies, list, review, settings, shared_with, status};
use crate::backend::{Backend, Error};
use crate::policy::{Labels, Pod};
use crate::snapshot::Identity;
use crate::world::{Action, World};

/// Returns a state with a twin in each of these namespaces.
fn world(namespaces: &[&str]) -> World {
    let mut world = World::default();
    for namespace in namespaces {
        let pod = Pod {
            namespace: (*namespace).to_owned(),
            name: "web@n".to_owned(),
            labels: Labels::from([("app".to_owned(), "web".to_owned())]),
            node: Some("n".to_owned()),
            ..Pod::default()
        };
        world.twins.insert(Identity::of_pod(&pod));
        world.cluster.pods.push(pod);
    }
    world
}

/// The paths of the requests that were sent to create something.
type Created = Arc<Mutex<Vec<String>>>;

/// Returns a client of a cluster where a user may do everything, which has this one pod or none. What is sent to be created
/// gets an answer made of it.
fn open_cluster(pod: Option<Value>, answer: impl Fn(&Value) -> Answer + Send + 'static) -> (Client, Created) {
    let created = Created::default();
    let log = Arc::clone(&created);
    let client = client_with_bodies(move |method, path, body| match (method, path) {
        (&Method::POST, path) if path.ends_with("/selfsubjectaccessreviews") => review(true),
        (&Method::POST, path) => {
            log.lock().unwrap().push(path.to_owned());
            answer(body)
        }
        (&Method::GET, "/api/v1/namespaces/shop/pods/web-0") => match &pod {
            Some(pod) => (200, pod.clone()),
            None => status(404, "not found"),
        },
        (&Method::GET, path) if path.starts_with("/api/v1/namespaces/") && path.matches('/').count() == 4 => {
            (200, json!({"metadata": {"name": "shop"}}))
        }
        (&Method::GET, _) => list(&[]),
        _ => status(404, "not found"),
    });
    (client, created)
}

/// Returns a check that may use only these namespaces, and has these prepared ones. Without any, it may use all, and creates
/// its own.
fn live_in(client: Client, scope: &[&str], prepared: &[&str]) -> Live {
    let [scope, prepared] =
        [scope, prepared].map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let settings = Settings { prepared_namespaces: prepared.clone(), ..settings() };
    let source = AgentSource::fake(&[("n", "amd64")]);
    let mut shared = shared_with(client, settings, source, Support::new(), Vec::new());
    shared.prepared = (!prepared.is_empty()).then(|| Prepared::new(&prepared, true));
    Live::of(shared, scope)
}

fn live(client: Client) -> Live {
    live_in(client, &[], &[])
}

/// Returns the error of a check, and what it created.
async fn refusal(answer: impl Fn(&Value) -> Answer + Send + 'static, world: &World) -> (String, Vec<String>) {
    let (client, created) = open_cluster(None, answer);
    let error = live(client).deploy(world).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    let created = created.lock().unwrap().clone();
    (error.to_string(), created)
}

/// An injected container or a gate of a load balancer would change what happens to packets, or make the pod an endpoint.
#[tokio::test]
async fn pods_that_a_webhook_would_change_are_refused_in_a_dry_run() {
    for (change, told) in [
        (
            ("/spec/containers/1", json!({"name": "istio-proxy"})),
            "pod shop/netproof-r-web-n was given the containers istio-proxy",
        ),
        (
            ("/spec/readinessGates/1", json!({"conditionType": "target-health.elbv2.k8s.aws/x"})),
            "pod shop/netproof-r-web-n was given the readiness gate target-health.elbv2.k8s.aws/x",
        ),
        (("/spec/readinessGates", json!([])), "has lost its readiness gate"),
        (("/metadata/ownerReferences", json!([])), "has another controller"),
    ] {
        let (path, value) = change;
        let changed = move |pod: &Value| {
            let mut pod = pod.clone();
            let (list, index) = path.rsplit_once('/').unwrap();
            match index.parse::<usize>() {
                Ok(_) => pod.pointer_mut(list).unwrap().as_array_mut().unwrap().push(value.clone()),
                Err(_) => *pod.pointer_mut(path).unwrap() = value.clone(),
            }
            (201, pod)
        };
        let (message, created) = refusal(changed, &world(&["shop"])).await;
        assert!(message.contains(told), "{path}: {message}");
        assert_eq!(created, ["/api/v1/namespaces/shop/pods"], "a dry run, and nothing after it");
    }
}

#[tokio::test]
async fn a_refusal_of_the_cluster_is_told_before_anything_is_created() {
    let forbidden = |_: &Value| status(403, "pods \"a\" is forbidden: violates PodSecurity");
    let (message, created) = refusal(forbidden, &world(&["shop"])).await;
    assert!(message.contains("the cluster refuses shop/web@n: pods \"a\" is forbidden"), "{message}");
    assert_eq!(created.len(), 1);
}

/// A webhook with side effects answers no dry runs. If it refuses the pod, the creation tells it.
#[tokio::test]
async fn a_webhook_that_cannot_be_asked_stops_no_check() {
    let (client, _) = open_cluster(None, |_| status(400, "admission webhook \"x\" does not support dry run"));
    let mut live = live(client);
    live.preflight(&world(&["shop"])).await.unwrap();
}

/// Returns the error of a check that uses the network of pod `shop/web-0`, and what it created, dry runs included.
async fn refusal_of_entry(pod: Option<Value>, namespace: u16, prepared: &[&str]) -> (String, Vec<String>) {
    let (client, created) = open_cluster(pod, move |body| match namespace {
        201 => (201, body.clone()),
        code => status(code, "privileged is forbidden"),
    });
    let mut world = world(&["shop"]);
    world.twins.clear();
    world.cluster.pods[0].name = "web-0".to_owned();
    world.entered.insert(Identity::new("shop", "web-0"));
    let error = live_in(client, &[], prepared).preflight(&world).await.err().map(|error| error.to_string());
    let created = created.lock().unwrap().clone();
    (error.unwrap_or_default(), created)
}

#[tokio::test]
async fn networks_of_running_pods_are_refused_before_anything_is_created() {
    let pod = |node: &str| {
        json!({"metadata": {"name": "web-0", "namespace": "shop", "uid": "1-2", "labels": {"app": "web"}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}})
    };
    let (message, created) = refusal_of_entry(None, 201, &[]).await;
    insta::assert_snapshot!(message, @"could not use the networks of running pods: pod shop/web-0: it does not exist any more: repeat the check");
    assert_eq!(created, [""; 0]);
    let (message, created) = refusal_of_entry(Some(pod("other")), 201, &[]).await;
    insta::assert_snapshot!(message, @"could not use the networks of running pods: pod shop/web-0: it is on another node than when the cluster was read: repeat the check");
    assert_eq!(created, [""; 0]);
    let (message, created) = refusal_of_entry(Some(pod("n")), 403, &[]).await;
    insta::assert_snapshot!(message, @"the cluster refuses the pods that enter the networks of running pods: privileged is forbidden: they need a namespace with pod-security.kubernetes.io/enforce=privileged, user 0, hostPID and the capabilities SYS_PTRACE, SYS_ADMIN, NET_BIND_SERVICE");
    assert_eq!(created, ["/api/v1/namespaces"], "a dry run, and nothing after it");
    let (message, _) = refusal_of_entry(Some(pod("n")), 201, &["canaries"]).await;
    assert!(
        message.starts_with("--prepared-namespaces: name a second namespace, with the label"),
        "{message}"
    );
    let (message, created) = refusal_of_entry(Some(pod("n")), 403, &["canaries", "helpers"]).await;
    assert!(message.starts_with("the cluster refuses the pods"), "{message}");
    assert_eq!(created, ["/api/v1/namespaces/helpers/pods"]);
    let (message, _) = refusal_of_entry(Some(pod("n")), 201, &[]).await;
    assert_eq!(message, "");
}

#[tokio::test]
async fn a_check_changes_nothing_and_has_no_sentinels() {
    let (client, created) = open_cluster(None, |_| status(500, "no"));
    let (mut live, world) = (live(client), world(&["shop"]));
    let delete = Action::DeletePolicy(Identity::new("shop", "deny"));
    let message = live.apply(&[delete], &world).await.unwrap_err().to_string();
    assert_eq!(message, "could not change the state: a check of a live cluster changes nothing");
    live.apply(&[], &world).await.unwrap();
    assert!(live.sentinels().pods.is_empty());
    live.finish().await.unwrap();
    assert_eq!(*created.lock().unwrap(), [""; 0]);
}

/// Regression: with `--prepared-namespaces` alone, the command did not look for twins, and with `--visible-namespaces` alone,
/// not for canaries.
#[tokio::test]
async fn the_printed_command_looks_wherever_the_check_created_something() {
    for (scope, prepared, told) in [
        (&[][..], &[][..], "netproof cleanup --run r"),
        (
            &[],
            &["canaries"],
            "netproof cleanup --run r --prepared-namespaces canaries --tenant-namespaces bank,shop",
        ),
        (
            &["bank", "shop"],
            &["canaries"],
            "netproof cleanup --run r --prepared-namespaces canaries --tenant-namespaces bank,shop",
        ),
        (
            &["bank", "shop"],
            &[],
            "netproof cleanup --run r --tenant-namespaces bank,shop && netproof cleanup --run r",
        ),
    ] {
        let (client, _) = open_cluster(None, |body| match body["kind"].as_str() {
            Some("Pod") => (201, body.clone()),
            _ => status(403, "no"),
        });
        let mut live = live_in(client, scope, prepared);
        live.deploy(&world(&["bank", "shop"])).await.unwrap_err();
        assert_eq!(live.cleanup_command(), told);
    }
}

#[tokio::test]
async fn missing_rights_are_printed_once_for_all_namespaces_that_lack_them() {
    let client = client_with_bodies(|_, _, body| {
        let asked = &body["spec"]["resourceAttributes"];
        let may = match asked["namespace"].as_str() {
            None => false,
            Some("shop" | "bank") => asked["verb"] != "create",
            Some(_) => true,
        };
        review(may)
    });
    let namespaces = ["bank", "free", "shop"];
    let message = access::check_tenants(&client, &settings(), &namespaces).await.unwrap_err().to_string();
    insta::assert_snapshot!(message, @r#"
    this user is not allowed all that is needed: add these rules to a Role of theirs in each of the namespaces bank, shop:
    - apiGroups: [""]
      resources: [pods]
      verbs: [create]
    - apiGroups: [""]
      resources: [configmaps]
      verbs: [create]
    - apiGroups: [""]
      resources: [pods/portforward]
      verbs: [create]
    "#);
}
