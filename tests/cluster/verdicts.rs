//! The verdicts on a cluster, with its enforcer and without.

use serde_json::Value;

use super::{Cluster, cells, check_passed, profile, up, wait_for};
use crate::support::{BASICS, Finished, User, file, library, policy_step, run, scenario, scenario_file};

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn cluster_and_lab_give_the_same_verdicts() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let scenarios = library("");
    let on_cluster = [&[&scenarios, "--settle", "3s", "-o", "json"], profile()].concat();
    let on_cluster = cluster.run(&on_cluster).json();
    let in_lab = [&["run", &scenarios, "--parallel", "2", "-o", "json"], profile()].concat();
    let in_lab = cells(&run(User::Root, in_lab).json());
    for scenario in on_cluster["scenarios"].as_array().unwrap() {
        assert_eq!(scenario["failure"], Value::Null, "{}", scenario["name"]);
    }
    let mut measured = 0;
    let mut differences = Vec::new();
    for (place, cell) in cells(&on_cluster) {
        if cell["verdict"] == "skipped" {
            continue;
        }
        measured += 1;
        let other = &in_lab[&place];
        // A short deviation that a profile excuses does not occur every time, and never in the lab.
        let is_moment = cell["deviation"] != Value::Null && other["verdict"] == "match";
        if cell["verdict"] != other["verdict"] && !(cell["verdict"] == "undefined" && is_moment) {
            differences.push(format!("{place}: {} here, {} in the lab", cell["verdict"], other["verdict"]));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(measured > 8_000, "only {measured} cells were measured");
    let profiles = on_cluster["profiles"].as_array().unwrap();
    for deviation in profiles.iter().flat_map(|profile| profile["deviations"].as_array().unwrap()) {
        assert_eq!(deviation["stale"], false, "{deviation}");
        // A short deviation that did not occur this time has no cells, and is not stale.
        let (promised, cells) = (deviation["asPromised"].as_u64(), deviation["cells"].as_u64());
        assert!(promised < cells || cells == Some(0), "fixed: {deviation}");
    }
    cluster.check_clean();
}

/// Ends the enforcers of these nodes, and starts all of them again when the value is dropped.
pub(super) struct Stopped(Vec<&'static str>);

impl Stopped {
    pub(super) fn enforcers(nodes: &[&'static str]) -> Self {
        for node in nodes {
            up(&["stop-enforcer", node]);
        }
        Self(nodes.to_vec())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // `up enforce` starts the enforcers of all nodes.
        for node in ["1", "2"] {
            if !self.0.contains(&node) {
                up(&["stop-enforcer", node]);
            }
        }
        up(&["enforce", &std::env::var("NETPROOF_ENFORCER").unwrap()]);
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn without_an_enforcer_every_asserted_denial_is_a_leak() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let _stopped = Stopped::enforcers(&["1", "2"]);
    let files = BASICS.map(scenario_file);
    let files = files.each_ref().map(String::as_str);
    let finished = cluster.run(&[&files[..], &["--settle", "200ms", "-o", "json"]].concat()).exits(1);
    let cells = cells(&finished.json());
    let denied: Vec<_> = cells.iter().filter(|(_, cell)| cell["asserted"] == "deny").collect();
    assert!(denied.len() > 1_000, "only {} denials are asserted", denied.len());
    for (place, cell) in denied {
        assert!(cell["verdict"] == "leak" || cell["verdict"] == "skipped", "{place}: {cell}");
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_node_that_stopped_following_is_named() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    // All nodes enforce while the pods start and are measured. Then one node stops following.
    let denied = |namespace: &str| {
        let step = policy_step(&format!("{namespace} is closed"), namespace, "deny", "podSelector: {}");
        step + &format!("  expect:\n  - {{from: \"*\", to: {namespace}/*, deny: [all]}}\n")
    };
    // The default topology and probes.
    let head = "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: changes}\nsteps:\n\
                - name: another pod\n  addPod: [{namespace: x, name: late, node: 1}]\n";
    let changes = head.to_owned() + &denied("x") + &denied("y");
    let running = cluster.start(&[&file("changes.yaml", changes), "--settle", "2s", "--verbose"]);
    // The pod starts after the control round.
    wait_for(|| cluster.kubectl(&["get", "pods", "-A", "-o", "name"]).contains("pod/late"));
    let _stopped = Stopped::enforcers(&["2"]);
    let finished = Finished::from(running.wait_with_output().unwrap()).exits(1);
    let mut lines = finished.stdout.lines();
    assert!(lines.next().unwrap().starts_with("FAIL"), "{}", finished.stdout);
    assert!(lines.next().unwrap().starts_with("every leak is at np-node2"), "{}", finished.stdout);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn every_node_is_source_and_destination() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let scenario = scenario_file("union");
    for (nodes, count) in [(&["--every-node"][..], 2), (&["--nodes", "np-node2"], 1)] {
        let report = cluster.run(&[&[&scenario, "-o", "json"], nodes].concat()).exits(0).json();
        let used = report["nodes"].as_object().unwrap();
        assert_eq!(used.len(), count);
        for counts in used.values() {
            assert!(counts["source"].as_u64() > Some(100) && counts["destination"].as_u64() > Some(100));
        }
    }
}

/// Pods that tolerate a taint run on tainted nodes. Evidence about other nodes says nothing about these.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn every_node_includes_tainted_nodes() {
    struct Taint<'a>(&'a Cluster);
    impl Drop for Taint<'_> {
        fn drop(&mut self) {
            self.0.kubectl(&["taint", "node", "np-node2", "netproof-test-"]);
        }
    }
    let Some(cluster) = Cluster::with_nodes() else { return };
    cluster.kubectl(&["taint", "node", "np-node2", "netproof-test=x:NoSchedule"]);
    let _taint = Taint(&cluster);
    let scenario = scenario_file("union");
    for (every, used) in [(&["--every-node"][..], 2), (&[], 1)] {
        let finished = cluster.run(&[&[&scenario, "-o", "json"], every].concat());
        let report = finished.json();
        assert_eq!(report["nodeCoverage"]["used"], used, "{}", finished.stderr);
        assert_eq!(report["nodeCoverage"]["all"], 2);
        assert_eq!(report["nodes"].as_object().unwrap().len(), used);
    }
}

/// A merge keeps the `policyTypes` that the API server derived from the earlier rules. An egress rule that is added later
/// would isolate nothing.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_policy_that_gets_its_first_egress_rule_isolates_for_egress() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let scenario = scenario_file("default-policy-types");
    check_passed(&cluster.run(&[&[&scenario, "-o", "json"], profile()].concat()));
}

/// Policies get the addresses that this cluster gave its pods.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn addresses_by_name_are_those_of_the_cluster() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    check_passed(&cluster.run(&[&scenario_file("ip-block-pods"), "-o", "json"]));
}

