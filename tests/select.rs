//! Which scenarios are run: lists, selections and shards, by the program itself.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::OnceLock;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{self, Finished, User, file, folder, library, netproof, program, run};

/// Returns a scenario in which one pod is isolated. Each step is a case.
fn scenario(name: &str, tags: &str, spec_rules: &str, steps: usize) -> String {
    let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: b, namespace: x}, \
                  spec: {podSelector: {matchLabels: {app: b}}}}";
    let step = |i: usize| {
        let own = "{from: \"*\", to: [\"*\", self], allow: [all]}";
        let apply = if i == 1 { format!("  apply: [{policy}]\n") } else { String::new() };
        format!("- name: step {i}\n{apply}  expect: [{own}, {{from: x/a, to: x/b, deny: [all]}}]\n")
    };
    let metadata = format!("{name}, tags: [{tags}], specRules: [{spec_rules}]");
    let topology = "namespaces: [{name: x, pods: [{name: a}, {name: b, labels: {app: b}}]}]";
    support::scenario(&metadata, topology, "80/TCP", &(1..=steps).map(step).collect::<String>())
}

/// Runs `netproof run` on a folder with three scenarios.
fn few_with(arguments: &[&str]) -> Finished {
    file("few/a.yaml", scenario("default-deny", "ingress, egress", "1, 4", 2));
    file("few/b.yaml", scenario("named-ports", "ingress, ports", "17", 1));
    let silent = "- name: nothing is said\n  specRules: [30]\n";
    file("few/c.yaml", scenario("dns", "egress", "29", 3) + silent);
    netproof(&["run", "few"], arguments)
}

#[test]
fn what_is_selected_is_listed_with_what_it_decides() {
    let listed = few_with(&["--list"]).exits(0);
    assert_eq!(listed.stderr, "");
    assert_snapshot!("list", listed.stdout);
    let document = few_with(&["--list", "-o", "json"]).json();
    assert_eq!(document["kind"], "ScenarioList");
    assert_eq!(document["tags"]["egress"], json!({"scenarios": 2, "cases": 5}));
    assert_eq!(document["specRules"][29]["cases"], 0, "spec rule 30 is in a step that asserts nothing");
    assert_eq!(document["scenarios"][0]["cells"], 8);
}

/// A machine without namespaces can list scenarios that it cannot run.
#[test]
fn a_list_needs_no_lab() {
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces";
    let listed = |arguments: &str| {
        let script = format!("{forbid} && exec {} run default-deny {arguments}", program().display());
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).current_dir(folder());
        Finished::from(command.output().unwrap()).code
    };
    assert_eq!((listed("--list"), listed("")), (Some(0), Some(2)));
}

/// Returns the names of the scenarios that are selected.
fn names(arguments: &[&str]) -> Vec<String> {
    let document = netproof(&["run", "--list", "-o", "json"], arguments).exits(0).json();
    let scenarios = document["scenarios"].as_array().unwrap();
    scenarios.iter().map(|scenario| scenario["name"].as_str().unwrap().to_owned()).collect()
}

/// Returns the names of the whole library, which takes most of a second to read.
fn whole_library() -> &'static BTreeSet<String> {
    static NAMES: OnceLock<BTreeSet<String>> = OnceLock::new();
    NAMES.get_or_init(|| names(&[]).into_iter().collect())
}

#[test]
fn names_that_are_no_files_are_those_of_the_library() {
    assert_eq!(names(&["default-deny"]), ["default-deny"]);
    let conformance = names(&["conformance-*", "conformance-ports"]);
    assert!(conformance.len() >= 8 && conformance.iter().all(|name| name.starts_with("conformance-")));
    // The user's own file, and a name of the library.
    let own = file("own.yaml", scenario("named-ports", "", "", 1));
    assert_eq!(names(&["default-deny", &own]), ["named-ports", "default-deny"]);
}

