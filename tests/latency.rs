//! How long changes take to be in force, with real packets.

use serde_json::Value;

use crate::machine::{User, file, run};

const SCENARIO: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: changes}
topology:
  namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, node: 2}]}]
probes: [80/TCP, 80/UDP]
steps:
- name: nothing
- name: deny
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: x}
    spec: {podSelector: {}, policyTypes: [Ingress]}
- name: allow again
  delete: [{kind: NetworkPolicy, namespace: x, name: deny}]
";

fn report(options: &[&str]) -> (Option<i32>, Value) {
    let path = file("changes.yaml", SCENARIO);
    let arguments = ["run", path.to_str().unwrap(), "-o", "json"];
    let finished = run(User::Ordinary, arguments.iter().chain(options));
    (finished.code, finished.json())
}

#[test]
fn times_are_measured_where_something_changed_and_by_the_node_that_enforces() {
    let (code, report) = report(&[]);
    assert_eq!(code, Some(0));
    let steps = report["scenarios"][0]["steps"].as_array().unwrap();
    let times = |step: &Value| [step["timeToEnforceMs"].as_u64(), step["timeToAdmitMs"].as_u64()];
    assert_eq!(times(&steps[0]), [None, None]);
    assert!(matches!(times(&steps[1]), [Some(_), None]), "{:?}", times(&steps[1]));
    assert!(matches!(times(&steps[2]), [None, Some(_)]), "{:?}", times(&steps[2]));
    for step in &steps[1..] {
        assert_eq!(step["nodes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["node-1", "node-2"]);
        for cell in step["cells"].as_array().unwrap().iter().filter(|cell| !cell["change"].is_null()) {
            // Only ingress is denied: that is the destination's doing.
            assert_eq!(cell["settledAt"], cell["toNode"], "{cell}");
            let settled = cell["settledMs"].as_u64().unwrap();
            assert!(settled >= step["handedOverMs"].as_u64().unwrap(), "{cell}");
            assert!(cell["opposedMs"].as_u64().is_none_or(|opposed| opposed <= settled), "{cell}");
        }
    }
    assert_eq!(report["latency"]["enforce"]["steps"], 1);
    assert_eq!(report["latency"]["enforce"]["maxMs"], steps[1]["timeToEnforceMs"]);
}

#[test]
fn a_change_whose_first_probe_is_from_after_the_limit_is_neither_late_nor_in_time() {
    for (option, step) in [("--enforce-within", 1), ("--admit-within", 2)] {
        let (code, report) = report(&[option, "0ms"]);
        assert_eq!(code, Some(3), "{option}");
        let counts = |step: usize| &report["scenarios"][0]["steps"][step]["counts"];
        for other in 0..3 {
            let unknown = counts(other)["inconclusive"].as_u64().unwrap();
            assert_eq!(unknown > 0, other == step, "{option}: step {other} has {unknown}");
            assert_eq!((&counts(other)["late"], &counts(other)["leak"]), (&0.into(), &0.into()));
        }
        let cells = report["scenarios"][0]["steps"][step]["cells"].as_array().unwrap();
        let causes: Vec<_> = cells.iter().filter_map(|cell| cell["cause"].as_str()).collect();
        let says = |cause: &&str| cause.contains("whether it was in force within 0 ms");
        assert!(!causes.is_empty() && causes.iter().all(says), "{causes:?}");
    }
    let (code, _) = report(&["--enforce-within", "1m", "--admit-within", "1m"]);
    assert_eq!(code, Some(0));
}
