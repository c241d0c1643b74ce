//! A comparison of two runs for machines. Its shape is documented in `docs/json.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::escape;
use super::json::{API_VERSION, QuantilesDocument, millis, outcome};
use crate::compare::{
    Cell, Comparison, Coverage, Difference, EnvironmentChange, Kind, Problem, Record, Slower, TimeComparison,
};

/// A comparison, as one JSON document.
///
/// # Errors
/// Never, as its shape has nothing that JSON lacks.
pub fn comparison_json(comparison: &Comparison<'_>) -> serde_json::Result<String> {
    escape::json(&ComparisonDocument::new(comparison))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ComparisonDocument<'a> {
    api_version: &'static str,
    kind: &'static str,
    outcome: &'static str,
    exit_code: u8,
    before: RunDocument<'a>,
    after: RunDocument<'a>,
    counts: CountsDocument,
    regressed: Vec<DifferenceDocument<'a>>,
    uncertain: Vec<DifferenceDocument<'a>>,
    fixed: Vec<DifferenceDocument<'a>>,
    changed: Vec<DifferenceDocument<'a>>,
    as_before: BTreeMap<&'static str, usize>,
    not_run: BTreeMap<&'a str, &'a str>,
    nothing_demonstrated: &'a [&'a str],
    removed: CoverageDocument<'a>,
    added: CoverageDocument<'a>,
    slower: Vec<SlowerDocument<'a>>,
    latency: BTreeMap<&'static str, TimesDocument<'a>>,
    environment_changes: Vec<EnvironmentChangeDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunDocument<'a> {
    file: &'a str,
    version: Option<&'a str>,
    backend: &'a str,
    facts: &'a BTreeMap<String, String>,
    incomplete: bool,
    judged_denials: usize,
    lacking: &'a BTreeSet<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CountsDocument {
    scenarios: usize,
    steps: usize,
    cells: usize,
    regressed: usize,
    uncertain: usize,
    fixed: usize,
    changed: usize,
    removed: usize,
    added: usize,
    slower: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DifferenceDocument<'a> {
    scenario: &'a str,
    step: &'a str,
    from: &'a str,
    to: &'a str,
    family: &'a str,
    probe: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<&'static str>,
    /// Null if only the later run has the cell.
    before: Option<StateDocument<'a>>,
    after: StateDocument<'a>,
}

#[derive(Serialize)]
struct StateDocument<'a> {
    verdict: &'static str,
    expected: &'static str,
    observed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
}

#[derive(Serialize)]
struct CoverageDocument<'a> {
    scenarios: Vec<&'a str>,
    steps: Vec<StepDocument<'a>>,
    cells: Vec<PlaceDocument<'a>>,
}

#[derive(Serialize)]
struct StepDocument<'a> {
    scenario: &'a str,
    step: &'a str,
}

#[derive(Serialize)]
struct PlaceDocument<'a> {
    scenario: &'a str,
    step: &'a str,
    from: &'a str,
    to: &'a str,
    family: &'a str,
    probe: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SlowerDocument<'a> {
    scenario: &'a str,
    step: &'a str,
    change: &'static str,
    before_ms: u64,
    after_ms: u64,
}

#[derive(Serialize)]
struct TimesDocument<'a> {
    before: QuantilesDocument,
    after: QuantilesDocument,
    slower: &'a [&'static str],
}

#[derive(Serialize)]
struct EnvironmentChangeDocument<'a> {
    what: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

