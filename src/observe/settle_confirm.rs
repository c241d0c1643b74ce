//! Confirming what has settled: every cell has to agree often enough, and every denial has to rest on enough
//! silences.

use std::collections::BTreeSet;

use super::ledger::Sent;
use super::settle::{OVERTIME, Prober, RETRIES, Settling};
use super::settle_closer::CLOSER_LOOK;
use crate::policy::Decision;

/// How many times as long as usual a relapsed cell may take to answer.
const LONGER: u32 = 3;
/// How often a relapsed cell is probed again if the network loses packets.
const RETRIES_WITH_LOSS: u32 = 10;

impl<P: Prober> Settling<'_, P> {
    /// Probes every cell that agrees again, until it has agreed often enough. Returns the cells that do not
    /// agree any more.
    pub(super) async fn confirm(&mut self) -> Vec<usize> {
        let mut rounds = 0;
        // For each cell, the number of its rounds in a row that added no silence. On a dead path, none ever
        // does.
        let mut idle = vec![0; self.expected.len()];
        loop {
            self.await_force().await;
            let in_force = self.in_force();
            let required = self.required_drops();
            let needed = |decision| match decision {
                Decision::Allow | Decision::Undefined => self.deadlines.deliveries,
                Decision::Deny => required,
            };
            let mut unsure = self.select(|track, decision| {
                let is_unsure = track.streak < needed(decision) || track.probed < in_force;
                is_unsure && !track.is_examined && track.agrees(decision) == Some(true)
            });
            // On a dead path, nothing ever confirms a denial.
            if self.is_enough(rounds) {
                unsure.clear();
            }
            unsure.extend(self.without_power(&unsure, &idle));
            let relapsed = if unsure.is_empty() {
                let relapsed = self.arrived_late().await;
                if relapsed.is_empty() {
                    return Vec::new();
                }
                relapsed
            } else {
                let delivered = self.round_for_power(&unsure, &mut idle).await;
                // Include cells whose last probe of the round was silent again.
                let relapsed = unsure.into_iter().filter(|cell| !self.agrees(*cell));
                relapsed.chain(delivered).collect::<BTreeSet<_>>()
            };
            rounds += 1;
            if !relapsed.is_empty() {
                self.suspect(&relapsed);
                return relapsed.into_iter().collect();
            }
        }
    }

    /// Returns the cells whose pools have fewer silences than the wanted confidence needs. Each occurs as
    /// often as it has to be probed besides `planned`.
    fn without_power(&self, planned: &[usize], idle: &[u32]) -> Vec<usize> {
        let mut silences: Vec<u32> = self.tracks.iter().map(|track| track.silences).collect();
        for cell in planned {
            if let Some(silences) = silences.get_mut(*cell) {
                *silences += 1;
            }
        }
        let mut silent = self.select(|track, decision| {
            decision == Decision::Deny && track.agrees(decision) == Some(true) && track.silences > 0
        });
        silent.retain(|cell| idle.get(*cell).is_some_and(|rounds| *rounds < RETRIES));
        self.pools.missing(&silences, &silent, &self.reexamined, self.loss(), CLOSER_LOOK)
    }

    /// Probes cells, and counts in `idle` the rounds that added no silence to them.
    async fn round_for_power(&mut self, cells: &[usize], idle: &mut [u32]) -> BTreeSet<usize> {
        let before: Vec<u32> = self.tracks.iter().map(|track| track.silences).collect();
        let delivered = self.round(cells, self.deadlines.timeout).await;
        for cell in cells.iter().copied().collect::<BTreeSet<_>>() {
            let silences = self.tracks.get(cell).map(|track| track.silences);
            if let Some(idle) = idle.get_mut(cell) {
                *idle = if silences.as_ref() == before.get(cell) { *idle + 1 } else { 0 };
            }
        }
        delivered
    }

    /// Returns the cells whose silence a late arrival disproves.
    async fn arrived_late(&mut self) -> BTreeSet<usize> {
        let deadline = self.leak_deadline();
        let mut late = BTreeSet::new();
        for Sent { cell, at, shows, .. } in self.prober.late_arrivals().await {
            if self.tracks.get_mut(cell).is_some_and(|track| track.record_late(at, shows, deadline)) {
                late.insert(cell);
            }
        }
        late
    }

    /// Probes allowed cells again that relapsed after the deadline: the network may have lost one packet.
    pub(super) async fn examine(&mut self, relapsed: Vec<usize>) {
        let tries = if self.suspected_loss() > 0.0 { RETRIES_WITH_LOSS } else { RETRIES };
        let mut left: Vec<usize> = relapsed.into_iter().filter(|cell| !self.is_denied(*cell)).collect();
        // No cell is examined twice, so this ends.
        for cell in &left {
            if let Some(track) = self.tracks.get_mut(*cell) {
                track.is_examined = true;
            }
        }
        for tried in 0..tries {
            // An outage must not take too long either.
            if left.is_empty() || tried >= RETRIES && self.prober.elapsed() >= self.deadline() + OVERTIME {
                break;
            }
            let timeout = (self.deadlines.timeout * LONGER).min(self.longest_timeout());
            self.round(&left, timeout).await;
            left.retain(|cell| !self.agrees(*cell));
        }
    }
}
