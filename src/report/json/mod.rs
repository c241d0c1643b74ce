//! The report for machines. Its shape is documented in `docs/json.md` and does not change within
//! an `apiVersion`.

mod cell;
mod counts;
mod latency;
mod scenario;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::compare_json::ComparisonDocument;
use super::escape;
use super::machines;
use super::profiles::{self, ProfileDocument};
use super::unmodelled::{self, UnmodelledDocument};
use crate::compare::Comparison;
use crate::verdict::{NodeCoverage, Outcome, RunResult};
use crate::world::Capability;

use counts::{CountsDocument, MachineDocument, ProofDocument};
pub(super) use latency::QuantilesDocument;
use latency::RunLatencyDocument;
pub(super) use scenario::ScenarioDocument;

pub(super) const API_VERSION: &str = "netproof.dev/v1alpha1";

/// The report of a run, as one JSON document, with what changed since an earlier one.
///
/// # Errors
/// Never, as its shape has nothing that JSON lacks.
pub fn json(result: &RunResult, comparison: Option<&Comparison<'_>>) -> serde_json::Result<String> {
    let comparison = comparison.map(ComparisonDocument::new);
    escape::json(&RunDocument { comparison, ..RunDocument::new(result) })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunDocument<'a> {
    api_version: &'static str,
    kind: &'static str,
    version: &'static str,
    outcome: &'static str,
    exit_code: u8,
    backend: &'a str,
    facts: BTreeMap<&'a str, String>,
    warnings: &'a [String],
    unmodelled: Vec<UnmodelledDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_coverage: Option<NodeCoverageDocument>,
    lacking: Vec<&'static str>,
    interrupted: bool,
    stopped: bool,
    not_run: BTreeSet<&'a str>,
    took_ms: u64,
    counts: CountsDocument,
    proof: ProofDocument,
    skipped: BTreeMap<&'static str, usize>,
    nodes: BTreeMap<&'a str, MachineDocument>,
    profiles: Vec<ProfileDocument<'a>>,
    latency: RunLatencyDocument<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<ComparisonDocument<'a>>,
    scenarios: Vec<ScenarioDocument<'a>>,
}

/// How many of a cluster's nodes were used.
#[derive(Serialize)]
struct NodeCoverageDocument {
    used: usize,
    all: usize,
}

impl From<NodeCoverage<'_>> for NodeCoverageDocument {
    fn from(NodeCoverage { used, all }: NodeCoverage<'_>) -> Self {
        Self { used: used.len(), all }
    }
}

impl<'a> RunDocument<'a> {
    fn new(result: &'a RunResult) -> Self {
        let judged_machines = result.judged_machines();
        Self {
            api_version: API_VERSION,
            kind: "RunResult",
            version: env!("CARGO_PKG_VERSION"),
            outcome: outcome(result.outcome()),
            exit_code: result.exit_code(),
            backend: &result.environment.name,
            facts: machines::facts(&result.environment, &judged_machines).into_iter().collect(),
            warnings: &result.environment.warnings,
            unmodelled: unmodelled::documents(&result.environment.unmodelled),
            node_coverage: result.environment.coverage(&judged_machines).map(NodeCoverageDocument::from),
            lacking: result.lacking().into_iter().map(Capability::name).collect(),
            interrupted: result.interrupted,
            stopped: result.stopped,
            not_run: result.unfinished.iter().map(String::as_str).collect(),
            took_ms: millis(result.took),
            counts: result.counts().into(),
            proof: ProofDocument::new(result),
            skipped: result.skipped().into_iter().map(|(capability, n)| (capability.name(), n)).collect(),
            nodes: result.machines().into_iter().map(|(name, counts)| (name, counts.into())).collect(),
            profiles: profiles::documents(result),
            latency: RunLatencyDocument::new(result),
            comparison: None,
            scenarios: result.scenarios.iter().map(ScenarioDocument::new).collect(),
        }
    }
}

pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Skipped => "skipped",
        Outcome::Pass => "pass",
        Outcome::Inconclusive => "inconclusive",
        Outcome::Fail => "fail",
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
