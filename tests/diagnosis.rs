//! Diagnosis with real packets: what a run blames its leaks and blocked cells on.

use serde_json::{Value, json};

use crate::support::{Finished, file, netproof, policy_step, run_json, scenario, scenario_file};

/// Returns the names of the causes of an explanation, and of each of its alternatives.
fn blamed(explanation: &Value) -> Vec<Vec<&str>> {
    let alternatives = explanation["alternatives"].as_array().unwrap();
    [&explanation["causes"]].into_iter().chain(alternatives).map(names).collect()
}

fn names(causes: &Value) -> Vec<&str> {
    causes.as_array().unwrap().iter().map(|cause| cause["name"].as_str().unwrap()).collect()
}

fn with_fault(name: &str, fault: &str) -> Finished {
    run_json(&scenario_file(name), &["--fault", fault])
}

/// The lab compiles each of these faults to its rules, and the diagnosis knows none of them: it asks the policy engine.
#[test]
fn faults_of_every_part_of_enforcement_diagnose_themselves() {
    let faults = [
        "ignore-udp",
        "ignore-egress",
        "egress-shortcut",
        "stateless",
        "endport-exclusive",
        "first-policy-only",
        "empty-rule-denies",
        "policies-never-removed",
    ];
    let options = faults.map(|fault| ["--fault", fault]).concat();
    let scenarios = [
        "selftest",
        "--diagnose",
        "-o",
        "json",
        "default-deny",
        "port-range",
        "policy-lifecycle",
        "both-sides",
    ];
    let report = netproof(&scenarios, &options).json();
    for fault in report["faults"].as_array().unwrap() {
        let diagnosis = &fault["diagnosis"];
        let own = diagnosis["explanations"][0].as_array().unwrap();
        assert_eq!(diagnosis["unexplained"], 0, "{fault}");
        assert!(["itself", "equivalent"].contains(&diagnosis["accuracy"].as_str().unwrap()), "{fault}");
        assert!(own.contains(&fault["name"]), "{fault}");
    }
    assert_eq!(report["misdiagnosed"], json!([]));
}

#[test]
fn the_cause_comes_first_with_what_tested_it() {
    let path = scenario_file("port-range");
    let report = netproof(&["run", &path, "--fault", "endport-exclusive"], &[]).exits(1).stdout;
    let (before, diagnosis) = report.split_once("\nDiagnosis  ").unwrap();
    assert!(before.starts_with("FAIL  2 blocked"), "{before}");
    let (diagnosis, sections) = diagnosis.split_once("\n\n").unwrap();
    assert!(sections.starts_with("Blocked  "), "{sections}");
    insta::assert_snapshot!(diagnosis, @r"
    the known deviations that predict these cells, and no difference where there was none
      endport-exclusive: the last port of a range is not allowed
        explains 2 of 2 blocked cells in 1 scenario; tested by 2 cases that would differ and 1 that would not
    ");
}

/// kube-router shares chains between the directions of a policy. Its profile has that as a quirk.
#[test]
fn a_profile_with_the_same_deviation_is_named() {
    let document = with_fault("both-sides", "shared-chains").exits(1).json();
    let explanation = &document["diagnosis"]["explanations"][0];
    let causes = [&explanation["causes"]].into_iter().chain(explanation["alternatives"].as_array().unwrap());
    let mut causes = causes.flat_map(|causes| causes.as_array().unwrap());
    assert!(causes.any(|cause| cause["profiles"] == json!(["kube-router"])), "{explanation}");
}

/// One leak of UDP may have many causes, and the run cannot tell them apart.
#[test]
fn one_leak_has_several_causes() {
    let topology = "namespaces: [{name: x, pods: [{name: a, labels: {app: a}}, {name: b}]}]";
    let steps = policy_step("a may not receive", "x", "a", "podSelector: {matchLabels: {app: a}}");
    let path = file("one-leak.yaml", scenario("one-leak", topology, "80/UDP", &steps));
    let finished = run_json(&path, &["--fault", "ignore-udp"]).exits(1);
    let diagnosis = &finished.json()["diagnosis"];
    let blamed = blamed(&diagnosis["explanations"][0]);
    for cause in ["ignore-udp", "ignore-ingress", "no-enforcement"] {
        assert!(blamed.contains(&vec![cause]), "{cause}: {blamed:?}");
    }
    // What claims most comes last.
    assert_eq!(blamed.last(), Some(&vec!["no-enforcement"]), "{blamed:?}");
    assert_eq!(diagnosis["enforcement"]["absent"], false);
    let report = netproof(&["run", &path, "--fault", "ignore-udp"], &[]).exits(1).stdout;
    assert!(report.contains("predict the same, so this run cannot tell the cause: "), "{report}");
}

const MANY_DENIALS: [&str; 4] = ["security-zones", "default-deny", "policy-types", "shared-ingress"];

fn run_all(options: &[&str]) -> Finished {
    let paths = MANY_DENIALS.map(scenario_file);
    let arguments: Vec<_> = ["run", "-o", "json", "--parallel", "1"]
        .into_iter()
        .chain(paths.iter().map(String::as_str))
        .collect();
    netproof(&arguments, options)
}

#[test]
fn a_run_ends_early_where_nothing_enforces_policies() {
    let document = run_all(&["--fault", "no-enforcement"]).exits(1).json();
    assert_eq!((&document["unenforced"], &document["stopped"]), (&true.into(), &false.into()));
    assert!(!document["notRun"].as_array().unwrap().is_empty(), "{}", document["notRun"]);
    let enforcement = &document["diagnosis"]["enforcement"];
    assert_eq!((&enforcement["absent"], &enforcement["only"]), (&true.into(), &json!([])), "{enforcement}");
    assert!(enforcement["denials"].as_u64().unwrap() >= 100, "{enforcement}");
    assert_eq!(enforcement["denials"], enforcement["delivered"]);
    assert_eq!(blamed(&document["diagnosis"]["explanations"][0])[0], ["no-enforcement"]);
    let whole = run_all(&["--fault", "no-enforcement", "--keep-going"]).exits(1).json();
    assert_eq!((&whole["unenforced"], &whole["notRun"]), (&false.into(), &json!([])));
}

/// An enforcer that only forgets TCP delivers every denied packet, too, if only TCP is sent.
#[test]
fn delivered_denials_of_one_protocol_do_not_show_that_nothing_is_enforced() {
    let pods = (0..8).map(|i| format!("{{name: p{i}, node: {}}}", i % 2 + 1)).collect::<Vec<_>>().join(", ");
    let topology = format!("namespaces: [{{name: x, pods: [{pods}]}}]");
    let steps = policy_step("nothing passes", "x", "deny", "podSelector: {}, policyTypes: [Ingress, Egress]");
    let path = file("only-tcp.yaml", scenario("only-tcp", &topology, "80/TCP, 81/TCP", &steps));
    let document = run_json(&path, &["--fault", "ignore-tcp"]).exits(1).json();
    let enforcement = &document["diagnosis"]["enforcement"];
    assert!(enforcement["denials"].as_u64().unwrap() >= 100, "{enforcement}");
    assert_eq!(enforcement["denials"], enforcement["delivered"]);
    assert_eq!((&enforcement["absent"], &enforcement["only"]), (&false.into(), &json!(["TCP"])));
}
