//! `--host-network`: nodes, and pods that use the networks of nodes, are sources and destinations.

use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::channel;

use serde_json::Value;

use super::{Cluster, cells, in_network, profile};
use crate::support::{User, run, scenario_file};

/// Returns whether a cell is from a pod to its own node, which kube-router denies although no policy may.
fn is_to_own_node(cell: &Value) -> bool {
    cell["toNode"].is_string() && cell["fromNode"] == cell["toNode"]
}

/// Returns whether an end of a cell is a node, or a pod of these scenarios with `hostNetwork`.
fn is_on_node(cell: &Value) -> bool {
    let is_it = |name: &str| name.starts_with("node:") || name == "x/agent" || name == "y/host";
    ["from", "to"].iter().any(|end| is_it(cell[end].as_str().unwrap()))
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn nodes_and_pods_of_nodes_are_measured() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let scenarios = ["host-network", "named-ports-of-host-network"].map(scenario_file);
    let scenarios = scenarios.each_ref().map(String::as_str);
    let arguments = [&scenarios[..], profile(), &["--host-network", "--keep", "-o", "json"]].concat();
    let finished = cluster.run(&arguments);
    let report = finished.json();
    let found: Vec<_> = cells(&report).into_iter().filter(|(_, cell)| cell["family"] == "IPv4").collect();
    let on_nodes = found.iter().filter(|(_, cell)| is_on_node(cell));
    assert!(on_nodes.clone().count() > 150, "{}", finished.stderr);
    for (place, cell) in on_nodes {
        let verdict = cell["verdict"].as_str().unwrap();
        let is_right =
            matches!(verdict, "match" | "undefined") || verdict == "blocked" && is_to_own_node(cell);
        assert!(is_right, "{place}: {cell}");
    }
    // What was allowed to use nodes is named, and nothing else is.
    let levels = "range .items[*]}{.metadata.name} {.metadata.labels.pod-security\\.kubernetes\\.io/enforce}{\"\\n\"}{end";
    let levels = cluster.kubectl(&[
        "get",
        "namespaces",
        "-l",
        "netproof.dev/run",
        "-o",
        &format!("jsonpath={{{levels}}}"),
    ]);
    for line in levels.lines() {
        let (name, level) = line.split_once(' ').unwrap();
        let expected = if name.ends_with("-canaries") { "restricted" } else { level };
        assert_eq!(level, expected, "{levels}");
    }
    let agents = levels.lines().filter(|line| line.ends_with("-nodes privileged"));
    assert_eq!(agents.count(), 1, "{levels}");
    run(User::Root, ["cleanup", "--yes", "--context", &cluster.context]).exits(0);
    cluster.check_clean();
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_port_that_a_node_uses_is_not_measured_and_no_outage() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let (ready, is_ready) = channel();
    let (end, ended) = channel::<()>();
    let program = in_network(Path::new("/run/netns/np-node1"), move || {
        let _listener = TcpListener::bind("0.0.0.0:80").unwrap();
        ready.send(()).unwrap();
        let _ = ended.recv();
    });
    is_ready.recv().unwrap();
    let scenario = scenario_file("own-node");
    let finished =
        cluster.run(&[&[scenario.as_str()], profile(), &["--host-network", "-o", "json"]].concat());
    end.send(()).unwrap();
    program.join().unwrap();
    let report = finished.json();
    let to_node = cells(&report).into_iter().filter(|(_, cell)| {
        cell["to"].as_str().unwrap().starts_with("node:")
            && cell["toNode"] == "np-node1"
            && cell["family"] == "IPv4"
    });
    let (tcp, udp): (Vec<_>, Vec<_>) = to_node.partition(|(_, cell)| cell["probe"] == "80/TCP");
    assert!(!tcp.is_empty() && !udp.is_empty(), "{}", finished.stderr);
    for (place, cell) in tcp {
        assert_eq!(cell["verdict"], "inconclusive", "{place}: {cell}");
        assert!(cell["cause"].as_str().unwrap().contains("cannot listen"), "{place}: {cell}");
    }
    for (place, cell) in udp {
        assert!(
            cell["verdict"] == "match" || cell["verdict"] == "blocked" && is_to_own_node(&cell),
            "{place}: {cell}"
        );
    }
    cluster.check_clean();
}
