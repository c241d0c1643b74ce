//! A tenants file from a live cluster, and the API server as a target that is always forbidden.

use serde_json::{Value, json};

use super::Cluster;
use super::access::Applied;
use crate::support::{User, file, run};
use crate::verify::{cells, differences};

/// Two tenants. Policies isolate the first one in both directions, and the second one only for ingress.
const TENANTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: netproof-closed, labels: {example.com/netproof: closed}}
---
apiVersion: v1
kind: Namespace
metadata: {name: netproof-open, labels: {example.com/netproof: open}}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: netproof-closed, labels: {app: p}}
spec: {containers: [{name: p, image: 'localhost/netproof-pause:1', imagePullPolicy: IfNotPresent}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: netproof-open, labels: {app: p}}
spec: {containers: [{name: p, image: 'localhost/netproof-pause:1', imagePullPolicy: IfNotPresent}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: netproof-closed}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: netproof-open}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

const API_SERVER: &str = "service:default/kubernetes";

/// Returns the cells and differences that are about the API server.
fn about_api_server(document: &Value) -> [Vec<&Value>; 2] {
    [cells(document), differences(document)]
        .map(|list| list.iter().filter(|it| it["to"] == API_SERVER).collect())
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn tenants_of_a_cluster_reach_the_api_server_only_if_the_file_and_the_policies_let_them() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let _applied = Applied::new(&cluster, file("tenants.yaml", TENANTS));
    for namespace in ["netproof-closed", "netproof-open"] {
        cluster.kubectl(&["wait", "pod/p", "-n", namespace, "--for=condition=Ready", "--timeout=60s"]);
    }
    let live = ["--from-cluster", "--context", &cluster.context];
    let init = ["tenants", "init", "--tenant-label", "example.com/netproof"];
    let first = run(User::Root, [&init[..], &live].concat()).exits(0).stdout;
    assert!(first.contains("- name: closed") && first.contains("- name: open"), "{first}");
    let path = file("live.yaml", &first);
    let list = run(User::Root, [&["tenants", "check", &path][..], &live].concat()).exits(0).stdout;
    assert!(list.contains("netproof-closed") && list.contains("netproof-open"), "{list}");
    let wrong = file("wrong.yaml", first.replace("netproof-open", "netproof-opne"));
    run(User::Root, [&["tenants", "check", &wrong][..], &live].concat()).exits(2);

    let verify = |tenants: &str| {
        let arguments = ["verify", "--tenants", tenants, "--context", &cluster.context, "-o", "json"];
        run(User::Root, arguments).json()
    };
    let document = verify(&path);
    let [cells, differences] = about_api_server(&document);
    let from = |it: &Value, namespace: &str| it["from"].as_str().unwrap().starts_with(namespace);
    let closed: Vec<_> = cells.iter().filter(|cell| from(cell, "netproof-closed/")).collect();
    assert!(!closed.is_empty(), "{document}");
    for cell in closed {
        assert_eq!((&cell["expected"], &cell["verdict"]), (&json!("deny"), &json!("match")), "{cell}");
    }
    assert!(!differences.is_empty(), "{document}");
    for difference in differences {
        assert!(from(difference, "netproof-open/"), "{difference}");
        assert_eq!(difference["blame"], "policyGap", "{difference}");
        assert_eq!(difference["observed"], "connected", "{difference}");
    }

    let allowed = "sharedServices:\n- {name: api-server, apiServer: true, tenants: open}\n";
    assert!(first.contains("sharedServices: []\n"), "{first}");
    let document = verify(&file("allowed.yaml", first.replace("sharedServices: []\n", allowed)));
    let [cells, differences] = about_api_server(&document);
    assert_eq!(differences, [] as [&Value; 0]);
    let is_open = |cell: &&&Value| from(cell, "netproof-open/");
    assert!(cells.iter().filter(is_open).all(|cell| cell["intended"] == "allow"), "{cells:?}");
    assert!(cells.iter().filter(is_open).count() > 0, "{document}");
}
