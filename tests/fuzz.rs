//! Random cases: the three judges agree, and where one is made to differ, that is found and shrunk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use netproof::document::FuzzDocument;
use netproof::fuzz::{CaseName, Coverage, Differs, Disagreement, Found, FuzzResult, Shown};
use netproof::plan::Cell;
use netproof::policy::{Decision, IpFamily, Port, Protocol, Reason};
use netproof::report;
use netproof::scenario::{self};
use netproof::source;
use netproof::verdict::{Counts, Environment, Observation};
use netproof::world::{Action, EndpointName, Probe};
use serde_json::Value;

use crate::machine::{Finished, User, folder, run};

#[test]
fn engine_naive_evaluator_and_packets_agree() {
    for (user, seed) in [(User::Root, "1"), (User::Ordinary, "3")] {
        let finished =
            run(user, ["fuzz", "--cases", "40", "--seed", seed, "-o", "json", "--save", "nothing"]);
        assert_eq!(finished.code, Some(0), "as {user:?}: {} {}", finished.stdout, finished.stderr);
        let report = finished.json();
        assert_eq!((report["cases"].as_u64(), report["disagreeing"].as_u64()), (Some(40), Some(0)));
        assert!(report["cells"].as_u64().unwrap() > 2_000, "{}", report["cells"]);
        // Nothing was found, so there is nothing to save.
        assert!(!folder().join("nothing").exists());
    }
}

/// The scenario that a report names, read.
fn read(path: &Path) -> scenario::Scenario {
    scenario::load(&source::read(&[path.to_owned()]).unwrap()).unwrap().remove(0)
}

/// Runs random cases with a fault, seed after seed, until one shows the fault. Which seed does depends on the
/// generator: the first one to try only saves time.
fn until_found(fault: &str, first_seed: u64, options: &[&str]) -> Finished {
    let with_seed = |seed: u64| {
        let seed = seed.to_string();
        let arguments = ["fuzz", "--seed", &seed, "--fault", fault];
        // Only root may write to the folder.
        run(User::Root, arguments.iter().chain(options))
    };
    let mut runs = (first_seed..first_seed + 20).map(with_seed);
    let finished = runs.find(|finished| finished.code != Some(0));
    let finished = finished.unwrap_or_else(|| unreachable!("no seed shows {fault}"));
    assert_eq!(finished.code, Some(1), "{} {}", finished.stdout, finished.stderr);
    finished
}

/// Finds something with a fault. Returns the path of the scenario that shows it.
fn find(fault: &str, first_seed: u64) -> std::path::PathBuf {
    let saved = format!("found-{fault}");
    // A case is run more than a hundred times while it is shrunk.
    let fast = ["--settle", "100ms", "--max-timeout", "200ms", "--parallel", "8"];
    let options = [&fast[..], &["--cases", "8", "-o", "json", "--save", &saved]].concat();
    let report = until_found(fault, first_seed, &options).json();
    let found = &report["found"][0];
    assert_eq!((&found["differs"], &found["minimal"]), (&"packets".into(), &true.into()), "{found}");
    folder().join(found["file"].as_str().unwrap())
}

/// Checks that a scenario is small, and that it fails with a fault and passes without.
fn check(path: &Path, fault: &str) {
    let text = fs::read_to_string(path).unwrap();
    let scenario = read(path);
    let added = |action: &&Action| matches!(action, Action::AddPod(_));
    let is_policy = |action: &&Action| matches!(action, Action::SetPolicy(_));
    let actions = || scenario.steps.iter().flat_map(|step| &step.actions);
    let pods = scenario.world.clone().cluster.pods.len() + actions().filter(added).count();
    let policies = actions().filter(is_policy).count();
    assert!(policies <= 2 && pods <= 3 && scenario.probes.len() <= 1, "{text}");
    assert!(scenario.steps.iter().all(|step| !step.expect.is_empty()), "{text}");

    let path = path.to_str().unwrap();
    let with_fault = run(User::Ordinary, ["run", path, "--fault", fault]);
    assert_eq!(with_fault.code, Some(1), "{} {text}", with_fault.stderr);
    let without = run(User::Ordinary, ["run", path, "-v"]);
    assert_eq!(without.code, Some(0), "{} {} {text}", without.stdout, without.stderr);
}

#[test]
fn a_wrong_enforcement_is_found_and_shrunk_to_what_shows_it() {
    let path = find("ignore-except", 6);
    check(&path, "ignore-except");
}

/// What only a change shows stays more than one step.
#[test]
fn a_change_that_is_not_followed_is_found_and_shrunk() {
    let path = find("policies-never-removed", 2);
    check(&path, "policies-never-removed");
    assert!(read(&path).steps.len() >= 2);
}

#[test]
fn the_same_seed_gives_the_same_cases_however_many_at_once() {
    let reached = |parallel: &str| {
        let arguments = ["--cases", "30", "--seed", "11", "-o", "json", "--parallel", parallel];
        let report = run(User::Ordinary, ["fuzz"].iter().chain(&arguments)).json();
        (report["cases"].clone(), report["cells"].clone(), report["items"].clone(), report["fields"].clone())
    };
    assert_eq!(reached("1"), reached("3"));
}

