//! A scenario and its steps.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

use super::{Cell, Latency, Millis, Problem, StepTimes, Verdict, names};
use crate::policy::{Decision, IpFamily};
use crate::scenario::Demonstrates;
use crate::verdict::{self, Beside, Change, Counts, Outcome, Repetitions, ScenarioResult, StepResult};

/// Result of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub file: String,
    #[serde(default)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstrates: Option<Demonstrates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetitions: Option<Repetitions>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Alone>,
    #[serde(default)]
    pub ignored: BTreeMap<String, usize>,
    #[serde(default)]
    pub start_ms: Millis,
    #[serde(default)]
    pub timeout_ms: Millis,
    #[serde(default)]
    pub took_ms: Millis,
    #[serde(default, serialize_with = "counts_with_sum")]
    pub counts: Counts,
    pub steps: Vec<Step>,
}

/// What became of a scenario in which packets differed while others ran, when it was run again without them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alone {
    /// Names of the scenarios that ran at the same time before.
    pub beside: Vec<String>,
    /// Why it was not run to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_run: Option<String>,
}

/// Result of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub name: String,
    #[serde(default)]
    pub spec_rules: Vec<u8>,
    #[serde(default, serialize_with = "counts_with_sum")]
    pub counts: Counts,
    #[serde(flatten)]
    pub times: StepTimes,
    #[serde(default)]
    pub nodes: BTreeMap<String, StepTimes>,
    #[serde(default)]
    pub handed_over_ms: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_pods_isolated_ms: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_pods_admitted_ms: Option<Millis>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_connections: Vec<OpenConnection>,
    #[serde(default)]
    pub rounds: u32,
    #[serde(default)]
    pub took_ms: Millis,
    pub cells: Vec<Cell>,
}

/// Connection that was open before a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenConnection {
    pub from: String,
    pub to: String,
    pub family: IpFamily,
    pub probe: String,
    pub fate: Fate,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Decision>,
}

names! {
    /// What became of a connection that was open before a step.
    Fate {
        Survived = "survived",
        Cut = "cut",
        Ended = "ended",
        NotMeasured = "not-measured",
    }
}

/// Writes counts, with the sum of the verdicts.
pub(super) fn counts_with_sum<S: Serializer>(counts: &Counts, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct WithSum<'a> {
        cells: usize,
        #[serde(flatten)]
        counts: &'a Counts,
    }
    WithSum { cells: counts.cells(), counts }.serialize(serializer)
}

impl Scenario {
    /// Returns the problems of a cell of the scenario that count in a comparison with an earlier run.
    pub fn problems(&self, cell: &Cell) -> BTreeSet<Problem> {
        let counts = |problem: &Problem| match problem {
            Problem::PolicyGap => cell.has(*problem) && self.demonstrates.is_none(),
            // If a cell is skipped that an earlier run measured, nothing is known about it any more.
            Problem::Inconclusive => cell.has(*problem) || cell.verdict == Verdict::Skipped,
            Problem::Leak | Problem::Blocked | Problem::AssertionError | Problem::Late | Problem::Flaky => {
                cell.has(*problem)
            }
        };
        Problem::ALL.into_iter().filter(counts).collect()
    }

    /// Returns whether the scenario must demonstrate a mistake, and does not.
    pub fn misses_demonstration(&self) -> bool {
        match self.demonstrates {
            Some(Demonstrates::PolicyGap) => {
                let mut cells = self.steps.iter().flat_map(|step| &step.cells);
                self.failure.is_none() && !cells.any(|cell| cell.has(Problem::PolicyGap))
            }
            None => false,
        }
    }

    /// Returns the times of the steps.
    pub fn latency(&self) -> Latency {
        Latency::of(self.steps.iter().map(|step| step.times))
    }
}

impl Step {
    /// Returns how much shorter the step's times may be, because a change was in force at some time between
    /// two probes.
    pub fn uncertainty(&self) -> Millis {
        let uncertainty = |change, time: Option<Millis>| {
            let deciding =
                self.cells.iter().filter(|cell| cell.change == Some(change) && cell.settled_ms == time);
            let each = deciding.filter_map(|cell| {
                Some(cell.settled_ms?.0.saturating_sub(cell.opposed_ms.unwrap_or_default().0))
            });
            // If several cells took equally long, the one with the closest probes tells most.
            each.min().unwrap_or_default()
        };
        let StepTimes { time_to_enforce_ms, time_to_admit_ms } = self.times;
        Millis(
            uncertainty(Change::Enforce, time_to_enforce_ms)
                .max(uncertainty(Change::Admit, time_to_admit_ms)),
        )
    }
}

