//! Tests of what is found of runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::super::leftovers::{LeftRun, find, remove};
use super::super::places::Places;
use super::{client, list, review, status};

/// Returns the metadata of an object that a run created this many seconds ago, and changed this many seconds ago.
fn metadata(name: &str, run: &str, created: u64, changed: u64) -> Value {
    let time = |ago: u64| (Timestamp::now() - Duration::from_secs(ago)).to_string();
    json!({"name": name, "namespace": "n", "labels": {"netproof.dev/run": run}, "creationTimestamp": time(created),
    "managedFields": [
        {"manager": "netproof", "operation": "Update", "time": time(changed)},
        // The kubelet reports the status of pods.
        {"manager": "kubelet", "operation": "Update", "subresource": "status", "time": time(0)},
    ]})
}

fn object(name: &str, run: &str, created: u64, changed: u64) -> Value {
    json!({"metadata": metadata(name, run, created, changed)})
}

#[tokio::test]
async fn runs_are_told_apart_by_pods_and_by_their_last_change() {
    let client = client(|method: &Method, path| match (method, path) {
        (&Method::GET, "/api/v1/namespaces") => {
            let mut ending = object("netproof-ending-1-x", "ending", 20, 20);
            ending["metadata"]["deletionTimestamp"] = ending["metadata"]["creationTimestamp"].clone();
            let mut prepared = object("netproof-01", "prepared", 900_000, 0);
            // A user may change the namespace, too.
            prepared["metadata"]["annotations"] =
                json!({"netproof.dev/taken": json!({"labels": [], "since": 0}).to_string()});
            list(&[
                object("netproof-busy-1-x", "busy", 3_000, 3_000),
                object("netproof-busy-canaries", "busy", 4_000, 4_000),
                object("netproof-killed-1-x", "killed", 2_000, 2_000),
                object("netproof-starting-1-x", "starting", 3, 3),
                ending,
                prepared,
            ])
        }
        (&Method::GET, "/api/v1/pods") => {
            list(&[object("a", "busy", 2_000, 2_000), object("b", "killed", 1_000, 900)])
        }
        (&Method::GET, "/api/v1/configmaps") => list(&[
            object("netproof-check", "check", 700, 700),
            object("netproof-busy", "busy", 2_000, 2_000),
        ]),
        (&Method::POST, path) if path.ends_with("/selfsubjectaccessreviews") => review(true),
        (&Method::GET, "/apis/networking.k8s.io/v1/networkpolicies") => {
            list(&[object("sentinel", "busy", 3_000, 30), object("deny", "prepared", 500, 400)])
        }
        _ => status(404, "not found"),
    });
    let (runs, has_unseen_owners) = find(&client, Places::default()).await.unwrap();
    assert!(!has_unseen_owners);
    let summary = |run: &LeftRun| {
        let LeftRun { id, namespaces, prepared, owners, live_pods, unchanged, is_ending, .. } = run;
        // A second may pass during the test.
        let unchanged = unchanged.as_secs() / 10 * 10;
        let seems = run.seems_in_progress();
        let (own, taken, tenants) = (namespaces.len(), prepared.len(), owners.len());
        format!(
            "{id}: {own} {taken} {tenants} {live_pods} {unchanged} s, ending {is_ending}, in progress {seems}"
        )
    };
    let runs: Vec<_> = runs.iter().map(summary).collect();
    insta::assert_snapshot!(runs.join("\n"), @"
    busy: 2 0 1 1 30 s, ending false, in progress true
    check: 0 0 1 0 700 s, ending false, in progress false
    ending: 1 0 0 0 20 s, ending true, in progress false
    killed: 1 0 0 1 900 s, ending false, in progress false
    prepared: 0 1 0 0 400 s, ending false, in progress false
    starting: 1 0 0 0 0 s, ending false, in progress true
    ");
}

/// A user with rights in prepared namespaces only.
#[tokio::test]
async fn named_namespaces_are_the_only_ones_that_count() {
    let client = client(|method: &Method, path| match (method, path) {
        (&Method::GET, "/api/v1/namespaces/netproof-01") => (200, object("netproof-01", "r", 900, 900)),
        (&Method::GET, "/api/v1/namespaces/netproof-02") => {
            (200, json!({"metadata": {"name": "netproof-02"}}))
        }
        (&Method::GET, "/api/v1/namespaces/netproof-01/pods") => list(&[object("a", "r", 90, 90)]),
        (&Method::GET, path) if path.starts_with("/api/v1/namespaces/netproof-02/") => list(&[]),
        (&Method::GET, path) if path.ends_with("/networkpolicies") => list(&[]),
        _ => status(403, "forbidden"),
    });
    let prepared = ["netproof-01", "netproof-02"].map(str::to_owned);
    let (runs, _) = find(&client, Places { prepared: &prepared, tenants: &[] }).await.unwrap();
    let found: Vec<_> = runs.iter().map(|run| (run.id.as_str(), &run.prepared, run.live_pods)).collect();
    assert_eq!(found, [("r", &vec!["netproof-01".to_owned()], 1)]);
}

/// A user with rights in the namespaces of some tenants only.
#[tokio::test]
async fn checks_are_found_in_the_namespaces_of_tenants() {
    let client = client(|method: &Method, path| match (method, path) {
        (&Method::GET, "/api/v1/namespaces/shop/configmaps") => list(&[object("netproof-c", "c", 90, 90)]),
        (&Method::GET, "/api/v1/namespaces/shop/pods") => list(&[object("a", "c", 80, 80)]),
        (&Method::GET, path) if path.starts_with("/api/v1/namespaces/bank/") => list(&[]),
        _ => status(403, "forbidden"),
    });
    let tenants = ["shop", "bank"].map(str::to_owned);
    let (runs, _) = find(&client, Places { prepared: &[], tenants: &tenants }).await.unwrap();
    let found: Vec<_> = runs.iter().map(|run| (run.owners[0].to_string(), run.live_pods)).collect();
    assert_eq!(found, [("n/netproof-c".to_owned(), 1)]);
}

/// The account of `deploy/` may not list ConfigMaps everywhere.
#[tokio::test]
async fn what_cannot_be_seen_of_checks_is_told() {
    let client = client(|method: &Method, path| match (method, path) {
        (&Method::POST, _) => review(false),
        (&Method::GET, "/api/v1/configmaps") => status(403, "forbidden"),
        _ => list(&[]),
    });
    let (runs, has_unseen_owners) = find(&client, Places::default()).await.unwrap();
    assert!(runs.is_empty() && has_unseen_owners);
}

/// Regression: it removed the namespaces that were listed before the user answered. One of them is another run's by now.
#[tokio::test]
async fn what_is_removed_is_listed_again() {
    let deleted = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&deleted);
    let client = client(move |method: &Method, path| match (method, path) {
        (&Method::GET, "/api/v1/namespaces") if noted.lock().unwrap().is_empty() => list(&[
            object("netproof-1-x", "old", 900, 900),
            object("netproof-1-y", "old", 9, 9),
            object("netproof-2-x", "new", 9, 9),
        ]),
        (&Method::GET, "/api/v1/namespaces") => list(&[object("netproof-2-x", "new", 9, 9)]),
        (&Method::DELETE, path) if path.ends_with("/pods") => list(&[]),
        (&Method::DELETE, path) => {
            noted.lock().unwrap().push(path.to_owned());
            (200, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
        }
        (
            &Method::GET,
            "/api/v1/pods" | "/api/v1/configmaps" | "/apis/networking.k8s.io/v1/networkpolicies",
        ) => list(&[]),
        (&Method::POST, _) => review(true),
        _ => status(404, "not found"),
    });
    let mut removed = remove(&client, Places::default(), &["old"]).await.unwrap();
    removed.sort();
    assert_eq!(removed, ["netproof-1-x", "netproof-1-y"]);
    let mut deleted = deleted.lock().unwrap().clone();
    deleted.sort();
    assert_eq!(deleted, ["/api/v1/namespaces/netproof-1-x", "/api/v1/namespaces/netproof-1-y"]);
    assert_eq!(remove(&client, Places::default(), &["gone"]).await.unwrap(), [""; 0]);
}
