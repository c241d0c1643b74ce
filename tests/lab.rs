//! The lab with real packets: as root and as an ordinary user. It leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    BASICS, Finished, User, command, ends, file, folder, policy_step, program, run, run_json, scenario,
    scenario_file, signal,
};

/// Scenarios that run with faults. They have more than a thousand asserted denials, and cells for every fault of these
/// tests.
const FEW: [&str; 11] = [
    "default-deny",
    "dual-stack",
    "ip-block",
    "ip-block-pods",
    "named-ports",
    "pods-come-and-go",
    "policy-lifecycle",
    "policy-types",
    "port-range",
    "security-zones",
    "shared-ingress",
];

/// Runs scenarios whose verdicts these tests check one by one. The self-test shows that all faults are detected.
fn run_with_fault(user: User, fault: &str) -> Finished {
    let options =
        ["run", "-o", "json", "--fault", fault, "--parallel", "6", "--keep-going"].map(str::to_owned);
    run(user, options.into_iter().chain(FEW.map(scenario_file)))
}

/// Returns whether a correct implementation can get the verdict. The kernel may lack a protocol, and the library declares
/// that.
fn is_fine(cell: &Value) -> bool {
    matches!(cell["verdict"].as_str().unwrap(), "match" | "undefined" | "skipped")
}

/// Scenarios of the spec rules that the basics do not decide.
const OTHERS: [&str; 6] = [
    "cluster-policy-changes",
    "cluster-policy-outside",
    "cluster-policy-pass",
    "host-backends",
    "node-ports",
    "policy-deletion",
];

#[test]
fn scenarios_of_every_spec_rule_pass_as_root_and_as_an_ordinary_user() {
    for user in User::ALL {
        // Every run tries to reach this share. With the option, it has to reach it.
        let options = ["run", "-o", "json", "--confidence", "10%"].map(str::to_owned);
        let finished =
            run(user, options.into_iter().chain(BASICS.into_iter().chain(OTHERS).map(scenario_file)));
        for (place, cell) in finished.cells() {
            assert!(is_fine(&cell), "as {user:?}: {place}: {cell}");
        }
        assert_eq!(finished.code, Some(0), "as {user:?}: {}", finished.stderr);
    }
}

/// Returns the cells that a fault opens or closes.
fn accused(user: User, fault: &str) -> Vec<(String, Value)> {
    let cells = run_with_fault(user, fault).exits(1).cells();
    cells.into_iter().filter(|(_, cell)| !is_fine(cell)).collect()
}

#[test]
fn lost_replies_are_found_as_outages_of_udp_only_for_root_and_users() {
    let fault = "drop-replies";
    let accused = User::ALL.map(|user| accused(user, fault));
    for accused in &accused {
        check_accused(fault, accused, |_, cell| {
            cell["verdict"] == "blocked" && is_udp(cell) && cell["observed"] == "one-way"
        });
    }
    let text = |(place, cell): &(String, Value)| format!("{place}: {} {}", ends(cell), cell["verdict"]);
    let [as_root, as_ordinary] = accused.map(|cells| cells.iter().map(text).collect::<BTreeSet<_>>());
    let only_one: Vec<_> = as_root.symmetric_difference(&as_ordinary).collect();
    assert!(only_one.is_empty(), "with {fault}, the verdicts differ: {only_one:#?}");
}

/// Checks that a fault is detected, and that no other cell is accused.
fn check(fault: &str, is_its_doing: impl Fn(&str, &Value) -> bool) {
    check_accused(fault, &accused(User::Ordinary, fault), is_its_doing);
}

fn check_accused(fault: &str, accused: &[(String, Value)], is_its_doing: impl Fn(&str, &Value) -> bool) {
    assert!(!accused.is_empty(), "{fault} was not detected");
    for (place, cell) in accused {
        assert!(is_its_doing(place, cell), "{fault} cannot do this: {place}: {cell}");
        // Each cell has a reason: the policies or rules that decide it, or that there are none.
        assert!(cell["reasons"][0]["text"].as_str().is_some_and(|text| !text.is_empty()), "{cell}");
    }
}

fn is_udp(cell: &Value) -> bool {
    cell["probe"].as_str().unwrap().ends_with("UDP")
}

/// Returns whether the cell is a leak that this direction alone denies.
fn is_leak_in(cell: &Value, direction: &str) -> bool {
    let reasons = cell["reasons"].as_array().unwrap();
    cell["verdict"] == "leak" && reasons.iter().all(|reason| reason["direction"] == direction)
}

