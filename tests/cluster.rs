//! Runs on a real cluster: when a context of the kubeconfig is named by `NETPROOF_CLUSTER`. What needs
//! control of the nodes runs on a cluster that `tests/cluster/up` started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::{BASICS, Finished, User, file, library, program, run, scenario_file};

/// A cluster is one thing, and faults of one test would be noticed by the others.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Cluster {
    context: String,
    /// The kubeconfig, if it is not the usual one.
    kubeconfig: Option<PathBuf>,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// The cluster that is named to the tests.
    fn named() -> Self {
        let context = std::env::var("NETPROOF_CLUSTER")
            .unwrap_or_else(|_| unreachable!("name a context of the kubeconfig in NETPROOF_CLUSTER"));
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Self { context, kubeconfig: None, _turn: turn }
    }

    /// The cluster, if its nodes are ours to break.
    fn with_nodes(test: &str) -> Option<Self> {
        let cluster = Self::named();
        if cluster.context == "netproof" && folder().join("settings").exists() {
            return Some(cluster);
        }
        skipped(test, "the cluster was not started by tests/cluster/up");
        None
    }

    /// The cluster, if policies are enforced by something that can be stopped.
    fn with_enforcer(test: &str) -> Option<Self> {
        let cluster = Self::with_nodes(test)?;
        if std::env::var_os("NETPROOF_ENFORCER").is_some() {
            return Some(cluster);
        }
        skipped(test, "no command is named by NETPROOF_ENFORCER that enforces policies");
        None
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["run", "--backend", "cluster", "--context", &self.context];
        if let Some(kubeconfig) = &self.kubeconfig {
            all.extend(["--kubeconfig", kubeconfig.to_str().unwrap()]);
        }
        all.extend(arguments);
        all
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        run(User::Root, self.arguments(arguments))
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let (stdout, stderr) = (Stdio::piped(), Stdio::piped());
        let mut command = Command::new(program());
        command.args(self.arguments(arguments)).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        command.spawn().unwrap()
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let kubectl =
            std::env::var_os("KUBE_BIN").map_or("kubectl".into(), |bin| Path::new(&bin).join("kubectl"));
        let output =
            Command::new(kubectl).args(["--context", &self.context]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What kubectl says where it fails.
    fn refusal(&self, arguments: &[&str]) -> String {
        let kubectl =
            std::env::var_os("KUBE_BIN").map_or("kubectl".into(), |bin| Path::new(&bin).join("kubectl"));
        let output =
            Command::new(kubectl).args(["--context", &self.context]).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// The namespaces of runs.
    fn namespaces(&self) -> Vec<String> {
        let selector = "app.kubernetes.io/managed-by=netproof";
        let names = self.kubectl(&["get", "namespaces", "-l", selector, "-o", "name"]);
        names.lines().map(|name| name.trim_start_matches("namespace/").to_owned()).collect()
    }

    /// All objects, with the versions of those that nothing but a user changes.
    fn objects(&self) -> BTreeSet<String> {
        let kinds = self.kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
        let comings_and_goings = ["events", "events.events.k8s.io", "leases.coordination.k8s.io"];
        let kinds: Vec<_> = kinds.lines().filter(|kind| !comings_and_goings.contains(kind)).collect();
        let list = self.kubectl(&["get", "-A", "-o", "json", &kinds.join(",")]);
        let list: Value = serde_json::from_str(&list).unwrap();
        let changes_by_itself = ["Node", "ClusterRole", "APIService"];
        let object = |object: &Value| {
            let metadata = &object["metadata"];
            let kind = object["kind"].as_str().unwrap();
            let version = (!changes_by_itself.contains(&kind)).then(|| metadata["resourceVersion"].clone());
            format!("{kind} {} {} {version:?}", metadata["namespace"], metadata["name"])
        };
        list["items"].as_array().unwrap().iter().map(object).collect()
    }

    /// A folder with the files of these scenarios.
    fn scenarios(name: &str, scenarios: &[&str]) -> PathBuf {
        for scenario in scenarios {
            let content = fs::read(scenario_file(scenario)).unwrap();
            file(&format!("{name}/{scenario}.yaml"), content);
        }
        file(&format!("{name}/README"), "").parent().unwrap().to_path_buf()
    }
}

#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn skipped(test: &str, why: &str) {
    eprintln!("{test} is skipped: {why}");
}

/// Where `tests/cluster/up` keeps its files.
fn folder() -> PathBuf {
    std::env::var_os("NETPROOF_CLUSTER_DIR")
        .map_or_else(|| std::env::temp_dir().join("netproof-cluster"), PathBuf::from)
}

fn up(arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/up");
    let output = Command::new(script).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Ends the enforcer of a node, and starts it again at the end.
struct Stopped(Vec<&'static str>);

impl Stopped {
    fn enforcers(nodes: &[&'static str]) -> Self {
        for node in nodes {
            up(&["stop-enforcer", node]);
        }
        Self(nodes.to_vec())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The script starts all of them.
        for node in ["1", "2"] {
            if !self.0.contains(&node) {
                up(&["stop-enforcer", node]);
            }
        }
        up(&["enforce", &std::env::var("NETPROOF_ENFORCER").unwrap()]);
    }
}

/// A cell of a report: where it is, and what it shows.
type Cells = BTreeMap<String, Value>;

fn cells(report: &Value) -> Cells {
    let mut cells = Cells::new();
    for scenario in report["scenarios"].as_array().unwrap() {
        for step in scenario["steps"].as_array().unwrap() {
            for cell in step["cells"].as_array().unwrap() {
                let ends = ["from", "to", "family", "probe"].map(|field| cell[field].as_str().unwrap());
                let names = [&scenario["name"], &step["name"]].map(|name| name.as_str().unwrap());
                cells.insert(format!("{} › {}: {}", names[0], names[1], ends.join(" ")), cell.clone());
            }
        }
    }
    cells
}

/// Everything that is worse than not measured.
fn accused(report: &Value) -> Vec<String> {
    let is_accused = |cell: &Value| matches!(cell["verdict"].as_str().unwrap(), "leak" | "blocked");
    let accused = cells(report).into_iter().filter(|(_, cell)| is_accused(cell));
    accused.map(|(place, cell)| format!("{place}: {} {}", cell["verdict"], cell["observed"])).collect()
}

/// The profile of what enforces policies, if there is one.
fn profile() -> &'static [&'static str] {
    let enforcer = std::env::var("NETPROOF_ENFORCER").unwrap_or_default();
    if enforcer.contains("kube-router") { &["--profile", "kube-router"] } else { &[] }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn cluster_and_lab_give_the_same_verdicts() {
    let Some(cluster) = Cluster::with_enforcer("cluster_and_lab_give_the_same_verdicts") else { return };
    let scenarios = library().to_str().unwrap();
    let on_cluster = [&[scenarios, "--settle", "3s", "-o", "json"], profile()].concat();
    let on_cluster = cluster.run(&on_cluster).json();
    let in_lab = [&["run", scenarios, "--parallel", "2", "-o", "json"], profile()].concat();
    let in_lab = run(User::Root, in_lab).json();
    for scenario in on_cluster["scenarios"].as_array().unwrap() {
        assert_eq!(scenario["failure"], Value::Null, "{}", scenario["name"]);
    }
    let in_lab = cells(&in_lab);
    let mut measured = 0;
    let mut differences = Vec::new();
    for (place, cell) in cells(&on_cluster) {
        if cell["verdict"] == "skipped" {
            continue;
        }
        measured += 1;
        let other = &in_lab[&place];
        // A moment that a profile excuses comes and goes, and the lab has none.
        let is_moment = cell["deviation"] != Value::Null && other["verdict"] == "match";
        if cell["verdict"] != other["verdict"] && !(cell["verdict"] == "undefined" && is_moment) {
            differences.push(format!("{place}: {} here, {} in the lab", cell["verdict"], other["verdict"]));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(measured > 8_000, "only {measured} cells were measured");
    for profile in on_cluster["profiles"].as_array().unwrap() {
        for deviation in profile["deviations"].as_array().unwrap() {
            assert_eq!(deviation["stale"], false, "{deviation}");
            // A moment that did not come about this time has no cells, and is not stale.
            let (promised, cells) = (deviation["asPromised"].as_u64(), deviation["cells"].as_u64());
            assert!(promised < cells || cells == Some(0), "fixed: {deviation}");
        }
    }
    assert_eq!(cluster.namespaces(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn without_an_enforcer_every_asserted_denial_is_a_leak() {
    let name = "without_an_enforcer_every_asserted_denial_is_a_leak";
    let Some(cluster) = Cluster::with_enforcer(name) else { return };
    let _stopped = Stopped::enforcers(&["1", "2"]);
    let files = BASICS.map(scenario_file);
    let mut arguments = files.each_ref().map(|path| path.to_str().unwrap()).to_vec();
    arguments.extend(["--settle", "200ms", "-o", "json"]);
    let finished = cluster.run(&arguments);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let cells = cells(&finished.json());
    let denied: Vec<_> = cells.iter().filter(|(_, cell)| cell["asserted"] == "deny").collect();
    assert!(denied.len() > 1_000, "only {} denials are asserted", denied.len());
    for (place, cell) in denied {
        assert!(cell["verdict"] == "leak" || cell["verdict"] == "skipped", "{place}: {cell}");
    }
}

/// The pods start and are measured while everything is well; then one node stops following.
const CHANGES: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: changes}
steps:
- name: another pod
  addPod: [{namespace: x, name: late, node: 1}]
- name: nothing comes in
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: x}
    spec: {podSelector: {}}
  expect:
  - {from: \"*\", to: x/*, deny: [all]}
- name: nowhere
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: y}
    spec: {podSelector: {}}
  expect:
  - {from: \"*\", to: y/*, deny: [all]}
";

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_node_that_stopped_following_is_named() {
    let Some(cluster) = Cluster::with_enforcer("a_node_that_stopped_following_is_named") else { return };
    let scenario = file("changes.yaml", CHANGES);
    let running = cluster.start(&[scenario.to_str().unwrap(), "--settle", "2s", "--verbose"]);
    // It is started after the baseline.
    wait_for(|| cluster.kubectl(&["get", "pods", "-A", "-o", "name"]).contains("pod/late"));
    let _stopped = Stopped::enforcers(&["2"]);
    let finished = Finished::from(running.wait_with_output().unwrap());
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let mut lines = finished.stdout.lines();
    assert!(lines.next().unwrap().starts_with("FAIL"), "{}", finished.stdout);
    assert!(lines.next().unwrap().starts_with("every leak is at np-node2"), "{}", finished.stdout);
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "it did not happen");
        sleep(Duration::from_millis(50));
    }
}

/// Scenarios about which all implementations agree, with many changes.
const PLAIN: [&str; 4] = ["policy-lifecycle", "relabelling", "union", "selectors"];

/// Carries the plain scenarios out while something breaks. Nothing may be accused, and what could not be measured
/// has a cause.
fn survives(cluster: &Cluster, files: &[&str], breaks: impl FnOnce()) -> Value {
    let scenarios = Cluster::scenarios(&format!("plain-{}", files.len()), files);
    // One at a time, so that it is known what breaks: the pods of the one that goes on.
    let options = ["--parallel", "1", "--settle", "5s", "-o", "json"];
    let running = cluster.start(&[&[scenarios.to_str().unwrap()], &options[..]].concat());
    let is_ready = || {
        let path = "jsonpath={range .items[*]}{.metadata.namespace} {.status.phase}{\"\\n\"}{end}";
        let phases = cluster.kubectl(&["get", "pods", "-A", "-o", path]);
        phases.lines().filter(|line| line.ends_with(" Running") && !line.contains("-canaries ")).count() >= 9
    };
    wait_for(is_ready);
    sleep(Duration::from_millis(700));
    breaks();
    let finished = Finished::from(running.wait_with_output().unwrap());
    let report = finished.json();
    assert_eq!(accused(&report), Vec::<String>::new(), "{}", finished.stderr);
    assert!(matches!(finished.code, Some(0 | 3)), "{:?}: {}", finished.code, finished.stderr);
    for (place, cell) in cells(&report) {
        let verdict = cell["verdict"].as_str().unwrap();
        assert!(matches!(verdict, "match" | "inconclusive"), "{place}: {cell}");
        assert!(verdict == "match" || !cell["cause"].as_str().unwrap().is_empty(), "{place}: {cell}");
    }
    report
}

fn inconclusive(report: &Value) -> u64 {
    report["counts"]["inconclusive"].as_u64().unwrap()
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_restart_of_the_api_server_is_survived() {
    let Some(cluster) = Cluster::with_enforcer("a_restart_of_the_api_server_is_survived") else { return };
    let report = survives(&cluster, &PLAIN, || up(&["restart", "apiserver"]));
    assert_eq!(report["scenarios"].as_array().unwrap().len(), PLAIN.len());
}

/// A way to the API server whose connections can be cut.
struct Proxy {
    address: std::net::SocketAddr,
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

    /// Cuts everything that is open. Gives how many connections that were.
    fn cut(&self) -> usize {
        let open = std::mem::take(&mut *self.open.lock().unwrap());
        for end in &open {
            // It may have ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
        open.len() / 2
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn broken_control_streams_are_opened_again() {
    let Some(cluster) = Cluster::with_enforcer("broken_control_streams_are_opened_again") else { return };
    let server =
        cluster.kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let host = server.trim_start_matches("https://").to_owned();
    let proxy = Proxy::start(host.clone());
    let config = cluster.kubectl(&["config", "view", "--minify", "--raw", "--flatten"]);
    let config = file("proxied.conf", config.replace(&host, &proxy.address.to_string()));
    let cluster = Cluster { kubeconfig: Some(config), ..cluster };
    let report = survives(&cluster, &PLAIN, || {
        for _ in 0..3 {
            // One for each pod, and those of requests.
            assert!(proxy.cut() >= 9);
            sleep(Duration::from_millis(1_500));
        }
    });
    assert_eq!(report["scenarios"].as_array().unwrap().len(), PLAIN.len());
    assert!(report["counts"]["match"].as_u64() > Some(4_000), "{}", report["counts"]);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_deleted_probe_pod_is_inconclusive_and_named() {
    let Some(cluster) = Cluster::with_enforcer("a_deleted_probe_pod_is_inconclusive_and_named") else {
        return;
    };
    let report = survives(&cluster, &PLAIN, || {
        let namespace = cluster.namespaces().into_iter().find(|name| name.ends_with("-y")).unwrap();
        cluster.kubectl(&["delete", "pod", "b", "-n", &namespace, "--wait=false"]);
    });
    assert_eq!(report["outcome"], "inconclusive", "{report}");
    let cells = cells(&report);
    let causes = cells.values().filter_map(|cell| cell["cause"].as_str());
    // Where it happens before the first step, nothing is measured in the scenario.
    let failures = report["scenarios"].as_array().unwrap().iter().filter_map(|one| one["failure"].as_str());
    assert!(causes.chain(failures).any(|why| why.contains("-y/b is gone")), "{report}");
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_stopped_kubelet_is_survived() {
    let Some(cluster) = Cluster::with_enforcer("a_stopped_kubelet_is_survived") else { return };
    let mut again = None;
    let report = survives(&cluster, &PLAIN, || {
        up(&["stop-kubelet", "2"]);
        // While the run goes on: its end needs the pods to end.
        again = Some(std::thread::spawn(|| {
            sleep(Duration::from_secs(20));
            up(&["start-kubelet", "2"]);
        }));
    });
    again.unwrap().join().unwrap();
    // Whatever it met waited for it: a step, or the start of the next pods.
    let scenarios = report["scenarios"].as_array().unwrap();
    let steps = scenarios.iter().flat_map(|scenario| scenario["steps"].as_array().unwrap());
    let waits =
        steps.map(|step| &step["tookMs"]).chain(scenarios.iter().map(|scenario| &scenario["startMs"]));
    assert!(waits.filter_map(Value::as_u64).any(|wait| wait > 10_000), "{report}");
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn lost_packets_are_neither_leaks_nor_outages() {
    struct Loss;
    impl Loss {
        fn rule(action: &str) {
            let rule = ["-t", "raw", action, "PREROUTING", "-m", "statistic", "--mode", "random"];
            let output = Command::new("ip")
                .args(["netns", "exec", "np-node2", "iptables", "-w"])
                .args(rule)
                .args(["--probability", "0.05", "-j", "DROP"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    impl Drop for Loss {
        fn drop(&mut self) {
            Self::rule("-D");
        }
    }
    let Some(cluster) = Cluster::with_enforcer("lost_packets_are_neither_leaks_nor_outages") else { return };
    let mut loss = None;
    let report = survives(&cluster, &PLAIN[2..], || {
        Loss::rule("-I");
        loss = Some(Loss);
    });
    assert!(report["counts"]["retries"].as_u64().unwrap() > 20, "{}", report["counts"]);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_a_killed_run_left_is_removed_and_nothing_else_was_touched() {
    let cluster = Cluster::named();
    let before = cluster.objects();
    let scenarios = Cluster::scenarios("plain", &PLAIN);
    let mut running = cluster.start(&[scenarios.to_str().unwrap()]);
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
    assert_eq!(cleanup("1h").stdout, "nothing was left\n");
    let finished = cleanup("0s");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(finished.stdout.lines().count(), left.len());
    assert_eq!(cluster.objects(), before);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_cannot_work_is_refused_and_leaves_nothing() {
    let cluster = Cluster::named();
    let scenario = scenario_file("default-deny");
    let scenario = scenario.to_str().unwrap();
    let nowhere = file("nowhere.conf", kubeconfig("https://127.0.0.1:1", "wrong"));
    let server =
        cluster.kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let stranger = file("stranger.conf", kubeconfig(&server, "wrong"));
    let refused = |arguments: &[&str], message: &str| {
        let first = ["run", "--backend", "cluster", scenario];
        let finished = run(User::Root, first.iter().chain(arguments));
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(message), "{arguments:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert_eq!(cluster.namespaces(), Vec::<String>::new(), "{arguments:?}");
    };
    let with = |arguments: &[&'static str]| [&["--context", &cluster.context], arguments].concat();
    refused(&["--kubeconfig", "/nowhere"], "no kubeconfig");
    refused(&["--context", "nobody"], "--context nobody: the kubeconfig knows");
    refused(
        &["--kubeconfig", nowhere.to_str().unwrap()],
        "cannot reach the API server at https://127.0.0.1:1",
    );
    refused(&["--kubeconfig", stranger.to_str().unwrap()], "does not know this user");
    refused(&with(&["--nodes", "nobody"]), "--nodes nobody: the cluster has no such node");
    refused(&with(&["--namespace-prefix", "kube"]), "namespace kube-node-lease is there already");
    refused(
        &with(&["--image", "netproof-probe:absent", "--image-pull-policy", "Never"]),
        "ErrImageNeverPull",
    );
    refused(&with(&["--image-pull-secret", "default/nobody"]), "--image-pull-secret default/nobody");
}

/// A kubeconfig with a token that nobody gave out.
fn kubeconfig(server: &str, token: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: \"{server}\", insecure-skip-tls-verify: true}}}}]
users: [{{name: u, user: {{token: {token}}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
current-context: c
"
    )
}

/// Admission that refuses pods: what a user sees of quotas, limits and Pod Security.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn pods_that_the_cluster_rejects_are_explained() {
    struct Policy<'a>(&'a Cluster, &'a str);
    impl Drop for Policy<'_> {
        fn drop(&mut self) {
            self.0.kubectl(&["delete", "-f", self.1]);
        }
    }
    let cluster = Cluster::named();
    let manifest = file(
        "reject.yaml",
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: netproof-test}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  validations: [{expression: \"false\", message: \"this cluster takes no pods\"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: netproof-test}
spec:
  policyName: netproof-test
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {app.kubernetes.io/managed-by: netproof}}}
",
    );
    let manifest = manifest.to_str().unwrap();
    cluster.kubectl(&["apply", "--validate=false", "-f", manifest]);
    let policy = Policy(&cluster, manifest);
    // The API server takes a moment to notice.
    sleep(Duration::from_secs(2));
    let scenario = scenario_file("default-deny");
    let run = || cluster.run(&[scenario.to_str().unwrap()]);
    let finished = run();
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("this cluster takes no pods"), "{}", finished.stderr);
    assert_eq!(cluster.namespaces(), Vec::<String>::new());
    drop(policy);
    // It takes a moment to notice that, too.
    wait_for(|| matches!(run().code, Some(0 | 1)));
}

/// Manifests that are removed at the end.
struct Applied<'a>(&'a Cluster, String);

impl<'a> Applied<'a> {
    /// A manifest of `deploy/`.
    fn of_deploy(cluster: &'a Cluster, name: &str) -> Self {
        let path = format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"));
        cluster.kubectl(&["apply", "--validate=false", "-f", &path]);
        Self(cluster, path)
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        self.0.kubectl(&["delete", "--wait=true", "-f", &self.1]);
    }
}

/// Rights in all namespaces are close to cluster-admin: admission keeps them to the namespaces of runs.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn the_service_account_of_deploy_is_kept_to_its_own() {
    let cluster = Cluster::named();
    let _applied =
        ["account.yaml", "rbac.yaml", "admission.yaml"].map(|name| Applied::of_deploy(&cluster, name));
    // The API server takes a moment to notice.
    sleep(Duration::from_secs(2));
    let account = "--as=system:serviceaccount:netproof:netproof";
    let refused = |name: &str, manifest: &str, message: &str| {
        let path = file(&format!("admission/{name}.yaml"), manifest);
        let refusal = cluster.refusal(&[account, "create", "--validate=false", "-f", path.to_str().unwrap()]);
        assert!(refusal.contains(message), "{name}: {refusal}");
    };
    let namespace = |name: &str, labels: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}")
    };
    let restricted = "pod-security.kubernetes.io/enforce: restricted";
    refused("other", &namespace("kube-other", restricted), "may only create, change and delete namespaces");
    refused("open", &namespace("netproof-open", ""), "must enforce Pod Security restricted");
    let pod = |namespace: &str, spec: &str| {
        // What Pod Security has nothing against.
        let security = "allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, runAsNonRoot: true,
            seccompProfile: {type: RuntimeDefault}";
        let container = format!("{{name: agent, image: x, securityContext: {{{security}}}}}");
        let metadata = format!("{{name: a, namespace: {namespace}}}");
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {metadata}, spec: {{containers: [{container}], {spec}}}}}"
        )
    };
    let no_token = "automountServiceAccountToken: false";
    refused("pod", &pod("default", no_token), "may only act in namespaces netproof-*");
    let path = file("admission/ours.yaml", namespace("netproof-test", restricted));
    let path = path.to_str().unwrap();
    cluster.kubectl(&[account, "create", "--validate=false", "-f", path]);
    let _namespace = Applied(&cluster, path.to_owned());
    refused("token", &pod("netproof-test", "restartPolicy: Never"), "may have no token");
    let volume = format!("{no_token}, volumes: [{{name: s, secret: {{secretName: s}}}}]");
    refused("volume", &pod("netproof-test", &volume), "may have no volumes");
    let service = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: netproof-test},
        spec: {externalIPs: [192.0.2.1], ports: [{port: 80}]}}";
    refused("service", service, "may only have addresses of the cluster");
    let refusal = cluster.refusal(&[account, "delete", "namespace", "netproof"]);
    assert!(refusal.contains("may only create, change and delete namespaces"), "{refusal}");
}

/// `deploy/` is enough, and what is missing without it can be pasted.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn the_service_account_of_deploy_can_do_everything() {
    let cluster = Cluster::named();
    let _applied =
        ["account.yaml", "rbac.yaml", "admission.yaml"].map(|name| Applied::of_deploy(&cluster, name));
    let server =
        cluster.kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let token =
        |account: &str| cluster.kubectl(&["create", "token", account, "-n", "netproof"]).trim().to_owned();
    let as_account = file("account.conf", kubeconfig(&server, &token("netproof")));
    let scenario = scenario_file("pods-come-and-go");
    let on_cluster = |config: &Path| {
        let first = ["run", "--backend", "cluster", "--kubeconfig", config.to_str().unwrap()];
        let options = [scenario.to_str().unwrap(), "--settle", "3s"];
        let save = ["--save-configmap", "netproof/netproof-result"];
        run(User::Root, first.into_iter().chain(options).chain(save))
    };
    let finished = on_cluster(&as_account);
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:?}");
    let saved = "jsonpath={.data.exit-code}";
    let saved = cluster.kubectl(&["get", "configmap", "netproof-result", "-n", "netproof", "-o", saved]);
    assert_eq!(Some(saved), finished.code.map(|code| code.to_string()));

    let as_stranger = file("default.conf", kubeconfig(&server, &token("default")));
    let finished = on_cluster(&as_stranger);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(
        finished.stderr.contains("  resources: [pods/portforward]\n  verbs: [create, get]\n"),
        "{finished:?}"
    );
    assert_eq!(cluster.namespaces(), Vec::<String>::new());
}

/// Without the right to make namespaces, and with none outside of those that were prepared.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn prepared_namespaces_are_enough_and_are_as_they_were_afterwards() {
    let Some(cluster) =
        Cluster::with_enforcer("prepared_namespaces_are_enough_and_are_as_they_were_afterwards")
    else {
        return;
    };
    let _applied =
        ["account.yaml", "prepared.yaml", "admission.yaml"].map(|name| Applied::of_deploy(&cluster, name));
    let names: Vec<String> = (1..=13).map(|number| format!("netproof-{number:02}")).collect();
    let labels = || {
        let path = "jsonpath={range .items[*]}{.metadata.name}{.metadata.labels}{.metadata.annotations}{end}";
        let all = ["get", "namespaces", "-o", path];
        cluster.kubectl(&all)
    };
    // Somebody else's label is nobody's business.
    cluster.kubectl(&["label", "namespace", "netproof-03", "team=blue"]);
    let before = labels();
    let server =
        cluster.kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let token = cluster.kubectl(&["create", "token", "netproof", "-n", "netproof"]);
    let as_account = file("prepared.conf", kubeconfig(&server, token.trim()));
    let on_cluster = |names: &[String], options: &[&str]| {
        let names = names.join(",");
        let config = as_account.to_str().unwrap();
        let first = ["run", "--backend", "cluster", "--kubeconfig", config, "--prepared-namespaces", &names];
        run(User::Root, first.into_iter().chain(profile().iter().copied()).chain(options.iter().copied()))
    };
    // Labels of namespaces that change, pods that come and go, names of namespaces, and more of them than most have.
    let files = ["namespace-labels", "default-deny", "pods-come-and-go"].map(scenario_file);
    let mut arguments: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    arguments.extend(["-o", "json", "--parallel", "4"]);
    let finished = on_cluster(&names, &arguments);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    assert_eq!(accused(&report), Vec::<String>::new(), "{}", finished.stdout);
    assert_eq!((finished.code, inconclusive(&report)), (Some(0), 0), "{}", finished.stdout);
    assert_eq!(labels(), before);
    for kind in ["pods", "networkpolicies", "services"] {
        let left = cluster.kubectl(&["get", kind, "-A", "-l", "netproof.dev/run", "-o", "name"]);
        assert_eq!(left, "");
    }

    // Too few for one of the scenarios: the others are carried out.
    let wide = scenario_file("ten-namespaces");
    let finished =
        on_cluster(&names[..4], &[files[1].to_str().unwrap(), wide.to_str().unwrap(), "-o", "json"]);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    assert_eq!(finished.code, Some(3), "{}", finished.stdout);
    assert!(finished.stdout.contains("name 7 more with --prepared-namespaces"), "{}", finished.stdout);
    assert!(report["scenarios"].as_array().unwrap().iter().any(|scenario| scenario["outcome"] == "pass"));
    assert_eq!(labels(), before);

    // What a killed run left is in use until it is cleaned up, and the namespaces stay.
    let joined = names.join(",");
    let own = ["cleanup", "--kubeconfig", as_account.to_str().unwrap(), "--prepared-namespaces", &joined];
    let everywhere = ["cleanup", "--context", &cluster.context];
    for cleanup in [&own[..], &everywhere[..]] {
        let mut running = cluster.start(&["--prepared-namespaces", &joined, files[2].to_str().unwrap()]);
        wait_for(|| !cluster.kubectl(&["get", "ns", "-l", "netproof.dev/run", "-o", "name"]).is_empty());
        running.kill().unwrap();
        running.wait().unwrap();
        let finished = on_cluster(&names, &[files[1].to_str().unwrap()]);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("netproof cleanup --prepared-namespaces netproof-"), "{finished:?}");
        let finished = run(User::Root, cleanup.iter().copied());
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout.contains("removed netproof-"), "{finished:?}");
        assert_eq!(labels(), before);
        assert_eq!(cluster.kubectl(&["get", "pods", "-A", "-l", "netproof.dev/run", "-o", "name"]), "");
    }
}

/// Several runs at once, and topologies at once in each, do not disturb each other.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn runs_at_the_same_time_do_not_see_each_other() {
    let Some(cluster) = Cluster::with_enforcer("runs_at_the_same_time_do_not_see_each_other") else { return };
    let scenarios = Cluster::scenarios("plain", &PLAIN);
    let arguments = [scenarios.to_str().unwrap(), "--parallel", "2", "-o", "json"];
    let running = [cluster.start(&arguments), cluster.start(&arguments)];
    for child in running {
        let finished = Finished::from(child.wait_with_output().unwrap());
        assert_eq!(finished.code, Some(0), "{}: {:?}", finished.stderr, accused(&finished.json()));
    }
    assert_eq!(cluster.namespaces(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn every_node_is_source_and_destination() {
    let Some(cluster) = Cluster::with_enforcer("every_node_is_source_and_destination") else { return };
    let scenario = scenario_file("union");
    for nodes in [&["--every-node"][..], &["--nodes", "np-node2"]] {
        let arguments = [&[scenario.to_str().unwrap(), "-o", "json"], nodes].concat();
        let finished = cluster.run(&arguments);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let report = finished.json();
        let used = report["nodes"].as_object().unwrap();
        assert_eq!(used.len(), if nodes.len() == 1 { 2 } else { 1 });
        for counts in used.values() {
            assert!(counts["source"].as_u64() > Some(100) && counts["destination"].as_u64() > Some(100));
        }
    }
}

/// Nodes with a taint run the pods of those who tolerate it: what is proved of the others says nothing of them.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn every_node_includes_tainted_nodes() {
    struct Taint<'a>(&'a Cluster);
    impl Drop for Taint<'_> {
        fn drop(&mut self) {
            self.0.kubectl(&["taint", "node", "np-node2", "netproof-test-"]);
        }
    }
    let Some(cluster) = Cluster::with_nodes("every_node_includes_tainted_nodes") else { return };
    cluster.kubectl(&["taint", "node", "np-node2", "netproof-test=x:NoSchedule"]);
    let _taint = Taint(&cluster);
    let scenario = scenario_file("union");
    for (every, used) in [(&["--every-node"][..], 2), (&[], 1)] {
        let finished = cluster.run(&[&[scenario.to_str().unwrap(), "-o", "json"], every].concat());
        let report = finished.json();
        assert_eq!(report["nodeCoverage"]["used"], used, "{}", finished.stderr);
        assert_eq!(report["nodeCoverage"]["all"], 2);
        assert_eq!(report["nodes"].as_object().unwrap().len(), used);
    }
}

/// Generators such as Kyverno's add policies to every new namespace: verdicts would be about others than those in
/// force.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_policy_that_somebody_adds_to_a_namespace_of_the_run_is_named() {
    let name = "a_policy_that_somebody_adds_to_a_namespace_of_the_run_is_named";
    let Some(cluster) = Cluster::with_enforcer(name) else { return };
    let scenario = scenario_file("union");
    let running = cluster.start(&[scenario.to_str().unwrap(), "-o", "json"]);
    wait_for(|| !cluster.namespaces().is_empty());
    // It selects nobody: only who looks for it can find it.
    let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: generated},
        spec: {podSelector: {matchLabels: {nobody: here}}}}";
    let policy = file("generated.yaml", policy);
    let namespace = cluster.namespaces().remove(0);
    cluster.kubectl(&["apply", "-n", &namespace, "-f", policy.to_str().unwrap()]);
    let finished = Finished::from(running.wait_with_output().unwrap());
    assert_eq!(finished.code, Some(3), "{finished:?}");
    let failure = finished.json()["scenarios"][0]["failure"].to_string();
    assert!(failure.contains(&format!("NetworkPolicy {namespace}/generated is not the run's")), "{failure}");
    assert_eq!(cluster.namespaces(), Vec::<String>::new());
}

/// A merge keeps the `policyTypes` that the server made of the rules before: an egress rule that comes later
/// would isolate nothing.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_policy_that_gets_its_first_egress_rule_isolates_for_egress() {
    let name = "a_policy_that_gets_its_first_egress_rule_isolates_for_egress";
    let Some(cluster) = Cluster::with_enforcer(name) else { return };
    let scenario = scenario_file("default-policy-types");
    let finished = cluster.run(&[&[scenario.to_str().unwrap(), "-o", "json"], profile()].concat());
    assert_eq!(finished.code, Some(0), "{}: {:?}", finished.stderr, accused(&finished.json()));
}

