//! A closer look after the settle deadline at denials that did not last, and at each endpoint of a Service.

use std::collections::BTreeSet;

use super::settle::{CONFIRMED, Prober, RETRIES, Settling};
use super::track::Track;
use crate::policy::Decision;

/// How often a denied cell is probed after the deadline if it was delivered after all denials had been
/// silent. A leak of a tenth of its connections then shows with 99.8 %.
pub(super) const REPROBES: usize = 60;
/// How often a Service is probed if its endpoints have different expectations. Each of four endpoints is then
/// chosen with 99.7 %.
pub(super) const BACKEND_PROBES: usize = 20;
/// The largest number of probes that one round sends for a closer look.
pub(super) const CLOSER_LOOK: usize = 3_000;

impl<P: Prober> Settling<'_, P> {
    /// Records the denials that did not last. They need a closer look, and all others have to be confirmed
    /// again.
    pub(super) fn suspect(&mut self, relapsed: &BTreeSet<usize>) {
        let denied: Vec<usize> = relapsed.iter().copied().filter(|cell| self.is_denied(*cell)).collect();
        if denied.is_empty() {
            return;
        }
        let suspects: Vec<usize> = denied.into_iter().filter(|cell| !self.has_leaked_at(*cell)).collect();
        self.suspects.extend(suspects);
        for track in &mut self.tracks {
            track.streak = track.streak.min(1);
        }
    }

    /// Probes all denials once after the deadline, and the suspects often: a network that leaks a tenth of
    /// the connections looks like a slow network. A suspect that could not be probed often enough, because
    /// its agent failed or its path was dead, is probed again, and stays suspect if that fails, too. Returns
    /// whether there were suspects.
    pub(super) async fn look_closer(&mut self) -> bool {
        let suspects: Vec<usize> = std::mem::take(&mut self.suspects).into_iter().collect();
        if suspects.is_empty() {
            return false;
        }
        let left = self.deadline().saturating_sub(self.prober.elapsed());
        tokio::time::sleep(left).await;
        self.reexamined.extend(&suspects);
        // These cells were probed until they were silent often enough, so their silences show less than their
        // number.
        self.reset_denials(&suspects.iter().copied().collect());
        let denied = self.select(|_, decision| decision == Decision::Deny);
        let times = (CLOSER_LOOK / suspects.len()).clamp(CONFIRMED as usize, REPROBES);
        let closer = suspects.iter().flat_map(|cell| std::iter::repeat_n(*cell, times));
        let cells: Vec<usize> = denied.into_iter().chain(closer).collect();
        let silences = |tracks: &[Track], cell: usize| tracks.get(cell).map_or(0, |track| track.silences);
        let before: Vec<u32> = suspects.iter().map(|cell| silences(&self.tracks, *cell)).collect();
        self.round(&cells, self.deadlines.timeout).await;
        self.closer_looks += 1;
        let enough = u32::try_from(times).unwrap_or(u32::MAX);
        for (cell, before) in suspects.into_iter().zip(before) {
            let is_seen = silences(&self.tracks, cell) >= before.saturating_add(enough);
            if let Some(track) = self.tracks.get_mut(cell) {
                track.is_suspect = !is_seen && !track.leaked;
                if track.is_suspect && self.closer_looks < RETRIES {
                    self.suspects.insert(cell);
                }
            }
        }
        true
    }

    /// Probes Services whose endpoints have different expectations so often that each endpoint is chosen. If
    /// a denied endpoint was reached, probes them again after the deadline.
    pub(super) async fn try_backends(&mut self) {
        let mixed = self.expected.iter().enumerate().filter(|(_, expected)| expected.has_denied_backend);
        let mixed: Vec<usize> = mixed.map(|(cell, _)| cell).collect();
        if mixed.is_empty() {
            return;
        }
        let times = (CLOSER_LOOK / mixed.len()).clamp(1, BACKEND_PROBES);
        let often: Vec<usize> = mixed.iter().flat_map(|cell| std::iter::repeat_n(*cell, times)).collect();
        for _ in 0..=RETRIES {
            for cell in &mixed {
                if let Some(track) = self.tracks.get_mut(*cell)
                    && track.leaked_to().is_none()
                {
                    track.denied_backend = None;
                }
            }
            self.round(&often, self.deadlines.timeout).await;
            let mut reached = mixed.iter().filter_map(|cell| self.tracks.get(*cell)?.denied_backend.as_ref());
            if reached.all(|(_, is_after_deadline)| *is_after_deadline) {
                return;
            }
            let left = self.deadline().saturating_sub(self.prober.elapsed());
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use fastrand::Rng;
    use futures_util::future::join_all;

    use super::*;
    use crate::observe::power::Pools;
    use crate::observe::settle::{SettleDeadlines, settle};
    use crate::observe::settle_networks::{DENIED, Network, deadlines, point};
    use crate::observe::track::Expected;
    use crate::policy::Direction;
    use crate::verdict::{EnforcementPoint, Observation};

    /// Returns whether all denials are believed of cells that these points deny. The cells before
    /// `closed_from` leak.
    async fn is_believed(denied_at: Vec<BTreeSet<EnforcementPoint>>, closed_from: usize, seed: u64) -> bool {
        let cells = denied_at.len();
        let pools = Pools::new(denied_at, 0.1);
        let expected = Expected { is_new: true, ..DENIED };
        let deadlines = SettleDeadlines {
            timeout: Duration::from_millis(1),
            longest_timeout: Duration::from_millis(1),
            ..deadlines(300)
        };
        let mut rng = Rng::with_seed(seed);
        let mut network = Network {
            start: Some(Instant::now()),
            round_takes: Duration::ZERO,
            // A tenth of the probes to the cells that leak gets through.
            ..Network::new(move |probe| {
                let is_let_through = rng.u8(..10) == 0 && probe.cell < closed_from;
                probe.shows(if is_let_through { Observation::Connected } else { Observation::Dropped })
            })
        };
        let settled = settle(&mut network, &vec![expected; cells], &pools, deadlines).await;
        let is_match =
            |track: &Track| !track.leaked && !track.unconfirmed && track.agrees(Decision::Deny) == Some(true);
        settled.tracks.iter().all(is_match)
    }

    /// Regression: of 28 probes of one round, the seventh was delivered and the last was not, and the denial
    /// was believed. A leak of a tenth of the connections matched in 57 of 100 runs, and the report said that
    /// it would show with 95 %.
    #[tokio::test]
    async fn a_leak_of_a_tenth_is_believed_as_rarely_as_the_report_says() {
        const RUNS: u64 = 500;
        for cells in [1, 2, 4, 14] {
            let denied_at = vec![[point("one", Direction::Ingress)].into(); cells];
            let believed = believed(RUNS, &denied_at, cells).await;
            assert!(believed <= 38, "{believed} of {RUNS} with {cells} cells, and 25 are 5 %");
        }
    }

    async fn believed(runs: u64, denied_at: &[BTreeSet<EnforcementPoint>], closed_from: usize) -> usize {
        let runs = join_all((0..runs).map(|seed| is_believed(denied_at.to_vec(), closed_from, seed))).await;
        runs.into_iter().filter(|is_believed| *is_believed).count()
    }

    /// The sender's node and the receivers' nodes deny all cells. The cells to one node leak. The silence of
    /// the other cells proves nothing about them.
    #[tokio::test]
    async fn a_leak_past_two_points_does_not_hide_among_other_pairs() {
        const RUNS: u64 = 500;
        let pair = |node| BTreeSet::from([point("one", Direction::Egress), point(node, Direction::Ingress)]);
        let denied_at = [pair("one"), pair("one"), pair("two"), pair("two"), pair("three"), pair("three")];
        let believed = believed(RUNS, &denied_at, 2).await;
        assert!(believed <= 38, "{believed} of {RUNS}, and 25 are 5 %");
    }
}