impl<'a> ComparisonDocument<'a> {
    pub(super) fn new(comparison: &'a Comparison<'a>) -> Self {
        let list = |kind| comparison.of(kind).map(DifferenceDocument::new).collect::<Vec<_>>();
        let (regressed, uncertain) = (list(Kind::Regressed), list(Kind::Uncertain));
        let (fixed, changed) = (list(Kind::Fixed), list(Kind::Changed));
        let (scenarios, steps, cells) = comparison.compared;
        Self {
            api_version: API_VERSION,
            kind: "RunComparison",
            outcome: outcome(comparison.outcome()),
            exit_code: comparison.outcome().exit_code(),
            before: RunDocument::new(comparison.before),
            after: RunDocument::new(comparison.after),
            counts: CountsDocument {
                scenarios,
                steps,
                cells,
                regressed: regressed.len(),
                uncertain: uncertain.len(),
                fixed: fixed.len(),
                changed: changed.len(),
                removed: comparison.removed.number(),
                added: comparison.added.number(),
                slower: comparison.slower.len(),
            },
            regressed,
            uncertain,
            fixed,
            changed,
            as_before: comparison.known.iter().map(|(problem, number)| (name(*problem), *number)).collect(),
            not_run: comparison.failures.iter().copied().collect(),
            nothing_demonstrated: &comparison.misses,
            removed: CoverageDocument::new(&comparison.removed),
            added: CoverageDocument::new(&comparison.added),
            slower: comparison.slower.iter().map(SlowerDocument::new).collect(),
            latency: comparison.times.iter().map(TimesDocument::new).collect(),
            environment_changes: comparison
                .environment_changes
                .iter()
                .map(EnvironmentChangeDocument::new)
                .collect(),
        }
    }
}

impl<'a> RunDocument<'a> {
    fn new(record: &'a Record) -> Self {
        let Record { name, version, backend, facts, lacking, .. } = record;
        Self {
            file: name,
            version: version.as_deref(),
            backend,
            facts,
            incomplete: record.is_incomplete(),
            judged_denials: record.judged_denials(),
            lacking,
        }
    }
}

impl<'a> DifferenceDocument<'a> {
    fn new(difference: &Difference<'a>) -> Self {
        let Difference { scenario, step, kind: _, problems, before, after } = difference;
        Self {
            scenario,
            step,
            from: &after.from,
            to: &after.to,
            family: &after.family,
            probe: &after.probe,
            problems: problems.iter().copied().map(name).collect(),
            before: before.map(StateDocument::new),
            after: StateDocument::new(after),
        }
    }
}

impl<'a> StateDocument<'a> {
    fn new(cell: &'a Cell) -> Self {
        Self {
            verdict: cell.verdict.name(),
            expected: cell.expected.name(),
            observed: cell.observed.as_deref(),
            cause: cell.cause.as_deref(),
        }
    }
}

impl<'a> CoverageDocument<'a> {
    fn new(coverage: &Coverage<'a>) -> Self {
        let steps = coverage.steps.iter().map(|(scenario, step, _)| StepDocument { scenario, step });
        let cells = coverage.cells.iter().map(|(scenario, step, cell)| {
            let Cell { from, to, family, probe, .. } = cell;
            PlaceDocument { scenario, step, from, to, family, probe }
        });
        Self {
            scenarios: coverage.scenarios.iter().map(|(scenario, _)| *scenario).collect(),
            steps: steps.collect(),
            cells: cells.collect(),
        }
    }
}

impl<'a> SlowerDocument<'a> {
    fn new(slower: &Slower<'a>) -> Self {
        let Slower { scenario, step, change, before, after } = *slower;
        let (before_ms, after_ms) = (millis(before), millis(after));
        Self { scenario, step, change: change.name(), before_ms, after_ms }
    }
}

impl<'a> TimesDocument<'a> {
    fn new(times: &'a TimeComparison) -> (&'static str, Self) {
        let TimeComparison { change, before, after, slower } = times;
        (change.name(), Self { before: (*before).into(), after: (*after).into(), slower })
    }
}

impl<'a> EnvironmentChangeDocument<'a> {
    fn new(change: &EnvironmentChange<'a>) -> Self {
        let EnvironmentChange { what, before, after } = *change;
        Self { what, before, after }
    }
}

/// The name that a verdict or a count has in the report of a run.
fn name(problem: Problem) -> &'static str {
    match problem {
        Problem::Leak => "leak",
        Problem::Blocked => "blocked",
        Problem::PolicyGap => "policyGap",
        Problem::AssertionError => "assertionError",
        Problem::Late => "late",
        Problem::Flaky => "flaky",
        Problem::Inconclusive => "inconclusive",
    }
}