/// Paths that die, loss, delay and agents that are killed, with an enforcer that leaks and with one that does not.
#[test]
fn interference_neither_hides_a_leak_nor_makes_one() {
    for fault in [&[][..], &["--fault", "ignore-udp"]] {
        let arguments = ["fuzz", "--interfere", "--cases", "6", "--seed", "9051", "--parallel", "6"];
        let finished = run(User::Ordinary, arguments.iter().chain(fault));
        assert_eq!(finished.code, Some(0), "{} {}", finished.stdout, finished.stderr);
        let carried_out = finished.stdout.lines().filter(|line| line.contains(" scenarios, "));
        assert!(carried_out.count() > 2, "{}", finished.stdout);
    }
}

#[test]
fn time_ends_it() {
    let finished = run(User::Ordinary, ["fuzz", "--time", "1s", "--seed", "1", "-o", "json"]);
    assert_eq!(finished.code, Some(0), "{} {}", finished.stdout, finished.stderr);
    assert!((1..400).contains(&finished.json()["cases"].as_u64().unwrap()));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let message = |arguments: &[&str]| {
        let finished = run(User::Ordinary, ["fuzz"].iter().chain(arguments));
        assert_eq!(finished.code, Some(2), "{finished:?}");
        finished.stderr
    };
    insta::assert_snapshot!(message(&["--cases", "0"]), @"error: --cases 0: without cases there is nothing to compare");
    insta::assert_snapshot!(message(&["--backend", "cluster", "--every-node"]), @"error: --every-node is for netproof run");
}

/// A folder that cannot be written to costs nobody what was found.
#[test]
fn what_cannot_be_saved_is_printed() {
    let finished = until_found("ignore-except", 6, &["--cases", "1", "--save", "/proc/nothing"]);
    assert!(finished.stderr.contains("error: --save /proc/nothing/fuzz-"), "{}", finished.stderr);
    assert!(finished.stdout.contains("kind: Scenario\n"), "{}", finished.stdout);
}

/// A result with one disagreement of each kind of end.
fn result() -> FuzzResult {
    let found = |number, shown| Found {
        case: CaseName { seed: 7, number },
        disagreement: Disagreement {
            cell: Cell {
                from: EndpointName::pod("x", "a"),
                to: EndpointName::pod("y", "b"),
                family: IpFamily::V4,
                probe: Probe::Port { port: Port::new(80).unwrap(), protocol: Protocol::Tcp },
            },
            engine: Decision::Deny,
            reasons: vec![Reason::OwnNode],
            naive: Decision::Deny,
            observed: Some(Observation::Connected),
            differs: Differs::Packets,
        },
        cells: 3,
        shown,
        tries: 42,
    };
    let shown = |is_minimal| Some(Shown { text: String::new(), is_minimal });
    FuzzResult {
        seed: 7,
        cases: 200,
        disagreeing: 5,
        counts: Counts { matches: 20_000, leaks: 9, undefined: 300, excused: 20, ..Counts::default() },
        found: vec![found(3, shown(true)), found(8, shown(false)), found(9, None)],
        coverage: Coverage::default(),
        took: Duration::from_secs(20),
        ..FuzzResult::default()
    }
}

#[test]
fn the_report_says_who_differs_and_what_shows_it() {
    let lab = Environment { name: "lab".to_owned(), ..Environment::default() };
    let saved = [Some("found/fuzz-7-3.yaml".into()), Some("found/fuzz-7-8.yaml".into()), None];
    let text = report::fuzz(&result(), &lab, &saved, true);
    let text = anstream::adapter::strip_str(&text).to_string();
    let (found, _) = text.split_once("\nItems").unwrap();
    insta::assert_snapshot!(found, @r"
    FAIL  engine, naive evaluator and packets do not agree in 5 cases: 20,309 cells in 200 cases, 20.00 s, 10.0 cases a second (lab, seed 7)
    280 left undefined by the specification, 20 left undefined by profiles

    Disagreements  followed up: 3 of 5 cases
      packets differ from the policy engine and from the naive evaluator (--seed 7 --cases 3: 3 cells)
        x/a → y/b 80/TCP (IPv4): engine deny, naive evaluator deny, packets connected
          a pod and its own node always reach each other
        netproof run found/fuzz-7-3.yaml  the least that shows it, after 42 tries
      packets differ from the policy engine and from the naive evaluator (--seed 7 --cases 8: 3 cells)
        x/a → y/b 80/TCP (IPv4): engine deny, naive evaluator deny, packets connected
          a pod and its own node always reach each other
        netproof run found/fuzz-7-8.yaml  it could perhaps be smaller: ended after 42 tries
      packets differ from the policy engine and from the naive evaluator (--seed 7 --cases 9: 3 cells)
        x/a → y/b 80/TCP (IPv4): engine deny, naive evaluator deny, packets connected
          a pod and its own node always reach each other
        it did not happen again in 42 tries
    ");
    let document = FuzzDocument::new(&result(), &lab.name, &saved);
    let json: Value = serde_json::from_str(&report::json(&document).unwrap()).unwrap();
    insta::assert_snapshot!(json["found"][0], @r#"{"case":3,"cells":3,"differs":"packets","engine":"deny","family":"IPv4","file":"found/fuzz-7-3.yaml","from":"x/a","minimal":true,"naive":"deny","observed":"connected","probe":"80/TCP","reasons":["a pod and its own node always reach each other"],"seed":7,"to":"y/b","tries":42}"#);
    assert_eq!(result().exit_code(), 1);
    let unsure = FuzzResult { disagreeing: 0, counts: Counts { flaky: 1, ..Counts::default() }, ..result() };
    assert_eq!(unsure.exit_code(), 3);
}
