//! Runs on a real cluster: the context of the kubeconfig that `NETPROOF_CLUSTER` names. Tests that control the nodes need
//! a cluster that `tests/cluster/up` started.

mod access;
mod agents;
mod alone;
mod cleanup;
mod faults;
mod fuzz;
mod guide;
mod live;
mod lost;
mod restrictions;
mod site;
mod snapshot;
mod stale;
mod tenants;
mod through;
mod verdicts;
mod verify;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::agent::{binary, built};
use crate::support::{self, Finished, User, command, ends, file, folder, run, scenario_file};

/// There is one cluster, and a test would notice the faults of another test.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Cluster {
    context: String,
    /// The kubeconfig, if it is not the default one.
    kubeconfig: Option<String>,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Returns the cluster that `NETPROOF_CLUSTER` names.
    fn named() -> Self {
        let context = std::env::var("NETPROOF_CLUSTER")
            .unwrap_or_else(|_| unreachable!("name a context of the kubeconfig in NETPROOF_CLUSTER"));
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        install_agent();
        Self { context, kubeconfig: None, _turn: turn }
    }

    /// Returns the cluster if the tests may break its nodes.
    fn with_nodes() -> Option<Self> {
        let cluster = Self::named();
        if cluster.context == "netproof" && state().join("settings").exists() {
            return Some(cluster);
        }
        skipped("the cluster was not started by tests/cluster/up");
        None
    }

    /// Returns the cluster if the tests can stop the program that enforces policies.
    fn with_enforcer() -> Option<Self> {
        let cluster = Self::with_nodes()?;
        if std::env::var_os("NETPROOF_ENFORCER").is_some() {
            return Some(cluster);
        }
        skipped("NETPROOF_ENFORCER names no command that enforces policies");
        None
    }

    /// Returns the cluster if kube-router enforces policies, whose rules the test changes.
    fn with_kube_router() -> Option<Self> {
        let cluster = Self::with_enforcer()?;
        if is_kube_router() {
            return Some(cluster);
        }
        skipped("NETPROOF_ENFORCER is not kube-router");
        None
    }

    /// Returns what a JSONPath finds in each object that runs have left, of a kind.
    fn of_runs(&self, kind: &str, path: &str) -> Vec<String> {
        let path = format!("jsonpath={{range .items[*]}}{{{path}}}{{\"\\n\"}}{{end}}");
        let found = self.kubectl(&["get", kind, "-A", "-l", "netproof.dev/run", "-o", &path]);
        found.lines().map(str::to_owned).collect()
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        self.arguments_of("run", arguments)
    }

    fn arguments_of<'a>(&'a self, command: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec![command, "--backend", "cluster", "--context", &self.context];
        if let Some(kubeconfig) = &self.kubeconfig {
            all.extend(["--kubeconfig", kubeconfig]);
        }
        all.extend(arguments);
        all
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        run(User::Root, self.arguments(arguments))
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.start_command("run", arguments)
    }

    fn start_command(&self, name: &str, arguments: &[&str]) -> Child {
        let mut command = command(User::Root);
        command.args(self.arguments_of(name, arguments)).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let kubectl =
            std::env::var_os("KUBE_BIN").map_or("kubectl".into(), |bin| Path::new(&bin).join("kubectl"));
        let mut command = Command::new(kubectl);
        command.args(["--context", &self.context]).args(arguments).current_dir(folder());
        command
    }

    fn kubectl_output(&self, arguments: &[&str]) -> Output {
        self.kubectl_command(arguments).output().unwrap()
    }

    #[track_caller]
    fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.kubectl_output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the message of a kubectl command that has to fail.
    #[track_caller]
    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.kubectl_output(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Returns the URL of the API server.
    fn server(&self) -> String {
        self.kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"])
    }

    /// Returns the namespaces of runs.
    fn namespaces(&self) -> Vec<String> {
        let selector = "app.kubernetes.io/managed-by=netproof";
        let names = self.kubectl(&["get", "namespaces", "-l", selector, "-o", "name"]);
        names.lines().map(|name| name.trim_start_matches("namespace/").to_owned()).collect()
    }

    /// Checks that no run has left a namespace.
    #[track_caller]
    fn check_clean(&self) {
        assert_eq!(self.namespaces(), Vec::<String>::new());
    }

    /// Returns all objects, with the versions of those that only users change.
    fn objects(&self) -> BTreeSet<String> {
        let kinds = self.kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
        let volatile = ["events", "events.events.k8s.io", "leases.coordination.k8s.io"];
        let kinds: Vec<_> = kinds.lines().filter(|kind| !volatile.contains(kind)).collect();
        let list = self.kubectl(&["get", "-A", "-o", "json", &kinds.join(",")]);
        let list: Value = serde_json::from_str(&list).unwrap();
        let changed_by_controllers = ["Node", "ClusterRole", "APIService"];
        let object = |object: &Value| {
            let metadata = &object["metadata"];
            let kind = object["kind"].as_str().unwrap();
            let version =
                (!changed_by_controllers.contains(&kind)).then(|| metadata["resourceVersion"].clone());
            format!("{kind} {} {} {version:?}", metadata["namespace"], metadata["name"])
        };
        list["items"].as_array().unwrap().iter().map(object).collect()
    }
}

