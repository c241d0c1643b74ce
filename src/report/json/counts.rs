//! How many cells there are of each kind.

use serde::Serialize;

use crate::verdict::{Counts, MachineCounts, RunResult};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CountsDocument {
    cells: usize,
    #[serde(rename = "match")]
    matches: usize,
    leak: usize,
    blocked: usize,
    flaky: usize,
    undefined: usize,
    undefined_by_profile: usize,
    skipped: usize,
    inconclusive: usize,
    claims: usize,
    judged: usize,
    judged_denials: usize,
    skipped_claims: usize,
    excused_claims: usize,
    policy_gaps: usize,
    assertion_errors: usize,
    late: usize,
    retries: usize,
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
            undefined_by_profile: counts.excused,
            skipped: counts.skipped,
            inconclusive: counts.inconclusive,
            claims: counts.claims,
            judged: counts.judged,
            judged_denials: counts.judged_denials,
            skipped_claims: counts.skipped_claims,
            excused_claims: counts.excused_claims,
            policy_gaps: counts.gaps,
            assertion_errors: counts.assertion_errors,
            late: counts.late,
            retries: counts.retries,
        }
    }
}

#[derive(Serialize)]
pub(super) struct MachineDocument {
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

/// What the proved denials rest on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProofDocument {
    denials: usize,
    dropped_probes: u64,
    fewest_per_denial: u32,
    enforcement_points: usize,
    untold_enforcement_points: usize,
    fewest_per_enforcement_point: u32,
    /// From 0 to 1; absent without enforcement points.
    #[serde(skip_serializing_if = "Option::is_none")]
    detectable_share: Option<f64>,
    /// From 0 to 1; absent where none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_share: Option<f64>,
    /// Whether less would have been found than was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    falls_short: bool,
}

impl ProofDocument {
    pub(super) fn new(result: &RunResult) -> Self {
        let power = result.power();
        Self {
            denials: power.denials,
            dropped_probes: power.probes,
            fewest_per_denial: power.fewest_per_cell,
            enforcement_points: power.points,
            untold_enforcement_points: power.untold,
            fewest_per_enforcement_point: power.fewest_per_point,
            detectable_share: (power.points > 0).then_some(power.detectable_share),
            asked_share: result.asked_share,
            falls_short: result.less_proved().is_some(),
        }
    }
}
