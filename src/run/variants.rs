//! Trying out, after every step, what a backend's variants would show.

use std::time::Duration;

use super::settle::Prober;
use super::track::{Expected, Track};
use crate::policy::Decision;
use crate::verdict::Verdict;

/// Whoever wants to know what variants show.
pub trait Trials<V> {
    /// The variants that are still of interest in a step, counted from 0.
    fn wanted(&self, step: usize) -> Vec<V>;

    /// Takes what a variant showed in a step.
    fn seen(&mut self, variant: V, step: usize, verdicts: &[Verdict]);
}

/// How much longer the second look waits for answers.
const SECOND_LOOK: u32 = 4;

/// Probes all cells, and those that differ once more: a variant shows at once or not at all.
pub(super) async fn glance(prober: &mut impl Prober, expected: &[Expected], timeout: Duration) -> Vec<Track> {
    let mut tracks = vec![Track::new(); expected.len()];
    let decided = expected.iter().enumerate().filter(|(_, e)| e.decision != Decision::Undefined);
    let mut cells: Vec<usize> = decided.map(|(cell, _)| cell).collect();
    for timeout in [timeout, timeout * SECOND_LOOK] {
        if cells.is_empty() {
            break;
        }
        for sighting in prober.round(&cells, timeout).await {
            let pair = tracks.get_mut(sighting.cell).zip(expected.get(sighting.cell));
            if let Some((track, expected)) = pair {
                track.record(sighting, *expected);
            }
        }
        let agrees = |cell: &usize| {
            let pair = tracks.get(*cell).zip(expected.get(*cell));
            pair.is_some_and(|(track, expected)| track.agrees(expected.decision) == Some(true))
        };
        cells.retain(|cell| !agrees(cell));
    }
    tracks
}
