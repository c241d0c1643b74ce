//! How many cells there are of each kind.

use serde::Serialize;

use crate::verdict::{Counts, MachineCounts};

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
    unsupported: usize,
    inconclusive: usize,
    policy_gaps: usize,
    disagreements: usize,
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
