//! A pass is positive evidence: what was not judged never counts as one.

use crate::machine::{Finished, User, file, run};

/// A scenario with a denial of TCP and one of SCTP, which this kernel may not have.
fn scenario(requires: &str, probes: &str) -> String {
    format!(
        "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: evidence}}
{requires}
topology: {{namespaces: [{{name: x, pods: [{{name: a, labels: {{app: a}}}}, {{name: b}}]}}]}}
probes: [{probes}]
steps:
- name: a is isolated
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {{name: isolated, namespace: x}}
    spec: {{podSelector: {{matchLabels: {{app: a}}}}}}
  expect:
  - {{from: x/b, to: x/a, deny: [all]}}
"
    )
}

fn run_with(name: &str, content: &str, options: &[&str]) -> Finished {
    let path = file(name, content);
    run(User::Ordinary, ["run", path.to_str().unwrap(), "-o", "json"].iter().chain(options))
}

/// Whether the kernel has SCTP: without, its cells are skipped.
fn has_sctp() -> bool {
    let finished = run_with("has-sctp.yaml", &scenario("requires: [sctp]", "80/TCP, 80/SCTP"), &[]);
    finished.json()["counts"]["skipped"] == 0
}

/// Nothing enforces, the only denial cannot be sent, and the run said PASS.
#[test]
fn a_run_that_judged_nothing_is_no_pass() {
    if has_sctp() {
        return;
    }
    for requires in ["", "requires: [sctp]"] {
        let content = scenario(requires, "80/SCTP");
        let finished = run_with("only-sctp.yaml", &content, &["--fault", "no-enforcement"]);
        assert_eq!(finished.code, Some(3), "{requires}: {}", finished.stderr);
        assert_eq!(finished.json()["counts"]["judged"], 0);
    }
}

#[test]
fn what_cannot_be_measured_is_skipped_only_if_it_is_declared() {
    if has_sctp() {
        return;
    }
    let declared = run_with("declared.yaml", &scenario("requires: [sctp]", "80/TCP, 80/SCTP"), &[]);
    assert_eq!(declared.code, Some(0), "{}", declared.stderr);
    let report = declared.json();
    assert_eq!(report["counts"]["skippedClaims"], 1, "{}", report["counts"]);
    assert_eq!(report["skipped"]["sctp"], 1);
    // One step may need what others do not.
    let of_step = scenario("", "80/TCP, 80/SCTP")
        .replace("- name: a is isolated\n", "- name: a is isolated\n  requires: [sctp]\n");
    let of_step = run_with("declared-by-step.yaml", &of_step, &[]);
    assert_eq!(
        (of_step.code, &of_step.json()["skipped"]["sctp"]),
        (Some(0), &1.into()),
        "{}",
        of_step.stderr
    );
    let undeclared = run_with("undeclared.yaml", &scenario("", "80/TCP, 80/SCTP"), &[]);
    assert_eq!(undeclared.code, Some(3));
}

#[test]
fn what_must_not_be_skipped_is_a_failure() {
    if has_sctp() {
        return;
    }
    let content = scenario("requires: [sctp]", "80/TCP, 80/SCTP");
    let required = run_with("required.yaml", &content, &["--require", "ipv6,sctp"]);
    assert_eq!(required.code, Some(1), "{}", required.stderr);
    let other = run_with("required-other.yaml", &content, &["--require", "ipv6"]);
    assert_eq!(other.code, Some(0), "{}", other.stderr);
}

/// A policy that selects nothing at any time is not what its author meant if its label is nearly that of a pod.
#[test]
fn a_misspelt_selector_is_warned_about() {
    let run = |label: &str| {
        let content = scenario("", "80/TCP")
            .replace("{matchLabels: {app: a}}", &format!("{{matchLabels: {{{label}}}}}"));
        run_with("misspelt.yaml", &content.replace("deny: [all]", "allow: [all]"), &[]).json()["warnings"]
            .clone()
    };
    assert_eq!(
        run("aap: a"),
        serde_json::json!(["evidence: NetworkPolicy x/isolated selects no pod (aap=a); did you mean app?"])
    );
    assert_eq!(run("zone: dark"), serde_json::json!([]), "nothing is similar");
}

