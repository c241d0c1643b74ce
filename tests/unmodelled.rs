//! Objects that netproof does not model, and that decide about packets or create pods. They are never a pass unless the
//! user accepts them by name.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use netproof::policy::ClusterPolicyKind;
use netproof::snapshot::{ForeignPolicy, foreign_policies};

use crate::support::{Finished, file, netproof, object, policy, policy_step, run_json, scenario, service};

fn pods() -> String {
    ["a", "b"].map(|name| object("v1", "Pod", &format!("name: {name}, namespace: x"), "")).concat()
}

fn others() -> String {
    let kinds = [
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("projectcalico.org/v3", "StagedNetworkPolicy"),
        ("argoproj.io/v1alpha1", "Rollout"),
        ("networking.k8s.io/v1", "PacketFilter"),
        ("monitoring.coreos.com/v1", "Prometheus"),
        ("security.istio.io/v1", "AuthorizationPolicy"),
        ("v1", "ConfigMap"),
    ];
    kinds.map(|(api_version, kind)| object(api_version, kind, "name: a, namespace: x", "")).concat()
}

fn expect(name: &str, manifests: &str, arguments: &[&str]) -> Finished {
    netproof(&["expect", &file(&format!("unmodelled/{name}.yaml"), manifests)], arguments)
}

#[test]
fn expect_names_them_and_ends_with_3_unless_they_are_accepted() {
    let manifests = pods() + &others();
    let expect = |arguments: &[&str]| expect("all", &manifests, arguments);
    let finished = expect(&[]).exits(3);
    assert_snapshot!("expect", format!("{}{}", finished.stderr, finished.stdout));
    assert_snapshot!("expect, json", expect(&["-o", "json"]).stdout);

    let some = "CiliumNetworkPolicy.cilium.io";
    expect(&["--accept-unmodelled", some]).exits(3);
    let all = ["--accept-unmodelled", some, "--accept-unmodelled", "Rollout,PacketFilter"];
    let accepted = expect(&all).exits(0).stdout;
    assert!(accepted.contains("not modelled, and accepted: Rollout.argoproj.io (1)"), "{accepted}");
}

/// Regression: a misspelt kind was accepted without a word.
#[test]
fn names_that_accept_nothing_are_named() {
    let manifests = pods() + &others();
    let options = ["--accept-unmodelled", "CiliumNetworkPolicies,Rollout,Nothing", "-o", "json"];
    let finished = expect("unused", &manifests, &options).exits(3);
    let warnings = finished.json()["warnings"].clone();
    let unused: Vec<&str> = warnings
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|w| w.as_str().filter(|w| w.starts_with("--")))
        .collect();
    assert_snapshot!(unused.join("\n"), @"
    --accept-unmodelled CiliumNetworkPolicies accepts nothing: netproof leaves out no objects of this kind; did you mean CiliumNetworkPolicy?
    --accept-unmodelled Nothing accepts nothing: netproof leaves out no objects of this kind
    ");
    // For people, once on standard error.
    for warning in unused {
        assert_eq!(
            finished.stderr.matches(&format!("warning: {warning}\n")).count(),
            1,
            "{}",
            finished.stderr
        );
    }
    let unaccepted = "warning: not modelled: CiliumNetworkPolicy.cilium.io (1): ";
    assert_eq!(finished.stderr.matches(unaccepted).count(), 1, "{}", finished.stderr);
    assert!(!finished.stderr.contains("not modelled: Rollout"), "{}", finished.stderr);
}

/// Regression: they were `not looked at, as it has no part in NetworkPolicy`, and the exit code was 0.
#[test]
fn policies_of_kyverno_that_make_or_change_objects_are_not_modelled() {
    let generate = "generate: {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, name: deny, data: {}}";
    for (rule, code) in [(generate, 3), ("mutate: {patchStrategicMerge: {}}", 3), ("verifyImages: []", 0)] {
        let spec = format!("spec: {{rules: [{{name: first, validate: {{}}}}, {{name: second, {rule}}}]}}\n");
        let manifests = pods() + &object("kyverno.io/v1", "ClusterPolicy", "name: p", &spec);
        expect("kyverno", &manifests, &[]).exits(code);
        expect("kyverno", &manifests, &["--accept-unmodelled", "ClusterPolicy.kyverno.io"]).exits(0);
    }
}

