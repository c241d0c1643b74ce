//! A site whose admission requires labels and named tolerations, and that keeps a node for some pods.

use std::thread::sleep;
use std::time::Duration;

use super::access::{Applied, kubeconfig_of};
use super::{Cluster, check_passed, profile};
use crate::support::{User, file, run, scenario_file};

const REQUIREMENTS: &str = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: netproof-test-site}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [namespaces, pods]}]
  validations:
  - expression: has(object.metadata.labels) && 'cost-centre' in object.metadata.labels
    message: namespaces and pods need a cost-centre
  - expression: request.resource.resource == 'namespaces' || object.spec.tolerations.all(t, has(t.key))
    message: pods may not tolerate every taint
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: netproof-test-site}
spec:
  policyName: netproof-test-site
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {app.kubernetes.io/managed-by: netproof}}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: netproof-test-site}
value: 1
preemptionPolicy: Never
";

/// Policies that select the site's label. Without it, they would select no pod, and all connections would be allowed.
const SCENARIO: &str = "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: cost-centres}
topology:
  namespaces:
  - {name: x, pods: [{name: a, node: 1}, {name: b, node: 2}]}
  - {name: y, pods: [{name: c, node: 1}]}
probes: [80/TCP]
steps:
- name: nobody without a cost centre
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec:
      podSelector: {matchLabels: {cost-centre: '42'}}
      ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: cost-centre, operator: DoesNotExist}]}}]}]
  expect:
  - {from: '*', to: ['*', self], allow: [all]}
  - {from: '*', to: x/*, deny: [all]}
- name: only one cost centre
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec:
      podSelector: {matchLabels: {cost-centre: '42'}}
      ingress:
      - from: [{namespaceSelector: {matchLabels: {cost-centre: '42'}}, podSelector: {matchLabels: {cost-centre: '42'}}}]
  expect:
  - {from: '*', to: ['*', self], allow: [all]}
";

/// A node that is reserved until the value is dropped.
struct Reserved<'a>(&'a Cluster, String);

impl<'a> Reserved<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let names = cluster.kubectl(&["get", "nodes", "-o", "name"]);
        let node = names.lines().last().unwrap().trim_start_matches("node/").to_owned();
        cluster.kubectl(&["taint", "node", &node, "netproof-test=site:NoSchedule"]);
        cluster.kubectl(&["label", "node", &node, "netproof-test=site"]);
        Self(cluster, node)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.kubectl(&["taint", "node", &self.1, "netproof-test-"]);
        self.0.kubectl(&["label", "node", &self.1, "netproof-test-"]);
    }
}

/// The service account of `deploy/` is enough, although it may not read priority classes.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_a_site_requires_can_be_met() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let _deploy = Applied::deploy(&cluster, ["account", "rbac", "admission"]);
    let _site = Applied::new(&cluster, file("site.yaml", REQUIREMENTS));
    let node = Reserved::new(&cluster);
    // It takes a moment until the API server uses the policies.
    sleep(Duration::from_secs(2));
    let kubeconfig = kubeconfig_of(&cluster, "netproof");
    let namespaces = ["--namespace-label", "cost-centre=42"];
    let pods = ["--pod-label", "cost-centre=42"];
    let labels = [namespaces, pods].concat();
    let on_node = [&labels[..], &["--node-selector", "netproof-test=site"]].concat();
    let tolerant = [&on_node[..], &["--toleration", "netproof-test=site:NoSchedule"]].concat();
    let of_class = |name| [&tolerant[..], &["--priority-class", name]].concat();
    let as_account = ["run", "--backend", "cluster", "--kubeconfig", &kubeconfig];
    let deny = scenario_file("default-deny");
    for (options, message, advice) in [
        (vec![], "need a cost-centre", "--namespace-label"),
        (namespaces.to_vec(), "could not create pod", "--pod-label"),
        (on_node.clone(), "may not tolerate every taint", "--toleration"),
        (
            [&on_node[..], &["--toleration", "other"]].concat(),
            "has the taint netproof-test=site:NoSchedule",
            "add --toleration netproof-test=site:NoSchedule",
        ),
        (of_class("nobody"), "no PriorityClass with name nobody", "name another one with --priority-class"),
    ] {
        let found = run(User::Root, [&as_account[..], &[deny.as_str()], &options].concat()).refusal();
        assert!(found.contains(message) && found.contains(advice), "{options:?}: {found}");
        cluster.check_clean();
    }
    let missing = cluster.run(&[&[deny.as_str()][..], &of_class("nobody")].concat()).refusal();
    assert!(
        missing.contains("--priority-class nobody: the cluster has no such PriorityClass, only"),
        "{missing}"
    );

    let scenario = file("cost-centres.yaml", SCENARIO);
    let annotations = ["--namespace-annotation", "contact=us", "--pod-annotation", "mesh=off"];
    // Its steps change labels, and it takes the pods of the first scenario over.
    let relabelling = scenario_file("relabelling");
    let others = [scenario.as_str(), relabelling.as_str(), "--parallel", "1", "-o", "json", "--keep"];
    let options = [&of_class("netproof-test-site")[..], &annotations, &others, profile()].concat();
    let finished = run(User::Root, [&as_account[..], &options].concat());
    check_passed(&finished);
    assert_eq!(finished.json()["facts"]["labels of all pods"], "cost-centre=42");
    let all_are = |kind: &str, path: &str, expected: &str| {
        let found = cluster.of_runs(kind, path);
        assert!(!found.is_empty() && found.iter().all(|it| it == expected), "{kind} {path}: {found:?}");
    };
    // Canaries and sentinels, too.
    all_are("namespaces", ".metadata.labels.cost-centre", "42");
    all_are("namespaces", ".metadata.annotations.contact", "us");
    all_are("pods", ".metadata.labels.cost-centre", "42");
    all_are("pods", ".metadata.annotations.mesh", "off");
    all_are("pods", ".spec.nodeName", &node.1);
    all_are("pods", ".spec.priorityClassName", "netproof-test-site");
    run(User::Root, ["cleanup", "--yes", "--kubeconfig", &kubeconfig]).exits(0);
    cluster.check_clean();
}
