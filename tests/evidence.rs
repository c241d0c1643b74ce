//! A pass is positive evidence: a cell that was not judged never counts as one.

use std::process::Stdio;

use serde_json::json;

use crate::support::{
    Finished, User, command, file, policy_step, run_json, scenario as scenario_of, scenario_file,
};

/// Returns a scenario in which `a` may not receive.
fn scenario(requires: &str, probes: &str) -> String {
    let topology = "namespaces: [{name: x, pods: [{name: a, labels: {app: a}}, {name: b}]}]";
    let spec = "podSelector: {matchLabels: {app: a}}";
    let step = policy_step("a is isolated", "x", "isolated", spec);
    let step = step + "  expect:\n  - {from: x/b, to: x/a, deny: [all]}\n";
    requires.to_owned() + &scenario_of("evidence", topology, probes, &step)
}

fn run_with(name: &str, content: &str, options: &[&str]) -> Finished {
    run_json(&file(&format!("evidence/{name}.yaml"), content), options)
}

const REQUIRES_SCTP: &str = "requires: [sctp]\n";
const BOTH: &str = "80/TCP, 80/SCTP";

/// Returns whether the kernel has SCTP. Without it, cells of SCTP are skipped.
fn has_sctp() -> bool {
    let finished = run_with("has-sctp", &scenario(REQUIRES_SCTP, BOTH), &[]);
    finished.json()["counts"]["skipped"] == 0
}

/// Regression: nothing enforced, the only denial could not be probed, and the run said PASS.
#[test]
fn a_run_that_judged_nothing_is_no_pass() {
    if has_sctp() {
        return;
    }
    for requires in ["", REQUIRES_SCTP] {
        let content = scenario(requires, "80/SCTP");
        let finished = run_with("only-sctp", &content, &["--fault", "no-enforcement"]).exits(3);
        assert_eq!(finished.json()["counts"]["judged"], 0);
    }
}

#[test]
fn what_cannot_be_measured_is_skipped_only_if_it_is_declared() {
    if has_sctp() {
        return;
    }
    let report = run_with("declared", &scenario(REQUIRES_SCTP, BOTH), &[]).exits(0).json();
    assert_eq!(report["counts"]["skippedClaims"], 1, "{}", report["counts"]);
    assert_eq!(report["skipped"]["sctp"], 1);
    // A step can require what other steps do not.
    let step = "- name: a is isolated\n";
    let of_step = scenario("", BOTH).replace(step, &format!("{step}  {REQUIRES_SCTP}"));
    let of_step = run_with("declared-by-step", &of_step, &[]).exits(0).json();
    assert_eq!(of_step["skipped"]["sctp"], 1);
    run_with("undeclared", &scenario("", BOTH), &[]).exits(3);
}

#[test]
fn what_must_not_be_skipped_is_a_failure() {
    if has_sctp() {
        return;
    }
    let content = scenario(REQUIRES_SCTP, BOTH);
    run_with("required", &content, &["--require", "ipv4,sctp"]).exits(1);
    run_with("required", &content, &["--require", "ipv4"]).exits(0);
}

/// Regression: such a run passed without a word, whether or not the capability was there.
#[test]
fn what_nothing_needs_cannot_be_required() {
    let content = scenario("", "80/TCP");
    for capability in ["sctp", "ipv6"] {
        let message = run_with("unneeded", &content, &["--require", capability]).refusal();
        assert!(
            message.contains(&format!("--require {capability}: no scenario of this run needs it")),
            "{message}"
        );
        // Another shard may need it.
        run_with("unneeded", &content, &["--require", capability, "--shard", "1/1"]).exits(0);
    }
}

/// A policy that never selects a pod is probably a mistake if its label is similar to that of a pod.
#[test]
fn a_misspelt_selector_is_warned_about() {
    for (label, warnings) in [
        ("aap: a", json!(["evidence: NetworkPolicy x/isolated selects no pod (aap=a); did you mean app?"])),
        ("zone: dark", json!([])),
    ] {
        let content = scenario("", "80/TCP")
            .replace("{matchLabels: {app: a}}", &format!("{{matchLabels: {{{label}}}}}"));
        let report = run_with("misspelt", &content.replace("deny: [all]", "allow: [all]"), &[]).json();
        assert_eq!(report["warnings"], warnings, "{label}");
    }
}

