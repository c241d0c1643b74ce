//! Writes the assertions of a step as a person would: a general line first, then the exceptions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::plan::Cell;
use crate::policy::Decision;

/// Returns assertions that state the decision for every cell.
pub(super) fn assertions(cells: &[(Cell, Decision)]) -> Vec<Value> {
    let (own, others): (Vec<_>, Vec<_>) = cells.iter().partition(|(cell, _)| cell.from == cell.to);
    let mut assertions = Vec::new();
    if let Some(common) = most_common(&others) {
        assertions.push(line(json!("*"), json!("*"), common, json!(["all"])));
        assertions.extend(exceptions(&others, common));
    }
    if let Some(common) = most_common(&own) {
        assertions.push(line(json!("*"), json!("self"), common, json!(["all"])));
        assertions.extend(exceptions(&own, common));
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
    let mut lines: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
    let mut pairs: BTreeMap<(String, String), Vec<&(Cell, Decision)>> = BTreeMap::new();
    for entry in cells {
        let (cell, _) = entry;
        let to = if cell.from == cell.to { "self".to_owned() } else { cell.to.to_string() };
        pairs.entry((cell.from.to_string(), to)).or_default().push(entry);
    }
    for ((from, to), cells) in pairs {
        let others = cells.iter().filter(|(_, decision)| *decision != common);
        let is_one = |decision: Decision| cells.iter().all(|(_, other)| *other == decision);
        for (cell, decision) in others {
            let key = if is_one(*decision) {
                (from.clone(), *decision, "all".to_owned(), None)
            } else {
                let is_same =
                    |(other, theirs): &&&(Cell, Decision)| other.probe == cell.probe && theirs == decision;
                let is_probe = |(other, _): &&&(Cell, Decision)| other.probe == cell.probe;
                let in_all_families =
                    cells.iter().filter(is_same).count() == cells.iter().filter(is_probe).count();
                let family = (!in_all_families).then(|| cell.family.name());
                (from.clone(), *decision, cell.probe.to_string(), family)
            };
            let receivers = lines.entry(key).or_default();
            if !receivers.contains(&to) {
                receivers.push(to.clone());
            }
        }
    }
    let written = lines.into_iter().map(|((from, decision, probe, family), to)| {
        let to = match to.as_slice() {
            [one] => json!(one),
            many => json!(many),
        };
        let mut line = line(json!(from), to, decision, json!([probe]));
        if let (Some(family), Some(fields)) = (family, line.as_object_mut()) {
            fields.insert("family".to_owned(), json!(family));
        }
        line
    });
    written.collect()
}

fn line(from: Value, to: Value, decision: Decision, probes: Value) -> Value {
    let mut line = Map::new();
    line.insert("from".to_owned(), from);
    line.insert("to".to_owned(), to);
    line.insert(decision.name().to_owned(), probes);
    Value::Object(line)
}
