//! Tests of reading a live cluster: lists in pages, narrow permissions, and enforcers that do not enforce.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::super::read::{LiveSnapshot, Scope, read};
use super::survey::{groups, resources};
use super::{Answer, client, client_with_queries, list, review, status};
use crate::backend::Error;
use crate::snapshot::{NotEnforced, SnapshotInfo, Unseen};

async fn read_all(client: &kube::Client, namespaces: &[&str]) -> Result<LiveSnapshot, Error> {
    let scope = Scope { namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect() };
    read(client, SnapshotInfo::of_cluster("test".to_owned(), "v1.36.0".to_owned()), &scope).await
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"containers": []}})
}

/// Returns the answer of a cluster without policies of other kinds.
fn plain(path: &str) -> Answer {
    match path {
        "/apis" => groups(&[("apps", &["v1"])]),
        path if path.starts_with("/apis/policy.networking.k8s.io") => status(404, "not found"),
        _ => list(&[]),
    }
}

/// Regression guard: an interrupted list must not look like a complete one.
#[tokio::test]
async fn lists_are_read_page_by_page_and_begun_again_when_they_expire() {
    let expired = Arc::new(AtomicUsize::new(0));
    let (busy, counted) = (AtomicUsize::new(0), Arc::clone(&expired));
    let client = client_with_queries(move |_, uri, _| {
        if uri.path() != "/api/v1/pods" || uri.query().unwrap_or_default().contains("labelSelector") {
            return plain(uri.path());
        }
        let query = uri.query().unwrap_or_default();
        assert!(query.contains("limit=500"), "{query}");
        let page = |names: &[&str], next: &str| {
            let items: Vec<Value> = names.iter().map(|name| pod("x", name)).collect();
            (
                200,
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": next}, "items": items}),
            )
        };
        if busy.fetch_add(1, Ordering::Relaxed) == 0 {
            return status(429, "too many requests");
        }
        if query.contains("continue=third") {
            page(&["c"], "")
        } else if query.contains("continue=second") {
            match counted.fetch_add(1, Ordering::Relaxed) {
                0 => status(410, "the provided continue parameter is too old"),
                _ => page(&["b"], "third"),
            }
        } else {
            page(&["a"], "second")
        }
    });
    let live = read_all(&client, &[]).await.unwrap();
    let names: Vec<&str> = live.snapshot.cluster.pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!((names.as_slice(), expired.load(Ordering::Relaxed)), (&["a", "b", "c"][..], 2));
}

#[tokio::test]
async fn a_list_that_always_expires_is_read_in_one_page() {
    let client = client_with_queries(|_, uri, _| {
        let query = uri.query().unwrap_or_default();
        match uri.path() {
            "/api/v1/pods" if query.contains("continue") => status(410, "too old"),
            "/api/v1/pods" if query.contains("limit=500") => {
                (200, json!({"metadata": {"continue": "next"}, "items": [pod("x", "a")]}))
            }
            "/api/v1/pods" => list(&[pod("x", "a"), pod("x", "b")]),
            path => plain(path),
        }
    });
    let live = read_all(&client, &[]).await.unwrap();
    assert_eq!(live.snapshot.cluster.pods.len(), 2);
}

#[tokio::test]
async fn a_list_without_items_is_an_error() {
    let client = client(|_, path| match path {
        "/api/v1/pods" => (200, json!({"metadata": {}})),
        path => plain(path),
    });
    let message = read_all(&client, &[]).await.unwrap_err().to_string();
    assert!(message.contains("list the pods: the list of pods has no items"), "{message}");
}

/// Returns a cluster whose user may list only the namespace `x`, and may not list Services there.
fn narrow() -> kube::Client {
    client(|method, path| match path {
        "/apis" => groups(&[("policy.networking.k8s.io", &["v1alpha1"]), ("cilium.io", &["v2"])]),
        "/apis/policy.networking.k8s.io/v1alpha1" => {
            let (code, mut answer) = resources(&[("adminnetworkpolicies", "AdminNetworkPolicy")]);
            answer["resources"][0]["namespaced"] = json!(false);
            (code, answer)
        }
        "/apis/cilium.io/v2" => resources(&[("ciliumnetworkpolicies", "CiliumNetworkPolicy")]),
        "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
        | "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies" => status(404, "not found"),
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            assert_eq!(method, http::Method::POST);
            review(false)
        }
        "/api/v1/namespaces/x" => (
            200,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {"a": "b"}}}),
        ),
        "/api/v1/namespaces/x/pods" => list(&[pod("x", "a")]),
        "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies"
        | "/apis/discovery.k8s.io/v1/namespaces/x/endpointslices"
        | "/apis/cilium.io/v2/namespaces/x/ciliumnetworkpolicies" => list(&[]),
        "/api/v1/namespaces/absent" => status(404, "not found"),
        _ => status(403, "forbidden"),
    })
}

