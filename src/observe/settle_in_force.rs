//! Waits until a change is in force. Before that, a denial that the change leaves as it is proves nothing.

use std::time::Duration;

use super::settle::{PAUSE, Prober, SettleDeadlines, Settling};
use super::track::Expected;
use crate::policy::Decision;
use crate::verdict::Observation;

/// How long to wait for the answer of a sentinel. It arrives at once or not at all.
const GLANCE: Duration = Duration::from_millis(60);

impl<P: Prober> Settling<'_, P> {
    /// Looks whether the change is in force already, so that the first round says something about the new
    /// state.
    pub(super) async fn glance(&mut self) {
        self.prober.round(&[], GLANCE).await;
        let left = self.in_force().saturating_sub(self.prober.elapsed());
        if left <= GLANCE {
            tokio::time::sleep(left).await;
        }
    }

    /// Waits until the change is in force, and until there must be a path to every silent cell.
    pub(super) async fn await_force(&mut self) {
        while self.prober.signal().in_force.is_none() && !self.is_over() {
            tokio::time::sleep(PAUSE).await;
            self.prober.round(&[], GLANCE).await;
        }
        let in_force = self.in_force();
        let silent = self.tracks.iter().zip(self.expected).filter(|(track, expected)| {
            expected.decision == Decision::Deny && track.agrees(Decision::Deny) == Some(true)
        });
        let due = silent.map(|(_, expected)| self.due(expected, in_force)).max();
        let due = due.unwrap_or_default().max(in_force);
        tokio::time::sleep(due.saturating_sub(self.prober.elapsed())).await;
    }

    /// Returns from when on a silence says something about the new state: the change was seen to be in force,
    /// or there was enough time. Nodes process changes one after the other, so the time that was seen is
    /// doubled.
    pub(super) fn in_force(&self) -> Duration {
        let SettleDeadlines { handed_over, propagation, is_mixed, .. } = self.deadlines;
        let least = if is_mixed { handed_over + propagation } else { Duration::ZERO };
        match self.prober.signal().in_force {
            Some(seen) => (seen + seen.saturating_sub(handed_over)).max(least),
            None => self.deadline(),
        }
    }

    /// Returns the same for one cell, to which there must also be a path.
    pub(super) fn due(&self, expected: &Expected, in_force: Duration) -> Duration {
        let wired = self.deadlines.handed_over + self.deadlines.propagation;
        match (expected.decision, expected.service) {
            (Decision::Allow | Decision::Undefined, _) => in_force,
            (Decision::Deny, _) if expected.is_proved => in_force,
            (Decision::Deny, None) => in_force.max(wired),
            // Nodes learn of Services from another component than of policies, and no time is promised for
            // that.
            (Decision::Deny, Some(service)) => {
                in_force.max(wired).max(self.delivered_by(service).unwrap_or_else(|| self.deadline()))
            }
        }
    }

    /// Returns since when cells of this Service and node are delivered. `None` if none is.
    fn delivered_by(&self, service: usize) -> Option<Duration> {
        let cells = self.tracks.iter().zip(self.expected).filter(|(track, expected)| {
            expected.service == Some(service)
                && expected.decision == Decision::Allow
                && track.agrees(Decision::Allow) == Some(true)
        });
        cells.filter_map(|(track, _)| track.settled).min()
    }

    /// Makes cells inconclusive that differ and were not probed after the deadline: there was no time to
    /// settle after the last disturbance. A probe shows the state at the time when it was sent.
    pub(super) fn find_cut_short(&mut self) {
        let deadline = self.leak_deadline();
        let message = match self.disturbed {
            Some(_) => "agents or the API server were away, and too little time was left afterwards",
            None => "it was not probed any more after the settle time",
        };
        for (track, expected) in self.tracks.iter_mut().zip(self.expected) {
            let is_known = track.leaked || track.probed >= deadline;
            if track.agrees(expected.decision) == Some(false) && !is_known {
                track.observation = Some(Observation::ProbeError { message: message.to_owned() });
            }
        }
    }
}
