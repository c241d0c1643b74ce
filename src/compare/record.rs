//! Reads the results of `netproof run -o json`. Unknown fields are ignored, because fields may be added. All fields
//! that are compared must be present.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

/// Reason why a text is not a result of a run.
#[derive(Debug, Error)]
pub enum Error {
    /// The text has another structure.
    #[error("{name}: no result of `netproof run -o json`")]
    Shape {
        /// Where the text was read from.
        name: String,
        /// What is wrong, and where.
        #[source]
        source: serde_json::Error,
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

/// The result of a run, with the fields that are compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub struct Record {
    /// Where the text was read from.
    #[serde(skip)]
    pub name: String,
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: RecordKind,
    /// Version of netproof. Absent in results of the first versions.
    pub version: Option<String>,
    /// Backend to which packets were sent.
    pub backend: String,
    /// Facts about the backend, by name.
    pub facts: BTreeMap<String, String>,
    /// What may decide about packets although the verdicts do not consider it.
    pub warnings: Vec<String>,
    /// Kinds of objects that netproof did not model.
    #[serde(default)]
    pub unmodelled: Vec<Unmodelled>,
    /// Profiles of the run.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// Capabilities that `--require` names and for which cells were skipped. Absent in results of the first versions.
    #[serde(default)]
    pub lacking: BTreeSet<String>,
    /// What the denials rest on. Absent in results of the first versions.
    #[serde(default)]
    pub proof: Proof,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Whether the run ended early because a scenario failed.
    #[serde(default)]
    pub stopped: bool,
    /// Scenarios that were not run.
    #[serde(default)]
    pub not_run: BTreeSet<String>,
    /// Scenarios that were run.
    pub scenarios: Vec<Scenario>,
}

/// What the denials of a run rest on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Whether the run does not reach the share that `--confidence` requests.
    #[serde(default)]
    pub falls_short: bool,
}

#[derive(Debug, Clone, Deserialize)]
enum ApiVersion {
    #[serde(rename = "netproof.dev/v1alpha1")]
    V1Alpha1,
}

#[derive(Debug, Clone, Deserialize)]
enum RecordKind {
    RunResult,
}

/// A kind of objects that a run did not model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unmodelled {
    /// `Kind` or, outside the core group, `Kind.group`.
    pub kind: String,
    /// Whether the user accepted by name that it was left out.
    pub accepted: bool,
}

/// A profile of a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Profile {
    /// Name of the profile.
    pub name: String,
}

/// Result of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Name of the scenario.
    pub name: String,
    demonstrates: Option<Demonstrates>,
    /// Why the scenario was not run to its end.
    pub failure: Option<String>,
    /// Steps that were run.
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Demonstrates {
    #[serde(rename = "policy-gap")]
    PolicyGap,
}

/// Result of a step.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the step.
    pub name: String,
    /// Time of the slowest new denial, in milliseconds. `None` without new denials.
    pub time_to_enforce_ms: Option<u64>,
    /// Time of the slowest new allowance, in milliseconds. `None` without new allowances.
    pub time_to_admit_ms: Option<u64>,
    /// All cells of the step.
    pub cells: Vec<Cell>,
}

/// Result for a cell.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Source.
    pub from: String,
    /// Destination.
    pub to: String,
    /// Address family.
    pub family: String,
    /// Probe.
    pub probe: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Expectation: what the policies promise, unless a profile makes the cell undefined.
    pub expected: Decision,
    deviation: Option<KnownDeviation>,
    /// What the packets did.
    pub observed: Option<String>,
    asserted: Option<Decision>,
    intended: Option<Decision>,
    /// Why the cell could not be measured.
    pub cause: Option<String>,
    #[serde(default)]
    reasons: Vec<Reason>,
    settled_ms: Option<u64>,
    opposed_ms: Option<u64>,
    limit_ms: Option<u64>,
}

/// Deviation by which a profile makes a cell undefined.
#[derive(Debug, Clone, Copy, Deserialize)]
struct KnownDeviation {
    /// What the policies promise for the cell.
    promised: Decision,
}

/// Kind of the reason if an end of a cell has no address of the cell's family (docs/semantics.md).
const NO_ADDRESS: &str = "no-address";

/// Reason for what the policies promise.
#[derive(Debug, Clone, Deserialize)]
struct Reason {
    /// Kind of the reason, if the cell is undefined.
    undefined: Option<String>,
}

/// Verdict on a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The packets do what the policies say.
    Match,
    /// The policies deny packets that were delivered.
    Leak,
    /// The policies allow packets that were not delivered.
    Blocked,
    /// The answers differed after settling.
    Flaky,
    /// The cell is undefined, so there is nothing to judge.
    Undefined,
    /// The environment lacks a capability that the scenario requires.
    Skipped,
    /// The cell could not be measured.
    Inconclusive,
}

