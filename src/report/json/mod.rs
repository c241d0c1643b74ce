//! The report for machines. Its shape is documented in `docs/json.md` and does not change within
//! an `apiVersion`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::compare_json::ComparisonDocument;
use super::open::OpenConnectionDocument;
use super::profiles::{self, ProfileDocument};
use crate::compare::Comparison;
use crate::policy::Reason;
use crate::verdict::{
    Cause, CellResult, Counts, Latency, MachineCounts, Outcome, Quantiles, Repetitions, RunResult,
    ScenarioResult, StepResult, TimeToSettle, Verdict,
};

pub(super) const API_VERSION: &str = "netproof.dev/v1alpha1";

/// The report of a run, as one JSON document, with what changed since an earlier one.
///
/// # Errors
/// Never, as its shape has nothing that JSON lacks.
pub fn json(result: &RunResult, comparison: Option<&Comparison<'_>>) -> serde_json::Result<String> {
    let comparison = comparison.map(ComparisonDocument::new);
    let mut text = serde_json::to_string_pretty(&RunDocument { comparison, ..RunDocument::new(result) })?;
    text.push('\n');
    Ok(text)
}

/// The exit code that a result leads to, as `--help` explains it.
pub fn exit_code(result: &RunResult) -> u8 {
    if result.interrupted { 130 } else { outcome_code(result.outcome()) }
}

pub(super) fn outcome_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Pass => 0,
        Outcome::Fail => 1,
        Outcome::Inconclusive => 3,
    }
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
    facts: BTreeMap<&'a str, &'a str>,
    warnings: &'a [String],
    interrupted: bool,
    stopped: bool,
    not_carried_out: BTreeSet<&'a str>,
    took_ms: u64,
    counts: CountsDocument,
    nodes: BTreeMap<&'a str, MachineDocument>,
    profiles: Vec<ProfileDocument<'a>>,
    latency: RunLatencyDocument<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<ComparisonDocument<'a>>,
    scenarios: Vec<ScenarioDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CountsDocument {
    cells: usize,
    #[serde(rename = "match")]
    matches: usize,
    leak: usize,
    blocked: usize,
    flaky: usize,
    undefined: usize,
    undefined_by_profile: usize,
    unsupported: usize,
    inconclusive: usize,
    policy_gaps: usize,
    disagreements: usize,
    late: usize,
    retries: usize,
}

#[derive(Serialize)]
struct MachineDocument {
    source: usize,
    destination: usize,
    leak: usize,
    blocked: usize,
}