/// Puts the packed agent beside the program. A debug build carries none.
fn install_agent() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let [loader, agent] = [&built("probe-loader"), binary()].map(|path| fs::read(path).unwrap());
        file("netproof-probe", netproof_loader::pack(&loader, &agent));
    });
}

#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Returns the folder of `tests/cluster/up`.
fn state() -> PathBuf {
    std::env::var_os("NETPROOF_CLUSTER_DIR")
        .map_or_else(|| std::env::temp_dir().join("netproof-cluster"), PathBuf::from)
}

fn up(arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/up");
    let output = Command::new(script).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a program that has to succeed. Returns its standard output.
#[track_caller]
fn execute(arguments: &[&str]) -> String {
    let output = Command::new(arguments[0]).args(&arguments[1..]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program in the network of a node.
#[track_caller]
fn on_node(node: &str, arguments: &[&str]) -> String {
    execute(&[&["ip", "netns", "exec", node], arguments].concat())
}

/// Runs a function on a thread in a network namespace.
fn in_network<T: Send + 'static>(network: &Path, run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let network = fs::File::open(network).unwrap();
    std::thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).unwrap();
        run()
    })
}

/// The cells of a report, by scenario, step, ends, family and probe.
fn cells(report: &Value) -> BTreeMap<String, Value> {
    let cells = support::cells(report).into_iter();
    cells.map(|(place, cell)| (format!("{place}: {}", ends(&cell)), cell)).collect()
}

/// Returns the leaks and outages of a report.
fn accused(report: &Value) -> Vec<String> {
    let is_accused = |cell: &Value| matches!(cell["verdict"].as_str().unwrap(), "leak" | "blocked");
    let accused = cells(report).into_iter().filter(|(_, cell)| is_accused(cell));
    accused.map(|(place, cell)| format!("{place}: {} {}", cell["verdict"], cell["observed"])).collect()
}

/// Checks that a run passed. If it did not, the message names the leaks and outages.
#[track_caller]
fn check_passed(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}: {:?}", finished.stderr, accused(&finished.json()));
}

fn is_kube_router() -> bool {
    std::env::var("NETPROOF_ENFORCER").unwrap_or_default().contains("kube-router")
}

/// Returns the option for the profile of the enforcer, if it has one.
fn profile() -> &'static [&'static str] {
    if is_kube_router() { &["--profile", "kube-router"] } else { &[] }
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "it did not happen");
        sleep(Duration::from_millis(50));
    }
}

/// Scenarios with many changes, for which all implementations give the same verdicts.
const PLAIN: [&str; 4] = ["policy-lifecycle", "relabelling", "union", "selectors"];

fn plain() -> [String; PLAIN.len()] {
    PLAIN.map(scenario_file)
}