/// Policies get the addresses that this cluster gave its pods.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn addresses_by_name_are_those_of_the_cluster() {
    let Some(cluster) = Cluster::with_enforcer("addresses_by_name_are_those_of_the_cluster") else { return };
    let scenario = scenario_file("ip-block-pods");
    let finished = cluster.run(&[scenario.to_str().unwrap(), "-o", "json"]);
    assert_eq!(finished.code, Some(0), "{}: {:?}", finished.stderr, accused(&finished.json()));
}

/// Pods cost more than anything else: the next scenario has those that are like its own, with its labels.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn pods_are_used_again_under_other_names() {
    let Some(cluster) = Cluster::with_enforcer("pods_are_used_again_under_other_names") else { return };
    let head = |name: &str| {
        format!(
            "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: {name}}}\nprobes: [80/TCP]\n"
        )
    };
    let policy = "- apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: servers, namespace: x}
    spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}";
    let three = "topology:\n  namespaces:\n  - name: x\n    pods:
    - {name: one, labels: {app: friend}, node: 1}
    - {name: two, labels: {app: server}, node: 2}
    - {name: three, labels: {app: other}, node: 2, ports: [{name: http, port: 80}]}";
    let two = "topology:\n  namespaces:\n  - name: x\n    pods:
    - {name: one, labels: {app: server}, node: 2}
    - {name: stranger, labels: {app: other}, node: 1}";
    let steps = |of: &str| format!("steps:\n- name: friends\n  apply:\n  {policy}\n  expect: [{of}]\n");
    let (denied, passed) =
        ("{from: x/three, to: x/two, deny: [all]}", "{from: x/one, to: x/two, allow: [all]}");
    file("reuse/three.yaml", format!("{}{three}\n{}", head("three"), steps(&[denied, passed].join(", "))));
    let denied = "{from: x/stranger, to: x/one, deny: [all]}, {from: x/one, to: x/stranger, allow: [all]}";
    let folder = file("reuse/two.yaml", format!("{}{two}\n{}", head("two"), steps(denied)));
    let folder = folder.parent().unwrap().to_str().unwrap();
    let finished = cluster.run(&[folder, "--parallel", "1", "--keep", "-o", "json"]);
    assert_eq!(finished.code, Some(0), "{}: {:?}", finished.stderr, accused(&finished.json()));
    let format =
        r"custom-columns=N:.metadata.name,P:.metadata.annotations.netproof\.dev/pod,L:.metadata.labels.app";
    let selector = "app.kubernetes.io/managed-by=netproof";
    let pods = cluster.kubectl(&["get", "pods", "-A", "-l", selector, "--no-headers", "-o", format]);
    let of_scenario = pods.lines().filter(|line| !line.contains(" canaries/"));
    let pods: Vec<Vec<&str>> = of_scenario.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(pods, [["one", "x/stranger", "other"], ["two", "x/one", "server"]]);
    let cleanup = run(User::Root, ["cleanup", "--context", &cluster.context]);
    assert_eq!(cleanup.code, Some(0), "{cleanup:?}");
}

/// A process in the pod instead of a port-forward.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn exec_is_as_good_a_way_as_a_port_forward() {
    let Some(cluster) = Cluster::with_enforcer("exec_is_as_good_a_way_as_a_port_forward") else { return };
    let scenario = scenario_file("union");
    let finished = cluster.run(&[scenario.to_str().unwrap(), "--control", "exec"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn an_interrupted_run_cleans_up() {
    let cluster = Cluster::named();
    let scenarios = Cluster::scenarios("plain", &PLAIN);
    let running = cluster.start(&[scenarios.to_str().unwrap()]);
    wait_for(|| !cluster.namespaces().is_empty());
    let process = nix::unistd::Pid::from_raw(running.id().try_into().unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGINT).unwrap();
    let finished = Finished::from(running.wait_with_output().unwrap());
    assert_eq!(finished.code, Some(130), "{}", finished.stderr);
    assert_eq!(cluster.namespaces(), Vec::<String>::new());
}
