//! The API server, nodes, pods and connections fail during a run.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Cluster, accused, cells, check_passed, on_node, plain, up, wait_for};
use crate::support::{Finished, User, file, run, scenario_file, signal};

/// Waits until a run has started its pods, and a bit longer.
pub(super) fn wait_for_pods(cluster: &Cluster) {
    wait_for(|| {
        let path = "jsonpath={range .items[*]}{.metadata.namespace} {.status.phase}{\"\\n\"}{end}";
        let phases = cluster.kubectl(&["get", "pods", "-A", "-o", path]);
        phases.lines().filter(|line| line.ends_with(" Running") && !line.contains("-canaries ")).count() >= 9
    });
    sleep(Duration::from_millis(700));
}

/// Runs plain scenarios while something fails. There must be no leaks and outages, and every cell that could not be
/// measured has a cause.
pub(super) fn survives(cluster: &Cluster, scenarios: &[String], fail: impl FnOnce()) -> Value {
    let mut arguments: Vec<&str> = scenarios.iter().map(String::as_str).collect();
    // With one scenario at a time, the test knows whose pods fail.
    arguments.extend(["--parallel", "1", "--settle", "5s", "-o", "json"]);
    let running = cluster.start(&arguments);
    wait_for_pods(cluster);
    fail();
    let finished = Finished::from(running.wait_with_output().unwrap());
    let report = finished.json();
    assert_eq!(accused(&report), Vec::<String>::new(), "{}", finished.stderr);
    assert!(matches!(finished.code, Some(0 | 3)), "{:?}: {}", finished.code, finished.stderr);
    for (place, cell) in cells(&report) {
        let verdict = cell["verdict"].as_str().unwrap();
        assert!(matches!(verdict, "match" | "inconclusive"), "{place}: {cell}");
        assert!(verdict == "match" || !cell["cause"].as_str().unwrap().is_empty(), "{place}: {cell}");
    }
    assert_eq!(report["scenarios"].as_array().unwrap().len(), scenarios.len());
    report
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_restart_of_the_api_server_is_survived() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    survives(&cluster, &plain(), || up(&["restart", "apiserver"]));
}

/// A way to the API server whose connections can be cut.
struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                let ends = [&client, &server].map(|end| end.try_clone().unwrap());
                kept.lock().unwrap().extend([&client, &server].map(|end| end.try_clone().unwrap()));
                let [mut from_client, mut from_server] = ends;
                let (mut to_client, mut to_server) = (client, server);
                std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
                std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            }
        });
        Self { address, open }
    }

    /// Cuts all connections. Returns their count.
    fn cut(&self) -> usize {
        let open = std::mem::take(&mut *self.open.lock().unwrap());
        for end in &open {
            // The connection may already be closed.
            let _ = end.shutdown(Shutdown::Both);
        }
        open.len() / 2
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn broken_control_streams_are_opened_again() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let host = cluster.server().trim_start_matches("https://").to_owned();
    let proxy = Proxy::start(host.clone());
    let config = cluster.kubectl(&["config", "view", "--minify", "--raw", "--flatten"]);
    let config = file("proxied.conf", config.replace(&host, &proxy.address.to_string()));
    let cluster = Cluster { kubeconfig: Some(config), ..cluster };
    let report = survives(&cluster, &plain(), || {
        for _ in 0..3 {
            // Each pod has a connection, and requests have others.
            assert!(proxy.cut() >= 9);
            sleep(Duration::from_millis(1_500));
        }
    });
    assert!(report["counts"]["match"].as_u64() > Some(4_000), "{}", report["counts"]);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_stopped_kubelet_is_survived() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let mut restart = None;
    let report = survives(&cluster, &plain(), || {
        up(&["stop-kubelet", "2"]);
        // The kubelet starts again during the run, because the pods cannot end without it.
        restart = Some(std::thread::spawn(|| {
            sleep(Duration::from_secs(20));
            up(&["start-kubelet", "2"]);
        }));
    });
    restart.unwrap().join().unwrap();
    // A step waited for the kubelet, or the start of the next pods did.
    let scenarios = report["scenarios"].as_array().unwrap();
    let steps = scenarios.iter().flat_map(|scenario| scenario["steps"].as_array().unwrap());
    let waits =
        steps.map(|step| &step["tookMs"]).chain(scenarios.iter().map(|scenario| &scenario["startMs"]));
    assert!(waits.filter_map(Value::as_u64).any(|wait| wait > 10_000), "{report}");
}

