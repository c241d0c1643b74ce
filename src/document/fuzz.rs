//! The result of `netproof fuzz`.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ApiVersion, FuzzKind, Millis, Observation, by_name, texts};
use crate::fuzz::{Differs, Found, FuzzResult};
use crate::policy::{Decision, IpFamily};
use crate::snapshot::Unmodelled;
use crate::verdict::{Environment, Outcome};

/// Result of `netproof fuzz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FuzzDocument {
    pub api_version: ApiVersion,
    pub kind: FuzzKind,
    #[serde(skip)]
    pub outcome: Outcome,
    pub exit_code: u8,
    pub backend: String,
    #[serde(skip)]
    pub facts: Vec<(String, String)>,
    #[serde(default)]
    pub warnings: Vec<String>,
    #[serde(default)]
    pub unmodelled: Vec<Unmodelled>,
    /// Options with which `netproof run` sends packets to the same place, each after a space.
    #[serde(skip)]
    pub place: String,
    pub seed: u64,
    pub cases: usize,
    pub disagreeing: usize,
    pub cells: usize,
    pub undefined: usize,
    pub undefined_by_profile: usize,
    pub skipped: usize,
    pub flaky: usize,
    pub inconclusive: usize,
    #[serde(skip)]
    pub retries: usize,
    pub failures: BTreeMap<u64, String>,
    pub interrupted: bool,
    pub took_ms: Millis,
    pub found: Vec<Finding>,
    pub spec_rules: Vec<RuleCases>,
    #[serde(with = "by_name")]
    pub fields: Vec<(String, usize)>,
}

/// How many cases decide a spec rule of docs/semantics.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleCases {
    pub spec_rule: u8,
    pub title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cases: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_reach: Option<String>,
}

/// A disagreement that was analysed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub seed: u64,
    pub case: usize,
    pub differs: Differs,
    pub from: String,
    pub to: String,
    pub family: IpFamily,
    pub probe: String,
    pub engine: Decision,
    pub naive: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observation>,
    /// The observation with its details, as a text. Empty if nothing was sent.
    #[serde(skip)]
    pub observed_text: String,
    pub reasons: Vec<String>,
    pub cells: usize,
    pub tries: usize,
    pub minimal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The scenario that shows it.
    #[serde(skip)]
    pub scenario: Option<String>,
}

impl FuzzDocument {
    /// Returns the document of a result. `saved` are the files of what was found, in that order. `place` are the options
    /// with which `netproof run` sends packets to the same place, each after a space.
    pub fn new(
        result: &FuzzResult,
        environment: &Environment,
        saved: &[Option<PathBuf>],
        place: &str,
    ) -> Self {
        let found = result.found.iter().zip(saved).map(|(found, path)| Finding::new(found, path.as_ref()));
        let spec_rules = result.coverage.spec_rules().map(|(rule, reached)| RuleCases {
            spec_rule: rule.number(),
            title: rule.title().to_owned(),
            cases: reached.ok(),
            out_of_reach: reached.err().map(str::to_owned),
        });
        let failures = result.failures.iter().map(|(seed, failure)| (*seed, failure.message.clone()));
        let outcome = result.outcome(environment);
        Self {
            api_version: ApiVersion::V1Alpha1,
            kind: FuzzKind::FuzzResult,
            outcome,
            exit_code: outcome.exit_code_unless(result.interrupted),
            backend: environment.name.clone(),
            facts: environment.facts_with_nodes(&result.judged_nodes.iter().map(String::as_str).collect()),
            warnings: environment.warnings.clone(),
            unmodelled: environment.unmodelled.clone(),
            place: place.to_owned(),
            seed: result.seed,
            cases: result.cases,
            disagreeing: result.disagreeing,
            cells: result.counts.cells(),
            undefined: result.counts.undefined,
            undefined_by_profile: result.counts.excused,
            skipped: result.counts.skipped,
            flaky: result.counts.flaky,
            inconclusive: result.counts.inconclusive,
            retries: result.counts.retries,
            failures: failures.collect(),
            interrupted: result.interrupted,
            took_ms: result.took.into(),
            found: found.collect(),
            spec_rules: spec_rules.collect(),
            fields: result.coverage.fields(),
        }
    }
}

impl Finding {
    fn new(found: &Found, path: Option<&PathBuf>) -> Self {
        let Found { case, disagreement, cells, shown, tries } = found;
        let cell = &disagreement.cell;
        Self {
            seed: case.seed,
            case: case.number,
            differs: disagreement.differs,
            from: cell.from.to_string(),
            to: cell.to.to_string(),
            family: cell.family,
            probe: cell.probe.to_string(),
            engine: disagreement.engine,
            naive: disagreement.naive,
            observed: disagreement.observed.as_ref().map(Observation::from),
            observed_text: disagreement.observed.as_ref().map(ToString::to_string).unwrap_or_default(),
            reasons: texts(&disagreement.reasons),
            cells: *cells,
            tries: *tries,
            minimal: shown.as_ref().is_some_and(|shown| shown.is_minimal),
            file: path.map(|path| path.display().to_string()),
            scenario: shown.as_ref().map(|shown| shown.text.clone()),
        }
    }
}
