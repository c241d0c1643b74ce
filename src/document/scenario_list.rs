//! The list of scenarios, and what they decide.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ApiVersion, ListKind};
use crate::scenario::{self, Scenario, SpecRule};

/// A list of scenarios.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioListDocument {
    pub api_version: ApiVersion,
    pub kind: ListKind,
    pub scenarios: Vec<ListedScenario>,
    pub tags: BTreeMap<String, Deciding>,
    pub items: Vec<ListedRule>,
}

/// A scenario of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedScenario {
    pub name: String,
    pub description: String,
    pub file: String,
    pub tags: Vec<String>,
    pub items: BTreeSet<u8>,
    pub steps: usize,
    pub cases: usize,
    pub cells: usize,
}

/// Counts of scenarios and cases that have something in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deciding {
    pub scenarios: usize,
    pub cases: usize,
}

/// An item of docs/semantics.md, and what decides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRule {
    pub item: u8,
    pub title: String,
    pub scenarios: usize,
    pub cases: usize,
}

impl From<&[Scenario]> for ScenarioListDocument {
    fn from(scenarios: &[Scenario]) -> Self {
        let listed: Vec<_> = scenarios.iter().map(ListedScenario::new).collect();
        let mut tags = BTreeMap::<String, Deciding>::new();
        for scenario in &listed {
            for tag in scenario.tags.iter().collect::<BTreeSet<_>>() {
                let deciding = tags.entry(tag.clone()).or_default();
                deciding.scenarios += 1;
                deciding.cases += scenario.cases;
            }
        }
        let steps = || scenarios.iter().flat_map(|scenario| &scenario.steps);
        let items = SpecRule::all().map(|item| ListedRule {
            item: item.number(),
            title: item.title().to_owned(),
            scenarios: listed.iter().filter(|scenario| scenario.items.contains(&item.number())).count(),
            cases: steps().filter(|step| step.items.contains(&item) && !step.expect.is_empty()).count(),
        });
        let items = items.collect();
        let (api_version, kind) = (ApiVersion::V1Alpha1, ListKind::ScenarioList);
        Self { api_version, kind, scenarios: listed, tags, items }
    }
}

impl ListedScenario {
    fn new(scenario: &Scenario) -> Self {
        let items = scenario.steps.iter().flat_map(|step| &step.items);
        Self {
            name: scenario.name.clone(),
            description: scenario.description.clone(),
            file: scenario.file.to_string(),
            tags: scenario.tags.clone(),
            items: items.map(|item| item.number()).collect(),
            steps: scenario.steps.len(),
            // Cases are steps with assertions of their own.
            cases: scenario.steps.iter().filter(|step| !step.expect.is_empty()).count(),
            cells: scenario::size(scenario).steps,
        }
    }
}
