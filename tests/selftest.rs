//! The self-test of scenarios that do not detect every fault.

use crate::support::{self, file, netproof, policy_step};

/// A pod may not send in the second of three steps.
fn scenario(requires: &str, probes: &str) -> String {
    let topology = "namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, node: 2}]}]";
    let steps = [
        "- name: nothing is denied\n",
        &policy_step("a may not send", "x", "a", "podSelector: {}, policyTypes: [Egress]"),
        "  expect: [{from: '*', to: '*', deny: [all]}]\n",
        "- name: it may again\n  delete: [{kind: NetworkPolicy, namespace: x, name: a}]\n",
        "  expect: [{from: '*', to: '*', allow: [all]}]\n",
    ];
    requires.to_owned() + &support::scenario("one-pod-may-not-send", topology, probes, &steps.concat())
}

const BOTH: &str = "80/TCP, 80/SCTP";

#[test]
fn undetected_faults_fail_the_self_test_and_come_first() {
    let path = file("one-pod-may-not-send.yaml", scenario("requires: [sctp]\n", BOTH));
    let faults = ["ignore-egress", "policies-never-removed", "few-rules", "ignore-sctp"];
    let faults = faults.map(|fault| ["--fault", fault]).concat();
    let finished = netproof(&["selftest", &path], &faults).exits(1);
    // The kernel may lack SCTP, and the durations vary.
    let is_stable = |line: &&str| !line.contains("ignore-sctp");
    let lines: Vec<_> = finished.stdout.lines().filter(is_stable).collect();
    let (verdict, rest) = lines.split_first().unwrap();
    let verdict = verdict.split(": 3 cases in 1 scenario, ").next().unwrap();
    insta::assert_snapshot!([&[verdict], rest].concat().join("\n"));
}

/// The next run may not show a wrong accusation again, so the report has all of its cells.
#[test]
fn what_is_accused_without_a_fault_is_shown_cell_by_cell() {
    let path = file("wrong-assertion.yaml", scenario("", "80/TCP").replace("deny: [all]", "allow: [all]"));
    let arguments = ["selftest", &path, "--fault", "policies-never-removed", "-o"];
    let finished = netproof(&arguments, &["table"]).exits(1);
    let accusations = finished
        .stdout
        .split("\n\n")
        .filter(|part| part.starts_with("Accused without a fault") || part.starts_with("Disagreements"));
    insta::assert_snapshot!(accusations.collect::<Vec<_>>().join("\n\n"));
    let report = netproof(&arguments, &["json"]).json();
    let accusing = &report["accusing"][0];
    assert_eq!((&accusing["name"], &accusing["outcome"]), (&"one-pod-may-not-send".into(), &"fail".into()));
    assert_eq!(accusing["steps"][1]["cells"][1]["asserted"], "allow");
}

/// A busy machine may be the cause of inconclusive cells. If they are inconclusive every time, the run is still no pass.
#[test]
fn what_was_inconclusive_is_run_again_and_says_why() {
    let path = file("sctp-not-required.yaml", scenario("", BOTH));
    let finished = netproof(&["selftest", &path, "--fault", "policies-never-removed"], &[]).exits(1);
    let sections = ["Accused without a fault", "Not measured", "Run again"];
    let is_there = sections.map(|title| finished.stdout.contains(title));
    // A kernel with SCTP measures it.
    assert!(is_there == [true; 3] || is_there == [false; 3], "{}", finished.stdout);
    assert!(!is_there[0] || finished.stdout.contains("SCTP"), "{}", finished.stdout);
}

/// Regression: the detections of the first runs counted, although those runs were replaced.
#[test]
fn a_quick_self_test_tries_the_faults_again_in_scenarios_that_run_again() {
    let paths = ["one-of-two", "other-of-two"].map(|name| {
        let text = scenario("", BOTH).replace("one-pod-may-not-send", name);
        file(&format!("{name}.yaml"), text)
    });
    let arguments = ["selftest", &paths[0], &paths[1], "--quick", "--fault", "policies-never-removed"];
    let report = netproof(&arguments, &["-o", "json"]).json();
    assert_eq!(report["undetected"], serde_json::json!([]), "{report}");
}

/// Regression: only files could be named.
#[test]
fn scenarios_of_the_library_can_be_named() {
    let options = ["--quick", "--fault", "policies-never-removed", "-o", "json"];
    let report = netproof(&["selftest", "default-deny"], &options).json();
    assert_eq!(report["scenarios"], serde_json::json!(["default-deny"]), "{report}");
    let refusal = netproof(&["selftest", "default-den"], &options).refusal();
    assert!(
        refusal.contains("default-den: neither a file nor a scenario of the built-in library"),
        "{refusal}"
    );
}
