//! A glance at a state, while the backend handles packets in another way. Nothing of it counts for the state
//! itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::listen::Unavailable;
use super::observer::Observer;
use super::pace::Pace;
use super::planned::PlannedCell;
use super::round::{Probing, Rounds};
use super::settle::Prober;
use super::track::{Expected, Track};
use crate::backend::Backend;
use crate::policy::Decision;
use crate::verdict::Verdict;
use crate::world::Capability;

/// How many times as long the second look waits for answers.
const SECOND_LOOK: u32 = 4;

/// The present state, ready for glances.
pub(crate) struct Glances {
    plan: Vec<PlannedCell>,
    expected: Vec<Expected>,
    unavailable: Unavailable,
}

impl<B: Backend> Observer<'_, B> {
    /// Ends the present state, and prepares glances at it.
    pub(crate) async fn prepare_glances(&mut self) -> Glances {
        // A variant might let probes of the state itself pass.
        self.end_of_state().await;
        self.ledger.policies_changed(|_, _, _| false);
        let unavailable = self.open_listeners().await;
        let plan = self.plan();
        Glances { expected: self.expectations(&plan), plan, unavailable }
    }

    /// Probes all cells, and probes the cells that differ again. Returns the verdicts.
    pub(crate) async fn glance(&self, glances: &Glances, declared: &BTreeSet<Capability>) -> Vec<Verdict> {
        let Glances { plan, expected, unavailable } = glances;
        let Self { backend, world, canaries, .. } = self;
        let changed = Instant::now();
        let probing = Probing { backend: &**backend, world, canaries, cells: plan, unavailable, changed };
        // What a variant lets pass is no late arrival of the state itself.
        let mut ledger = Ledger::default();
        let mut pace = Pace::default();
        let mut rounds = Rounds::new(probing, &mut ledger, (&self.references, &mut pace), None);
        let tracks = probe_twice(&mut rounds, expected, self.timeout).await;
        let cells = plan.iter().zip(&tracks);
        cells.map(|(planned, track)| self.verdict(planned, track, declared)).collect()
    }
}

/// Probes all cells once, and the cells that differ once more: a variant shows at once or not at all.
async fn probe_twice(prober: &mut impl Prober, expected: &[Expected], timeout: Duration) -> Vec<Track> {
    let mut tracks = vec![Track::default(); expected.len()];
    let decided = expected.iter().enumerate().filter(|(_, e)| e.decision != Decision::Undefined);
    let mut cells: Vec<usize> = decided.map(|(cell, _)| cell).collect();
    for timeout in [timeout, timeout * SECOND_LOOK] {
        if cells.is_empty() {
            break;
        }
        for sighting in prober.round(&cells, timeout).await {
            let pair = tracks.get_mut(sighting.cell).zip(expected.get(sighting.cell));
            if let Some((track, expected)) = pair {
                track.record(sighting, *expected, Duration::ZERO, Duration::ZERO);
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
