//! Which scenarios are carried out: lists, selections and shards, by the program itself.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use insta::assert_snapshot;
use serde_json::Value;

use crate::machine::{Finished, User, file, folder, library, program, run};

/// A scenario in which one pod is isolated, with as many cases as steps.
fn scenario(name: &str, tags: &str, items: &str, steps: usize) -> String {
    let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: b, namespace: x}, \
                  spec: {podSelector: {matchLabels: {app: b}}}}";
    let step = |i: usize| {
        let own = "{from: \"*\", to: [\"*\", self], allow: [all]}";
        let apply = if i == 1 { format!("  apply: [{policy}]\n") } else { String::new() };
        format!("- name: step {i}\n{apply}  expect: [{own}, {{from: x/a, to: x/b, deny: [all]}}]\n")
    };
    let steps: String = (1..=steps).map(step).collect();
    format!(
        "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: {name}, tags: [{tags}], items: [{items}]}}
topology: {{namespaces: [{{name: x, pods: [{{name: a}}, {{name: b, labels: {{app: b}}}}]}}]}}
probes: [80/TCP]
steps:
{steps}"
    )
}

/// A folder with a few of them.
fn few() -> PathBuf {
    file("few/a.yaml", scenario("default-deny", "ingress, egress", "1, 4", 2));
    file("few/b.yaml", scenario("named-ports", "ingress, ports", "17", 1));
    let silent = scenario("dns", "egress", "29", 3) + "- name: nothing is said\n  items: [30]\n";
    file("few/c.yaml", silent).parent().unwrap().to_path_buf()
}

fn few_with(arguments: &[&str]) -> Finished {
    let few = few();
    let first = ["run", few.to_str().unwrap()];
    run(User::Ordinary, first.iter().chain(arguments))
}

#[test]
fn what_is_selected_is_listed_with_what_it_decides() {
    let listed = few_with(&["--list"]);
    assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""));
    assert_snapshot!("list", listed.stdout);
    let document = few_with(&["--list", "-o", "json"]).json();
    assert_eq!(document["kind"], "ScenarioList");
    assert_eq!(document["tags"]["egress"], serde_json::json!({"scenarios": 2, "cases": 5}));
    assert_eq!(document["items"][29]["cases"], 0, "item 30 is in a step that asserts nothing");
    assert_eq!(document["scenarios"][0]["cells"], 8);
}

/// A machine without namespaces can list what it cannot carry out.
#[test]
fn a_list_needs_no_lab() {
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces";
    let listed = |arguments: &str| {
        let script = format!("{forbid} && exec {} run default-deny {arguments}", program().display());
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .current_dir(folder())
            .output();
        Finished::from(output.unwrap()).code
    };
    assert_eq!((listed("--list"), listed("")), (Some(0), Some(2)));
}

