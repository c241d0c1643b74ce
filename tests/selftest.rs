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
