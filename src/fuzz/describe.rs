//! Writes a scenario that shows a disagreement as a file that anyone can read and keep.

use serde_json::{Value, json};

use super::compare::Disagreement;
use super::dry_run::{Case, ask_engine, cases, read};
use super::expect::assertions;
use super::spec_rule::decided_for;
use super::world::Naive;
use crate::plan::Cell;
use crate::policy::{Decision, IpFamily};

/// The random case in which something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaseName {
    /// The seed of its scenario.
    pub seed: u64,
    /// Its number in the scenario, from 1.
    pub number: usize,
}

impl CaseName {
    /// Returns a name for a scenario that is derived from this case.
    pub fn scenario(self) -> String {
        format!("fuzz-{}-{}", self.seed, self.number)
    }

    /// Returns the command that generates the same case again. `place` are the options that select the backend.
    pub fn command(self, place: &str) -> String {
        format!("netproof fuzz --seed {} --cases {}{place}", self.seed, self.number)
    }
}

/// Adds a description to a scenario. Also adds assertions to every step, from the answers of the naive evaluator.
pub(super) fn describe(scenario: &Value, name: CaseName, place: &str, found: &Disagreement) -> Value {
    let mut described = scenario.clone();
    let on_paper = read(scenario).ok().and_then(|scenario| cases(&scenario).ok()).unwrap_or_default();
    if let Some(steps) = described.get_mut("steps").and_then(Value::as_array_mut) {
        let last = steps.len();
        for (i, (step, case)) in steps.iter_mut().zip(&on_paper).enumerate() {
            let Some(step) = step.as_object_mut() else { continue };
            let title = if i + 1 == last { found.differs.to_string() } else { format!("step {}", i + 1) };
            step.insert("name".to_owned(), json!(title));
            step.insert("expect".to_owned(), Value::Array(assertions(&naive_answers(case))));
            // Readers should not have to think about empty lists.
            step.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        }
    }
    let spec_rules = on_paper.last().map(|case| decided_for(case, &found.cell)).unwrap_or_default();
    let metadata = json!({
        "name": name.scenario(),
        "description": description(name, place, found),
        "tags": ["random"],
        "specRules": spec_rules,
    });
    if let Some(fields) = described.as_object_mut() {
        fields.insert("metadata".to_owned(), metadata);
    }
    described
}

fn description(name: CaseName, place: &str, found: &Disagreement) -> String {
    let Disagreement { cell, engine, naive, observed, .. } = found;
    let family = match cell.family {
        IpFamily::V4 => "",
        IpFamily::V6 => " over IPv6",
    };
    let packets = match observed {
        Some(seen) => format!("packets: {seen}"),
        None => "no packets were sent".to_owned(),
    };
    format!(
        "{cell}{family}: the policy engine says {engine}, the naive evaluator {naive}; {packets}. Shrunk from the last case of {}.",
        name.command(place)
    )
}

/// Returns the naive evaluator's decision for every cell that has addresses.
fn naive_answers(case: &Case) -> Vec<(Cell, Decision)> {
    let naive = Naive::new(&case.world);
    let answers = ask_engine(&case.world, &case.probes).into_iter();
    let cells = answers.filter(|(_, answer)| !answer.has_no_address()).map(|(cell, _)| cell);
    cells.filter_map(|cell| naive.decide(&cell).map(|decision| (cell, decision))).collect()
}