/// Without a denial, nothing is known about isolation.
#[test]
fn a_run_without_a_denial_is_no_pass() {
    let content = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: open}
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b}]}]}
probes: [80/TCP]
steps: [{name: nothing is denied, expect: [{from: '*', to: '*', allow: [all]}]}]
";
    let finished = run_with("open.yaml", content, &[]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
}

/// The report says what a denial rests on, and sends more where more is wanted.
#[test]
fn a_smaller_share_of_leaks_takes_more_probes() {
    let share = |options: &[&str]| {
        let content = scenario("", "80/TCP");
        let finished = run_with("power.yaml", &content, options);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished.json()["proof"]["detectableShare"].as_f64().unwrap()
    };
    let default = share(&[]);
    assert!(default <= 0.1, "{default}");
    let small = share(&["--confidence", "1%"]);
    assert!(small <= 0.01, "{small}");
}

/// Where both directions deny, nothing was probed more often than twice, whatever share was asked for: four of ten runs
/// with this fault passed. None of the 1,497 probes leaks in 3 of ten million runs.
#[test]
fn what_both_directions_deny_is_probed_as_often_as_the_share_needs() {
    let content = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: closed}
topology: {namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, node: 1}]}]}
probes: [80/TCP]
steps:
- name: nobody may send or receive
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: closed, namespace: x}
    spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";
    let run = |options: &[&str]| {
        run_with("both-directions.yaml", content, &[&["--confidence", "0.2%"], options].concat())
    };
    let sound = run(&[]);
    assert_eq!(sound.code, Some(0), "{}", sound.stderr);
    let proof = &sound.json()["proof"];
    assert!(proof["detectableShare"].as_f64().unwrap() <= 0.002, "{proof}");
    assert_eq!(
        (&proof["askedShare"], &proof["untoldEnforcementPoints"]),
        (&0.002.into(), &2.into()),
        "{proof}"
    );

    let leaky = run(&["--fault", "leaks-1-percent"]);
    assert_eq!(leaky.code, Some(1), "{}", leaky.stderr);
}

/// The denial stands before and after the second step: its silences from before the node reacts prove nothing. The run
/// said PASS.
#[test]
fn a_denial_that_a_step_leaves_as_it_is_is_judged_once_the_step_is_in_force() {
    let policy = |name: &str| {
        let (metadata, spec) =
            (format!("{{name: {name}, namespace: x}}"), "{podSelector: {matchLabels: {app: a}}}");
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {metadata}, spec: {spec}}}"
        )
    };
    let content = format!(
        "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: late}}
topology: {{namespaces: [{{name: x, pods: [{{name: a, labels: {{app: a}}}}, {{name: b}}]}}]}}
probes: [80/TCP]
steps:
- {{name: two policies, apply: [{}, {}]}}
- {{name: one of them, delete: [{{kind: NetworkPolicy, namespace: x, name: two}}]}}
",
        policy("one"),
        policy("two")
    );
    let run = |options: &[&str]| run_with("late.yaml", &content, options);
    let sound = run(&[]);
    assert_eq!(sound.code, Some(0), "{}", sound.stderr);

    let fault = ["--fault", "deletion-opens-late"];
    let patient = run(&[&fault[..], &["--settle", "3s"]].concat());
    assert_eq!(patient.code, Some(1), "{}", patient.stderr);
    assert_eq!(patient.json()["counts"]["leak"], 1);

    // The settle time is for what changes. Between two states that both deny there is nothing that allows.
    let brief = run(&["--fault", "deletion-opens-briefly"]);
    assert_eq!(brief.code, Some(1), "{}", brief.stderr);
    let cells = &brief.json()["scenarios"][0]["steps"][1]["cells"];
    let leak = cells.as_array().unwrap().iter().find(|cell| cell["verdict"] == "leak").unwrap().clone();
    assert!(leak["deliveredUntilMs"].as_u64().is_some_and(|until| until < 400), "{leak}");

    // When the time is over, it is known that the node has not worked the step off.
    let impatient = run(&fault);
    assert_eq!(impatient.code, Some(3), "{}", impatient.stderr);
    assert!(impatient.stdout.contains("still enforced the state before the step"), "{}", impatient.stdout);
}
