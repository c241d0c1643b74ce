//! The result of a run.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::scenario::counts_with_sum;
use super::{
    ApiVersion, Cell, ComparisonDocument, Diagnosis, Millis, Profile, RunKind, RunLatency, Scenario, Step,
    by_name, texts,
};
use crate::policy::Decision;
use crate::snapshot::Unmodelled;
use crate::source::{Location, Place};
use crate::verdict::{Counts, NodeCounts, NodeCoverage, Outcome, Proof, RunResult, ScenarioResult};

/// Reason why a text is not a result of a run.
#[derive(Debug, Error)]
pub enum Error {
    /// The text is not JSON, or its structure is wrong.
    #[error("{place}: no result of `netproof run -o json`: {why}")]
    Shape {
        /// Where it is wrong.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// A name that must be unique occurs twice.
    #[error("{name}: {what} is there twice: its verdicts cannot be told apart")]
    Twice {
        /// Where the text was read from.
        name: String,
        /// What has the name, and the name.
        what: String,
    },
}

impl Error {
    fn shape(name: &str, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        // Without it, the place would be there twice.
        let why = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text).to_owned();
        let location = u32::try_from(line).ok().zip(u32::try_from(column).ok());
        let location = location.map(|(line, column)| Location { line, column });
        Self::Shape { place: Place { name: name.into(), location }, why }
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub struct RunDocument {
    /// Where the document was read from, or `this run`.
    #[serde(skip)]
    pub name: String,
    pub api_version: ApiVersion,
    pub kind: RunKind,
    pub version: Option<String>,
    #[serde(default)]
    pub outcome: Outcome,
    #[serde(default)]
    pub exit_code: u8,
    pub backend: String,
    #[serde(with = "by_name")]
    pub facts: Vec<(String, String)>,
    pub warnings: Vec<String>,
    #[serde(default)]
    pub unmodelled: Vec<Unmodelled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_coverage: Option<NodeCoverage>,
    #[serde(default)]
    pub lacking: Vec<String>,
    pub interrupted: bool,
    #[serde(default)]
    pub stopped: bool,
    #[serde(default)]
    pub unenforced: bool,
    #[serde(default)]
    pub not_run: BTreeSet<String>,
    /// Count of the scenarios and repetitions that were not run.
    #[serde(skip)]
    pub left: usize,
    /// Count of the requested scenarios, without repetitions.
    #[serde(skip)]
    pub requested: usize,
    /// Why nothing could be run.
    #[serde(skip)]
    pub failure: Option<String>,
    /// The node that leaks, if it is the only one of several nodes.
    #[serde(skip)]
    pub leaking_node: Option<String>,
    #[serde(default)]
    pub took_ms: Millis,
    #[serde(default, serialize_with = "counts_with_sum")]
    pub counts: Counts,
    #[serde(default)]
    pub proof: Proof,
    #[serde(default, with = "by_name")]
    pub skipped: Vec<(String, usize)>,
    #[serde(default)]
    pub nodes: BTreeMap<String, NodeCounts>,
    #[serde(default)]
    pub profiles: Vec<Profile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    #[serde(default)]
    pub latency: RunLatency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Box<ComparisonDocument>>,
    pub scenarios: Vec<Scenario>,
}

impl RunDocument {
    /// Parses a result. `name` is where it was read from.
    ///
    /// # Errors
    /// If the text is not a result, or a name in it is not unique.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let mut document: Self = serde_json::from_str(text).map_err(|error| Error::shape(name, &error))?;
        name.clone_into(&mut document.name);
        document.check()?;
        Ok(document)
    }

    /// Checks that the names in the document are unique.
    ///
    /// # Errors
    /// If a name occurs twice.
    pub fn check(&self) -> Result<(), Error> {
        let twice = |what| Error::Twice { name: self.name.clone(), what };
        let mut scenarios = HashSet::new();
        for scenario in &self.scenarios {
            if !scenarios.insert(scenario.name.as_str()) {
                return Err(twice(format!("scenario `{}`", scenario.name)));
            }
            let mut steps = HashSet::new();
            for step in &scenario.steps {
                let place = format!("step `{}` of scenario `{}`", step.name, scenario.name);
                if !steps.insert(step.name.as_str()) {
                    return Err(twice(place));
                }
                let mut cells = HashSet::new();
                if let Some(cell) = step.cells.iter().find(|cell| !cells.insert(cell.key())) {
                    return Err(twice(format!("`{cell}` in {place}")));
                }
            }
        }
        Ok(())
    }

    /// Adds a diagnosis.
    #[must_use]
    pub fn with_diagnosis(self, diagnosis: Option<&crate::diagnosis::Diagnosis>) -> Self {
        Self { diagnosis: diagnosis.map(Diagnosis::from), ..self }
    }

