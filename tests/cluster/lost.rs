//! Pods are deleted during a run. They are replaced, and what was not observed because of it is observed again.

use serde_json::Value;

use super::faults::{survives, wait_for_pods};
use super::verdicts::Stopped;
use super::{Cluster, cells, check_passed, plain, up, wait_for};
use crate::support::{Finished, scenario_file};

/// Returns the warnings about lost pods.
fn warnings(report: &Value) -> Vec<String> {
    let scenarios = report["scenarios"].as_array().unwrap().iter();
    let warnings = scenarios.flat_map(|scenario| scenario["warnings"].as_array().into_iter().flatten());
    warnings.map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

fn namespace(cluster: &Cluster, end: &str) -> String {
    cluster.namespaces().into_iter().find(|name| name.ends_with(end)).unwrap()
}

/// Regression: one deleted pod left 748 of 3,888 cells inconclusive.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_deleted_probe_pod_is_replaced_and_named() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let mut lost = String::new();
    let report = survives(&cluster, &plain(), || {
        lost = namespace(&cluster, "-y");
        cluster.kubectl(&["delete", "pod", "b", "-n", &lost, "--wait=false"]);
    });
    assert_eq!(
        (&report["outcome"], &report["counts"]["inconclusive"]),
        (&"pass".into(), &0.into()),
        "{report}"
    );
    let warnings = warnings(&report);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with(&format!("pod {lost}/b was lost ")), "{warnings:?}");
    assert!(warnings[0].ends_with("(it was deleted): it was replaced, and the scenario was run again"));
    cluster.check_clean();
}

/// All scenarios use the canaries, so that all later ones would be inconclusive.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_deleted_canary_is_replaced_and_named() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let report = survives(&cluster, &plain()[2..], || {
        let canaries = namespace(&cluster, "-canaries");
        cluster.kubectl(&["delete", "pod", "canary-1-1", "sentinel-2", "-n", &canaries, "--wait=false"]);
    });
    assert_eq!(
        (&report["outcome"], &report["counts"]["inconclusive"]),
        (&"pass".into(), &0.into()),
        "{report}"
    );
    let warnings = warnings(&report).join("\n");
    assert!(
        warnings.contains("-canaries/canary-1-1 was lost")
            && warnings.contains("-canaries/sentinel-2 was lost")
    );
    cluster.check_clean();
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_lost_pod_hides_no_leak() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let _stopped = Stopped::enforcers(&["1", "2"]);
    let running =
        cluster.start(&[&scenario_file("union"), "--settle", "2s", "--parallel", "1", "-o", "json"]);
    wait_for_pods(&cluster);
    let namespace = namespace(&cluster, "-y");
    cluster.kubectl(&["delete", "pod", "b", "-n", &namespace, "--wait=false"]);
    let finished = Finished::from(running.wait_with_output().unwrap()).exits(1);
    let report = finished.json();
    assert!(warnings(&report)[0].contains("/b was lost "), "{report}");
    let cells = cells(&report);
    let denied: Vec<_> = cells.iter().filter(|(_, cell)| cell["asserted"] == "deny").collect();
    assert!(!denied.is_empty());
    for (place, cell) in denied {
        assert_eq!(cell["verdict"], "leak", "{place}: {cell}");
    }
    cluster.check_clean();
}

/// Regression: netproof waited for 60 s, and the scenario was not run.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_pod_that_is_deleted_while_it_starts_is_started_once_more() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    // No pod of the node can start without its kubelet.
    up(&["stop-kubelet", "2"]);
    let running = cluster.start(&[&scenario_file("union"), "-o", "json"]);
    let mut starting = Vec::new();
    wait_for(|| {
        let path = "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.nodeName} {.status.phase}{\"\\n\"}{end}";
        let pods = cluster.kubectl(&["get", "pods", "-A", "-l", "netproof.dev/run", "-o", path]);
        let pods = pods.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        starting.extend(pods.filter(|pod| pod[3] == "Pending" && pod[2].ends_with('2')));
        !starting.is_empty()
    });
    let (namespace, name) = (&starting[0][0], &starting[0][1]);
    // Without a kubelet, nothing else completes the deletion.
    cluster.kubectl(&["delete", "pod", name, "-n", namespace, "--force", "--grace-period=0"]);
    let again = format!("{name}-2");
    wait_for(|| cluster.kubectl(&["get", "pods", "-n", namespace, "-o", "name"]).contains(&again));
    up(&["start-kubelet", "2"]);
    let finished = Finished::from(running.wait_with_output().unwrap());
    check_passed(&finished);
    let expected = format!(
        "pod {namespace}/{name} was lost while it started (it was deleted): another one was started in its place"
    );
    assert_eq!(warnings(&finished.json()), [expected]);
    cluster.check_clean();
}
