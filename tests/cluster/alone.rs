//! Scenarios that fail beside others are run again, alone.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

use super::verdicts::Stopped;
use super::{Cluster, plain, support};
use crate::support::{Finished, ends};

/// Returns the leaks of a report with their verdicts alone.
fn leaks_alone(report: &Value) -> Vec<(String, Option<String>)> {
    let cells = support::cells(report).into_iter().filter(|(_, cell)| cell["verdict"] == "leak");
    cells.map(|(_, cell)| (ends(&cell), cell["alone"].as_str().map(str::to_owned))).collect()
}

/// Runs the first two plain scenarios at the same time while no node follows changes. `then` is called when both have
/// ended, and has the chance to change that.
fn run_beside(cluster: &Cluster, options: &[&str], then: impl FnOnce(Stopped)) -> Finished {
    let stopped = Stopped::enforcers(&["1", "2"]);
    let scenarios = plain();
    let mut arguments: Vec<&str> = scenarios.iter().map(String::as_str).take(2).collect();
    // Otherwise, the run would end when the first one has shown that nothing enforces policies.
    arguments.extend(["--parallel", "2", "--settle", "3s", "--keep-going", "-o", "json"]);
    arguments.extend(options);
    let mut running = cluster.start(&arguments);
    let mut stderr = BufReader::new(running.stderr.take().unwrap());
    let (mut ended, mut lines) = (0, String::new());
    while ended < 2 {
        let known = lines.len();
        if stderr.read_line(&mut lines).unwrap() == 0 {
            break;
        }
        ended += usize::from(lines[known..].starts_with('['));
    }
    then(stopped);
    // Both ends of the pipes are read, so that the program never waits.
    let rest = std::thread::spawn(move || stderr.read_to_string(&mut lines).map(|_| lines));
    let output = running.wait_with_output().unwrap();
    Finished { stderr: rest.join().unwrap().unwrap(), ..Finished::from(output) }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_fails_only_beside_others_is_told_from_what_fails_alone() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    // The enforcer is well again when the scenarios are run alone.
    let finished = run_beside(&cluster, &[], drop);
    assert_eq!(finished.code, Some(1), "a leak is one, whatever is seen alone: {}", finished.stderr);
    let report = finished.json();
    let leaks = leaks_alone(&report);
    assert!(!leaks.is_empty());
    let others: Vec<_> = leaks.iter().filter(|(_, alone)| alone.as_deref() != Some("match")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(finished.stderr.contains("alone: "), "{}", finished.stderr);

    // It stays stopped.
    let mut stopped = None;
    let finished = run_beside(&cluster, &[], |it| stopped = Some(it));
    drop(stopped);
    let report = finished.json();
    let (leaks, scenarios) = (leaks_alone(&report), report["scenarios"].as_array().unwrap());
    // There may have been no time for the second one.
    let verdicts: Vec<_> = leaks.iter().filter_map(|(_, alone)| alone.as_deref()).collect();
    assert!(!verdicts.is_empty() && verdicts.iter().all(|alone| *alone == "leak"), "{leaks:?}");
    let beside = |scenario: &Value| scenario["alone"]["beside"].as_array().map(Vec::len);
    assert!(scenarios.iter().all(|scenario| beside(scenario) == Some(1)));
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn nothing_is_run_again_if_that_is_not_wanted() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let finished = run_beside(&cluster, &["--no-rerun"], drop);
    let leaks = leaks_alone(&finished.json());
    assert!(!leaks.is_empty() && leaks.iter().all(|(_, alone)| alone.is_none()), "{leaks:?}");
}
