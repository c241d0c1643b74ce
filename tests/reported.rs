//! Faults that users reported: each is found, and nothing else is accused.

use serde_json::Value;

use crate::interference::{by_name, found_by_name};
use crate::machine::{Finished, User, file, run, scenario_file};

/// The cells of a run that are no match, each with the name of its step.
fn accused(finished: &Finished) -> Vec<(String, Value)> {
    let report = finished.json();
    let mut accused = Vec::new();
    for scenario in report["scenarios"].as_array().unwrap() {
        assert_eq!(scenario["failure"], Value::Null, "{finished:?}");
        for step in scenario["steps"].as_array().unwrap() {
            let cells = step["cells"].as_array().unwrap().iter();
            let differing = cells.filter(|cell| cell["verdict"] != "match" && cell["verdict"] != "undefined");
            accused.extend(differing.map(|cell| (step["name"].as_str().unwrap().to_owned(), cell.clone())));
        }
    }
    accused
}

fn run_with_fault(scenario: &std::path::Path, fault: &str, options: &[&str]) -> Finished {
    let arguments = ["run", scenario.to_str().unwrap(), "-o", "json", "--fault", fault];
    run(User::Ordinary, arguments.iter().chain(options))
}

/// Checks that a fault shows in a scenario of the library, and only where it can.
fn check(scenario: &str, fault: &str, is_its_doing: impl Fn(&str, &Value) -> bool) {
    let finished = run_with_fault(&scenario_file(scenario), fault, &[]);
    assert_eq!(finished.code, Some(1), "{fault}: {finished:?}");
    let accused = accused(&finished);
    assert!(!accused.is_empty(), "{fault}: {finished:?}");
    for (step, cell) in accused {
        assert!(is_its_doing(&step, &cell), "{fault} cannot do this: {step}: {cell}");
    }
}

#[test]
fn a_dead_path_between_two_nodes_is_an_outage_of_what_crosses_it() {
    check("union", "dead-path", |_, cell| {
        // Nothing shows that anything enforces what is denied on a path that nothing passes.
        let verdict = if cell["expected"] == "deny" { "inconclusive" } else { "blocked" };
        cell["verdict"] == verdict && cell["fromNode"] != cell["toNode"]
    });
}

/// Regression (fuzz, seed 20261533): the connection behind the lookup was denied, too, and hid the leak.
#[test]
fn a_denied_lookup_that_is_answered_is_a_leak_whatever_becomes_of_the_connection() {
    let scenario = found_by_name("{podSelector: {}, policyTypes: [Egress]}");
    let finished = run_with_fault(&file("reported/lookups.yaml", scenario), "lookups-open", &[]);
    for cell in by_name(&finished, 0, "y/client") {
        assert_eq!((&cell["expected"], &cell["verdict"]), (&"deny".into(), &"leak".into()), "{cell}");
    }
}

/// Regression: the fault spared the canaries, so that a scenario that denies everything passed.
#[test]
fn a_dead_path_is_no_denial() {
    let finished = run_with_fault(&scenario_file("default-deny"), "dead-path", &[]);
    let report = finished.json();
    let steps = report["scenarios"][0]["steps"].as_array().unwrap();
    let cells = steps.iter().flat_map(|step| step["cells"].as_array().unwrap());
    let is_over_path = |cell: &&Value| {
        let (from, to) = (cell["fromNode"].as_str(), cell["toNode"].as_str());
        cell["expected"] == "deny" && from.is_some() && to.is_some() && from != to
    };
    let over_path: Vec<&Value> = cells.filter(is_over_path).collect();
    assert!(!over_path.is_empty(), "{:?}", finished.code);
    for cell in over_path {
        assert_eq!(cell["verdict"], "inconclusive", "{cell}");
    }
}

#[test]
fn denial_without_policies_is_found() {
    check("default-deny", "isolated-without-policy", |_, cell| {
        cell["verdict"] == "blocked" && cell["from"] != cell["to"]
    });
}

#[test]
fn a_peer_of_blocks_alone_that_admits_pods_is_found() {
    check("ip-block", "ipblocks-are-everybody", |_, cell| cell["verdict"] == "leak");
}

#[test]
fn a_block_of_one_family_that_opens_the_other_is_found_with_holes_and_without() {
    for scenario in ["dual-stack", "holes-ingress"] {
        check(scenario, "zero-holds-ipv6", |_, cell| cell["verdict"] == "leak");
    }
}