impl Verdict {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Leak => "leak",
            Self::Blocked => "blocked",
            Self::Flaky => "flaky",
            Self::Undefined => "undefined",
            Self::Skipped => "skipped",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// Returns whether the packets decided the verdict.
    fn is_judged(self) -> bool {
        match self {
            Self::Match | Self::Leak | Self::Blocked => true,
            Self::Flaky | Self::Undefined | Self::Skipped | Self::Inconclusive => false,
        }
    }
}

/// What the policies promise, the author of a scenario asserts, or the owner of the policies wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It must be delivered.
    Allow,
    /// It must not be delivered.
    Deny,
    /// Neither is required.
    Undefined,
}

impl Decision {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Undefined => "undefined",
        }
    }
}

/// A problem of a cell. The worst problem comes first in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// Denied packets were delivered.
    Leak,
    /// Allowed packets were not delivered.
    Blocked,
    /// The policies do not say what their owner wants.
    PolicyGap,
    /// The policy engine contradicts an assertion of the scenario.
    AssertionError,
    /// The change was in force later than requested.
    Late,
    /// The answers differed after settling.
    Flaky,
    /// The cell could not be measured.
    Inconclusive,
}

impl Problem {
    /// All problems, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Leak,
        Self::Blocked,
        Self::PolicyGap,
        Self::AssertionError,
        Self::Late,
        Self::Flaky,
        Self::Inconclusive,
    ];

    /// Returns the name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Blocked => "blocked",
            Self::PolicyGap => "policy gap",
            Self::AssertionError => "assertion error",
            Self::Late => "late",
            Self::Flaky => "flaky",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// Returns whether the problem proves nothing, so that the cell is only uncertain.
    pub fn is_doubt(self) -> bool {
        match self {
            Self::Flaky | Self::Inconclusive => true,
            Self::Leak | Self::Blocked | Self::PolicyGap | Self::AssertionError | Self::Late => false,
        }
    }
}

/// Key of a cell in its step: source, destination, family and probe.
pub(super) type Key<'a> = (&'a str, &'a str, &'a str, &'a str);

impl Record {
    /// Parses a result. `name` is where it was read from.
    ///
    /// # Errors
    /// If the text is not a result, or a name in it is not unique.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let shape = |source| Error::Shape { name: name.to_owned(), source };
        let mut record: Self = serde_json::from_str(text).map_err(shape)?;
        name.clone_into(&mut record.name);
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), Error> {
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

    /// Returns whether the run ended early.
    pub fn is_incomplete(&self) -> bool {
        self.interrupted || self.stopped || !self.not_run.is_empty()
    }

    /// Returns the count of judged denials.
    pub fn judged_denials(&self) -> usize {
        let cells = self.scenarios.iter().flat_map(|scenario| &scenario.steps).flat_map(|step| &step.cells);
        cells.filter(|cell| cell.expected == Decision::Deny && cell.verdict.is_judged()).count()
    }

    /// Returns whether no denial was judged. Then nothing is known about isolation.
    pub fn proves_nothing(&self) -> bool {
        self.judged_denials() == 0
    }
}

impl Scenario {
    /// Returns the problems of a cell of the scenario.
    pub fn problems(&self, cell: &Cell) -> BTreeSet<Problem> {
        let mut problems = BTreeSet::new();
        match cell.verdict {
            Verdict::Match | Verdict::Undefined => {}
            Verdict::Leak => drop(problems.insert(Problem::Leak)),
            Verdict::Blocked => drop(problems.insert(Problem::Blocked)),
            Verdict::Flaky => drop(problems.insert(Problem::Flaky)),
            // If a cell is skipped that an earlier run measured, nothing is known about it any more.
            Verdict::Skipped | Verdict::Inconclusive => drop(problems.insert(Problem::Inconclusive)),
        }
        if cell.is_other(cell.asserted) {
            problems.insert(Problem::AssertionError);
        }
        if cell.is_other(cell.intended) && self.demonstrates.is_none() {
            problems.insert(Problem::PolicyGap);
        }
        if cell.limit_ms.is_some_and(|limit| cell.is_later_than(limit)) {
            problems.insert(Problem::Late);
        }
        problems
    }

    /// Returns whether the scenario must demonstrate a mistake, and does not.
    pub fn misses_demonstration(&self) -> bool {
        match self.demonstrates {
            Some(Demonstrates::PolicyGap) => {
                let mut cells = self.steps.iter().flat_map(|step| &step.cells);
                self.failure.is_none() && !cells.any(|cell| cell.is_other(cell.intended))
            }
            None => false,
        }
    }

    /// Returns the count of cells, over all steps.
    pub fn cells(&self) -> usize {
        self.steps.iter().map(|step| step.cells.len()).sum()
    }
}