#[test]
fn without_enforcement_every_asserted_denial_is_a_leak() {
    for user in User::ALL {
        let cells = run_with_fault(user, "no-enforcement").exits(1).cells();
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
        // Nothing passes in the control round, either.
        let is_without_control =
            cell["cause"] == "it did not get through after the policies were removed either";
        cell["verdict"] == "blocked" || cell["verdict"] == "leak" || is_without_control
    });
    check("frozen-node", |_, cell| {
        // A cell that a step does not change is no evidence at a node that does not follow the step.
        let cause = cell["cause"].as_str().unwrap_or_default();
        let node =
            cause.strip_suffix(" still enforced the state before the step when the settle time was over");
        let is_at =
            |node: &str| cell["fromNode"] == node || cell["toNode"] == node || cell["toNode"].is_null();
        cell["verdict"] == "blocked" || cell["verdict"] == "leak" || node.is_some_and(is_at)
    });
}

/// The rules are in force before the pods start. The times begin with the first answers of the pods.
#[test]
fn new_pods_are_isolated_at_once_and_admitted_soon() {
    for user in User::ALL {
        let scenario = scenario_file("pods-come-and-go");
        let finished = run(user, ["run", &scenario, "-o", "json"]).exits(0);
        let report = finished.json();
        let steps = report["scenarios"][0]["steps"].as_array().unwrap();
        let times = |field: &str| steps.iter().map(|step| step[field].as_u64()).collect::<Vec<_>>();
        let isolated = times("newPodsIsolatedMs");
        // In the last two steps, no policy isolates the new pod.
        assert_eq!(isolated.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, false]);
        assert!(isolated.iter().flatten().all(|millis| *millis < 500), "{isolated:?}");
        let admitted = times("newPodsAdmittedMs");
        assert_eq!(admitted.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true, true]);
        assert!(finished.cells().iter().all(|(_, cell)| cell["deliveredUntilMs"].is_null()));
    }
}

/// Isolation that starts a second late is a leak, even if every cell settles.
#[test]
fn a_packet_to_a_new_pod_before_it_is_isolated_is_a_leak() {
    let scenario = scenario_file("pods-come-and-go");
    let cells = run_json(&scenario, &["--fault", "new-pods-open", "--settle", "5s"]).exits(1).cells();
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

/// Returns the processes that run the program of these tests, by id.
fn processes() -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        // Agents start as `/proc/self/exe`, and this link leads to the program.
        let is_ours = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program());
        if is_ours {
            found.insert(pid, arguments);
        }
    }
    found
}

/// Waits until the agents of a run exist.
fn wait_for_agents(of: &Run) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while of.descendants().len() < 6 {
        assert!(Instant::now() < deadline, "the lab did not start: {:?}", of.descendants());
        sleep(Duration::from_millis(5));
    }
}

/// A run in the background. All its processes share a session of their own.
struct Run {
    child: Child,
}

impl Run {
    fn start(user: User) -> Self {
        let steps: String = (0..500).map(|i| format!("- name: step {i}\n")).collect();
        let head = "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: long}\nsteps:\n";
        let scenario = file("long.yaml", head.to_owned() + &steps);
        let inner = command(user);
        let mut command = Command::new("setsid");
        command.arg(inner.get_program()).args(inner.get_args()).arg("run").arg(scenario);
        command.current_dir(folder()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap() }
    }

    /// Returns the processes of its session.
    fn descendants(&self) -> Vec<u32> {
        let session = |pid: u32| -> Option<u32> {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit(')').next()?.split_whitespace().nth(3)?.parse().ok()
        };
        processes().into_keys().filter(|pid| session(*pid) == Some(self.child.id())).collect()
    }

    /// Waits until all its processes have ended.
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
        // `setsid`, `setpriv` and `unshare` have become the program, so the child is its first process.
        signal(run.child.id(), Signal::SIGKILL);
        assert_eq!(run.child.wait().unwrap().signal(), Some(9));
        run.wait_until_gone();
    }
}

#[test]
fn ctrl_c_ends_the_run_and_cleans_up() {
    for user in User::ALL {
        for end in [Signal::SIGINT, Signal::SIGTERM] {
            let mut run = Run::start(user);
            wait_for_agents(&run);
            signal(run.child.id(), end);
            assert_eq!(run.child.wait().unwrap().code(), Some(130));
            run.wait_until_gone();
        }
    }
}

