//! Waiting until a change is in force: before, a denial that it leaves as it is proves nothing.

use std::time::Duration;

use super::settle::{PAUSE, Prober, Settling};
use super::track::Expected;
use crate::policy::Decision;

/// How long to wait for the answer of a sentinel, which is there at once or not at all.
pub(super) const GLANCE: Duration = Duration::from_millis(20);

impl<P: Prober> Settling<'_, P> {
    /// Waits until the change is in force, and there must be a path to every cell. Returns those that have only
    /// been probed before.
    pub(super) async fn premature(&mut self) -> Vec<usize> {
        loop {
            let in_force = self.in_force();
            let wired = self.deadlines.handed_over + self.deadlines.wiring;
            let due = |expected: &Expected| match expected.decision {
                Decision::Deny if !expected.is_proved => in_force.max(wired),
                Decision::Allow | Decision::Deny | Decision::Undefined => in_force,
            };
            let pairs = self.tracks.iter().zip(self.expected).enumerate();
            let premature = pairs.filter(|(_, (track, expected))| {
                let is_early = track.probed < due(expected) && !track.is_examined && !track.is_final;
                let is_decided = expected.decision != Decision::Undefined;
                is_early && is_decided && !track.leaked && track.agrees(expected.decision) == Some(true)
            });
            let premature: Vec<usize> = premature.map(|(cell, _)| cell).collect();
            if premature.is_empty() {
                return premature;
            }
            if !self.counts() {
                tokio::time::sleep(PAUSE).await;
                self.prober.round(&[], GLANCE).await;
                continue;
            }
            let due = premature.iter().filter_map(|cell| self.expected.get(*cell)).map(due).max();
            tokio::time::sleep(due.unwrap_or_default().saturating_sub(self.prober.elapsed())).await;
            return premature;
        }
    }

    /// Whether a silence says something about the change by now.
    pub(super) fn counts(&self) -> bool {
        self.prober.signal().in_force.is_some() || self.is_over()
    }

    /// From when on a silence says something about the change: it was seen to be in force by then, or there has been
    /// time enough. A node works off one thing after the other, so that is given as much time again.
    fn in_force(&self) -> Duration {
        match self.prober.signal().in_force {
            Some(seen) => seen + seen.saturating_sub(self.deadlines.handed_over),
            None => self.deadline(),
        }
    }
}
