//! The lab with real packets: as root and as an ordinary user, and gone without a trace afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::{BASICS, Finished, User, command, file, folder, library, program, run, scenario_file};

/// All cells of a JSON report, each with the names of its scenario and step.
fn cells(finished: &Finished) -> Vec<(String, Value)> {
    let report = finished.json();
    let mut cells = Vec::new();
    for scenario in report["scenarios"].as_array().unwrap() {
        assert_eq!(scenario["failure"], Value::Null, "{}", scenario["name"]);
        for step in scenario["steps"].as_array().unwrap() {
            let place =
                format!("{} › {}", scenario["name"].as_str().unwrap(), step["name"].as_str().unwrap());
            cells.extend(step["cells"].as_array().unwrap().iter().map(|cell| (place.clone(), cell.clone())));
        }
    }
    cells
}

/// Runs the scenarios whose verdicts are looked at one by one; that all faults are found is for the
/// self-test to show.
fn run_with_fault(user: User, fault: &str) -> Finished {
    // The Service of this one leads to one pod that is isolated and one that is not: with some faults, what
    // shows is chance.
    let names = BASICS.into_iter().filter(|name| *name != "pods-that-end");
    let files = names.map(scenario_file);
    let options = ["run", "-o", "json", "--fault", fault, "--parallel", "6"].map(PathBuf::from);
    run(user, options.into_iter().chain(files))
}

/// Whether the verdict is one of those that a right implementation may get: the kernel may lack a
/// protocol, and the library declares that.
fn is_fine(cell: &Value) -> bool {
    matches!(cell["verdict"].as_str().unwrap(), "match" | "undefined" | "skipped")
}

#[test]
fn the_library_passes_as_an_ordinary_user_and_some_of_it_as_root() {
    let some = BASICS.map(scenario_file).to_vec();
    for (user, files) in [(User::Root, some), (User::Ordinary, vec![library().to_owned()])] {
        // Asked for, the share that every run tries to reach has to be reached.
        let options = ["run", "-o", "json", "--confidence", "10%"].map(PathBuf::from);
        let finished = run(user, options.into_iter().chain(files));
        for (place, cell) in cells(&finished) {
            assert!(is_fine(&cell), "as {user:?}: {place}: {cell}");
        }
        assert_eq!(finished.code, Some(0), "as {user:?}: {}", finished.stderr);
    }
}

/// One connection, in one step.
fn place_of((place, cell): &(String, Value)) -> String {
    let ends = ["from", "to", "family", "probe", "verdict"].map(|field| cell[field].as_str().unwrap());
    format!("{place}: {}", ends.join(" "))
}

/// The cells that a fault opens or closes.
fn accused(user: User, fault: &str) -> Vec<(String, Value)> {
    let finished = run_with_fault(user, fault);
    assert_eq!(finished.code, Some(1), "with {fault}: {}", finished.stderr);
    cells(&finished).into_iter().filter(|(_, cell)| !is_fine(cell)).collect()
}

#[test]
fn lost_replies_are_found_as_outages_of_udp_only_whoever_runs_it() {
    let fault = "drop-replies";
    let accused = User::ALL.map(|user| accused(user, fault));
    for accused in &accused {
        check_accused(fault, accused, |_, cell| {
            cell["verdict"] == "blocked" && is_udp(cell) && cell["observed"] == "one-way"
        });
    }
    let [as_root, as_ordinary] = accused.map(|cells| cells.iter().map(place_of).collect::<BTreeSet<_>>());
    let only_one: Vec<_> = as_root.symmetric_difference(&as_ordinary).collect();
    assert!(only_one.is_empty(), "with {fault}, verdicts do not repeat: {only_one:#?}");
}

/// Checks that a fault is found, and that nothing is accused that is not its doing.
fn check(fault: &str, is_its_doing: impl Fn(&str, &Value) -> bool) {
    check_accused(fault, &accused(User::Ordinary, fault), is_its_doing);
}