impl From<MachineCounts> for MachineDocument {
    fn from(counts: MachineCounts) -> Self {
        let MachineCounts { source, destination, leaks: leak, blocked } = counts;
        Self { source, destination, leak, blocked }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScenarioDocument<'a> {
    name: &'a str,
    description: &'a str,
    file: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    demonstrates: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetitions: Option<RepetitionsDocument>,
    ignored: &'a BTreeMap<String, usize>,
    start_ms: u64,
    timeout_ms: u64,
    took_ms: u64,
    counts: CountsDocument,
    steps: Vec<StepDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RepetitionsDocument {
    asked: usize,
    carried_out: usize,
    same: usize,
}

impl From<Repetitions> for RepetitionsDocument {
    fn from(repetitions: Repetitions) -> Self {
        let Repetitions { asked, done: carried_out, same } = repetitions;
        Self { asked, carried_out, same }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepDocument<'a> {
    name: &'a str,
    items: Vec<u8>,
    counts: CountsDocument,
    time_to_enforce_ms: Option<u64>,
    time_to_admit_ms: Option<u64>,
    nodes: BTreeMap<&'a str, TimeDocument>,
    handed_over_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_pods_isolated_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_pods_admitted_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open_connections: Vec<OpenConnectionDocument>,
    rounds: u32,
    took_ms: u64,
    cells: Vec<CellDocument>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimeDocument {
    time_to_enforce_ms: Option<u64>,
    time_to_admit_ms: Option<u64>,
}

impl From<TimeToSettle> for TimeDocument {
    fn from(time: TimeToSettle) -> Self {
        let TimeToSettle { enforce, admit } = time;
        Self { time_to_enforce_ms: enforce.map(millis), time_to_admit_ms: admit.map(millis) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunLatencyDocument<'a> {
    enforce: Option<QuantilesDocument>,
    admit: Option<QuantilesDocument>,
    nodes: BTreeMap<&'a str, LatencyDocument>,
}

#[derive(Serialize)]
struct LatencyDocument {
    enforce: Option<QuantilesDocument>,
    admit: Option<QuantilesDocument>,
}

impl From<Latency> for LatencyDocument {
    fn from(latency: Latency) -> Self {
        let Latency { enforce, admit } = latency;
        Self { enforce: enforce.map(QuantilesDocument::from), admit: admit.map(QuantilesDocument::from) }
    }
}

impl<'a> RunLatencyDocument<'a> {
    fn new(result: &'a RunResult) -> Self {
        let LatencyDocument { enforce, admit } = result.latency().into();
        let nodes = result.latency_by_machine().into_iter().map(|(name, latency)| (name, latency.into()));
        Self { enforce, admit, nodes: nodes.collect() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QuantilesDocument {
    steps: usize,
    p50_ms: u64,
    p95_ms: u64,
    max_ms: u64,
}

impl From<Quantiles> for QuantilesDocument {
    fn from(quantiles: Quantiles) -> Self {
        let Quantiles { number: steps, p50, p95, max } = quantiles;
        Self { steps, p50_ms: millis(p50), p95_ms: millis(p95), max_ms: millis(max) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CellDocument {
    from: String,
    to: String,
    family: &'static str,
    probe: String,
    verdict: &'static str,
    expected: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<CellDifference>,
    observed: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asserted: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intended: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    reasons: Vec<ReasonDocument>,
    attempts: u32,
    retries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_ms: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    repeated: BTreeMap<&'static str, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_until_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opposed_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_node: Option<String>,
}

/// Why a profile leaves a cell undefined.
#[derive(Serialize)]
struct CellDifference {
    profile: String,
    reason: String,
    /// What the policies promise of it.
    promised: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReasonDocument {
    text: String,
    /// `namespace/name` of each policy that the reason names, or `Kind name` of a cluster-scoped one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    /// The rule's place in its list, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<usize>,
}

impl<'a> RunDocument<'a> {
    fn new(result: &'a RunResult) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "RunResult",
            version: env!("CARGO_PKG_VERSION"),
            outcome: outcome(result.outcome()),
            exit_code: exit_code(result),
            backend: &result.surroundings.name,
            facts: result.surroundings.facts.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            warnings: &result.surroundings.warnings,
            interrupted: result.interrupted,
            stopped: result.stopped,
            not_carried_out: result.unfinished.iter().map(String::as_str).collect(),
            took_ms: millis(result.took),
            counts: result.counts().into(),
            nodes: result.machines().into_iter().map(|(name, counts)| (name, counts.into())).collect(),
            profiles: profiles::documents(result),
            latency: RunLatencyDocument::new(result),
            comparison: None,
            scenarios: result.scenarios.iter().map(ScenarioDocument::new).collect(),
        }
    }
}

impl<'a> ScenarioDocument<'a> {
    fn new(result: &'a ScenarioResult) -> Self {
        Self {
            name: &result.name,
            description: &result.description,
            file: &result.file,
            outcome: outcome(result.outcome()),
            demonstrates: result.demonstrates.map(|_| "policy-gap"),
            failure: result.failure.as_ref().map(|failure| failure.message.as_str()),
            repetitions: result.repetitions.map(RepetitionsDocument::from),
            ignored: &result.ignored,
            start_ms: millis(result.start),
            timeout_ms: millis(result.timeout),
            took_ms: millis(result.took),
            counts: result.counts().into(),
            steps: result.steps.iter().map(StepDocument::new).collect(),
        }
    }
}

impl<'a> StepDocument<'a> {
    fn new(result: &'a StepResult) -> Self {
        let TimeDocument { time_to_enforce_ms, time_to_admit_ms } = result.time().into();
        let nodes = result.time_by_machine().into_iter().map(|(name, time)| (name, time.into()));
        Self {
            name: &result.name,
            items: result.items.iter().map(|item| item.number()).collect(),
            counts: result.counts().into(),
            time_to_enforce_ms,
            time_to_admit_ms,
            nodes: nodes.collect(),
            handed_over_ms: millis(result.handed_over),
            new_pods_isolated_ms: result.new_pods.enforce.map(millis),
            new_pods_admitted_ms: result.new_pods.admit.map(millis),
            open_connections: result.open_connections.iter().map(OpenConnectionDocument::new).collect(),
            rounds: result.rounds,
            took_ms: millis(result.took),
            cells: result.cells.iter().map(CellDocument::new).collect(),
        }
    }
}

impl CellDocument {
    fn new(result: &CellResult) -> Self {
        let settled = result.settled.as_ref();
        Self {
            from: result.cell.from.to_string(),
            to: result.cell.to.to_string(),
            family: result.cell.family.name(),
            probe: result.cell.probe.to_string(),
            verdict: result.verdict.name(),
            expected: result.decision().name(),
            difference: result.left_open.as_ref().map(|difference| CellDifference {
                profile: difference.profile.clone(),
                reason: difference.reason.clone(),
                promised: result.expected.decision.name(),
            }),
            observed: result.observed.as_ref().map(|observed| observed.name()),
            asserted: result.asserted.map(|asserted| asserted.name()),
            intended: result.intended.map(|intended| intended.name()),
            cause: cause(&result.verdict).map(ToString::to_string),
            reasons: result.expected.reasons.iter().map(ReasonDocument::new).collect(),
            attempts: result.attempts,
            retries: result.retries,
            change: settled.map(|settled| settled.change.name()),
            settled_ms: settled.map(|settled| millis(settled.took)),
            opposed_ms: settled.and_then(|settled| settled.opposed).map(millis),
            settled_at: settled.and_then(|settled| settled.machine.clone()),
            limit_ms: settled.and_then(|settled| settled.limit).map(millis),
            delivered_until_ms: result.delivered_until.map(millis),
            repeated: result.repeated.clone(),
            from_node: result.machines.from.clone(),
            to_node: result.machines.to.clone(),
        }
    }
}

impl ReasonDocument {
    fn new(reason: &Reason) -> Self {
        let (policies, direction, rule) = match reason {
            Reason::NotIsolated(direction) => (Vec::new(), Some(direction.name()), None),
            Reason::AllowedBy { rule, .. } | Reason::DeniedBy(rule) | Reason::PassedBy(rule) => {
                (vec![rule.policy.to_string()], Some(rule.direction.name()), Some(rule.index))
            }
            Reason::Isolated { direction, policies } => {
                (policies.iter().map(ToString::to_string).collect(), Some(direction.name()), None)
            }
            Reason::OwnAddress | Reason::OwnNode | Reason::NoPodNetwork | Reason::Undefined(_) => {
                (Vec::new(), None, None)
            }
        };
        Self { text: reason.to_string(), policies, direction, rule }
    }
}

impl From<Counts> for CountsDocument {
    fn from(counts: Counts) -> Self {
        Self {
            cells: counts.cells(),
            matches: counts.matches,
            leak: counts.leaks,
            blocked: counts.blocked,
            flaky: counts.flaky,
            undefined: counts.undefined,
            undefined_by_profile: counts.left_open,
            unsupported: counts.unsupported,
            inconclusive: counts.inconclusive,
            policy_gaps: counts.gaps,
            disagreements: counts.disagreements,
            late: counts.late,
            retries: counts.retries,
        }
    }
}

fn cause(verdict: &Verdict) -> Option<&Cause> {
    match verdict {
        Verdict::Inconclusive(cause) => Some(cause),
        Verdict::Match | Verdict::Leak | Verdict::Blocked | Verdict::Flaky | Verdict::Undefined => None,
    }
}

pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Inconclusive => "inconclusive",
        Outcome::Fail => "fail",
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
