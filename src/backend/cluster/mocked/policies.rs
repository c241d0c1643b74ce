//! Tests of cluster-scoped policies, on clusters that have these kinds and on clusters that lack them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::super::cluster_policies::{self, Support};
use super::{client_with_bodies, deployment, list, review, scenario, status};
use crate::policy::{ClusterPolicyKind, Pod};
use crate::scenario::standard_world;
use crate::world::{Absence, Capability, Deployed, EndpointName, World};

/// A cluster with the given objects, by path. It executes the requests that it receives.
#[derive(Clone, Default)]
struct Objects(Arc<Mutex<BTreeMap<String, Value>>>);

impl Objects {
    fn client(&self) -> Client {
        let objects = Arc::clone(&self.0);
        client_with_bodies(move |method, path, body| {
            let mut body = body.clone();
            let mut objects = objects.lock().unwrap();
            let named =
                |body: &Value| format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
            match *method {
                Method::POST => match objects.contains_key(&named(&body)) {
                    true => {
                        let (code, mut answer) = status(409, "already exists");
                        answer["reason"] = json!("AlreadyExists");
                        (code, answer)
                    }
                    false => {
                        body["metadata"]["resourceVersion"] = json!("1");
                        body["metadata"]["uid"] = json!("u");
                        objects.insert(named(&body), body.clone());
                        (201, body)
                    }
                },
                Method::PUT => {
                    assert_eq!(body["metadata"]["resourceVersion"], "1", "{path}: replaced blindly");
                    objects.insert(path.to_owned(), body.clone());
                    (200, body)
                }
                Method::GET => {
                    let items: Vec<_> = objects.iter().filter(|(own, _)| own.starts_with(path)).collect();
                    match items.first() {
                        Some((own, object)) if *own == path => (200, (*object).clone()),
                        Some(_) if path.ends_with("policies") => {
                            let items: Vec<_> = items.iter().map(|(_, object)| (*object).clone()).collect();
                            list(&items)
                        }
                        Some(_) | None => status(404, "not found"),
                    }
                }
                Method::DELETE => match objects.remove(path) {
                    Some(object) => (200, object),
                    None => status(404, "not found"),
                },
                _ => status(404, "not found"),
            }
        })
    }

    fn insert(&self, path: &str, object: Value) {
        self.0.lock().unwrap().insert(path.to_owned(), object);
    }

    fn policies(&self) -> BTreeMap<String, Value> {
        let objects = self.0.lock().unwrap();
        let policies = objects.iter().filter_map(|(path, object)| {
            Some((path.strip_prefix("/apis/policy.networking.k8s.io/")?.to_owned(), object.clone()))
        });
        policies.collect()
    }
}

fn all_kinds() -> Support {
    ClusterPolicyKind::ALL.into_iter().map(|kind| (kind, Ok(()))).collect()
}

/// Returns a state without pods in which these policies are in force.
fn state_with(policies: impl IntoIterator<Item = Value>) -> World {
    let policies: Value = policies.into_iter().collect();
    let scenario = scenario(&format!("steps: [{{name: s, apply: {policies}}}]\n"));
    let mut world = standard_world(false);
    world.cluster.pods.clear();
    world.cluster.services.clear();
    for action in scenario.steps.iter().flat_map(|step| &step.actions) {
        world.apply(action).unwrap();
    }
    world
}

/// Returns a policy that denies one direction of traffic between the subject and namespace `x`.
fn quarantine(priority: i32, direction: &str, peers: &str) -> Value {
    let own = json!({ "matchLabels": { "kubernetes.io/metadata.name": "x" } });
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": { "name": "quarantine", "labels": { "own": "label" } },
        "spec": {
            "tier": "Admin",
            "priority": priority,
            "subject": { "pods": { "podSelector": { "matchLabels": { "app": "web" } } } },
            direction: [{ "action": "Deny", peers: [{ "namespaces": own }] }],
        },
    })
}

fn baseline() -> Value {
    let others = json!([{ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["x"] }]);
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha1",
        "kind": "BaselineAdminNetworkPolicy",
        "metadata": { "name": "default" },
        "spec": { "subject": { "namespaces": { "matchExpressions": others } } },
    })
}

/// Policies with cluster-wide selectors are limited to the namespaces of one scenario.
#[tokio::test]
async fn cluster_scoped_policies_concern_nobody_else() {
    let cluster = Objects::default();
    let mut deployment = deployment(cluster.client(), all_kinds(), Vec::new());
    deployment.converge(&state_with([quarantine(7, "ingress", "from"), baseline()])).await.unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&cluster.policies()).unwrap());
}

