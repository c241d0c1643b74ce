//! The self-test: what it says of scenarios that do not notice everything.

use crate::machine::{User, file, run};

const SCENARIO: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: one-pod-may-not-send}
requires: [sctp]
topology: {namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, node: 2}]}]}
probes: [80/TCP, 80/SCTP]
steps:
- name: nothing is denied
- name: a may not send
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: a, namespace: x}
    spec: {podSelector: {}, policyTypes: [Egress]}
  expect:
  - {from: '*', to: '*', deny: [all]}
- name: it may again
  delete: [{kind: NetworkPolicy, namespace: x, name: a}]
  expect:
  - {from: '*', to: '*', allow: [all]}
";

#[test]
fn undetected_faults_fail_the_self_test_and_come_first() {
    let path = file("one-pod-may-not-send.yaml", SCENARIO);
    let faults = ["ignore-egress", "policies-never-removed", "few-rules", "ignore-sctp"];
    let faults = faults.into_iter().flat_map(|fault| ["--fault", fault]);
    let arguments = ["selftest", path.to_str().unwrap()].into_iter().chain(faults);
    let finished = run(User::Ordinary, arguments);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    // What differs from run to run, and from kernel to kernel.
    let is_stable = |line: &&str| !line.contains("ignore-sctp");
    let lines: Vec<_> = finished.stdout.lines().filter(is_stable).collect();
    let (verdict, rest) = lines.split_first().unwrap();
    let verdict = verdict.split(": 3 cases in 1 scenario, ").next().unwrap();
    insta::assert_snapshot!([&[verdict], rest].concat().join("\n"));
}

/// What accuses where nothing is wrong has to be said cell by cell: the next run may not show it again.
#[test]
fn what_is_accused_without_a_fault_is_shown_cell_by_cell() {
    let wrong = SCENARIO
        .replace("deny: [all]", "allow: [all]")
        .replace(", 80/SCTP", "")
        .replace("requires: [sctp]\n", "");
    let path = file("wrong-assertion.yaml", &wrong);
    let arguments = ["selftest", path.to_str().unwrap(), "--fault", "policies-never-removed", "-o"];
    let finished = run(User::Ordinary, arguments.into_iter().chain(["table"]));
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let accusations = finished
        .stdout
        .split("\n\n")
        .filter(|part| part.starts_with("Accused without a fault") || part.starts_with("Disagreements"));
    insta::assert_snapshot!(accusations.collect::<Vec<_>>().join("\n\n"));
    let finished = run(User::Ordinary, arguments.into_iter().chain(["json"]));
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let accusing = &report["accusing"][0];
    assert_eq!((&accusing["name"], &accusing["outcome"]), (&"one-pod-may-not-send".into(), &"fail".into()));
    assert_eq!(accusing["steps"][1]["cells"][1]["asserted"], "allow");
}

/// A busy machine may leave something unmeasured. What is always so is still no pass.
#[test]
fn what_was_inconclusive_is_carried_out_again_and_says_why() {
    let path = file("sctp-not-required.yaml", SCENARIO.replace("requires: [sctp]\n", ""));
    let finished =
        run(User::Ordinary, ["selftest", path.to_str().unwrap(), "--fault", "policies-never-removed"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let sections = ["Accused without a fault", "Not measured", "Run again"];
    let is_there = sections.map(|title| finished.stdout.contains(title));
    // A kernel with SCTP measures it.
    assert!(is_there == [true; 3] || is_there == [false; 3], "{}", finished.stdout);
    assert!(!is_there[0] || finished.stdout.contains("SCTP"), "{}", finished.stdout);
}