/// Without nftables, or without namespaces for users, the message says what is missing.
#[test]
fn a_node_that_cannot_run_the_lab_gets_the_reason() {
    let run_in = |preparation: &str| {
        let script = format!("{preparation} && exec {} run", program().display());
        // A user namespace has its own mounts and limits, so this machine does not change.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).current_dir(folder());
        let message = Finished::from(command.output().unwrap()).refusal();
        assert_eq!(message.lines().count(), 1, "{message}");
        message
    };
    let hide = "for nft in $(command -v nft) /usr/sbin/nft /sbin/nft; do [ ! -e $nft ] || mount --bind /dev/null $nft; done";
    insta::assert_snapshot!("no nft", run_in(hide));
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces";
    insta::assert_snapshot!("no namespaces", run_in(forbid));
}

/// Three steps with open connections. No pod may send, as far as `egress` does not allow it.
fn kept_open(egress: &str) -> String {
    let topology = "
  families: [IPv4, IPv6],
  namespaces: [{
    name: x,
    pods: [{name: a, node: 1}, {name: b, labels: {app: b}, node: 2}, {name: c, node: 2}],
    services: [{name: b, selector: {app: b}, ports: [{port: 8080, targetPort: 80}]}]}]";
    let spec = format!("podSelector: {{}}, policyTypes: [Egress]{egress}");
    let steps = [
        &policy_step("nobody may send any more", "x", "a", &spec),
        "  keepOpen: [{from: x/a, to: x/b, probe: 80/TCP}]
- name: what is denied is not opened
  keepOpen: [{from: x/a, to: '*', probe: 80/TCP}]
- name: a pod ends and another one is deleted
  keepOpen:
  - {from: x/a, to: x/*, probe: 80/TCP}
  - {from: x/c, to: x/a, probe: 80/TCP}
  - {from: x/a, to: 'service:x/b', probe: 8080/TCP}
  endPod: [x/b]
  removePod: [x/c]
",
    ];
    scenario("kept-open", topology, "80/TCP", &steps.concat())
}

/// Returns the fates of the connections of each step, as `x/a x/b IPv4 80/TCP: survived, deny`.
fn open_connections(finished: &Finished) -> Vec<Vec<String>> {
    let report = finished.json();
    let steps = report["scenarios"][0]["steps"].as_array().unwrap().iter();
    let fate = |open: &Value| {
        let text = |field: &str| open[field].as_str().unwrap_or("-").to_owned();
        format!("{}: {}, {}", ends(open), text("fate"), text("expected"))
    };
    let kept = |step: &Value| Some(step["openConnections"].as_array()?.iter().map(fate).collect());
    steps.map(|step| kept(step).unwrap_or_default()).collect()
}

#[test]
fn connections_that_were_open_before_a_step_are_reported_and_fail_nothing() {
    let path = file("kept-open.yaml", kept_open(""));
    let fates = open_connections(&run_json(&path, &[]).exits(0));
    assert_eq!(fates[0], ["x/a x/b IPv4 80/TCP: survived, deny", "x/a x/b IPv6 80/TCP: survived, deny"]);
    assert!(fates[1].is_empty() && fates[2].is_empty(), "{fates:?}");

    // Without the denial, there are connections that can end. No denial is proved, so the run is inconclusive.
    let path = file("kept-open-2.yaml", kept_open(", egress: [{}]"));
    let [_, unchanged, ended] = open_connections(&run_json(&path, &[]).exits(3)).try_into().unwrap();
    assert!(!unchanged.is_empty() && unchanged.iter().all(|fate| fate.ends_with("survived, allow")));
    let to_pods: Vec<_> = ended.iter().filter(|fate| !fate.contains("service:")).collect();
    assert!(to_pods.len() == 6 && to_pods.iter().all(|fate| fate.ends_with("ended, -")), "{ended:?}");
}

#[test]
fn connections_that_a_step_cuts_are_reported_as_cut() {
    let path = file("kept-open.yaml", kept_open(""));
    let fates = open_connections(&run_json(&path, &["--fault", "stateless"]));
    assert_eq!(fates[0], ["x/a x/b IPv4 80/TCP: cut, deny", "x/a x/b IPv6 80/TCP: cut, deny"]);
}
