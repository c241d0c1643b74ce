//! Lists of scenarios: what there is, and what it decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Style};

use super::escape::{self, shown};
use super::style::{count, thousands};
use crate::scenario::Size;
use crate::scenario::{Scenario, SpecRule};

/// What scenarios have in common, in numbers.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Numbers {
    scenarios: usize,
    cases: usize,
}

/// How many cases a scenario has: steps that say by hand what must hold.
fn cases(scenario: &Scenario) -> usize {
    scenario.steps.iter().filter(|step| !step.expect.is_empty()).count()
}

/// The items that the steps of a scenario decide.
fn items(scenario: &Scenario) -> BTreeSet<SpecRule> {
    scenario.steps.iter().flat_map(|step| &step.items).copied().collect()
}

fn by_tag(scenarios: &[(Scenario, Size)]) -> BTreeMap<&str, Numbers> {
    let mut tags = BTreeMap::<&str, Numbers>::new();
    for (scenario, _) in scenarios {
        for tag in scenario.tags.iter().collect::<BTreeSet<_>>() {
            let numbers = tags.entry(tag).or_default();
            numbers.scenarios += 1;
            numbers.cases += cases(scenario);
        }
    }
    tags
}

/// All items, also those that nothing decides.
fn by_item(scenarios: &[(Scenario, Size)]) -> BTreeMap<SpecRule, Numbers> {
    let mut all: BTreeMap<_, _> = SpecRule::all().map(|item| (item, Numbers::default())).collect();
    for (scenario, _) in scenarios {
        for (item, numbers) in &mut all {
            let deciding = scenario.steps.iter().filter(|step| step.items.contains(item));
            numbers.scenarios += usize::from(deciding.clone().next().is_some());
            numbers.cases += deciding.filter(|step| !step.expect.is_empty()).count();
        }
    }
    all
}

/// The list for people: a line a scenario, then the numbers by tag and by item.
pub fn scenarios_table(scenarios: &[(Scenario, Size)]) -> String {
    let mut table = Builder::new();
    table.push_record(["scenario", "steps", "cases", "cells", "items", "tags"]);
    for (scenario, size) in scenarios {
        let items: Vec<_> = items(scenario).iter().map(SpecRule::to_string).collect();
        table.push_record([
            shown(&scenario.name),
            thousands(scenario.steps.len()),
            thousands(cases(scenario)),
            thousands(size.steps),
            items.join(", "),
            shown(scenario.tags.join(", ")),
        ]);
    }
    let mut text = lines(table, 1..4);
    let total = |number: fn(&(Scenario, Size)) -> usize| scenarios.iter().map(number).sum();
    let _ = writeln!(
        text,
        "\n{}: {}, {}, {}",
        count(scenarios.len(), "scenario", "scenarios"),
        count(total(|(scenario, _)| scenario.steps.len()), "step", "steps"),
        count(total(|(scenario, _)| cases(scenario)), "case", "cases"),
        count(total(|(_, size)| size.steps), "cell", "cells"),
    );
    let mut tags = Builder::new();
    tags.push_record(["tag", "scenarios", "cases"]);
    for (tag, numbers) in by_tag(scenarios) {
        tags.push_record([shown(tag), thousands(numbers.scenarios), thousands(numbers.cases)]);
    }
    let _ = write!(text, "\n{}", lines(tags, 1..3));
    let by_item = by_item(scenarios);
    let (decided, undecided): (Vec<_>, Vec<_>) =
        by_item.into_iter().partition(|(_, numbers)| numbers.cases > 0);
    let mut table = Builder::new();
    table.push_record(["item", "scenarios", "cases", "about"]);
    for (item, numbers) in decided {
        let about = item.title().to_owned();
        table.push_record([item.to_string(), thousands(numbers.scenarios), thousands(numbers.cases), about]);
    }
    let _ = write!(text, "\n{}", lines(table, 0..3));
    if !undecided.is_empty() {
        let items: Vec<_> = undecided.into_iter().map(|(item, _)| item.to_string()).collect();
        let _ = writeln!(text, "\nwithout a case: {}", items.join(", "));
    }
    text
}

/// A table in plain lines; numbers stand at the right of their columns.
fn lines(table: Builder, numbers: std::ops::Range<usize>) -> String {
    let mut table = table.build();
    table.with(Style::blank());
    table.with(Modify::new(Columns::new(numbers)).with(Alignment::right()));
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListDocument<'a> {
    api_version: &'static str,
    kind: &'static str,
    scenarios: Vec<ScenarioDocument<'a>>,
    tags: BTreeMap<&'a str, Numbers>,
    items: Vec<ItemDocument>,
}

#[derive(Serialize)]
struct ScenarioDocument<'a> {
    name: &'a str,
    description: &'a str,
    file: &'a str,
    tags: &'a [String],
    items: Vec<u8>,
    steps: usize,
    cases: usize,
    cells: usize,
}

#[derive(Serialize)]
struct ItemDocument {
    item: u8,
    title: &'static str,
    scenarios: usize,
    cases: usize,
}

/// The list for machines; its shape is documented in `docs/json.md`.
///
/// # Errors
/// Never, as its shape has nothing that JSON lacks.
pub fn scenarios_json(scenarios: &[(Scenario, Size)]) -> serde_json::Result<String> {
    let document = ListDocument {
        api_version: super::json::API_VERSION,
        kind: "ScenarioList",
        scenarios: scenarios
            .iter()
            .map(|(scenario, size)| ScenarioDocument {
                name: &scenario.name,
                description: &scenario.description,
                file: &scenario.file,
                tags: &scenario.tags,
                items: items(scenario).into_iter().map(SpecRule::number).collect(),
                steps: scenario.steps.len(),
                cases: cases(scenario),
                cells: size.steps,
            })
            .collect(),
        tags: by_tag(scenarios),
        items: by_item(scenarios)
            .into_iter()
            .map(|(item, Numbers { scenarios, cases })| ItemDocument {
                item: item.number(),
                title: item.title(),
                scenarios,
                cases,
            })
            .collect(),
    };
    escape::json(&document)
}