#[tokio::test]
async fn cluster_scoped_policies_are_replaced_and_removed() {
    let cluster = Objects::default();
    let foreign = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies/theirs";
    cluster.insert(foreign, json!({"metadata": {"name": "theirs", "labels": {"netproof.dev/run": "other"}}}));
    let mut deployment = deployment(cluster.client(), all_kinds(), Vec::new());
    deployment.converge(&state_with([quarantine(7, "ingress", "from")])).await.unwrap();
    deployment.converge(&state_with([quarantine(8, "egress", "to")])).await.unwrap();
    let spec = cluster.policies()["v1alpha2/clusternetworkpolicies/netproof-r-1-quarantine"]["spec"].clone();
    assert_eq!((&spec["priority"], &spec["ingress"]), (&json!(8), &Value::Null));
    deployment.converge(&state_with([baseline()])).await.unwrap();
    let names: Vec<_> = cluster.policies().into_keys().collect();
    assert_eq!(
        names,
        ["v1alpha1/baselineadminnetworkpolicies/default", "v1alpha2/clusternetworkpolicies/theirs"]
    );
    deployment.remove_cluster_policies().await.unwrap();
    assert_eq!(
        cluster.policies().into_keys().collect::<Vec<_>>(),
        ["v1alpha2/clusternetworkpolicies/theirs"]
    );
}

/// A cleanup finds the policies of a killed run by their label. A kind that the cluster lacks is no error.
#[tokio::test]
async fn cleanup_finds_cluster_scoped_policies() {
    let cluster = Objects::default();
    deployment(cluster.client(), all_kinds(), Vec::new())
        .converge(&state_with([quarantine(7, "ingress", "from")]))
        .await
        .unwrap();
    let (client, selector) = (cluster.client(), "netproof.dev/run");
    let deleted = cluster_policies::delete_all(&client, selector).await.unwrap();
    assert_eq!(deleted, ["ClusterNetworkPolicy netproof-r-1-quarantine"]);
    assert!(cluster.policies().is_empty());
}

/// Nothing is measured if a policy cannot be in force. A policy of another user is not replaced.
#[tokio::test]
async fn what_cannot_be_in_force_is_not_measured() {
    let absence = |deployed: &Deployed| deployed.absent.get(&EndpointName::pod("x", "a")).cloned().unwrap();
    let with_pod = |policy: Value| {
        let mut world = state_with([policy]);
        let pods = standard_world(false).cluster.pods;
        // netproof does not start pods with `hostNetwork`.
        world.cluster.pods.extend(pods.into_iter().take(1).map(|pod| Pod { host_network: true, ..pod }));
        world
    };
    let why = "its definition is not installed".to_owned();
    let lacking: Support = [(ClusterPolicyKind::ClusterNetworkPolicy, Err(why.clone()))].into();
    let cluster = Objects::default();
    let world = with_pod(quarantine(7, "ingress", "from"));
    let mut one = deployment(cluster.client(), lacking, Vec::new());
    let deployed = one.converge(&world).await.unwrap();
    let capability = Some(Capability::ClusterPolicies);
    assert_eq!(absence(&deployed), Absence { capability, why });
    assert!(cluster.policies().is_empty());

    let path = "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies/default";
    cluster.insert(path, json!({"metadata": {"name": "default"}, "spec": {}}));
    let world = with_pod(baseline());
    let mut other = deployment(cluster.client(), all_kinds(), Vec::new());
    let deployed = other.converge(&world).await.unwrap();
    let why = "the cluster has a BaselineAdminNetworkPolicy default which is not this run's".to_owned();
    assert_eq!(absence(&deployed), Absence { capability: None, why }, "no scenario can declare that");
    other.remove_cluster_policies().await.unwrap();
    assert_eq!(cluster.policies().len(), 1);
}

/// The cluster reports which kinds it has, and what this user may do with them.
#[tokio::test]
async fn kinds_that_are_missing_are_told() {
    let client = client_with_bodies(|_, path, body| match path {
        "/apis/policy.networking.k8s.io/v1alpha1" => {
            let resource = |name: &str| json!({"name": name, "singularName": "", "namespaced": false, "kind": "K", "verbs": []});
            let resources = [resource("adminnetworkpolicies"), resource("baselineadminnetworkpolicies")];
            (200, json!({"kind": "APIResourceList", "groupVersion": "g", "resources": resources}))
        }
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            let asked = &body["spec"]["resourceAttributes"];
            let allowed = asked["resource"] == "adminnetworkpolicies" || asked["verb"] == "list";
            review(allowed)
        }
        _ => status(404, "not found"),
    });
    insta::assert_debug_snapshot!(cluster_policies::support(&client).await);
}
