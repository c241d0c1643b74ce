//! Writes the assertions of a step as a person would: a general line first, then the exceptions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::plan::Cell;
use crate::policy::Decision;

/// Returns assertions that state the decision for every cell.
pub(super) fn assertions(cells: &[(Cell, Decision)]) -> Vec<Value> {
    let (own, others): (Vec<_>, Vec<_>) = cells.iter().partition(|(cell, _)| cell.from == cell.to);
    let mut assertions = Vec::new();
    for (cells, to) in [(others, "*"), (own, "self")] {
        let Some(common) = most_common(&cells) else { continue };
        assertions.push(line("*", &json!(to), common, "all"));
        assertions.extend(exceptions(&cells, common));
    }
    assertions
}

fn most_common(cells: &[&(Cell, Decision)]) -> Option<Decision> {
    let count = |decision| cells.iter().filter(|(_, other)| *other == decision).count();
    let all = [Decision::Undefined, Decision::Allow, Decision::Deny];
    all.into_iter().filter(|decision| count(*decision) > 0).max_by_key(|decision| count(*decision))
}

/// Returns assertions for the cells whose decision differs from the most common one.
fn exceptions(cells: &[&(Cell, Decision)], common: Decision) -> Vec<Value> {
    // Receivers, by sender, decision, probe and family.
    type Kind = (String, Decision, String, Option<&'static str>);
    let mut lines: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
    for (cell, decision) in cells.iter().filter(|(_, decision)| *decision != common) {
        let between = cells.iter().filter(|(other, _)| other.from == cell.from && other.to == cell.to);
        let mut differing = between.filter(|(_, theirs)| theirs != decision).peekable();
        let (probe, family) = if differing.peek().is_none() {
            ("all".to_owned(), None)
        } else {
            let is_of_family = differing.any(|(other, _)| other.probe == cell.probe);
            (cell.probe.to_string(), is_of_family.then(|| cell.family.name()))
        };
        let to = if cell.from == cell.to { "self".to_owned() } else { cell.to.to_string() };
        lines.entry((cell.from.to_string(), *decision, probe, family)).or_default().insert(to);
    }
    let written = lines.into_iter().map(|((from, decision, probe, family), to)| {
        let to = if to.len() == 1 { json!(to.first()) } else { json!(to) };
        let mut line = line(&from, &to, decision, &probe);
        if let (Some(family), Some(fields)) = (family, line.as_object_mut()) {
            fields.insert("family".to_owned(), json!(family));
        }
        line
    });
    written.collect()
}

fn line(from: &str, to: &Value, decision: Decision, probe: &str) -> Value {
    json!({ "from": from, "to": to, (decision.name()): [probe] })
}