/// Without a denial, nothing is known about isolation.
#[test]
fn a_run_without_a_denial_is_no_pass() {
    let topology = "namespaces: [{name: x, pods: [{name: a}, {name: b}]}]";
    let step = "- {name: nothing is denied, expect: [{from: '*', to: '*', allow: [all]}]}\n";
    run_with("open", &scenario_of("open", topology, "80/TCP", step), &[]).exits(3);
}

/// The report says how much evidence a denial has. A smaller share needs more probes.
#[test]
fn a_smaller_share_of_leaks_takes_more_probes() {
    for (options, share) in [(&[][..], 0.1), (&["--confidence", "1%"], 0.01)] {
        let proof = run_with("power", &scenario("", "80/TCP"), options).exits(0).json()["proof"].clone();
        assert!(proof["detectableShare"].as_f64().unwrap() <= share, "{proof}");
    }
}

/// Regression: if both directions denied, a cell was probed at most twice, whatever share was requested. Four of ten runs
/// with this fault passed. In 3 of ten million runs, none of the 1,497 probes leaks.
#[test]
fn what_both_directions_deny_is_probed_as_often_as_the_share_needs() {
    let topology = "namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, node: 1}]}]";
    let closed = "podSelector: {}, policyTypes: [Ingress, Egress]";
    let step = policy_step("nobody may send or receive", "x", "closed", closed);
    let content = scenario_of("closed", topology, "80/TCP", &step);
    let run = |options: &[&str]| {
        run_with("both-directions", &content, &[&["--confidence", "0.2%"], options].concat())
    };
    let proof = &run(&[]).exits(0).json()["proof"];
    assert!(proof["detectableShare"].as_f64().unwrap() <= 0.002, "{proof}");
    assert_eq!(proof["requestedShare"], 0.002, "{proof}");
    assert_eq!(proof["untoldEnforcementPoints"], 2, "{proof}");
    run(&["--fault", "leaks-1-percent"]).exits(1);
}

/// Regression: the denial exists before and after the second step. Silences from before the node reacts prove nothing,
/// but the run said PASS.
#[test]
fn a_denial_that_a_step_leaves_as_it_is_is_judged_once_the_step_is_in_force() {
    let policy = |name: &str| {
        let (metadata, spec) =
            (format!("{{name: {name}, namespace: x}}"), "{podSelector: {matchLabels: {app: a}}}");
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {metadata}, spec: {spec}}}"
        )
    };
    let steps = format!(
        "- {{name: two policies, apply: [{}, {}]}}
- {{name: one of them, delete: [{{kind: NetworkPolicy, namespace: x, name: two}}]}}
",
        policy("one"),
        policy("two")
    );
    let topology = "namespaces: [{name: x, pods: [{name: a, labels: {app: a}}, {name: b}]}]";
    let content = scenario_of("late", topology, "80/TCP", &steps);
    let run = |options: &[&str]| run_with("late", &content, options);
    run(&[]).exits(0);

    let fault = ["--fault", "deletion-opens-late"];
    let patient = run(&[&fault[..], &["--settle", "3s"]].concat()).exits(1);
    assert_eq!(patient.json()["counts"]["leak"], 1);

    // The settle time is for changes. Between two states that both deny, no state allows.
    let brief = run(&["--fault", "deletion-opens-briefly"]).exits(1).cells();
    let (_, leak) = brief.iter().find(|(_, cell)| cell["verdict"] == "leak").unwrap();
    assert!(leak["deliveredUntilMs"].as_u64().is_some_and(|until| until < 400), "{leak}");

    // When the settle time is over, it is known that the node has not followed the step.
    let impatient = run(&fault).exits(3);
    assert!(impatient.stdout.contains("still enforced the state before the step"), "{}", impatient.stdout);
}

/// Regression: `netproof run … | grep -q FAIL` ended with 0, because nobody read the rest.
#[test]
fn a_reader_that_closes_the_output_early_does_not_change_the_exit_code() {
    let unmodelled = file(
        "closed-output.yaml",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: x}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x}\n",
    );
    let leaking = scenario_file("default-deny");
    for (arguments, code) in [
        (&["run", &leaking, "--fault", "no-enforcement", "-o", "json"][..], 1),
        (&["expect", &unmodelled], 3),
        (&["expect", &unmodelled, "-o", "json"], 3),
    ] {
        let mut child = command(User::Ordinary)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}");
    }
}