#[test]
fn the_library_is_selected_by_tag_spec_rule_and_name() {
    let all = whole_library();
    let with_dns = names(&["--tag", "dns"]);
    assert!(!with_dns.is_empty() && with_dns.len() < all.len());
    let without = names(&["--skip-tag", "dns"]);
    assert_eq!(with_dns.len() + without.len(), all.len());
    let skipped = names(&["--name", "policy-*", "--skip-name", "policy-t*", "--skip-name", "nobody"]);
    assert!(!skipped.is_empty() && skipped.iter().all(|name| !name.starts_with("policy-t")));
    assert!(all.contains("policy-types"));
    let both = names(&["--name", "policy-*", "--spec-rule", "2"]);
    assert_eq!(names(&["--name", "policy-*", "--item", "2"]), both, "the old name of the option");
    assert!(both.contains(&"policy-types".to_owned()) && both.iter().all(|name| name.starts_with("policy-")));
}

/// Each scenario is in one shard.
#[test]
fn shards_of_the_library_are_the_library() {
    let all = whole_library();
    let shards: Vec<_> = (1..=4).map(|i| names(&["--shard", &format!("{i}/4")])).collect();
    assert_eq!(shards.concat().len(), all.len());
    assert_eq!(&shards.concat().into_iter().collect::<BTreeSet<_>>(), all);
    // The order of the files does not matter.
    let [a, b] = ["selectors", "ports"].map(library);
    let shard = |a: &str, b: &str| names(&[a, b, "--shard", "2/3"]).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(shard(&a, &b), shard(&b, &a));
}

#[test]
fn what_selects_nothing_is_refused_with_the_reason() {
    let mut messages = String::new();
    for arguments in [
        &["--tag", "ingres"][..],
        &["--spec-rule", "2"],
        &["--name", "dsn"],
        &["--tag", "ports", "--spec-rule", "29"],
        &["--tag", "ingress", "--skip-tag", "ingress"],
        &["--shard", "4/4"],
        &["defualt-deny"],
        &["nothing-like-it"],
        &["missing.yaml"],
        &["--spec-rule", "99"],
        &["--shard", "5/4"],
        &["--parallel", "0"],
        &["--repeat", "0"],
    ] {
        messages += few_with(arguments).refusal().lines().next().unwrap();
        messages += "\n";
    }
    assert_snapshot!("refused", messages);
}

/// Returns a scenario whose assertion contradicts its policies.
fn failing(name: &str) -> String {
    scenario(name, "wrong", "1", 1).replace("allow: [all]", "deny: [all]")
}

#[test]
fn a_run_stops_at_the_first_failure_if_it_is_told_to() {
    file("stop/a.yaml", scenario("a-right", "", "", 1));
    file("stop/b.yaml", failing("b-wrong"));
    file("stop/c.yaml", scenario("c-late", "", "", 1));
    let options = ["run", "stop", "--parallel", "1", "-o", "json", "--report", "stop/report.xml"];
    let document = |more: &[&str]| -> Value { run(User::Root, options.iter().chain(more)).exits(1).json() };
    let stopped = document(&["--fail-fast"]);
    assert_eq!((&stopped["stopped"], &stopped["notRun"]), (&true.into(), &json!(["c-late"])));
    assert_eq!(stopped["scenarios"].as_array().unwrap().len(), 2);
    assert!(std::fs::read_to_string(folder().join("stop/report.xml")).unwrap().contains("c-late"));
    let whole = document(&[]);
    assert_eq!((&whole["stopped"], whole["scenarios"].as_array().unwrap().len()), (&false.into(), 3));
}

#[test]
fn repetitions_are_one_result() {
    let finished = few_with(&["--name", "n*", "--name", "dns", "--repeat", "3", "-o", "json"]).exits(0);
    let document = finished.json();
    let scenarios = document["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 2);
    for scenario in scenarios {
        assert_eq!(scenario["repetitions"], json!({"requested": 3, "done": 3, "same": 3}));
    }
    // Each scenario was run three times, and counts once.
    assert_eq!(finished.stderr.lines().count(), 6, "{}", finished.stderr);
    assert_eq!(document["counts"]["cells"], 4 + 16);
}