    /// Returns the steps with their scenarios.
    pub fn steps(&self) -> impl Iterator<Item = (&Scenario, &Step)> {
        self.scenarios.iter().flat_map(|scenario| scenario.steps.iter().map(move |step| (scenario, step)))
    }

    /// Returns all cells.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.steps().flat_map(|(_, step)| &step.cells)
    }

    /// Returns whether the run ended early.
    pub fn is_incomplete(&self) -> bool {
        self.interrupted || self.stopped || self.unenforced || !self.not_run.is_empty()
    }

    /// Returns the count of judged denials.
    pub fn judged_denials(&self) -> usize {
        self.cells().filter(|cell| cell.expected == Decision::Deny && cell.is_judged()).count()
    }

    /// Returns the kinds of objects that the run did not model, and that its user did not accept.
    pub fn unaccepted(&self) -> impl Iterator<Item = &Unmodelled> {
        self.unmodelled.iter().filter(|kind| !kind.is_accepted)
    }
}

/// Returns a warning for each scenario in which a denial was hardly in force before the settle time was over. Slightly
/// slower, and it would have been a leak.
fn close_calls(result: &RunResult) -> impl Iterator<Item = String> {
    result.scenarios.iter().filter_map(|scenario| {
        let times = scenario.steps.iter().filter_map(|step| Some((step.time().enforce?, step)));
        let (time, step) = times.max_by_key(|(time, _)| *time)?;
        (time * 2 > result.settle).then(|| {
            format!(
                "{}: it took {} until the denials of step `{}` were enforced, which is more than half of the settle time \
                 of {}: a little slower, and they are leaks. --settle gives them more time",
                scenario.name,
                seconds(time),
                step.name,
                seconds(result.settle)
            )
        })
    })
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl From<&RunResult> for RunDocument {
    fn from(result: &RunResult) -> Self {
        let (environment, judged_nodes) = (&result.environment, result.judged_nodes());
        let skipped = result.skipped().into_iter();
        let proof = result.proof();
        let scenarios: Vec<_> = result.scenarios.iter().map(Scenario::from).collect();
        let outcome = result.outcome(&proof);
        Self {
            name: "this run".to_owned(),
            api_version: ApiVersion::V1Alpha1,
            kind: RunKind::RunResult,
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            outcome,
            exit_code: outcome.exit_code_unless(result.interrupted),
            backend: environment.name.clone(),
            facts: environment.facts_with_nodes(&judged_nodes),
            warnings: environment.warnings.iter().cloned().chain(close_calls(result)).collect(),
            unmodelled: environment.unmodelled.clone(),
            node_coverage: environment.coverage(&judged_nodes),
            lacking: texts(
                result.scenarios.iter().flat_map(ScenarioResult::lacking).collect::<BTreeSet<_>>(),
            ),
            interrupted: result.interrupted,
            stopped: result.stopped,
            unenforced: result.unenforced,
            not_run: result.unfinished.iter().cloned().collect(),
            left: result.left(),
            requested: result.requested,
            failure: result.failure().map(|failure| failure.message.clone()),
            leaking_node: result.leaking_node().map(str::to_owned),
            took_ms: result.took.into(),
            counts: scenarios.iter().map(|scenario| scenario.counts).sum(),
            proof,
            skipped: skipped.map(|(capability, count)| (capability.to_string(), count)).collect(),
            nodes: result.nodes().into_iter().map(|(node, counts)| (node.to_owned(), counts)).collect(),
            profiles: Profile::all(result),
            diagnosis: None,
            latency: RunLatency::of(scenarios.iter().flat_map(|scenario| &scenario.steps)),
            comparison: None,
            scenarios,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Problem;

    fn with_cells(cells: &str) -> String {
        format!(
            r#"{{"apiVersion": "netproof.dev/v1alpha1", "kind": "RunResult", "backend": "lab", "facts": {{}},
            "warnings": [], "interrupted": false, "addedLater": 1, "scenarios": [{{"name": "s", "steps": [
            {{"name": "t", "timeToEnforceMs": null, "timeToAdmitMs": 3, "cells": [{cells}]}}]}}]}}"#
        )
    }

    const CELL: &str = r#"{"from": "x/a", "to": "x/b", "family": "IPv4", "probe": "80/TCP", "verdict": "match",
        "expected": "deny", "observed": "dropped", "settledMs": 7, "opposedMs": 6, "limitMs": 5, "intended": "allow"}"#;

    fn error(text: &str) -> String {
        let error = RunDocument::parse("before.json", text).unwrap_err();
        let mut causes = vec![error.to_string()];
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        causes.join(": ")
    }

    #[test]
    fn a_result_is_read_and_what_was_added_later_does_not_matter() {
        let document = RunDocument::parse("before.json", &with_cells(CELL)).unwrap();
        let scenario = &document.scenarios[0];
        let cell = &scenario.steps[0].cells[0];
        assert_eq!(
            (document.name.as_str(), scenario.steps[0].times.time_to_admit_ms),
            ("before.json", Some(Millis(3)))
        );
        assert_eq!(scenario.problems(cell), [Problem::PolicyGap, Problem::Late].into());
        assert!(!document.is_incomplete() && !scenario.misses_demonstration());
    }

    /// A cluster without IPv6 does not contradict assertions about IPv6, because nothing is known about it.
    #[test]
    fn a_claim_about_an_end_without_an_address_is_no_assertion_error() {
        let cell = CELL.replace(r#""verdict": "match""#, r#""verdict": "skipped", "asserted": "deny""#);
        let cell = cell
            .replace(r#""settledMs": 7, "#, "")
            .replace(r#""expected": "deny""#, r#""expected": "undefined""#);
        let cell = cell.replace('}', r#", "reasons": [{"text": "…", "undefined": "no-address"}]}"#);
        let document = RunDocument::parse("after.json", &with_cells(&cell)).unwrap();
        let scenario = &document.scenarios[0];
        assert_eq!(scenario.problems(&scenario.steps[0].cells[0]), [Problem::Inconclusive].into());
    }

    /// A profile is about what packets do, and not about what policies mean.
    #[test]
    fn a_claim_is_held_against_the_policies_where_a_profile_leaves_the_cell_undefined() {
        let excused = r#""verdict": "undefined", "asserted": "deny",
            "deviation": {"profile": "p", "reason": "r", "promised": "deny"}"#;
        let cell = CELL.replace(r#""verdict": "match""#, excused).replace(r#""settledMs": 7, "#, "");
        let cell = cell.replace(r#""expected": "deny""#, r#""expected": "undefined""#);
        let problems = |cell: &str| {
            let document = RunDocument::parse("before.json", &with_cells(cell)).unwrap();
            document.scenarios[0].problems(&document.scenarios[0].steps[0].cells[0])
        };
        assert_eq!(problems(&cell), [Problem::PolicyGap].into());
        let intended = r#""intended": "deny""#;
        assert_eq!(problems(&cell.replace(r#""intended": "allow""#, intended)), [].into());
        let asserted = cell.replace(r#""asserted": "deny""#, r#""asserted": "allow""#);
        assert_eq!(problems(&asserted), [Problem::PolicyGap, Problem::AssertionError].into());
    }

    #[test]
    fn an_intent_that_depends_on_unknown_facts_is_no_policy_gap() {
        let problems = |kind: &str| {
            let cell = CELL.replace(r#""verdict": "match""#, r#""verdict": "inconclusive""#);
            let cell = cell.replace(r#""settledMs": 7, "#, "");
            let cell = cell.replace(r#""expected": "deny""#, r#""expected": "undefined""#);
            let reason = format!(r#", "reasons": [{{"text": "…", "undefined": "{kind}"}}]}}"#);
            let document = RunDocument::parse("a.json", &with_cells(&cell.replace('}', &reason))).unwrap();
            document.scenarios[0].problems(&document.scenarios[0].steps[0].cells[0])
        };
        assert_eq!(problems("backends-unknown"), [Problem::Inconclusive].into());
        assert_eq!(problems("service-address"), [Problem::PolicyGap, Problem::Inconclusive].into());
    }

    #[test]
    fn what_is_no_result_is_refused() {
        insta::assert_snapshot!(error("{"), @"before.json:1:1: no result of `netproof run -o json`: EOF while parsing an object");
        insta::assert_snapshot!(error("[]"), @"before.json:1:2: no result of `netproof run -o json`: invalid length 0, expected an object");
        insta::assert_snapshot!(error(&with_cells("").replace("v1alpha1", "v2")), @"before.json:1:32: no result of `netproof run -o json`: unknown variant `netproof.dev/v2`, expected `netproof.dev/v1alpha1`");
        insta::assert_snapshot!(error(&with_cells("").replace("RunResult", "ScenarioList")), @"before.json:1:62: no result of `netproof run -o json`: unknown variant `ScenarioList`, expected `RunResult`");
        insta::assert_snapshot!(error(&with_cells("").replace("interrupted", "other")), @"before.json:3:87: no result of `netproof run -o json`: missing field `interrupted`");
        insta::assert_snapshot!(error(&with_cells(&CELL.replace("match", "fine"))), @"before.json:3:164: no result of `netproof run -o json`: unknown variant `fine`, expected one of `match`, `leak`, `blocked`, `flaky`, `undefined`, `skipped`, `inconclusive`");
        insta::assert_snapshot!(error(&with_cells(&CELL.replace("\"to\"", "\"towards\""))), @"before.json:4:117: no result of `netproof run -o json`: missing field `to`");
        insta::assert_snapshot!(error(&with_cells(&format!("{CELL}, {CELL}"))), @"before.json: `x/a → x/b 80/TCP (IPv4)` in step `t` of scenario `s` is there twice: its verdicts cannot be told apart");
    }
}
