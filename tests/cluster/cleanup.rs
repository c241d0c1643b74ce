//! The end of a run, and what `netproof cleanup` finds.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use nix::sys::signal::Signal;

use super::{Cluster, plain, wait_for};
use crate::support::{Finished, User, run, scenario_file, signal};

/// A run whose verdict was printed, and that is cleaning up.
pub(super) struct CleaningUp {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    /// The exit code that the verdict leads to. Without an enforcer, a run fails.
    code: i32,
    /// The line that says so.
    said: String,
}

impl CleaningUp {
    fn start(cluster: &Cluster) -> Self {
        Self::wait(cluster, cluster.start(&[&scenario_file("default-deny")]))
    }

    /// Waits until a command has printed its verdict.
    pub(super) fn wait(cluster: &Cluster, mut child: Child) -> Self {
        let mut verdict = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut verdict).unwrap();
        assert!(!cluster.namespaces().is_empty(), "{verdict}");
        let code = match verdict.split(' ').next().unwrap() {
            "PASS" => 0,
            "FAIL" => 1,
            "INCONCLUSIVE" => 3,
            _ => unreachable!("no verdict: {verdict}"),
        };
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.starts_with("cleaning up") {
            said.clear();
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "the run ended");
        }
        Self { child, stderr, code, said }
    }

    /// Waits for the end, which has to have the verdict's exit code. Returns the rest of standard error.
    pub(super) fn end(mut self) -> String {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(self.code), "{rest}");
        rest
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn the_verdict_is_printed_before_the_namespaces_are_removed() {
    let cluster = Cluster::named();
    let running = CleaningUp::start(&cluster);
    // A program that wants the run to end gets what it wants, and nothing is left.
    signal(running.child.id(), Signal::SIGTERM);
    assert_eq!(running.end(), "");
    cluster.check_clean();
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn ctrl_c_ends_a_clean_up_and_the_rest_can_be_removed() {
    let cluster = Cluster::named();
    let running = CleaningUp::start(&cluster);
    let said = running.said.clone();
    signal(running.child.id(), Signal::SIGINT);
    let rest = running.end();
    let (_, command) = rest.trim().split_once("remove the rest with: netproof ").unwrap();
    assert!(said.contains(command), "{said}");
    run(User::Root, command.split(' ')).exits(0);
    cluster.check_clean();
}

/// A pager reads only the first page.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_slow_reader_does_not_keep_the_namespaces() {
    let cluster = Cluster::named();
    // The report is larger than a pipe.
    let scenarios = plain();
    let mut arguments: Vec<&str> = scenarios.iter().map(String::as_str).collect();
    arguments.extend(["-o", "json"]);
    let mut child = cluster.start(&arguments);
    wait_for(|| !cluster.namespaces().is_empty());
    wait_for(|| cluster.namespaces().is_empty());
    assert!(child.try_wait().unwrap().is_none(), "the report fitted into a pipe");
    let finished = Finished::from(child.wait_with_output().unwrap());
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:?}");
    assert_eq!(finished.json()["kind"], "RunResult");
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn runs_are_listed_before_they_are_removed() {
    let cluster = Cluster::named();
    let cleanup =
        |options: &[&str]| run(User::Root, [&["cleanup", "--context", &cluster.context], options].concat());
    assert_eq!(cleanup(&[]).exits(0).stdout, "nothing was left\n");
    let finished = cluster.run(&[&scenario_file("default-deny"), "--keep"]);
    let (_, command) = finished.stderr.split_once(" stay: remove them with: netproof ").unwrap();
    let command: Vec<&str> = command.lines().next().unwrap().split(' ').collect();
    let left = cluster.namespaces();
    // Nobody can be asked.
    let listed = cleanup(&[]).exits(2);
    assert!(listed.stdout.contains(&format!("{} namespaces, ", left.len())), "{listed:?}");
    assert!(
        listed.stdout.contains(" live pods, began ") && listed.stdout.contains("seems to be in progress")
    );
    assert!(listed.stderr.contains("nothing was removed: add --yes"), "{listed:?}");
    let spared = cleanup(&["--older-than", "1h"]).exits(0).stdout;
    assert!(spared.starts_with("nothing was removed\nspared 1 run:\n"), "{spared}");
    assert!(
        cleanup(&["--run", "nobody"]).exits(0).stdout.starts_with("nothing was removed\nspared 1 run:\n")
    );
    assert_eq!(cluster.namespaces(), left);
    let removed = run(User::Root, command).exits(0).stdout;
    assert_eq!(removed.lines().filter(|line| line.starts_with("removed netproof-")).count(), left.len());
    cluster.check_clean();
}
