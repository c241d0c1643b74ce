//! What the scenario library covers. If a case is the only one of its kind, its deletion fails a test.
//!
//! These tests send no packets. Whether packets agree with the library is for the self-test to show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use netproof::fuzz::Case;
use netproof::plan::{Cell, Router, cells};
use netproof::policy::{Decision, Engine, Reason, UndefinedCause};
use netproof::scenario::{Assertion, Claim, Scenario, SpecRule, Step};
use netproof::world::World;

use crate::support::{folder, library};

/// Kinds of cells that the library must have for every rule, allowed and denied.
const KINDS: [&str; 8] = ["ingress", "egress", "IPv4", "IPv6", "TCP", "UDP", "on one node", "across nodes"];

/// Kinds that a rule cannot have, and the reason.
const IMPOSSIBLE: [(u8, &[&str], &str); 3] = [
    (30, &["UDP"], "the API server and its webhooks speak TCP"),
    (31, &["on one node"], "where an ingress rule decides, the pod's own node is always admitted"),
    (43, &["egress", "ingress"], "what is ambiguous is neither allowed nor denied by a rule"),
];

/// What the library asserts by hand, and which cells are undefined.
#[derive(Default)]
struct Covered {
    /// For each spec rule, the kinds of its cells, such as `deny ingress`. `src/fuzz/spec_rule` tests whether a cell
    /// depends on the rule.
    kinds: BTreeMap<SpecRule, BTreeSet<String>>,
    /// The reasons for which cells are undefined.
    undefined: BTreeSet<&'static str>,
    cells: usize,
    asserted: usize,
    intended: usize,
}

/// Returns the scenarios of the library, which are read once for all tests.
fn scenarios() -> &'static [Scenario] {
    static SCENARIOS: OnceLock<Vec<Scenario>> = OnceLock::new();
    SCENARIOS.get_or_init(|| {
        let texts = netproof::source::read(&[folder().join(library(""))]).unwrap();
        netproof::scenario::load(&texts).unwrap()
    })
}

/// Returns what the library covers, with the addresses of the lab. It is computed once for all tests.
fn covered() -> &'static Covered {
    static COVERED: OnceLock<Covered> = OnceLock::new();
    COVERED.get_or_init(|| {
        let mut covered = Covered::default();
        for scenario in scenarios() {
            for (step, case) in scenario.steps.iter().zip(netproof::fuzz::cases(scenario).unwrap()) {
                covered.add(step, &case);
            }
        }
        covered
    })
}

/// Returns the claim of the last assertion that covers a cell.
fn claimed(assertions: &[Assertion], cell: &Cell) -> Option<Claim> {
    let covers = |a: &&Assertion| a.covers(&cell.from, &cell.to, cell.family, cell.probe);
    assertions.iter().rev().find(covers).map(|assertion| assertion.claim)
}

impl Covered {
    fn add(&mut self, step: &Step, case: &Case) {
        let engine = Engine::new(case.world.cluster.clone());
        let router = Router::new(&case.world, &engine);
        for cell in cells(&case.world, &case.probes) {
            let route = router.route(&cell);
            let expected = route.as_ref().map(|route| route.evaluate(&engine));
            self.cells += 1;
            self.intended += usize::from(claimed(&step.intent, &cell).is_some());
            if let Some(expected) = expected.as_ref().filter(|e| e.decision == Decision::Undefined) {
                self.undefined.extend(expected.reasons.iter().filter_map(|reason| {
                    let Reason::Undefined(cause) = reason else { return None };
                    Some(cause.kind())
                }));
            }
            let Some(claim) = claimed(&step.expect, &cell) else { continue };
            self.asserted += 1;
            if let Some(expected) = &expected {
                assert_eq!(claim, expected.decision, "{} › {}", step.name, cell.from);
            }
            let reasons = expected.map(|expected| expected.reasons).unwrap_or_default();
            let kinds = kinds(&case.world, &cell, claim, &reasons);
            for rule in &step.spec_rules {
                self.kinds.entry(*rule).or_default().extend(kinds.iter().cloned());
            }
        }
    }
}