impl Alone {
    /// Returns `None` if there was no reason to run the scenario alone.
    fn of(beside: &Beside) -> Option<Self> {
        let not_run = match beside.alone.as_ref()? {
            verdict::Alone::Run => None,
            verdict::Alone::NotRun(why) => Some(why.clone()),
        };
        Some(Self { beside: beside.others.iter().cloned().collect(), not_run })
    }
}

impl From<&ScenarioResult> for Scenario {
    fn from(result: &ScenarioResult) -> Self {
        let steps: Vec<_> = result.steps.iter().map(Step::from).collect();
        Self {
            name: result.name.clone(),
            description: result.description.clone(),
            file: result.file.to_string(),
            outcome: result.outcome(),
            demonstrates: result.demonstrates,
            failure: result.failure.as_ref().map(|failure| failure.message.clone()),
            repetitions: result.repetitions,
            warnings: result.warnings.clone(),
            alone: result.beside.as_ref().and_then(Alone::of),
            ignored: result.ignored.clone(),
            start_ms: result.start.into(),
            timeout_ms: result.timeout.into(),
            took_ms: result.took.into(),
            counts: steps.iter().map(|step| step.counts).sum(),
            steps,
        }
    }
}

impl From<&StepResult> for Step {
    fn from(result: &StepResult) -> Self {
        let nodes = result.time_by_node().into_iter();
        Self {
            name: result.name.clone(),
            spec_rules: result.spec_rules.iter().map(|rule| rule.number()).collect(),
            counts: result.counts(),
            times: result.time().into(),
            nodes: nodes.map(|(node, time)| (node.to_owned(), time.into())).collect(),
            handed_over_ms: result.handed_over.into(),
            new_pods_isolated_ms: result.new_pods.enforce.map(Millis::from),
            new_pods_admitted_ms: result.new_pods.admit.map(Millis::from),
            open_connections: result.open_connections.iter().map(OpenConnection::from).collect(),
            rounds: result.rounds,
            took_ms: result.took.into(),
            cells: result.cells.iter().map(Cell::from).collect(),
        }
    }
}

impl From<&verdict::OpenConnection> for OpenConnection {
    fn from(verdict::OpenConnection { cell, decision, fate }: &verdict::OpenConnection) -> Self {
        let (fate, cause) = match fate {
            verdict::Fate::Survived => (Fate::Survived, None),
            verdict::Fate::Cut => (Fate::Cut, None),
            verdict::Fate::Ended => (Fate::Ended, None),
            verdict::Fate::NotMeasured(why) => (Fate::NotMeasured, Some(why.clone())),
        };
        let (from, to, probe) = (cell.from.to_string(), cell.to.to_string(), cell.probe.to_string());
        Self { from, to, family: cell.family, probe, fate, cause, expected: *decision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_may_have_been_in_force_since_the_probe_before() {
        let cell = |probe: &str, settled: u64, opposed: Option<u64>| {
            let opposed = opposed.map(|opposed| format!(r#", "opposedMs": {opposed}"#)).unwrap_or_default();
            format!(
                r#"{{"from": "a", "to": "b", "family": "IPv4", "probe": "{probe}", "verdict": "match",
                "expected": "deny", "change": "enforce", "settledMs": {settled}{opposed}}}"#
            )
        };
        let step = |cells: &[String]| -> Step {
            let cells = cells.join(", ");
            let text = format!(r#"{{"name": "s", "timeToEnforceMs": 1000, "cells": [{cells}]}}"#);
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(step(&[cell("1/TCP", 1_000, None)]).uncertainty(), Millis(1_000));
        let known_best =
            [cell("1/TCP", 1_000, None), cell("2/TCP", 1_000, Some(900)), cell("3/TCP", 400, None)];
        assert_eq!(step(&known_best).uncertainty(), Millis(100));
    }
}