#[tokio::test]
async fn a_user_who_may_list_one_namespace_gets_that_one_and_a_list_of_what_is_unseen() {
    let live = read_all(&narrow(), &["x"]).await.unwrap();
    let snapshot = &live.snapshot;
    assert_eq!(snapshot.cluster.pods.len(), 1);
    assert_eq!(snapshot.cluster.namespaces[0].labels["a"], "b");
    let unseen: Vec<String> = snapshot.unseen.iter().map(Unseen::to_string).collect();
    let unmodelled: Vec<String> = snapshot.other.unmodelled.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(format!("{}\n\n{}", unseen.join("\n"), unmodelled.join("\n")));
    // The file says it, too.
    let again = live.objects.read("file").unwrap();
    assert_eq!((&again.unseen, &again.other), (&snapshot.unseen, &snapshot.other));
}

#[tokio::test]
async fn a_user_who_may_not_list_everything_has_to_name_namespaces_that_exist() {
    let message = read_all(&narrow(), &[]).await.unwrap_err().to_string();
    assert!(message.contains("resources: [networkpolicies]\n  verbs: [list]"), "{message}");
    assert!(message.ends_with("--visible-namespaces NAME,..."), "{message}");
    let message = read_all(&narrow(), &["x", "absent"]).await.unwrap_err().to_string();
    assert_eq!(message, "namespace absent: the cluster has no such namespace");
}

/// An answer that does not mention them would be wrong, and so would one that is refused because of them.
#[tokio::test]
async fn policies_that_are_not_modelled_are_in_the_snapshot_by_name() {
    let client = client(|_, path| match path {
        "/apis" => groups(&[("projectcalico.org", &["v3"]), ("policy.networking.k8s.io", &["v1beta1"])]),
        "/apis/projectcalico.org/v3" => resources(&[
            ("globalnetworkpolicies", "GlobalNetworkPolicy"),
            ("stagednetworkpolicies", "StagedNetworkPolicy"),
        ]),
        "/apis/policy.networking.k8s.io/v1beta1" => {
            resources(&[("clusternetworkpolicies", "ClusterNetworkPolicy")])
        }
        path if path.starts_with("/apis/policy.networking.k8s.io/v1alpha") => status(404, "not found"),
        "/apis/projectcalico.org/v3/globalnetworkpolicies"
        | "/apis/projectcalico.org/v3/stagednetworkpolicies"
        | "/apis/policy.networking.k8s.io/v1beta1/clusternetworkpolicies" => {
            list(&[json!({"metadata": {"name": "p", "managedFields": []}, "spec": {"secret": 1}})])
        }
        _ => list(&[]),
    });
    let live = read_all(&client, &[]).await.unwrap();
    let unmodelled: Vec<String> = live.snapshot.other.unmodelled.iter().map(ToString::to_string).collect();
    let staged: Vec<String> = live.snapshot.not_enforced.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(format!("{}\n{}", unmodelled.join("\n"), staged.join("\n")));
    let saved = live.objects.to_json().unwrap();
    assert!(saved.contains("StagedNetworkPolicy") && !saved.contains("secret") && !saved.contains("managed"));
}

/// Returns what is not enforced on a cluster with this configuration of Cilium, and what is not known.
async fn cilium(config: Answer, of_node: Option<Value>) -> (Vec<NotEnforced>, Vec<Unseen>) {
    let client = client(move |_, path| match path {
        "/apis" => groups(&[("cilium.io", &["v2"])]),
        "/apis/cilium.io/v2" => resources(&[("ciliumnodeconfigs", "CiliumNodeConfig")]),
        "/api/v1/namespaces/kube-system/configmaps/cilium-config" => config.clone(),
        "/api/v1/namespaces/cilium/configmaps/cilium-config" => status(404, "not found"),
        "/apis/cilium.io/v2/ciliumnodeconfigs" => list(of_node.as_slice()),
        path => plain(path),
    });
    let snapshot = read_all(&client, &[]).await.unwrap().snapshot;
    (snapshot.not_enforced, snapshot.unseen)
}

#[tokio::test]
async fn an_enforcer_that_only_audits_is_found() {
    let config = |key: &str, value: &str| (200, json!({"metadata": {}, "data": {key: value}}));
    let mut told = Vec::new();
    for (key, value) in [
        ("policy-audit-mode", "true"),
        ("policy-audit-mode", "false"),
        ("enable-policy", "never"),
        ("enable-policy", "default"),
        ("enable-k8s-networkpolicy", "false"),
    ] {
        let (found, unseen) = cilium(config(key, value), None).await;
        assert!(found.iter().all(|found| found.is_everything) && unseen.is_empty());
        let found = found.first().map_or_else(|| "enforces".to_owned(), ToString::to_string);
        told.push(format!("{key}: {value}\n  {found}"));
    }
    let node = json!({"metadata": {"name": "audited", "namespace": "kube-system"},
        "spec": {"defaults": {"policy-audit-mode": "true"}}});
    let (found, _) = cilium(config("enable-policy", "always"), Some(node)).await;
    told.push(format!("CiliumNodeConfig\n  {}", found[0]));
    // Without the right to read it, nothing is said.
    let (found, unseen) = cilium(status(403, "forbidden"), None).await;
    assert_eq!(found, []);
    told.push(format!("forbidden\n  {}", unseen[0]));
    insta::assert_snapshot!(told.join("\n"));
}
