//! Reading a live cluster: what its policies mean, and saved snapshots.

use super::access::Applied;
use super::{Cluster, wait_for};
use crate::support::{Finished, User, file, folder, kubeconfig, netproof, run};

/// A tenant with running pods, and a neighbour. A user may list only the objects of the tenant.
const TENANT: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: netproof-shop, labels: {team: shop}}
---
apiVersion: v1
kind: Namespace
metadata: {name: netproof-bank, labels: {team: bank}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: netproof-shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: absent.invalid/web, env: [{name: PASSWORD, value: hunter2}], ports: [{name: http, containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: netproof-shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: teller, namespace: netproof-bank}
spec: {containers: [{name: teller, image: absent.invalid/teller}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: own-team, namespace: netproof-shop}
spec:
  podSelector: {}
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: shop}}}], ports: [{port: http}]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: netproof-shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: netproof-shop}
rules:
- {apiGroups: [''], resources: [pods, services], verbs: [list]}
- {apiGroups: [''], resources: [namespaces], verbs: [get]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: netproof-shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: netproof-shop}]
";

const OWN: &str = "netproof-shop/web[Deployment] netproof-shop/web[Deployment] TCP 8080";

/// Returns the rows of a table, with single spaces between the columns.
fn rows(finished: &Finished) -> Vec<String> {
    finished.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Returns a path in the folder of the tests.
fn path(name: &str) -> String {
    folder().join(name).display().to_string()
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_live_cluster_and_its_saved_snapshot_have_the_same_answer() {
    let cluster = Cluster::named();
    let _applied = Applied::new(&cluster, file("tenant.yaml", TENANT));
    wait_for(|| cluster.kubectl(&["get", "pods", "-n", "netproof-shop", "-o", "name"]).lines().count() == 2);
    let versions =
        || cluster.kubectl(&["get", "ns,pods,svc,netpol", "-A", "-o", "jsonpath={.items[*].metadata.uid}"]);
    let before = versions();

    let live = ["expect", "--from-cluster", "--context", &cluster.context];
    let (saved, redacted) = (path("saved.json"), path("redacted.json"));
    let finished = run(User::Root, [&live[..], &["--save-snapshot", &saved]].concat()).exits(0);
    let has_own = |finished: &Finished| rows(finished).iter().any(|row| row == OWN);
    assert!(has_own(&finished), "{}", finished.stdout);
    assert!(!rows(&finished).iter().any(|row| row.starts_with("netproof-bank/teller[Pod] netproof-shop")));
    assert_eq!(rows(&netproof(&["expect", &saved], &[]).exits(0)), rows(&finished));
    let text = std::fs::read_to_string(&saved).unwrap();
    assert!(text.contains("own-team") && !text.contains("hunter2") && !text.contains("managedFields"));

    run(User::Root, [&live[..], &["--save-snapshot", &redacted, "--redact"]].concat()).exits(0);
    let hidden = netproof(&["expect", &redacted], &[]).exits(0);
    let text = std::fs::read_to_string(&redacted).unwrap();
    for name in ["netproof-shop", "netproof-bank", "own-team", "teller", "\"web"] {
        assert!(!text.contains(name), "{name}: {text}");
    }
    let of_workloads = |finished: &Finished| {
        let between =
            |row: &&String| row.split(' ').take(2).all(|end| end.contains('/') && end.ends_with(']'));
        let mut connections: Vec<String> =
            rows(finished).iter().filter(between).map(|row| row.split(' ').skip(2).collect()).collect();
        connections.sort();
        connections
    };
    assert_eq!(of_workloads(&hidden), of_workloads(&finished));
    assert_eq!(versions(), before, "nothing was created or removed");

    // A user with rights in one namespace.
    let token = cluster.kubectl(&["create", "token", "reader", "-n", "netproof-shop"]);
    let reader = file("reader.conf", kubeconfig(&cluster.server(), token.trim()));
    let narrow = ["expect", "--from-cluster", "--kubeconfig", &reader];
    let refused = run(User::Root, narrow).exits(2);
    assert!(refused.stderr.contains("resources: [endpointslices]\n      verbs: [list]"), "{refused:?}");
    let finished =
        run(User::Root, [&narrow[..], &["--visible-namespaces", "netproof-shop"]].concat()).exits(0);
    assert!(has_own(&finished), "{}", finished.stdout);
    assert!(
        finished.stderr.contains("not seen: Pod outside namespace netproof-shop: "),
        "{}",
        finished.stderr
    );
    let bank = run(User::Root, [&narrow[..], &["--visible-namespaces", "netproof-bank"]].concat()).exits(3);
    assert!(bank.stdout.contains("not modelled: Pod (cannot be listed): "), "{}", bank.stdout);
}