/// Drops 5 % of the packets of node 2 until the value is dropped.
struct Loss;

impl Loss {
    fn start() -> Self {
        Self::rule("-I");
        Self
    }

    fn rule(action: &str) {
        let table = ["iptables", "-w", "-t", "raw", action, "PREROUTING"];
        let rule = ["-m", "statistic", "--mode", "random", "--probability", "0.05", "-j", "DROP"];
        on_node("np-node2", &[&table[..], &rule].concat());
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        Self::rule("-D");
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn lost_packets_are_neither_leaks_nor_outages() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let mut loss = None;
    let report = survives(&cluster, &plain()[2..], || loss = Some(Loss::start()));
    assert!(report["counts"]["retries"].as_u64().unwrap() > 20, "{}", report["counts"]);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_a_killed_run_left_is_removed_and_nothing_else_was_touched() {
    let cluster = Cluster::named();
    let before = cluster.objects();
    let mut running = cluster.start(&plain().each_ref().map(String::as_str));
    wait_for(|| cluster.kubectl(&["get", "networkpolicies", "-A", "-o", "name"]).contains("networkpolicy"));
    running.kill().unwrap();
    running.wait().unwrap();
    let left = cluster.namespaces();
    assert!(!left.is_empty());
    for namespace in &left {
        let deadlines = "jsonpath={.items[*].spec.activeDeadlineSeconds}";
        let deadlines = cluster.kubectl(&["get", "pods", "-n", namespace, "-o", deadlines]);
        assert!(deadlines.split(' ').all(|deadline| deadline == "3600"), "{namespace}: {deadlines}");
    }
    let cleanup =
        |older: &str| run(User::Root, ["cleanup", "--context", &cluster.context, "--older-than", older]);
    let spared = cleanup("1h").exits(0).stdout;
    assert!(spared.starts_with("nothing was removed\nspared 1 run:\n"), "{spared}");
    let finished = cleanup("0s").exits(0);
    assert_eq!(finished.stdout.lines().count(), left.len());
    assert_eq!(cluster.objects(), before);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn an_interrupted_run_cleans_up() {
    let cluster = Cluster::named();
    let running = cluster.start(&plain().each_ref().map(String::as_str));
    wait_for(|| !cluster.namespaces().is_empty());
    signal(running.id(), Signal::SIGINT);
    Finished::from(running.wait_with_output().unwrap()).exits(130);
    cluster.check_clean();
}

/// Several runs at the same time do not disturb each other. Each of them has several topologies at the same time.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn runs_at_the_same_time_do_not_see_each_other() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let scenarios = plain();
    let mut arguments: Vec<&str> = scenarios.iter().map(String::as_str).collect();
    arguments.extend(["--parallel", "2", "-o", "json"]);
    let running = [cluster.start(&arguments), cluster.start(&arguments)];
    for child in running {
        check_passed(&Finished::from(child.wait_with_output().unwrap()));
    }
    cluster.check_clean();
}

/// Generators such as Kyverno add policies to every new namespace. The verdicts would ignore these policies.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_policy_that_another_user_adds_to_a_namespace_of_the_run_is_named() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let running = cluster.start(&[&scenario_file("union"), "-o", "json"]);
    wait_for(|| !cluster.namespaces().is_empty());
    // The policy selects no pod, so the run has to look for it.
    let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: generated},
        spec: {podSelector: {matchLabels: {nobody: here}}}}";
    let namespace = cluster.namespaces().remove(0);
    cluster.kubectl(&["apply", "-n", &namespace, "-f", &file("generated.yaml", policy)]);
    let finished = Finished::from(running.wait_with_output().unwrap()).exits(3);
    let failure = finished.json()["scenarios"][0]["failure"].to_string();
    assert!(failure.contains(&format!("NetworkPolicy {namespace}/generated is not the run's")), "{failure}");
    cluster.check_clean();
}
