//! Finds the lab of a running netproof, and interferes with it from outside.
//!
//! netproof does not take part. Its agents are child processes, so `/proc` leads to the namespaces of its pods and nodes.
//! `nft`, signals, and this test program itself ([`inside`](super::inside)) act there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::inside::{Helper, VARIABLE};
use crate::support::{Finished, User, command, file, folder, signal, writable_file};

/// Time for something to appear. Other tests may keep the machine busy.
const DEADLINE: Duration = Duration::from_secs(30);

/// A run of netproof, and everything that interferes with it.
pub(super) struct RunningLab {
    child: Option<Child>,
    helpers: Vec<Child>,
}

impl RunningLab {
    /// Starts `netproof run` with one scenario.
    pub(super) fn start(user: User, scenario: &str, options: &[&str]) -> Self {
        Self::spawn(command(user), scenario, options)
    }

    /// Starts `netproof run` as an ordinary user does on a terminal that shows colours.
    pub(super) fn start_on_terminal(scenario: &str, options: &[&str]) -> Self {
        let mut command = command(User::Ordinary);
        command.env("CLICOLOR_FORCE", "1");
        Self::spawn(command, scenario, options)
    }

    fn spawn(mut command: Command, scenario: &str, options: &[&str]) -> Self {
        let path = file(&format!("interference/{:016x}.yaml", fastrand::u64(..)), scenario);
        command.arg("run").arg(path).args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: Some(command.spawn().unwrap()), helpers: Vec::new() }
    }

    /// Waits until the nodes have this generation of rules, and stops netproof. Its agents and the network go on.
    ///
    /// Generation 1 has no policies. If every step of a scenario changes the rules, step `n` brings generation `n + 1`.
    pub(super) fn stop_at_generation(&self, generation: u64) -> Stopped {
        // Before that, some processes of the lab may not exist yet.
        self.wait("the nodes have rules", |lab| lab.generation() >= Some(1));
        self.wait(&format!("generation {generation} of the rules"), |lab| {
            lab.generation() >= Some(generation)
        });
        let agent = self.agents().into_values().next().unwrap();
        Stopped::new(parent(agent).unwrap())
    }

    /// Drops the input of every pod. Only the pod itself can still reach it.
    pub(super) fn drop_input_of_all_pods(&self) {
        let agents = self.agents();
        let pods: Vec<_> = agents.iter().filter(|(name, _)| !name.contains(':')).collect();
        assert!(!pods.is_empty(), "{agents:?}");
        for (_, pod) in pods {
            nft(*pod, "type filter hook input priority 0", &["iifname eth0 drop"]);
        }
    }

    /// Drops everything between a node's pods and other nodes.
    pub(super) fn cut_off(&self, node: &str) {
        let rules = ["iifname eth0 drop", "oifname eth0 drop"];
        nft(self.agent(&format!("node:{node}")), "type filter hook forward priority -10", &rules);
    }

    /// Lets connections of all pods pass by the rules of their nodes.
    pub(super) fn detour(&mut self, per_mille: u32, delay: Duration) {
        for (name, agent) in self.agents() {
            if name.starts_with("node:") {
                self.help(
                    agent,
                    &Helper::Detour { per_mille, delay_ms: delay.as_millis().try_into().unwrap() },
                );
            }
        }
    }

    /// Ends what was started by [`detour`](Self::detour) and [`answer`](Self::answer).
    pub(super) fn end_helpers(&mut self) {
        for mut helper in self.helpers.drain(..) {
            helper.kill().unwrap();
            helper.wait().unwrap();
        }
    }

    /// Answers everything that comes to a port of a pod from outside of the pod, over UDP and TCP, in this name.
    pub(super) fn answer(&mut self, pod: &str, port: u16, name: &str) {
        const STRANGER: u16 = 8666;
        let agent = self.agent(pod);
        self.help(agent, &Helper::Answer { port: STRANGER, name: name.to_owned() });
        let [tcp, udp] = ["tcp", "udp"]
            .map(|protocol| format!("iifname eth0 {protocol} dport {port} redirect to :{STRANGER}"));
        nft(agent, "type nat hook prerouting priority -100", &[&tcp, &udp]);
    }

    /// Drops the answers of a pod's DNS server. It still gets the questions.
    pub(super) fn lose_answers_to_lookups(&self, pod: &str, port: u16) {
        let rule = format!("oifname eth0 udp sport {port} drop");
        nft(self.agent(pod), "type filter hook output priority 0", &[&rule]);
    }

    /// Drops what other pods send to a port of a pod.
    pub(super) fn close_port(&self, pod: &str, protocol: &str, port: u16) {
        let rule = format!("iifname eth0 {protocol} dport {port} drop");
        nft(self.agent(pod), "type filter hook input priority 0", &[&rule]);
    }

    /// Kills the agent of an endpoint.
    pub(super) fn kill_agent(&self, endpoint: &str) {
        signal(self.agent(endpoint), Signal::SIGKILL);
    }

    /// Waits until netproof has ended.
    pub(super) fn finish(mut self) -> Finished {
        let finished = self.child.take().unwrap().wait_with_output().unwrap().into();
        self.end_helpers();
        finished
    }

    fn wait(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_there(self) {
            assert!(Instant::now() < deadline, "never came: {what}; agents: {:?}", self.agents());
            sleep(Duration::from_millis(2));
        }
    }

    /// Returns how often the rules of the nodes have been replaced; `None` before they have any.
    fn generation(&self) -> Option<u64> {
        let agents = self.agents();
        let nodes = agents.iter().filter(|(name, _)| name.starts_with("node:"));
        let of_node = |(_, agent): (&String, &u32)| {
            let output = enter(*agent, Path::new("nft")).args(["list", "tables"]).output().unwrap();
            let tables = String::from_utf8(output.stdout).unwrap();
            let numbers = tables.lines().filter_map(|line| line.strip_prefix("table inet netproof_"));
            numbers.filter_map(|number| number.parse().ok()).max()
        };
        nodes.filter_map(of_node).max()
    }

    fn agent(&self, endpoint: &str) -> u32 {
        let agents = self.agents();
        *agents.get(endpoint).unwrap_or_else(|| unreachable!("{endpoint} is not among {agents:?}"))
    }

    /// Returns the processes of the agents, by the names of their endpoints.
    fn agents(&self) -> BTreeMap<String, u32> {
        let root = self.child.as_ref().unwrap().id();
        let mut agents = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let arguments = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let arguments: Vec<_> = arguments.split('\0').collect();
            if let [_, "--lab-agent", name, ..] = arguments.as_slice()
                && parent(pid).and_then(parent) == Some(root)
            {
                agents.insert((*name).to_owned(), pid);
            }
        }
        agents
    }

    /// Starts a helper in the network of an agent, and waits until it is ready.
    fn help(&mut self, agent: u32, helper: &Helper) {
        let mut command = enter(agent, this_program());
        command.args(["interference::inside::helper", "--exact", "--ignored", "--nocapture"]);
        let ready = writable_file(&format!("interference/ready-{:016x}", fastrand::u64(..)));
        let helper = serde_json::json!({ "do": helper, "ready": ready });
        command.env(VARIABLE, helper.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.helpers.push(command.spawn().unwrap());
        let is_ready = |_: &Self| fs::read(&ready).unwrap() == super::inside::READY;
        self.wait("the helper is ready", is_ready);
    }
}