/// Starting pods takes most of the time, so the next scenario uses existing pods that match its own, and relabels them.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn pods_are_used_again_under_other_names() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let write = |name: &str, pods: &str, expect: &str| {
        let spec = "podSelector: {matchLabels: {app: server}}, \
            ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]";
        let step = policy_step("friends", "x", "servers", spec) + &format!("  expect: [{expect}]\n");
        let topology = format!("namespaces: [{{name: x, pods: [{pods}]}}]");
        file(&format!("reuse/{name}.yaml"), scenario(name, &topology, "80/TCP", &step));
    };
    write(
        "three",
        "{name: one, labels: {app: friend}, node: 1}, {name: two, labels: {app: server}, node: 2},
         {name: three, labels: {app: other}, node: 2, ports: [{name: http, port: 80}]}",
        "{from: x/three, to: x/two, deny: [all]}, {from: x/one, to: x/two, allow: [all]}",
    );
    write(
        "two",
        "{name: one, labels: {app: server}, node: 2}, {name: stranger, labels: {app: other}, node: 1}",
        "{from: x/stranger, to: x/one, deny: [all]}, {from: x/one, to: x/stranger, allow: [all]}",
    );
    check_passed(&cluster.run(&["reuse", "--parallel", "1", "--keep", "-o", "json"]));
    let format =
        r"custom-columns=N:.metadata.name,P:.metadata.annotations.netproof\.dev/pod,L:.metadata.labels.app";
    let selector = "app.kubernetes.io/managed-by=netproof";
    let pods = cluster.kubectl(&["get", "pods", "-A", "-l", selector, "--no-headers", "-o", format]);
    let of_scenario = pods.lines().filter(|line| !line.contains(" canaries/"));
    let pods: Vec<Vec<&str>> = of_scenario.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(pods, [["one", "x/stranger", "other"], ["two", "x/one", "server"]]);
    run(User::Root, ["cleanup", "--yes", "--context", &cluster.context]).exits(0);
}

/// A process in the pod controls the agent instead of a port-forward.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn exec_replaces_a_port_forward() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    cluster.run(&[&scenario_file("union"), "--control", "exec"]).exits(0);
}
