//! How manifests are read, and the warnings and errors about them.

use std::fmt::Write;

use insta::assert_snapshot;

use super::{expect, printed};
use crate::support::{cluster_policy, file, netproof, object, pod, pods, policy};

fn deny() -> String {
    policy("name: deny", "podSelector: {}")
}

/// Returns what `expect` prints about a path.
fn printed_of(path: &str) -> String {
    netproof(&["expect", path], &[]).exits(0).stdout
}

/// `kubectl` reads such files, so a policy in one is in force.
#[test]
fn files_whose_names_begin_with_a_dot_are_read() {
    file("expect/dots/pods.yaml", pods(&["a", "b"]));
    file("expect/dots/.policy.yaml", deny());
    let table = printed_of("expect/dots");
    assert!(!table.contains("default/a[Pod]  default/b[Pod]"), "{table}");
}

/// An address of the input shows that an option is wrong.
#[test]
fn ranges_that_the_input_contradicts_are_refused() {
    let pod = pod("name: a, namespace: x", "", "podIPs: [{ip: 10.244.1.7}]");
    let message = expect("contradicted.yaml", &pod, &["--pod-cidr", "10.96.0.0/16"]).refusal();
    assert_snapshot!(message, @"error: --pod-cidr: pod x/a has the address 10.244.1.7, which is in none of the ranges: give all of them");
}

/// Manifests cannot have such a range, and no address was in it.
#[test]
fn an_option_with_an_ipv4_range_in_ipv6_is_refused() {
    let message = expect("mapped.yaml", &pods(&["a"]), &["--pod-cidr", "::ffff:10.0.0.0/104"]).refusal();
    assert!(message.contains("hides an IPv4 range in IPv6: write it as IPv4"), "{message}");
}

#[test]
fn objects_without_a_namespace_are_in_the_namespace_of_the_option() {
    let manifests = pods(&["a", "b"]) + &deny() + &object("v1", "Pod", "name: c, namespace: other", "");
    let table = printed("namespace.yaml", &manifests, &["-n", "shop"]);
    assert!(table.contains("shop/a[Pod]") && table.contains("other/c[Pod]"), "{table}");
    assert!(!table.contains("default/"), "{table}");
    // The policy is in the same namespace as its pods.
    let mut from_a = table.lines().filter(|line| line.starts_with("shop/a"));
    assert!(!from_a.any(|line| line.contains("shop/b[Pod]  ")), "{table}");
    assert!(printed("namespace.yaml", &manifests, &[]).contains("default/a[Pod]"));
    expect("namespace.yaml", &manifests, &["--namespace", "No Name"]).exits(2);
}

#[test]
fn files_without_objects_are_skipped_in_a_folder() {
    file("expect/blank/a.yaml", "# Nothing here.\n---\n\n# nor here\n");
    file("expect/blank/b.json", "\n");
    file("expect/blank/c.yaml", "---\n# a comment\n---\n".to_owned() + &pods(&["a", "b"]));
    let table = printed_of("expect/blank");
    assert!(table.contains("default/a[Pod]"), "{table}");
}

#[test]
fn an_object_may_occur_twice_if_both_are_equal() {
    let same = "kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - {image: c, name: c}\nmetadata: {labels: {app: a}, name: a}\n---\n";
    let twice = printed("same.yaml", &(pods(&["a", "b"]) + same), &["-o", "json"]);
    assert_eq!(twice, printed("once.yaml", &pods(&["a", "b"]), &["-o", "json"]));
}

/// Fields that only a server writes.
const LIVE: &str = "uid: u, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z'";

/// A newer API server has fields that this version does not know. In a user's file, an unknown field is a mistake.
#[test]
fn unknown_fields_are_tolerated_in_a_dump_and_refused_in_a_file() {
    let pod = |metadata: &str| object("v1", "Pod", metadata, "spec: {newField: 1}\n");
    let live = ["a", "b"].map(|name| pod(&format!("name: {name}, {LIVE}")));
    let manifests = pods(&["x"]) + &live.concat();
    assert_snapshot!(expect("live.yaml", &manifests, &[]).stderr, @"warning: expect/live.yaml:9:8: Pod: unknown field `spec.newField`: a newer server has written it, and netproof does not know what it means, and in 1 more object");
    let matrix = expect("live.yaml", &manifests, &["-o", "json"]).json();
    assert_eq!(matrix["warnings"].as_array().unwrap().len(), 1);
    let message = expect("written.yaml", &pod("name: a"), &[]).refusal();
    assert!(message.contains("unknown field `spec.newField`"), "{message}");
}