impl Drop for RunningLab {
    fn drop(&mut self) {
        // These processes may have ended.
        for child in self.helpers.iter_mut().chain(&mut self.child) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Netproof, stopped until this value is dropped.
pub(super) struct Stopped(u32);

impl Stopped {
    fn new(netproof: u32) -> Self {
        signal(netproof, Signal::SIGSTOP);
        let stopped = Self(netproof);
        let deadline = Instant::now() + DEADLINE;
        while stat(netproof).is_some_and(|stat| stat.first().is_none_or(|state| state != "T")) {
            assert!(Instant::now() < deadline, "netproof did not stop");
            sleep(Duration::from_millis(1));
        }
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::SIGCONT);
    }
}

/// Returns the fields of `/proc/PID/stat` after the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Returns a command that runs a program in the network of a process.
fn enter(pid: u32, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--net"]);
    // Root's lab has no user namespace of its own, and a process cannot enter its own user namespace.
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    if namespace(&pid.to_string()) != namespace("self") {
        command.arg("--user");
    }
    // An ordinary user's `PATH` may not lead to `nft`.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.arg("--").arg(program).env("PATH", path);
    command
}

/// Adds a chain with these rules to the network of a process.
fn nft(pid: u32, chain: &str, rules: &[&str]) {
    // A pod or node gets at most one chain in a test.
    let rules: String =
        rules.iter().map(|rule| format!("\nadd rule inet interference chain0 {rule}")).collect();
    let table = "add table inet interference";
    let script = format!("{table}\nadd chain inet interference chain0 {{ {chain}; }}{rules}");
    let output = enter(pid, Path::new("nft")).arg(&script).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns a copy of this test program that every user can start.
fn this_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let copy = folder().join("netproof-tests");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        copy
    })
}
