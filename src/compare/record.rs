//! Reading what `netproof run -o json` wrote. Unknown fields are none of our business, because fields
//! may be added; everything that is compared has to be there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

/// Why a text is no result of a run.
#[derive(Debug, Error)]
pub enum Error {
    /// It has another shape.
    #[error("{name}: no result of `netproof run -o json`")]
    Shape {
        /// Where it was read from.
        name: String,
        /// What is wrong, and where.
        #[source]
        source: serde_json::Error,
    },
    /// A name that tells things apart is there twice.
    #[error("{name}: {what} is there twice: its verdicts cannot be told apart")]
    Twice {
        /// Where it was read from.
        name: String,
        /// Which.
        what: String,
    },
}

/// A result of a run, as far as it can be compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub struct Record {
    /// Where it was read from.
    #[serde(skip)]
    pub name: String,
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: RecordKind,
    /// The version of netproof; absent in the first results.
    pub version: Option<String>,
    /// Where packets were sent.
    pub backend: String,
    /// What is worth knowing of that.
    pub facts: BTreeMap<String, String>,
    /// What may decide about packets although the verdicts do not know of it.
    pub warnings: Vec<String>,
    /// The kinds of objects that netproof did not model.
    #[serde(default)]
    pub unmodelled: Vec<Unmodelled>,
    /// The profiles by which differences of network plugins were left open.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// What `--require` names and the run lacked. Results of the first versions do not have the field.
    #[serde(default)]
    pub lacking: BTreeSet<String>,
    /// What the denials rest on. Results of the first versions do not have the field.
    #[serde(default)]
    pub proof: Proof,
    /// Whether somebody ended the run early.
    pub interrupted: bool,
    /// Whether a failure did.
    #[serde(default)]
    pub stopped: bool,
    /// The scenarios that were left.
    #[serde(default)]
    pub not_run: BTreeSet<String>,
    /// The scenarios that were carried out.
    pub scenarios: Vec<Scenario>,
}

/// What the denials of a run rest on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Whether fewer leaks would have been found than `--confidence` asks for.
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
    /// Its name.
    pub name: String,
}

/// What was found out in a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Its name.
    pub name: String,
    demonstrates: Option<Demonstrates>,
    /// Why it was not carried out to its end.
    pub failure: Option<String>,
    /// The steps that were carried out.
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Demonstrates {
    #[serde(rename = "policy-gap")]
    PolicyGap,
}

/// What was found out in a step.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its name.
    pub name: String,
    /// In milliseconds; `None` without new denials.
    pub time_to_enforce_ms: Option<u64>,
    /// In milliseconds; `None` without new allowances.
    pub time_to_admit_ms: Option<u64>,
    /// All of its cells.
    pub cells: Vec<Cell>,
}

/// What was found out about a cell.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Who sends.
    pub from: String,
    /// To whom.
    pub to: String,
    /// The family of addresses.
    pub family: String,
    /// What is sent.
    pub probe: String,
    /// What is true of it.
    pub verdict: Verdict,
    /// What packets should do: what the policies promise, unless a profile leaves it undefined.
    pub expected: Decision,
    deviation: Option<KnownDeviation>,
    /// What the packets did.
    pub observed: Option<String>,
    asserted: Option<Decision>,
    intended: Option<Decision>,
    /// Why it could not be measured.
    pub cause: Option<String>,
    #[serde(default)]
    reasons: Vec<Reason>,
    settled_ms: Option<u64>,
    opposed_ms: Option<u64>,
    limit_ms: Option<u64>,
}

/// Why a profile leaves a cell undefined.
#[derive(Debug, Clone, Copy, Deserialize)]
struct KnownDeviation {
    /// What the policies promise of it.
    promised: Decision,
}

/// The kind of reason of a cell with an end that has no address of its family (docs/semantics.md).
const NO_ADDRESS: &str = "no-address";

/// Why the policies promise what they do.
#[derive(Debug, Clone, Deserialize)]
struct Reason {
    /// The kind of what is undefined, if anything is.
    undefined: Option<String>,
}

/// What is true of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The packets do what the policies say.
    Match,
    /// Denied by the policies, and delivered.
    Leak,
    /// Allowed by the policies, and not delivered.
    Blocked,
    /// The answers differed after settling.
    Flaky,
    /// Nobody says what has to be.
    Undefined,
    /// The place lacks what the scenario requires.
    Skipped,
    /// It could not be measured.
    Inconclusive,
}

impl Verdict {
    /// The word for it.
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

