//! The comparison of two runs.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ApiVersion, Cell, ComparisonKind, Millis, Observation, Problem, Quantiles, RunDocument, Scenario, Step,
    Verdict, by_name,
};
use crate::policy::{Decision, IpFamily};
use crate::verdict::{Change, Outcome};

/// What changed between two runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonDocument {
    pub api_version: ApiVersion,
    pub kind: ComparisonKind,
    pub outcome: Outcome,
    pub exit_code: u8,
    pub before: ComparedRun,
    pub after: ComparedRun,
    pub counts: ComparisonCounts,
    /// Cells with a new problem that is proved.
    pub regressed: Vec<Difference>,
    /// Cells with a new problem that proves nothing: they could not be measured, or their answers differed.
    pub uncertain: Vec<Difference>,
    /// Cells that had a problem, and now do what the policies promise.
    pub fixed: Vec<Difference>,
    /// Cells without a new problem whose expectation or verdict changed, or in which packets do something
    /// else although they are undefined.
    pub changed: Vec<Difference>,
    pub as_before: BTreeMap<String, usize>,
    /// Scenarios that the later run could not run to their end, and why. A scenario that also failed in the
    /// earlier run counts only if it got less far.
    #[serde(with = "by_name")]
    pub not_run: Vec<(String, String)>,
    pub nothing_demonstrated: Vec<String>,
    pub removed: Coverage,
    pub added: Coverage,
    pub slower: Vec<Slower>,
    #[serde(with = "by_name")]
    pub latency: Vec<(String, TimeComparison)>,
    pub environment_changes: Vec<EnvironmentChange>,
    #[serde(skip)]
    pub thresholds: Thresholds,
}

/// One of two compared runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparedRun {
    pub file: String,
    pub version: Option<String>,
    pub backend: String,
    #[serde(with = "by_name")]
    pub facts: Vec<(String, String)>,
    pub incomplete: bool,
    pub judged_denials: usize,
    pub lacking: BTreeSet<String>,
    /// Whether the run proves less than its `--confidence` requests.
    #[serde(skip)]
    pub falls_short: bool,
}

impl From<&RunDocument> for ComparedRun {
    fn from(run: &RunDocument) -> Self {
        Self {
            file: run.name.clone(),
            version: run.version.clone(),
            backend: run.backend.clone(),
            facts: run.facts.clone(),
            incomplete: run.is_incomplete(),
            judged_denials: run.judged_denials(),
            lacking: run.lacking.iter().cloned().collect(),
            falls_short: run.proof.falls_short,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ComparisonCounts {
    pub scenarios: usize,
    pub steps: usize,
    pub cells: usize,
    pub regressed: usize,
    pub uncertain: usize,
    pub fixed: usize,
    pub changed: usize,
    pub removed: usize,
    pub added: usize,
    pub slower: usize,
}

/// A cell that differs between two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    #[serde(flatten)]
    pub place: CellPlace,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub problems: BTreeSet<Problem>,
    pub before: Option<CellState>,
    pub after: CellState,
}

/// What one of two runs says about a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellState {
    pub verdict: Verdict,
    pub expected: Decision,
    pub observed: Option<Observation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When the change was in force.
    #[serde(skip)]
    pub settled_ms: Option<Millis>,
}

impl From<&Cell> for CellState {
    fn from(cell: &Cell) -> Self {
        let Cell { verdict, expected, observed, settled_ms, .. } = *cell;
        Self { verdict, expected, observed, cause: cell.cause.clone(), settled_ms }
    }
}

/// Scenarios, steps and cells that only one of two runs has. Nothing is known about them in the other run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    pub scenarios: Vec<ScenarioCells>,
    pub steps: Vec<StepCells>,
    pub cells: Vec<CellPlace>,
}

/// A scenario that only one of two runs has, and its count of cells. In JSON it is the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScenarioCells {
    pub scenario: String,
    #[serde(skip)]
    pub cells: usize,
}

/// A step that only one of two runs has, although both have its scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCells {
    pub scenario: String,
    pub step: String,
    /// Count of cells.
    #[serde(skip)]
    pub cells: usize,
}

/// A cell that only one of two runs has, although both have its step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellPlace {
    pub scenario: String,
    pub step: String,
    pub from: String,
    pub to: String,
    pub family: IpFamily,
    pub probe: String,
}

impl CellPlace {
    /// Returns the place of a cell of a step.
    pub fn new((scenario, step): (&Scenario, &Step), cell: &Cell) -> Self {
        Self {
            scenario: scenario.name.clone(),
            step: step.name.clone(),
            from: cell.from.clone(),
            to: cell.to.clone(),
            family: cell.family,
            probe: cell.probe.clone(),
        }
    }
}

impl From<&Scenario> for ScenarioCells {
    fn from(scenario: &Scenario) -> Self {
        let cells = scenario.steps.iter().map(|step| step.cells.len()).sum();
        Self { scenario: scenario.name.clone(), cells }
    }
}

impl StepCells {
    /// Returns the step of a scenario.
    pub fn new(scenario: &Scenario, step: &Step) -> Self {
        Self { scenario: scenario.name.clone(), step: step.name.clone(), cells: step.cells.len() }
    }
}

impl Coverage {
    /// Returns the count of all cells.
    pub fn number(&self) -> usize {
        let scenarios: usize = self.scenarios.iter().map(|scenario| scenario.cells).sum();
        let steps: usize = self.steps.iter().map(|step| step.cells).sum();
        scenarios + steps + self.cells.len()
    }
}

/// A step that became slower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slower {
    pub scenario: String,
    pub step: String,
    pub change: Change,
    pub before_ms: Millis,
    pub after_ms: Millis,
}

/// Times of one kind of change, over all steps for which both runs measured it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeComparison {
    pub before: Quantiles,
    pub after: Quantiles,
    pub slower: Vec<String>,
}

/// A difference between the environments of two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentChange {
    pub what: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl EnvironmentChange {
    /// What differs if a kind of objects is not modelled.
    pub const NOT_MODELLED: &str = "not modelled";

    /// Returns whether the later run has a kind of objects that it does not model, and the earlier run had
    /// not.
    pub fn is_new_unmodelled_kind(&self) -> bool {
        self.what == Self::NOT_MODELLED && self.before.is_none()
    }
}

/// Thresholds above which a time counts as slower. Both must be exceeded, because short times may double by
/// chance, and long times may vary by a large amount.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Ratio of the later time to the earlier time.
    pub factor: f64,
    /// Difference between the later time and the earlier time.
    pub by: Duration,
    /// Whether a slower time makes the comparison fail, like a regression.
    pub fail: bool,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { factor: 2.0, by: Duration::from_millis(500), fail: false }
    }
}

impl ComparisonDocument {
    /// Returns whether anything became slower.
    pub fn is_slower(&self) -> bool {
        !self.slower.is_empty() || self.latency.iter().any(|(_, times)| !times.slower.is_empty())
    }
}
