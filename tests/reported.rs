//! Faults that users reported: each is detected, and nothing else is accused.

use serde_json::Value;

use crate::interference::{by_name, found_by_name};
use crate::support::{Finished, file, netproof, policy_step, run_json, scenario, scenario_file};

/// Returns the cells of a run that are neither a match nor undefined, each with `SCENARIO › STEP`.
fn accused(finished: &Finished) -> Vec<(String, Value)> {
    let cells = finished.cells().into_iter();
    cells.filter(|(_, cell)| cell["verdict"] != "match" && cell["verdict"] != "undefined").collect()
}

fn run_with_fault(scenario: &str, fault: &str, options: &[&str]) -> Finished {
    run_json(scenario, &[&["--fault", fault], options].concat())
}

/// Checks that a fault is detected by a scenario of the library, and that no other cell is accused.
#[track_caller]
fn check(scenario: &str, fault: &str, is_its_doing: impl Fn(&str, &Value) -> bool) {
    let accused = accused(&run_with_fault(&scenario_file(scenario), fault, &[]).exits(1));
    assert!(!accused.is_empty(), "{fault} was not detected");
    for (place, cell) in accused {
        assert!(is_its_doing(&place, &cell), "{fault} cannot do this: {place}: {cell}");
    }
}

#[test]
fn a_dead_path_between_two_nodes_is_an_outage_of_what_crosses_it() {
    check("union", "dead-path", |_, cell| {
        // No packet passes this path, so there is no evidence that the denial is enforced.
        let verdict = if cell["expected"] == "deny" { "inconclusive" } else { "blocked" };
        cell["verdict"] == verdict && cell["fromNode"] != cell["toNode"]
    });
}

/// Regression (fuzz, seed 20261533): the connection after the lookup was denied, too, and this hid the leak.
#[test]
fn a_denied_lookup_that_is_answered_is_a_leak_whatever_becomes_of_the_connection() {
    let scenario = found_by_name("podSelector: {}, policyTypes: [Egress]");
    let finished = run_with_fault(&file("reported/lookups.yaml", scenario), "lookups-open", &[]);
    for cell in by_name(&finished, 0, "y/client") {
        assert_eq!((&cell["expected"], &cell["verdict"]), (&"deny".into(), &"leak".into()), "{cell}");
    }
}

/// Regression: the fault spared the canaries, so that a scenario that denies everything passed.
#[test]
fn a_dead_path_is_no_denial() {
    let cells = run_with_fault(&scenario_file("default-deny"), "dead-path", &[]).cells();
    let is_over_path = |cell: &Value| {
        let (from, to) = (cell["fromNode"].as_str(), cell["toNode"].as_str());
        cell["expected"] == "deny" && from.is_some() && to.is_some() && from != to
    };
    let over_path: Vec<_> = cells.iter().filter(|(_, cell)| is_over_path(cell)).collect();
    assert!(!over_path.is_empty(), "{cells:?}");
    for (_, cell) in over_path {
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
    check("pods-replaced", "restarted-pod-loses-family", |place, cell| {
        let steps = ["› server and friend exchange", "› the friend starts again"];
        steps.iter().any(|step| place.contains(step))
            && cell["verdict"] == "blocked"
            && cell["family"] == "IPv4"
    });
}

/// API servers with strict validation refuse such a CIDR, so no scenario of the library has one.
#[test]
fn a_cidr_with_host_bits_that_drops_its_policy_is_found() {
    let topology = "
  namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, labels: {app: b}, node: 2}]}],
  externals: [{name: near, ip: 203.0.113.10}, {name: far, ip: 198.51.100.10}]";
    let step = |name: &str, block: &str, expect: &str| {
        let spec =
            format!("podSelector: {{matchLabels: {{app: b}}}}, ingress: [{{from: [{{ipBlock: {block}}}]}}]");
        policy_step(name, "x", "near", &spec) + &format!("  expect: [{expect}]\n")
    };
    let steps = [
        step(
            "a range with host bits",
            "{cidr: 203.0.113.77/24}",
            "{from: 'external:near', to: x/b, allow: [all]}, {from: [x/a, 'external:far'], to: x/b, deny: [all]}",
        ),
        step(
            "everything with host bits, but a hole with host bits",
            "{cidr: 10.0.0.0/0, except: [198.51.100.77/24]}",
            "{from: ['external:near', x/a], to: x/b, allow: [all]}, {from: 'external:far', to: x/b, deny: [all]}",
        ),
    ];
    let path = file("host-bits.yaml", scenario("host-bits", topology, "80/TCP", &steps.concat()));
    netproof(&["run", &path], &[]).exits(0);
    let accused = accused(&run_with_fault(&path, "host-bits-drop-policy", &[]).exits(1));
    assert_eq!(accused.len(), 3, "{accused:?}");
    for (place, cell) in accused {
        assert!(cell["verdict"] == "leak" && cell["to"] == "x/b", "{place}: {cell}");
    }
}

/// Six pods that may not reach each other over two protocols: 60 denials.
fn denied() -> String {
    let pods: Vec<_> = (0..6).map(|i| format!("{{name: p{i}, node: {}}}", i % 2 + 1)).collect();
    let topology = format!("namespaces: [{{name: x, pods: [{}]}}]", pods.join(", "));
    let closed = "podSelector: {}, policyTypes: [Ingress]";
    let step = policy_step("nobody may receive", "x", "closed", closed);
    file("closed.yaml", scenario("closed", &topology, "80/TCP, 80/UDP", &step))
}

/// Checks that a fault that delivers some packets is a leak, and that no other cell is accused.
#[track_caller]
fn check_leak(fault: &str, options: &[&str]) {
    let accused = accused(&run_with_fault(&denied(), fault, options).exits(1));
    // On a busy machine, a denial next to a leak may have too few silences.
    let is_uncertain =
        |cell: &Value| cell["cause"].as_str().is_some_and(|cause| cause.contains("silence from loss"));
    for (_, cell) in accused.iter().filter(|(_, cell)| !is_uncertain(cell)) {
        assert_eq!(cell["verdict"], "leak", "{fault}: {cell}");
    }
    assert!(accused.iter().any(|(_, cell)| cell["verdict"] == "leak"), "{fault}: {accused:?}");
}

/// At least 120 probes are sent. In 3 of a million runs, none of them leaks.
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
    let timeouts = ["--settle", "0ms", "--min-timeout", "3s", "--max-timeout", "3s", "--linger", "11s"];
    check_leak("delivers-after-5s", &timeouts);
}
