//! A scenario and its steps.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cell::CellDocument;
use super::counts::CountsDocument;
use super::latency::TimeDocument;
use super::{millis, outcome};
use crate::report::open::OpenConnectionDocument;
use crate::verdict::{Repetitions, ScenarioResult, StepResult};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::report) struct ScenarioDocument<'a> {
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

impl<'a> ScenarioDocument<'a> {
    pub(in crate::report) fn new(result: &'a ScenarioResult) -> Self {
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