/// Regression: the Service had no row, so it looked denied.
#[test]
fn a_service_whose_endpoints_are_not_known_is_named_in_table_and_json() {
    let service = service("name: db, namespace: x", "type: LoadBalancer, ports: [{port: 5432}]", "");
    let expect = |arguments: &[&str]| expect("endpoints", &(pods() + &service), arguments).exits(0);
    let note = expect(&[]).stderr;
    let line = "not in the table: Service x/db: no selector: what comes from outside";
    assert!(note.contains(line), "{note}");
    let json = expect(&["-o", "json"]).json();
    assert_eq!(json["unshown"][0]["services"], serde_json::json!(["x/db"]));
    assert!(json["unshown"][0]["why"].as_str().unwrap().starts_with("no selector"), "{json}");
}

#[test]
fn pods_alone_that_are_not_modelled_are_named_with_the_message() {
    let manifests = policy("name: p", "podSelector: {}") + &others();
    let message = expect("rollout", &manifests, &[]).refusal();
    assert!(message.contains("not modelled: Rollout.argoproj.io (1)"), "{message}");
}

#[test]
fn a_scenario_that_applies_them_is_inconclusive_unless_they_are_accepted() {
    let objects = "  - apiVersion: crd.antrea.io/v1beta1
    kind: ClusterNetworkPolicy
    metadata: {name: foreign}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: x}}
  expect: [{from: \"*\", to: \"*\", deny: [all]}]
";
    let topology = "namespaces: [{name: x, pods: [{name: a}, {name: b}]}]";
    let step = policy_step("deny", "x", "deny", "podSelector: {}") + objects;
    let path = file("unmodelled/scenario.yaml", scenario("foreign", topology, "80/TCP", &step));
    let finished = run_json(&path, &["--repeat", "2"]).exits(3);
    let warning = "warning: not modelled: ClusterNetworkPolicy.crd.antrea.io (1)";
    assert_eq!(finished.stderr.matches(warning).count(), 1, "{}", finished.stderr);
    let json = finished.json();
    assert_eq!(json["outcome"], "inconclusive");
    assert_eq!(json["unmodelled"][0]["kind"], "ClusterNetworkPolicy.crd.antrea.io");
    assert_eq!(json["unmodelled"][0]["count"], 1);
    assert_eq!(json["unmodelled"][0]["accepted"], false);
    assert_eq!(json["scenarios"][0]["ignored"], serde_json::json!({"ConfigMap": 1}));

    let finished = netproof(&["run", &path], &["--accept-unmodelled", "Other"]);
    let (table, stderr) = (finished.stdout, finished.stderr);
    assert!(table.starts_with("INCONCLUSIVE"), "{table}");
    assert!(table.contains("not modelled: ClusterNetworkPolicy.crd.antrea.io (1)"), "{table}");
    assert!(table.contains("warning: --accept-unmodelled Other accepts nothing: "), "{table}");
    // The table has them, so they are not printed twice.
    assert!(!stderr.contains("not modelled") && !stderr.contains("warning"), "{stderr}");
    let accepted = ["--accept-unmodelled", "ClusterNetworkPolicy.crd.antrea.io"];
    let table = netproof(&["run", &path], &accepted).exits(0).stdout;
    assert!(table.contains("not modelled, and accepted:"), "{table}");
}

/// A run counts these objects. If it may not list a kind, there may be objects of this kind, and the run is inconclusive.
/// The service account has no other rights.
#[test]
fn the_service_account_may_list_every_kind_that_a_run_looks_for() {
    let manifest = include_str!("../deploy/account.yaml");
    let (_, role) = manifest.split_once("name: netproof-other-policies").unwrap();
    let (role, _) = role.split_once("---").unwrap();
    let mut granted = BTreeSet::new();
    for rule in role.split("- apiGroups: [").skip(1) {
        let lists = rule.trim_end().replace("  resources: [", "").replace("  verbs: [", "");
        let lists: Vec<&str> = lists.lines().map(|list| list.strip_suffix(']').unwrap()).collect();
        let [groups, resources, verbs] = lists.try_into().unwrap();
        assert_eq!(verbs, "list", "{rule}");
        for group in groups.split(", ") {
            let of_group = |resource: &str| format!("{}.{group}", resource.replace('-', ""));
            granted.extend(resources.split(", ").map(of_group));
        }
    }
    let plural = |kind: &str| match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with("intentions") => kind.to_owned(),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    let wanted = |policy: ForeignPolicy| format!("{}.{}", plural(&policy.kind.to_lowercase()), policy.group);
    let modelled = ClusterPolicyKind::ALL
        .map(|kind| format!("{}.policy.networking.k8s.io", plural(&kind.name().to_lowercase())));
    assert_eq!(granted, foreign_policies().map(wanted).chain(modelled).collect());
}
