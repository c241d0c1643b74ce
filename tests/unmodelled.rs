//! Objects that decide about packets or make pods, and that netproof does not model: never a pass unless they are
//! accepted by name.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use netproof::policy::ClusterPolicyKind;
use netproof::snapshot::{ForeignPolicy, foreign_policies};

use crate::machine::{User, file, folder, run};

const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x}
---
";

const OTHERS: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: a, namespace: x}
---
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: a, namespace: x}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: a, namespace: x}
---
apiVersion: networking.k8s.io/v1
kind: PacketFilter
metadata: {name: a, namespace: x}
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: a, namespace: x}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: x}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: x}
";

#[test]
fn expect_names_them_and_ends_with_3_unless_they_are_accepted() {
    let path = file("unmodelled/all.yaml", [PODS, OTHERS].concat());
    let expect =
        |arguments: &[&str]| run(User::Ordinary, ["expect", path.to_str().unwrap()].iter().chain(arguments));
    let finished = expect(&[]);
    assert_eq!(finished.code, Some(3));
    assert_snapshot!("expect", format!("{}{}", finished.stderr, finished.stdout));
    assert_snapshot!("expect, json", expect(&["-o", "json"]).stdout);

    let some = "CiliumNetworkPolicy,StagedNetworkPolicy.projectcalico.org";
    assert_eq!(expect(&["--accept-unmodelled", some]).code, Some(3));
    let finished = expect(&["--accept-unmodelled", some, "--accept-unmodelled", "Rollout,PacketFilter"]);
    assert_eq!(finished.code, Some(0));
    assert!(
        finished.stdout.contains("not modelled, and accepted: Rollout.argoproj.io (1)"),
        "{}",
        finished.stdout
    );
}

/// They were `not looked at, as it has no part in NetworkPolicy`, and the exit code was 0.
#[test]
fn policies_of_kyverno_that_make_or_change_objects_are_not_modelled() {
    let policy = |rule: &str| {
        format!(
            "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {{name: p}}\nspec: {{rules: [{{name: first, validate: {{}}}}, {{name: second, {rule}}}]}}\n---\n"
        )
    };
    let generate = "generate: {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, name: deny, data: {}}";
    for (rule, code) in [(generate, 3), ("mutate: {patchStrategicMerge: {}}", 3), ("verifyImages: []", 0)] {
        let path = file("unmodelled/kyverno.yaml", [PODS, &policy(rule)].concat());
        let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()]);
        assert_eq!(finished.code, Some(code), "{rule}: {}", finished.stdout);
        let accepted = ["expect", path.to_str().unwrap(), "--accept-unmodelled", "ClusterPolicy.kyverno.io"];
        assert_eq!(run(User::Ordinary, accepted).code, Some(0), "{rule}");
    }
}

/// Without a row it looked denied.
#[test]
fn a_service_whose_endpoints_are_not_known_is_named_in_table_and_json() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: x}\nspec: {type: LoadBalancer, ports: [{port: 5432}]}\n";
    let path = file("unmodelled/endpoints.yaml", [PODS, service].concat());
    let expect = |arguments: &[&str]| {
        let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()].iter().chain(arguments));
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished
    };
    let told = expect(&[]).stderr;
    assert!(
        told.contains("not in the table: Service x/db: no selector: where it leads is not known"),
        "{told}"
    );
    let json = expect(&["-o", "json"]).json();
    assert_eq!(json["unshown"][0]["services"], serde_json::json!(["x/db"]));
    assert!(json["unshown"][0]["why"].as_str().unwrap().starts_with("no selector"), "{json}");
}

#[test]
fn pods_alone_that_are_not_modelled_are_named_with_the_message() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}}\n---\n";
    let path = file("unmodelled/rollout.yaml", [policy, OTHERS].concat());
    let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    assert!(finished.stderr.contains("not modelled: Rollout.argoproj.io (1)"), "{}", finished.stderr);
}

#[test]
fn a_scenario_that_applies_them_is_inconclusive_unless_they_are_accepted() {
    let scenario = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: foreign}
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b}]}]}
probes: [80/TCP]
steps:
- name: deny
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: x}
    spec: {podSelector: {}}
  - apiVersion: crd.antrea.io/v1beta1
    kind: ClusterNetworkPolicy
    metadata: {name: foreign}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: x}}
  expect: [{from: \"*\", to: \"*\", deny: [all]}]
";
    let path = file("unmodelled/scenario.yaml", scenario);
    let run =
        |arguments: &[&str]| run(User::Ordinary, ["run", path.to_str().unwrap()].iter().chain(arguments));
    let finished = run(&["-o", "json", "--repeat", "2"]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    let json = finished.json();
    assert_eq!(json["outcome"], "inconclusive");
    assert_eq!(json["unmodelled"][0]["kind"], "ClusterNetworkPolicy.crd.antrea.io");
    assert_eq!(json["unmodelled"][0]["count"], 1);
    assert_eq!(json["unmodelled"][0]["accepted"], false);
    assert_eq!(json["scenarios"][0]["ignored"], serde_json::json!({"ConfigMap": 1}));

    let table = run(&[]).stdout;
    assert!(table.starts_with("INCONCLUSIVE"), "{table}");
    assert!(table.contains("not modelled: ClusterNetworkPolicy.crd.antrea.io (1)"), "{table}");
    let finished = run(&["--accept-unmodelled", "ClusterNetworkPolicy.crd.antrea.io"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    assert!(finished.stdout.contains("not modelled, and accepted:"), "{}", finished.stdout);
    assert!(folder().exists());
}

/// A run counts these objects; what it may not list, there may be, and the run is inconclusive. Nothing else is
/// granted with them.
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