fn check_accused(fault: &str, accused: &[(String, Value)], is_its_doing: impl Fn(&str, &Value) -> bool) {
    assert!(!accused.is_empty(), "{fault} was not found");
    for (place, cell) in accused {
        assert!(is_its_doing(place, cell), "{fault} cannot do this: {place}: {cell}");
    }
    // Each cell names the policies or rules that decide it, or that none does.
    assert!(
        accused
            .iter()
            .all(|(_, cell)| cell["reasons"][0]["text"].as_str().is_some_and(|text| !text.is_empty()))
    );
}

fn is_udp(cell: &Value) -> bool {
    cell["probe"].as_str().unwrap().ends_with("UDP")
}

/// Whether the cell is denied, or would have been, in this direction alone.
fn is_leak_in(cell: &Value, direction: &str) -> bool {
    let reasons = cell["reasons"].as_array().unwrap();
    cell["verdict"] == "leak" && reasons.iter().all(|reason| reason["direction"] == direction)
}

#[test]
fn without_enforcement_every_asserted_denial_is_a_leak() {
    for user in User::ALL {
        let finished = run_with_fault(user, "no-enforcement");
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        let cells = cells(&finished);
        let denied: Vec<_> = cells.iter().filter(|(_, cell)| cell["asserted"] == "deny").collect();
        assert!(denied.len() > 1_000, "only {} denials are asserted", denied.len());
        for (place, cell) in denied {
            assert!(cell["verdict"] == "leak" || cell["verdict"] == "skipped", "{place}: {cell}");
        }
    }
}

#[test]
fn faults_of_one_direction_are_found() {
    check("ignore-ingress", |_, cell| is_leak_in(cell, "ingress"));
    check("ignore-egress", |_, cell| is_leak_in(cell, "egress"));
}

#[test]
fn faults_of_ports_and_protocols_are_found() {
    check("ignore-ports", |_, cell| cell["verdict"] == "leak");
    check("ignore-udp", |_, cell| cell["verdict"] == "leak" && is_udp(cell));
    check("endport-first-only", |_, cell| cell["verdict"] == "blocked" && cell["probe"] != "80/TCP");
}

#[test]
fn faults_of_address_ranges_are_found() {
    check("ignore-except", |_, cell| cell["verdict"] == "leak");
}

#[test]
fn changes_that_are_not_followed_are_found() {
    check("policies-never-removed", |_, cell| {
        // Nothing gets through in the control round, either.
        let is_without_control =
            cell["cause"] == "it did not get through after the policies were removed either";
        cell["verdict"] == "blocked" || cell["verdict"] == "leak" || is_without_control
    });
    check("frozen-node", |_, cell| {
        // What a step leaves as it is says nothing at a node that does not follow the step.
        let cause = cell["cause"].as_str().unwrap_or_default();
        let node =
            cause.strip_suffix(" still enforced the state before the step when the settle time was over");
        let is_at =
            |node: &str| cell["fromNode"] == node || cell["toNode"] == node || cell["toNode"].is_null();
        cell["verdict"] == "blocked" || cell["verdict"] == "leak" || node.is_some_and(is_at)
    });
}

/// The rules are there before the pods, and the times count from the pods' first answers.
#[test]
fn new_pods_are_isolated_at_once_and_admitted_soon() {
    let scenario = scenario_file("pods-come-and-go");
    for user in User::ALL {
        let finished = run(user, ["run", scenario.to_str().unwrap(), "-o", "json"]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let report = finished.json();
        let steps = report["scenarios"][0]["steps"].as_array().unwrap();
        let times = |field: &str| steps.iter().map(|step| step[field].as_u64()).collect::<Vec<_>>();
        let isolated = times("newPodsIsolatedMs");
        // In the last two, nothing isolates the pod that comes.
        assert_eq!(isolated.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, false]);
        assert!(isolated.iter().flatten().all(|millis| *millis < 500), "{isolated:?}");
        let admitted = times("newPodsAdmittedMs");
        assert_eq!(admitted.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true, true]);
        assert!(cells(&finished).iter().all(|(_, cell)| cell["deliveredUntilMs"].is_null()));
    }
}

