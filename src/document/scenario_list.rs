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
    pub spec_rules: Vec<ListedRule>,
}

/// A scenario of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedScenario {
    pub name: String,
    pub description: String,
    pub file: String,
    pub tags: Vec<String>,
    pub spec_rules: BTreeSet<u8>,
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

/// A spec rule of docs/semantics.md, and what decides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedRule {
    pub spec_rule: u8,
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
        let spec_rules = SpecRule::all().map(|rule| ListedRule {
            spec_rule: rule.number(),
            title: rule.title().to_owned(),
            scenarios: listed.iter().filter(|scenario| scenario.spec_rules.contains(&rule.number())).count(),
            cases: steps().filter(|step| step.spec_rules.contains(&rule) && !step.expect.is_empty()).count(),
        });
        let spec_rules = spec_rules.collect();
        let (api_version, kind) = (ApiVersion::V1Alpha1, ListKind::ScenarioList);
        Self { api_version, kind, scenarios: listed, tags, spec_rules }
    }
}

impl ListedScenario {
    fn new(scenario: &Scenario) -> Self {
        let spec_rules = scenario.steps.iter().flat_map(|step| &step.spec_rules);
        Self {
            name: scenario.name.clone(),
            description: scenario.description.clone(),
            file: scenario.file.to_string(),
            tags: scenario.tags.clone(),
            spec_rules: spec_rules.map(|rule| rule.number()).collect(),
            steps: scenario.steps.len(),
            // Cases are steps with assertions of their own.
            cases: scenario.steps.iter().filter(|step| !step.expect.is_empty()).count(),
            cells: scenario::size(scenario).steps,
        }
    }
}