#[test]
fn a_restarted_pod_that_loses_one_family_is_found() {
    check("pods-replaced", "restarted-pod-loses-family", |step, cell| {
        let is_after_a_restart = ["server and friend exchange", "the friend starts again"];
        is_after_a_restart.iter().any(|start| step.starts_with(start))
            && cell["verdict"] == "blocked"
            && cell["family"] == "IPv4"
    });
}

/// API servers that validate strictly refuse such a CIDR: no scenario of the library has one.
#[test]
fn a_cidr_with_host_bits_that_drops_its_policy_is_found() {
    let scenario = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: host-bits}
topology:
  namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, labels: {app: b}, node: 2}]}]
  externals: [{name: near, ip: 203.0.113.10}, {name: far, ip: 198.51.100.10}]
probes: [80/TCP]
steps:
- name: a range with host bits
  description: The range is 203.0.113.0/24, whatever bits stand behind it.
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: near, namespace: x}
    spec: {podSelector: {matchLabels: {app: b}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.77/24}}]}]}
  expect:
  - {from: 'external:near', to: x/b, allow: [all]}
  - {from: [x/a, 'external:far'], to: x/b, deny: [all]}
- name: everything, with host bits, but a hole with host bits
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: near, namespace: x}
    spec: {podSelector: {matchLabels: {app: b}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/0, except: [198.51.100.77/24]}}]}]}
  expect:
  - {from: ['external:near', x/a], to: x/b, allow: [all]}
  - {from: 'external:far', to: x/b, deny: [all]}
";
    let path = file("host-bits.yaml", scenario);
    let right = run(User::Ordinary, ["run", path.to_str().unwrap()]);
    assert_eq!(right.code, Some(0), "{right:?}");
    let finished = run_with_fault(&path, "host-bits-drop-policy", &[]);
    let accused = accused(&finished);
    let places: Vec<_> =
        accused.iter().map(|(_, cell)| (&cell["from"], &cell["to"], &cell["verdict"])).collect();
    assert_eq!((finished.code, accused.len()), (Some(1), 3), "{places:?}");
    assert!(accused.iter().all(|(_, cell)| cell["verdict"] == "leak" && cell["to"] == "x/b"), "{places:?}");
}

/// Six pods of which none may reach any other, over two protocols: 60 denials.
fn denied() -> std::path::PathBuf {
    let pods: Vec<_> = (0..6).map(|i| format!("{{name: p{i}, node: {}}}", i % 2 + 1)).collect();
    let scenario = format!(
        "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: closed}}
topology: {{namespaces: [{{name: x, pods: [{}]}}]}}
probes: [80/TCP, 80/UDP]
steps:
- name: nobody may receive
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {{name: closed, namespace: x}}
    spec: {{podSelector: {{}}, policyTypes: [Ingress]}}
",
        pods.join(", ")
    );
    file("closed.yaml", scenario)
}

/// Checks that a fault that delivers some packets is a leak, and nothing else.
fn check_leak(fault: &str, options: &[&str]) {
    let finished = run_with_fault(&denied(), fault, options);
    let accused = accused(&finished);
    assert_eq!(finished.code, Some(1), "{fault}: {finished:?}");
    // On a busy machine, other denials may need more silences than there is time for beside a leak.
    let is_open =
        |cell: &Value| cell["cause"].as_str().is_some_and(|cause| cause.contains("silence from loss"));
    for (_, cell) in accused.iter().filter(|(_, cell)| !is_open(cell)) {
        assert_eq!(cell["verdict"], "leak", "{fault}: {cell}");
    }
    assert!(accused.iter().any(|(_, cell)| cell["verdict"] == "leak"), "{fault}: {finished:?}");
}

/// 120 probes are sent at least: none of them leaks in 3 of a million runs.
#[test]
fn a_leak_of_ten_percent_is_found() {
    check_leak("leaks-10-percent", &["--settle", "0ms"]);
}

#[test]
fn a_leak_of_one_percent_is_found_with_enough_confidence() {
    check_leak("leaks-1-percent", &["--settle", "0ms", "--confidence", "1%"]);
}

#[test]
fn delivery_after_five_seconds_is_found() {
    let patient = ["--settle", "0ms", "--min-timeout", "3s", "--max-timeout", "3s", "--linger", "11s"];
    check_leak("delivers-after-5s", &patient);
}