/// Isolation that comes a second late has been too late, though everything settles.
#[test]
fn a_packet_to_a_new_pod_before_it_is_isolated_is_a_leak() {
    let scenario = scenario_file("pods-come-and-go");
    let options = ["-o", "json", "--fault", "new-pods-open", "--settle", "5s"];
    let finished = run(User::Ordinary, ["run", scenario.to_str().unwrap()].iter().chain(&options));
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let cells = cells(&finished);
    let accused: Vec<_> = cells.iter().filter(|(_, cell)| !is_fine(cell)).collect();
    assert!(accused.len() > 4, "{accused:?}");
    for (place, cell) in accused {
        assert!(place.ends_with("a friend and another server start"), "{place}: {cell}");
        let ends = [&cell["from"], &cell["to"]].map(|end| end == "x/server-2");
        assert!(cell["verdict"] == "leak" && ends.contains(&true), "{cell}");
        let until = cell["deliveredUntilMs"].as_u64().unwrap();
        assert!(until < 1_500, "{cell}");
    }
}

/// The processes that run the program of these tests, by id.
fn processes() -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        // Agents are started as `/proc/self/exe`; their link leads to the program.
        let is_ours = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program());
        if is_ours {
            found.insert(pid, arguments);
        }
    }
    found
}

/// Waits until a run has its agents.
fn wait_for_agents(of: &Run) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while of.descendants().len() < 6 {
        assert!(Instant::now() < deadline, "the lab did not start: {:?}", of.descendants());
        sleep(Duration::from_millis(5));
    }
}

/// A run in the background, and everything that it starts: they share a session of their own.
struct Run {
    child: std::process::Child,
}

