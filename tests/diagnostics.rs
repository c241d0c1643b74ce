//! What `-vv` and NETPROOF_LOG show on standard error.

use serde_json::Value;

use crate::support::{Finished, User, command, file, kubeconfig, policy_step, scenario};

fn run(options: &[&str], variables: &[(&str, &str)]) -> Finished {
    let topology = "namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, node: 2}]}]";
    let closed = "podSelector: {}, policyTypes: [Ingress]";
    let step = policy_step("nobody may receive", "x", "closed", closed);
    let path = file("diagnostics.yaml", scenario("closed", topology, "80/TCP", &step));
    let mut command = command(User::Ordinary);
    command.args(["run", &path]).args(options).envs(variables.iter().copied()).output().unwrap().into()
}

#[test]
fn nothing_is_shown_of_a_run_without_trouble_unless_asked_for() {
    for options in [&[][..], &["-v"]] {
        let finished = run(options, &[]).exits(0);
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    }
}

#[test]
fn twice_verbose_shows_scenarios_steps_and_rounds_and_thrice_also_requests() {
    let finished = run(&["-vv"], &[]).exits(0);
    for shown in ["scenario{", "step{", "round{"] {
        assert!(finished.stderr.contains(shown), "{shown}: {}", finished.stderr);
    }
    assert!(!finished.stderr.contains("request{"), "{}", finished.stderr);
    let finished = run(&["-vvv"], &[]);
    assert!(finished.stderr.contains("request{") && finished.stderr.contains("/v1/probe"), "{finished:?}");
}

/// Regression: a library reported each failed request as an error, also if netproof repeated it.
#[test]
fn a_failed_request_is_an_error_once() {
    let kubeconfig = file("unreachable.conf", kubeconfig("https://127.0.0.1:1", "t"));
    let on_cluster = ["--backend", "cluster", "--kubeconfig", &kubeconfig];
    let finished = run(&on_cluster, &[]).exits(2);
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert!(
        matches!(lines[..], [line] if line.starts_with("error: cannot reach the API server")),
        "{lines:?}"
    );
    let finished = run(&[&on_cluster[..], &["-vv"]].concat(), &[]).exits(2);
    assert!(finished.stderr.contains("kube_client"), "{}", finished.stderr);
}

#[test]
fn diagnostics_are_json_on_request_and_leave_the_result_alone() {
    let variables = [("NETPROOF_LOG", "netproof::runner=debug"), ("NETPROOF_LOG_FORMAT", "json")];
    let finished = run(&["-o", "json"], &variables);
    assert_eq!(finished.json()["outcome"], "pass");
    let lines = finished.stderr.lines().filter(|line| line.starts_with('{'));
    let documents: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_step = |document: &Value| document["span"]["title"] == "nobody may receive";
    assert!(documents.iter().any(is_step), "{}", finished.stderr);
}

#[test]
fn invalid_values_are_refused() {
    let wrong = |variable| run(&[], &[variable]).exits(2).stderr;
    assert!(wrong(("NETPROOF_LOG", "netproof=loud")).starts_with("error: NETPROOF_LOG=netproof=loud: "));
    // Regression: this was the name of a module, and nothing was shown.
    let misspelt = wrong(("NETPROOF_LOG", "warn,debgu"));
    assert!(
        misspelt.starts_with("error: NETPROOF_LOG=warn,debgu: `debgu` is no level: write "),
        "{misspelt}"
    );
    run(&[], &[("NETPROOF_LOG", "WARN,netproof::runner")]).exits(0);
    insta::assert_snapshot!(wrong(("NETPROOF_LOG_FORMAT", "xml")), @"error: NETPROOF_LOG_FORMAT=xml: write text or json");
}
