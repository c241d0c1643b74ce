//! The time until changes are in force, with real packets.

use serde_json::Value;

use crate::support::{Finished, file, policy_step, run_json, scenario, step_cells};

fn run_changes(options: &[&str]) -> Finished {
    let topology = "namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, node: 2}]}]";
    let steps = [
        "- name: nothing\n",
        &policy_step("deny", "x", "deny", "podSelector: {}, policyTypes: [Ingress]"),
        "- name: allow again\n  delete: [{kind: NetworkPolicy, namespace: x, name: deny}]\n",
    ];
    let scenario = scenario("changes", topology, "80/TCP, 80/UDP", &steps.concat());
    run_json(&file("latency.yaml", scenario), options)
}

#[test]
fn times_are_measured_where_something_changed_and_by_the_node_that_enforces() {
    let report = run_changes(&[]).exits(0).json();
    let steps = report["scenarios"][0]["steps"].as_array().unwrap();
    let is_measured = |step: &Value| ["timeToEnforceMs", "timeToAdmitMs"].map(|field| step[field].is_u64());
    let measured: Vec<_> = steps.iter().map(is_measured).collect();
    assert_eq!(measured, [[false, false], [true, false], [false, true]]);
    for step in &steps[1..] {
        assert_eq!(step["nodes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["node-1", "node-2"]);
        for cell in step["cells"].as_array().unwrap().iter().filter(|cell| !cell["change"].is_null()) {
            // Only ingress is denied, so the node of the destination enforces.
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
        let report = run_changes(&[option, "0ms"]).exits(3).json();
        for other in 0..3 {
            let counts = &report["scenarios"][0]["steps"][other]["counts"];
            let is_unknown = counts["inconclusive"].as_u64().unwrap() > 0;
            assert_eq!(is_unknown, other == step, "{option}: step {other}: {counts}");
            assert_eq!((&counts["late"], &counts["leak"]), (&0.into(), &0.into()));
        }
        let causes: Vec<_> =
            step_cells(&report, step).iter().filter_map(|cell| cell["cause"].as_str()).collect();
        let is_expected = |cause: &&str| cause.contains("whether it was in force within 0 ms");
        assert!(!causes.is_empty() && causes.iter().all(is_expected), "{causes:?}");
    }
    run_changes(&["--enforce-within", "1m", "--admit-within", "1m"]).exits(0);
}
