//! What the scenario library covers: a case that is the only one of its kind cannot be deleted.

use std::collections::{BTreeMap, BTreeSet};

use netproof::scenario::Item;
use serde_json::Value;

use crate::machine::{library, library_run};

/// What a library should have of every item, each allowed and denied.
const KINDS: [&str; 8] = ["ingress", "egress", "IPv4", "IPv6", "TCP", "UDP", "on one node", "across nodes"];

/// What an item cannot have, and why.
const IMPOSSIBLE: [(u8, &[&str], &str); 3] = [
    (30, &["UDP"], "the API server and its webhooks speak TCP"),
    (31, &["on one node"], "where an ingress rule decides, the pod's own node is always admitted"),
    (43, &["egress", "ingress"], "what is ambiguous is neither allowed nor denied by a rule"),
];

/// Of each item, what its cases claim. Whether they decide it is for `src/fuzz/item` to say.
fn covered(report: &Value) -> BTreeMap<u8, BTreeSet<String>> {
    let mut covered = BTreeMap::<u8, BTreeSet<String>>::new();
    let list = |value: &Value| value.as_array().unwrap().clone();
    for step in list(&report["scenarios"]).iter().flat_map(|scenario| list(&scenario["steps"])) {
        let kinds: BTreeSet<_> = list(&step["cells"]).iter().flat_map(kinds).collect();
        for item in list(&step["items"]) {
            let item = u8::try_from(item.as_u64().unwrap()).unwrap();
            covered.entry(item).or_default().extend(kinds.clone());
        }
    }
    covered
}

/// What a cell with a hand-written assertion is an example of, such as `deny ingress`.
fn kinds(cell: &Value) -> Vec<String> {
    let Some(claim) = cell["asserted"].as_str() else { return Vec::new() };
    let mut kinds = vec![cell["family"].as_str().unwrap().to_owned()];
    kinds.extend(cell["probe"].as_str().unwrap().rsplit('/').next().map(str::to_owned));
    let reasons = cell["reasons"].as_array().unwrap();
    kinds.extend(reasons.iter().filter_map(|reason| reason["direction"].as_str()).map(str::to_owned));
    if let (Some(from), Some(to)) = (cell["fromNode"].as_str(), cell["toNode"].as_str()) {
        kinds.push(if from == to { "on one node" } else { "across nodes" }.to_owned());
    }
    kinds.push(String::new());
    kinds.into_iter().map(|kind| format!("{claim} {kind}").trim_end().to_owned()).collect()
}

#[test]
fn every_case_says_why_it_matters() {
    let texts = netproof::source::read(&[library().to_path_buf()]).unwrap();
    for scenario in netproof::scenario::load(&texts).unwrap() {
        assert!(!scenario.description.is_empty(), "{}", scenario.name);
        for step in &scenario.steps {
            assert!(!step.description.is_empty(), "{} › {}", scenario.name, step.name);
            assert!(!step.items.is_empty(), "{} › {}", scenario.name, step.name);
        }
    }
}

/// A cell that cannot be measured is inconclusive unless its scenario declares what it needs.
#[test]
fn every_scenario_declares_what_it_needs() {
    let texts = netproof::source::read(&[library().to_path_buf()]).unwrap();
    for scenario in netproof::scenario::load(&texts).unwrap() {
        assert_eq!(scenario.requires(), scenario.needs(), "{}", scenario.file);
    }
}

#[test]
fn every_item_has_cases_of_every_kind() {
    let finished = library_run();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let covered = covered(&finished.json());
    let mut missing = Vec::new();
    for item in Item::all() {
        let impossible = IMPOSSIBLE.iter().find(|(number, ..)| *number == item.number());
        let has = covered.get(&item.number()).cloned().unwrap_or_default();
        for claim in ["allow", "deny"] {
            for kind in KINDS {
                let wanted = format!("{claim} {kind}");
                let is_possible = impossible.is_none_or(|(_, kinds, _)| !kinds.contains(&kind));
                if is_possible && !has.contains(&wanted) {
                    missing.push(format!("{item} ({}): {wanted}", item.title()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no case: {missing:#?}");
}