impl Cell {
    pub(super) fn key(&self) -> Key<'_> {
        (&self.from, &self.to, &self.family, &self.probe)
    }

    /// Returns what the policies promise, even if a profile makes the cell undefined, because claims are about the
    /// policies.
    fn promised(&self) -> Decision {
        self.deviation.map_or(self.expected, |deviation| deviation.promised)
    }

    /// Returns whether a claim contradicts the policies. The policies say nothing about an end without an address.
    fn is_other(&self, claim: Option<Decision>) -> bool {
        let has_no_address =
            || self.reasons.iter().any(|reason| reason.undefined.as_deref() == Some(NO_ADDRESS));
        claim.is_some_and(|claim| claim != self.promised()) && !has_no_address()
    }

    /// Returns how long after the change the cell was in force. `None` if nothing changed, or the change is not in
    /// force.
    pub fn settled(&self) -> Option<Duration> {
        self.settled_ms.map(Duration::from_millis)
    }

    /// Returns the limit for the time of the cell's change, in milliseconds.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit_ms
    }

    /// Returns whether a probe that was sent after a limit, in milliseconds, showed that the change was not in force
    /// yet.
    pub(super) fn is_later_than(&self, limit: u64) -> bool {
        self.settled_ms.is_some() && self.opposed_ms.is_some_and(|opposed| opposed > limit)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {} {} ({})", self.from, self.to, self.probe, self.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let error = Record::parse("before.json", text).unwrap_err();
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
        let record = Record::parse("before.json", &with_cells(CELL)).unwrap();
        let scenario = &record.scenarios[0];
        let cell = &scenario.steps[0].cells[0];
        assert_eq!((record.name.as_str(), scenario.steps[0].time_to_admit_ms), ("before.json", Some(3)));
        assert_eq!(scenario.problems(cell), [Problem::PolicyGap, Problem::Late].into());
        assert!(!record.is_incomplete() && !scenario.misses_demonstration());
    }

    /// A cluster without IPv6 does not contradict assertions about IPv6, because nothing is known about it.
    #[test]
    fn a_claim_about_an_end_without_an_address_is_no_assertion_error() {
        let cell = CELL.replace(r#""verdict": "match""#, r#""verdict": "skipped", "asserted": "deny""#);
        let cell = cell
            .replace(r#""settledMs": 7, "#, "")
            .replace(r#""expected": "deny""#, r#""expected": "undefined""#);
        let cell = cell.replace('}', r#", "reasons": [{"text": "…", "undefined": "no-address"}]}"#);
        let record = Record::parse("after.json", &with_cells(&cell)).unwrap();
        let scenario = &record.scenarios[0];
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
            let record = Record::parse("before.json", &with_cells(cell)).unwrap();
            record.scenarios[0].problems(&record.scenarios[0].steps[0].cells[0])
        };
        assert_eq!(problems(&cell), [Problem::PolicyGap].into());
        let intended = r#""intended": "deny""#;
        assert_eq!(problems(&cell.replace(r#""intended": "allow""#, intended)), [].into());
        let asserted = cell.replace(r#""asserted": "deny""#, r#""asserted": "allow""#);
        assert_eq!(problems(&asserted), [Problem::PolicyGap, Problem::AssertionError].into());
    }

    #[test]
    fn what_is_no_result_is_refused() {
        insta::assert_snapshot!(error("{"), @"before.json: no result of `netproof run -o json`: EOF while parsing an object at line 1 column 1");
        insta::assert_snapshot!(error("[]"), @"before.json: no result of `netproof run -o json`: invalid length 0, expected an object at line 1 column 2");
        insta::assert_snapshot!(error(&with_cells("").replace("v1alpha1", "v2")), @"before.json: no result of `netproof run -o json`: unknown variant `netproof.dev/v2`, expected `netproof.dev/v1alpha1` at line 1 column 32");
        insta::assert_snapshot!(error(&with_cells("").replace("RunResult", "ScenarioList")), @"before.json: no result of `netproof run -o json`: unknown variant `ScenarioList`, expected `RunResult` at line 1 column 62");
        insta::assert_snapshot!(error(&with_cells("").replace("interrupted", "other")), @"before.json: no result of `netproof run -o json`: missing field `interrupted` at line 3 column 87");
        insta::assert_snapshot!(error(&with_cells(&CELL.replace("match", "fine"))), @"before.json: no result of `netproof run -o json`: unknown variant `fine`, expected one of `match`, `leak`, `blocked`, `flaky`, `undefined`, `skipped`, `inconclusive` at line 3 column 164");
        insta::assert_snapshot!(error(&with_cells(&CELL.replace("\"to\"", "\"towards\""))), @"before.json: no result of `netproof run -o json`: missing field `to` at line 4 column 117");
        insta::assert_snapshot!(error(&with_cells(&format!("{CELL}, {CELL}"))), @"before.json: `x/a → x/b 80/TCP (IPv4)` in step `t` of scenario `s` is there twice: its verdicts cannot be told apart");
    }
}