impl Run {
    fn start(user: User) -> Self {
        let scenario = file(
            "long.yaml",
            "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: long}\nsteps:\n".to_owned()
                + &(0..500).map(|i| format!("- name: step {i}\n")).collect::<String>(),
        );
        let inner = command(user);
        let mut command = Command::new("setsid");
        command.arg(inner.get_program()).args(inner.get_args()).arg("run").arg(scenario);
        let child = command
            .current_dir(folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// The processes of its session.
    fn descendants(&self) -> Vec<u32> {
        let session = |pid: u32| -> Option<u32> {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit(')').next()?.split_whitespace().nth(3)?.parse().ok()
        };
        processes().into_keys().filter(|pid| session(*pid) == Some(self.child.id())).collect()
    }

    fn signal(&self, pid: u32, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits until nothing of it is left.
    fn wait_until_gone(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.descendants().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", self.descendants());
            sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn nothing_is_left_after_kill_9_of_the_parent() {
    for user in User::ALL {
        let mut run = Run::start(user);
        wait_for_agents(&run);
        // `setsid`, `setpriv` and `unshare` have become the program: its first process is the child.
        run.signal(run.child.id(), nix::sys::signal::Signal::SIGKILL);
        assert_eq!(run.child.wait().unwrap().signal(), Some(9));
        run.wait_until_gone();
    }
}

#[test]
fn ctrl_c_ends_the_run_and_cleans_up() {
    for user in User::ALL {
        for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM] {
            let mut run = Run::start(user);
            wait_for_agents(&run);
            run.signal(run.child.id(), signal);
            assert_eq!(run.child.wait().unwrap().code(), Some(130));
            run.wait_until_gone();
        }
    }
}

/// What a machine without nftables, or without namespaces for its users, is told.
#[test]
fn machines_that_cannot_run_the_lab_are_told_why() {
    let run_in = |preparation: &str| {
        let script = format!("{preparation} && exec {} run", program().display());
        // In a user namespace with other mounts and limits, so that this machine stays as it is.
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .current_dir(folder())
            .output()
            .unwrap();
        let finished = Finished::from(output);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
        finished.stderr
    };
    let hide = "for nft in $(command -v nft) /usr/sbin/nft /sbin/nft; do [ ! -e $nft ] || mount --bind /dev/null $nft; done";
    insta::assert_snapshot!("no nft", run_in(hide));
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces";
    insta::assert_snapshot!("no namespaces", run_in(forbid));
}

const KEPT_OPEN: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: kept-open}
topology:
  families: [IPv4, IPv6]
  namespaces:
  - name: x
    pods: [{name: a, node: 1}, {name: b, labels: {app: b}, node: 2}, {name: c, node: 2}]
    services: [{name: b, selector: {app: b}, ports: [{port: 8080, targetPort: 80}]}]
probes: [80/TCP]
steps:
- name: nobody may send any more
  keepOpen: [{from: x/a, to: x/b, probe: 80/TCP}]
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: a, namespace: x}
    spec: {podSelector: {}, policyTypes: [Egress]}
- name: what is denied is not opened
  keepOpen: [{from: x/a, to: '*', probe: 80/TCP}]
- name: a pod ends and another one is deleted
  keepOpen:
  - {from: x/a, to: x/*, probe: 80/TCP}
  - {from: x/c, to: x/a, probe: 80/TCP}
  - {from: x/a, to: 'service:x/b', probe: 8080/TCP}
  endPod: [x/b]
  removePod: [x/c]
";

/// What became of the connections of each step, as `x/a x/b IPv4 80/TCP: survived, deny`.
fn open_connections(finished: &Finished) -> Vec<Vec<String>> {
    let report = finished.json();
    let steps = report["scenarios"][0]["steps"].as_array().unwrap().iter();
    let told = |open: &Value| {
        let text = |field: &str| open[field].as_str().unwrap_or("-").to_owned();
        let ends = ["from", "to", "family", "probe"].map(text).join(" ");
        format!("{ends}: {}, {}", text("fate"), text("expected"))
    };
    let kept = |step: &Value| Some(step["openConnections"].as_array()?.iter().map(told).collect());
    steps.map(|step| kept(step).unwrap_or_default()).collect()
}

#[test]
fn connections_that_were_open_before_a_step_are_reported_and_fail_nothing() {
    let path = file("kept-open.yaml", KEPT_OPEN);
    let finished = run(User::Ordinary, ["run", path.to_str().unwrap(), "-o", "json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let told = open_connections(&finished);
    assert_eq!(told[0], ["x/a x/b IPv4 80/TCP: survived, deny", "x/a x/b IPv6 80/TCP: survived, deny"]);
    assert!(told[1].is_empty() && told[2].is_empty(), "{told:?}");

    // Without the denial, there is something to end.
    let open = KEPT_OPEN.replace("policyTypes: [Egress]", "policyTypes: [Egress], egress: [{}]");
    let path = file("kept-open-2.yaml", open);
    let finished = run(User::Ordinary, ["run", path.to_str().unwrap(), "-o", "json"]);
    // Nothing is denied, so no denial is proved.
    assert_eq!(finished.code, Some(3), "{finished:?}");
    let [_, unchanged, ended] = open_connections(&finished).try_into().unwrap();
    assert!(!unchanged.is_empty() && unchanged.iter().all(|told| told.ends_with("survived, allow")));
    let to_pods = ended.iter().filter(|told| !told.contains("service:"));
    assert!(
        to_pods.clone().count() == 6 && to_pods.clone().all(|told| told.ends_with("ended, -")),
        "{ended:?}"
    );
}

#[test]
fn connections_that_a_step_cuts_are_told_apart_from_those_that_survive() {
    let path = file("kept-open-3.yaml", KEPT_OPEN);
    let options = ["run", path.to_str().unwrap(), "-o", "json", "--fault", "stateless"];
    let told = open_connections(&run(User::Ordinary, options));
    assert_eq!(told[0], ["x/a x/b IPv4 80/TCP: cut, deny", "x/a x/b IPv6 80/TCP: cut, deny"]);
}