fn names(arguments: &[&str]) -> Vec<String> {
    let first = ["run", "--list", "-o", "json"];
    let finished = run(User::Ordinary, first.iter().chain(arguments));
    assert_eq!(finished.code, Some(0), "{arguments:?}: {}", finished.stderr);
    let document = finished.json();
    let scenarios = document["scenarios"].as_array().unwrap();
    scenarios.iter().map(|scenario| scenario["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn names_that_are_no_files_are_those_of_the_library() {
    assert_eq!(names(&["default-deny"]), ["default-deny"]);
    let conformance = names(&["conformance-*", "conformance-ports"]);
    assert!(conformance.len() >= 8 && conformance.iter().all(|name| name.starts_with("conformance-")));
    // A file of one's own beside them.
    let few = few();
    let own = few.join("b.yaml");
    let name = "default-deny";
    assert_eq!(names(&[name, own.to_str().unwrap()]), ["named-ports", "default-deny"]);
}

#[test]
fn the_library_is_selected_by_tag_item_and_name() {
    let all = names(&[]);
    let with_dns = names(&["--tag", "dns"]);
    assert!(!with_dns.is_empty() && with_dns.len() < all.len());
    let without = names(&["--skip-tag", "dns"]);
    assert_eq!(with_dns.len() + without.len(), all.len());
    let both = names(&["--name", "policy-*", "--item", "2"]);
    assert!(both.contains(&"policy-types".to_owned()) && both.iter().all(|name| name.starts_with("policy-")));
}

/// All shards together are everything, once; and they cost about the same.
#[test]
fn shards_of_the_library_are_the_library() {
    let all: BTreeSet<_> = names(&[]).into_iter().collect();
    let shards: Vec<_> = (1..=4).map(|i| names(&["--shard", &format!("{i}/4")])).collect();
    assert_eq!(shards.concat().len(), all.len());
    assert_eq!(shards.concat().into_iter().collect::<BTreeSet<_>>(), all);
    // Whatever the order of the files.
    let folders = ["selectors", "ports"].map(|folder| library().join(folder));
    let [a, b] = folders.each_ref().map(|folder| folder.to_str().unwrap());
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(names(&[a, b, "--shard", "2/3"])), sorted(names(&[b, a, "--shard", "2/3"])));
}

#[test]
fn what_selects_nothing_is_refused_with_the_reason() {
    let mut told = String::new();
    for arguments in [
        &["--tag", "ingres"][..],
        &["--item", "2"],
        &["--name", "dsn"],
        &["--tag", "ports", "--item", "29"],
        &["--tag", "ingress", "--skip-tag", "ingress"],
        &["--shard", "4/4"],
        &["defualt-deny"],
        &["nothing-like-it"],
        &["missing.yaml"],
        &["--item", "99"],
        &["--shard", "5/4"],
        &["--parallel", "0"],
        &["--repeat", "0"],
    ] {
        let finished = few_with(arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        let message = finished.stderr.replace(&format!("{}/", folder().display()), "");
        told.push_str(message.lines().next().unwrap());
        told.push('\n');
    }
    assert_snapshot!("refused", told);
}

/// A scenario whose policies do not mean what its author says.
fn failing(name: &str) -> String {
    scenario(name, "wrong", "1", 1).replace("allow: [all]", "deny: [all]")
}

#[test]
fn a_run_stops_at_the_first_failure_if_it_is_told_to() {
    let right = file("stop/a.yaml", scenario("a-right", "", "", 1));
    file("stop/b.yaml", failing("b-wrong"));
    file("stop/c.yaml", scenario("c-late", "", "", 1));
    let folder = right.parent().unwrap().to_str().unwrap();
    let xml = folder.to_owned() + "/report.xml";
    let options = ["run", folder, "--parallel", "1", "-o", "json", "--report", &xml];
    let document = |more: &[&str]| -> Value {
        let finished = run(User::Root, options.iter().chain(more));
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        finished.json()
    };
    let stopped = document(&["--fail-fast"]);
    assert_eq!((&stopped["stopped"], &stopped["notRun"]), (&true.into(), &serde_json::json!(["c-late"])));
    assert_eq!(stopped["scenarios"].as_array().unwrap().len(), 2);
    assert!(std::fs::read_to_string(&xml).unwrap().contains("c-late"));
    let whole = document(&[]);
    assert_eq!((&whole["stopped"], whole["scenarios"].as_array().unwrap().len()), (&false.into(), 3));
}

#[test]
fn repetitions_are_one_result() {
    let finished = few_with(&["--name", "n*", "--name", "dns", "--repeat", "3", "-o", "json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let document = finished.json();
    let scenarios = document["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 2);
    for scenario in scenarios {
        assert_eq!(scenario["repetitions"], serde_json::json!({"asked": 3, "carriedOut": 3, "same": 3}));
    }
    // Each was carried out three times, and counts once.
    assert_eq!(finished.stderr.lines().count(), 6, "{}", finished.stderr);
    assert_eq!(document["counts"]["cells"], 4 + 16);
}
