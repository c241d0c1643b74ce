//! How long changes took to be in force.

use std::collections::BTreeMap;

use serde::Serialize;

use super::millis;
use crate::verdict::{Latency, Quantiles, RunResult, TimeToSettle};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TimeDocument {
    pub(super) time_to_enforce_ms: Option<u64>,
    pub(super) time_to_admit_ms: Option<u64>,
}

impl From<TimeToSettle> for TimeDocument {
    fn from(time: TimeToSettle) -> Self {
        let TimeToSettle { enforce, admit } = time;
        Self { time_to_enforce_ms: enforce.map(millis), time_to_admit_ms: admit.map(millis) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunLatencyDocument<'a> {
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
    pub(super) fn new(result: &'a RunResult) -> Self {
        let LatencyDocument { enforce, admit } = result.latency().into();
        let nodes = result.latency_by_machine().into_iter().map(|(name, latency)| (name, latency.into()));
        Self { enforce, admit, nodes: nodes.collect() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::report) struct QuantilesDocument {
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