/// With the field, the policy may select or allow something else.
#[test]
fn a_policy_of_a_dump_with_an_unknown_field_is_refused_or_not_modelled() {
    let policies = |field: &str| {
        let policy =
            |name: &str| policy(&format!("name: {name}, {LIVE}"), &format!("podSelector: {{}}, {field}"));
        let spec = format!("priority: 1, subject: {{namespaces: {{}}}}, {field}");
        let admin = cluster_policy("v1alpha1", "AdminNetworkPolicy", &format!("a, {LIVE}"), &spec);
        [pods(&["x"]), policy("a"), policy("b"), admin].concat()
    };
    let policies_with_field = policies("newField: 1");
    let expect_with_field = |arguments: &[&str]| expect("new-field.yaml", &policies_with_field, arguments);
    let finished = expect_with_field(&[]).exits(3);
    assert_eq!(finished.stderr, "");
    let unmodelled: Vec<_> =
        finished.stdout.lines().filter(|line| line.starts_with("not modelled")).collect();
    assert_snapshot!(unmodelled.join("\n"), @"
    not modelled: AdminNetworkPolicy.policy.networking.k8s.io (1): netproof does not know what a newer server means by `spec.newField` (expect/new-field.yaml:19:48); --accept-unmodelled AdminNetworkPolicy.policy.networking.k8s.io accepts that
    not modelled: NetworkPolicy.networking.k8s.io (2): netproof does not know what a newer server means by `spec.newField` (expect/new-field.yaml:9:25); --accept-unmodelled NetworkPolicy.networking.k8s.io accepts that
    ");
    expect_with_field(&["--accept-unmodelled", "NetworkPolicy,AdminNetworkPolicy"]).exits(0);

    let selector = policies("ingress: []").replace("namespaces: {}", "namespaces: {matchLabel: {a: b}}");
    let mut messages = String::new();
    for manifests in [policies("ingress: [{form: []}]"), policies("Egress: []"), selector] {
        write!(messages, "{}", expect("misspelt.yaml", &manifests, &[]).refusal()).unwrap();
    }
    assert_snapshot!(messages, @"
    error: expect/misspelt.yaml:9:36: NetworkPolicy `a`: unknown field `spec.ingress.form`: did you mean from?
    error: expect/misspelt.yaml:9:25: NetworkPolicy `a`: unknown field `spec.Egress`: did you mean egress?
    error: expect/misspelt.yaml:19:44: AdminNetworkPolicy `a`: unknown field `spec.subject.namespaces.matchLabel`: did you mean matchLabels?
    ");
}

#[test]
fn policies_that_select_nothing_and_empty_rules_are_warned_about() {
    let manifests = pods(&["carts", "front-end"])
        + "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cart-access}
spec:
  podSelector: {matchLabels: {app: cart}}
  ingress:
  - from:
    - podSelector: {matchLabels: {app: frontend}}
  - from:
    ports: []
  - from:
    - namespaceSelector: {}
      podSelector:
";
    assert_snapshot!(expect("nothing-selected.yaml", &manifests, &[]).stderr, @"
    warning: expect/nothing-selected.yaml:19:5: NetworkPolicy default/cart-access: spec.ingress[1].from is empty: the rule allows every source, as if the field were left out
    warning: expect/nothing-selected.yaml:20:5: NetworkPolicy default/cart-access: spec.ingress[1].ports is empty: the rule allows every port, as if the field were left out
    warning: expect/nothing-selected.yaml:23:7: NetworkPolicy default/cart-access: spec.ingress[2].from[0].podSelector has no value: it counts as left out
    warning: NetworkPolicy default/cart-access selects no pod (app=cart); did you mean app=carts?
    warning: NetworkPolicy default/cart-access: spec.ingress[0].from[0] selects no pod (app=frontend); did you mean app=front-end?
    ");
}

#[test]
fn empty_specs_and_empty_fields_of_cluster_scoped_policies_are_warned_about() {
    let manifests = pods(&["carts"])
        + "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing}
spec:
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: for-all}
spec:
  priority: 1
  subject: {namespaces: {matchLabels: }}
  ingress: [{action: Allow, from: [{namespaces: {}}], ports: }]
";
    assert_snapshot!(expect("empty-fields.yaml", &manifests, &[]).stderr, @"
    warning: expect/empty-fields.yaml:9:5: NetworkPolicy default/nothing: spec is empty: it selects every pod of the namespace and lets nothing in
    warning: expect/empty-fields.yaml:16:26: AdminNetworkPolicy for-all: spec.subject.namespaces.matchLabels has no value: it asks for no label
    warning: expect/empty-fields.yaml:17:55: AdminNetworkPolicy for-all: spec.ingress[0].ports is empty: the rule allows every port, as if the field were left out
    ");
}

#[test]
fn policies_without_pods_are_refused() {
    assert_snapshot!(expect("policies.yaml", &deny(), &[]).refusal(), @"error: there are policies and no pods, so nothing can be said: add the manifests of the workloads, or read the cluster itself (netproof expect --from-cluster)");
}

/// One file has everything that kubectl reads and that a stricter reader would refuse.
#[test]
fn what_kubectl_reads_is_read() {
    let manifests = "\
apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations:
    text: \"a text over
several lines\"
spec: {
\tcontainers: [
\t\t{name: c, image: c},
\t],
}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {1: one, 2.5: two, yes: three}
binaryData: {key: !!binary aGVsbG8=}
---
apiVersion: example.com/v1
kind: Custom
metadata: {name: c}
spec: {8080: !local x}
---
";
    let yaml = file("expect/kubectl.yaml", manifests.to_owned() + &pods(&["b"]));
    let json = file(
        "expect/stream.json",
        "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"c\"}}\n{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"d\"}\n}\n",
    );
    let table = netproof(&["expect", &yaml, &json], &[]).exits(0).stdout;
    for name in ["a", "b", "c", "d"] {
        assert!(table.contains(&format!("default/{name}[Pod]")), "{table}");
    }
}