/// Returns the kinds of a cell with a hand-written assertion.
fn kinds(world: &World, cell: &Cell, claim: Decision, reasons: &[Reason]) -> Vec<String> {
    let mut kinds = vec![cell.family.to_string(), cell.probe.protocol().name().to_owned()];
    kinds.extend(reasons.iter().filter_map(Reason::direction).map(|direction| direction.name().to_owned()));
    if let (Some(from), Some(to)) = (world.node_of(&cell.from), world.node_of(&cell.to)) {
        kinds.push(if from == to { "on one node" } else { "across nodes" }.to_owned());
    }
    let claim = match claim {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Undefined => "undefined",
    };
    kinds.into_iter().map(|kind| format!("{claim} {kind}")).collect()
}

#[test]
fn every_case_says_why_it_matters() {
    for scenario in scenarios() {
        assert!(!scenario.description.is_empty(), "{}", scenario.name);
        for step in &scenario.steps {
            assert!(!step.description.is_empty(), "{} › {}", scenario.name, step.name);
            assert!(!step.spec_rules.is_empty(), "{} › {}", scenario.name, step.name);
        }
    }
}

/// If a cell cannot be measured, it is inconclusive, unless its scenario declares what it needs.
#[test]
fn every_scenario_declares_what_it_needs() {
    for scenario in scenarios() {
        assert_eq!(scenario.requires(), scenario.needs(), "{}", scenario.file);
    }
}

#[test]
fn every_spec_rule_has_cases_of_every_kind() {
    let covered = covered();
    let mut missing = Vec::new();
    for rule in SpecRule::all() {
        let impossible = IMPOSSIBLE.iter().find(|(number, ..)| *number == rule.number());
        let has = covered.kinds.get(&rule).cloned().unwrap_or_default();
        for claim in ["allow", "deny"] {
            for kind in KINDS {
                let wanted = format!("{claim} {kind}");
                let is_possible = impossible.is_none_or(|(_, kinds, _)| !kinds.contains(&kind));
                if is_possible && !has.contains(&wanted) {
                    missing.push(format!("{rule} ({}): {wanted}", rule.title()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no case: {missing:#?}");
    let Covered { cells, asserted, intended, .. } = covered;
    assert!(asserted * 10 > cells * 9, "{asserted} of {cells} cells are asserted");
    assert!(*intended > 100, "{intended} of {cells} cells have an intent");
}

/// Reasons that only manifests can have. A scenario knows its whole cluster, and probes only ports and
/// families that its endpoints have.
const ONLY_IN_MANIFESTS: [&str; 6] = [
    "backends-unknown",
    "no-service-port",
    "address-unknown",
    "labels-unknown",
    "subject-unknown",
    "no-address",
];

#[test]
fn every_reason_to_be_undefined_has_a_case() {
    let reasons = UndefinedCause::KINDS.iter().copied();
    let missing: Vec<_> = reasons.filter(|reason| !covered().undefined.contains(reason)).collect();
    assert_eq!(missing, ONLY_IN_MANIFESTS, "reasons with which no scenario has an undefined cell");
}

/// A report names the scenario. Its file must be found without a search through all files.
#[test]
fn every_file_has_the_name_of_its_scenario() {
    for scenario in scenarios() {
        let file = Path::new(&*scenario.file);
        let name = file.file_stem().unwrap().to_str();
        assert_eq!(name, Some(&*scenario.name), "rename {} to {}.yaml", file.display(), scenario.name);
    }
}

/// A newcomer finds a scenario by the subject of its folder.
#[test]
fn the_documentation_lists_every_folder() {
    let (_, table) = include_str!("../docs/scenarios.md").split_once("| folder | subject |").unwrap();
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix("| `")?.split_once("/` |"));
    let documented: BTreeSet<String> = rows.map(|(folder, _)| folder.to_owned()).collect();
    let folders = fs::read_dir(folder().join(library(""))).unwrap().map(|entry| entry.unwrap().file_name());
    let folders: BTreeSet<String> = folders.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(documented, folders, "describe each folder of scenarios/ in the table of docs/scenarios.md");
}
