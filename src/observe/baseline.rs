//! The baseline: what the cells showed before there were policies. It also calibrates the timeout.

use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::observer::{Baseline, Observer, answered, expected, slowest};
use super::planned::{PlannedCell, ProbedCell};
use super::settle::SettleDeadlines;
use crate::backend::Backend;
use crate::policy::Decision;
use crate::verdict::AtFirst;
use crate::world::World;

/// The baseline of all cells.
pub(crate) struct Calibration {
    /// Number of cells.
    pub(crate) cells: usize,
    /// Number of cells that should have been delivered and were not.
    pub(crate) failed: usize,
    /// How long to wait for an answer from now on.
    pub(crate) timeout: Duration,
}

impl<B: Backend> Observer<'_, B> {
    /// Probes all cells without policies. `excuse` marks the cells that known deviations make undefined.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn measure_baseline(
        &mut self,
        excuse: impl FnOnce(&World, &mut [PlannedCell]),
    ) -> Calibration {
        let mut plan = self.plan();
        excuse(&self.world, &mut plan);
        let cells = self.calibrate(plan, self.settings.start).await;
        self.expected = expected(&cells);
        let count = cells.len();
        for ProbedCell { planned, track } in cells {
            // A Service that led nowhere then proves nothing about where it leads now.
            if planned.decision == Decision::Allow {
                let showed = match track.agrees(Decision::Deny) {
                    Some(false) if track.agreed > 0 => AtFirst::Answered,
                    Some(false) => AtFirst::OneWay,
                    Some(true) | None => AtFirst::Silent,
                };
                let servers = planned.route.map(|route| route.servers).unwrap_or_default();
                let baseline = Baseline { addresses: planned.addresses, servers, showed };
                self.baseline.insert(planned.cell, baseline);
            }
        }
        let failed = self.baseline.values().filter(|baseline| baseline.showed == AtFirst::Silent).count();
        Calibration { cells: count, failed, timeout: self.timeout }
    }

    /// Probes cells of which nothing is denied, for at most `settle` if they do not answer, and lets the timeout follow
    /// their answers.
    pub(super) async fn calibrate(&mut self, plan: Vec<PlannedCell>, settle: Duration) -> Vec<ProbedCell> {
        let unavailable = self.open_listeners().await;
        let deadlines = SettleDeadlines {
            // Generous, because nothing is known yet. It grows with every try.
            timeout: (self.settings.shortest_timeout * 3).min(self.settings.longest_timeout),
            settle,
            propagation: Duration::ZERO,
            ..self.deadlines(Duration::ZERO)
        };
        let (cells, settled) = self.settle(plan, &unavailable, false, Instant::now(), deadlines).await;
        // Nothing is denied that could arrive late.
        self.ledger = Ledger::default();
        let answered = answered(&cells);
        self.loss = settled.loss;
        self.answered = answered.len();
        self.timeout = self.settings.timeout(slowest(&answered));
        self.calibrated = self.timeout;
        cells
    }

    /// Returns whether a cell was delivered in the baseline, as [`at_first`](Self::at_first).
    pub(super) fn was_delivered_at_first(&self, planned: &PlannedCell) -> Option<bool> {
        self.at_first(planned).map(|showed| showed != AtFirst::Silent)
    }

    /// Returns what a cell showed in the baseline, between the same addresses. `None` if the cell did not exist, or if
    /// its Service leads elsewhere now: the silence of the old endpoints says nothing about the new ones.
    pub(super) fn at_first(&self, planned: &PlannedCell) -> Option<AtFirst> {
        let baseline = self.baseline.get(&planned.cell).filter(|it| it.addresses == planned.addresses)?;
        let is_same = planned.route.as_ref().is_none_or(|route| route.servers == baseline.servers);
        is_same.then_some(baseline.showed)
    }
}