    /// Whether packets showed what is true.
    fn is_judged(self) -> bool {
        match self {
            Self::Match | Self::Leak | Self::Blocked => true,
            Self::Flaky | Self::Undefined | Self::Skipped | Self::Inconclusive => false,
        }
    }
}

/// What policies promise, an author asserts, or an owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It must be delivered.
    Allow,
    /// It must not be delivered.
    Deny,
    /// Left open.
    Undefined,
}

impl Decision {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Undefined => "undefined",
        }
    }
}

/// What can be wrong with a cell, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A breach.
    Leak,
    /// An outage.
    Blocked,
    /// The policies say something else than their owner wants.
    PolicyGap,
    /// The scenario says something else than the policy engine.
    AssertionError,
    /// The change was in force later than asked for.
    Late,
    /// The answers differed after settling.
    Flaky,
    /// It could not be measured.
    Inconclusive,
}

impl Problem {
    /// All, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Leak,
        Self::Blocked,
        Self::PolicyGap,
        Self::AssertionError,
        Self::Late,
        Self::Flaky,
        Self::Inconclusive,
    ];

    /// A word for it.
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

    /// Whether it proves nothing, and so only leaves doubt.
    pub fn is_doubt(self) -> bool {
        match self {
            Self::Flaky | Self::Inconclusive => true,
            Self::Leak | Self::Blocked | Self::PolicyGap | Self::AssertionError | Self::Late => false,
        }
    }
}

/// What tells a cell from the others of its step: source, destination, family and probe.
pub(super) type Key<'a> = (&'a str, &'a str, &'a str, &'a str);

impl Record {
    /// Reads a result. `name` is where it comes from.
    ///
    /// # Errors
    /// If it is none, or not one in which everything has one name.
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

    /// Whether the run ended before its time.
    pub fn is_incomplete(&self) -> bool {
        self.interrupted || self.stopped || !self.not_run.is_empty()
    }

    /// How many denials were judged.
    pub fn judged_denials(&self) -> usize {
        let cells = self.scenarios.iter().flat_map(|scenario| &scenario.steps).flat_map(|step| &step.cells);
        cells.filter(|cell| cell.expected == Decision::Deny && cell.verdict.is_judged()).count()
    }

    /// Whether no denial was judged: then nothing is known about isolation.
    pub fn proves_nothing(&self) -> bool {
        self.judged_denials() == 0
    }
}

impl Scenario {
    /// What is wrong with one of its cells.
    pub fn problems(&self, cell: &Cell) -> BTreeSet<Problem> {
        let mut problems = BTreeSet::new();
        match cell.verdict {
            Verdict::Match | Verdict::Undefined => {}
            Verdict::Leak => drop(problems.insert(Problem::Leak)),
            Verdict::Blocked => drop(problems.insert(Problem::Blocked)),
            Verdict::Flaky => drop(problems.insert(Problem::Flaky)),
            // What was measured once and is skipped now is not known any more.
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

    /// Whether it has to show a mistake, and does not.
    pub fn misses_demonstration(&self) -> bool {
        match self.demonstrates {
            Some(Demonstrates::PolicyGap) => {
                let mut cells = self.steps.iter().flat_map(|step| &step.cells);
                self.failure.is_none() && !cells.any(|cell| cell.is_other(cell.intended))
            }
            None => false,
        }
    }

    /// How many cells it has, over all steps.
    pub fn cells(&self) -> usize {
        self.steps.iter().map(|step| step.cells.len()).sum()
    }
}

impl Cell {
    pub(super) fn key(&self) -> Key<'_> {
        (&self.from, &self.to, &self.family, &self.probe)
    }

    /// What the policies promise, whatever a profile leaves undefined: claims are about the policies.
    fn promised(&self) -> Decision {
        self.deviation.map_or(self.expected, |deviation| deviation.promised)
    }

    /// Whether a claim says something else than the policies. Of an end without an address, they say nothing.
    fn is_other(&self, claim: Option<Decision>) -> bool {
        let has_no_address =
            || self.reasons.iter().any(|reason| reason.undefined.as_deref() == Some(NO_ADDRESS));
        claim.is_some_and(|claim| claim != self.promised()) && !has_no_address()
    }

    /// How long after the change it was in force, if there was one and it is.
    pub fn settled(&self) -> Option<Duration> {
        self.settled_ms.map(Duration::from_millis)
    }

    /// How long its change was allowed to take, in milliseconds.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit_ms
    }

    /// Whether a probe from after this limit, in milliseconds, showed that the change was not in force.
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

    /// A cluster that lost IPv6 does not contradict what was asserted of it: nothing is known of it any more.
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

    /// A profile says what packets do, and nothing about what policies mean.
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
