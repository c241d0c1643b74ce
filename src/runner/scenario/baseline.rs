//! What was seen of the cells before there were policies.

use std::time::{Duration, Instant};

use netproof_probe::wire::Listener;

use super::step_plan::Way;
use super::{ScenarioRun, answered, slowest};
use crate::backend::Backend;
use crate::observe::ledger::Ledger;
use crate::observe::settle::{CONFIRMED, SettleDeadlines, Settled};
use crate::plan::{Cell, Route, Router};
use crate::policy::{Decision, Engine};
use crate::runner::event::Event;
use crate::world::EndpointName;

/// What was seen of a cell before there were policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Baseline {
    way: Way,
    /// Where its address led.
    servers: Vec<(EndpointName, Listener)>,
    delivered: bool,
}

impl<B: Backend> ScenarioRun<'_, B> {
    pub(super) async fn measure_baseline(&mut self) {
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.world.cluster.clone());
        let router = Router::new(&self.world, &engine);
        let step_plan = self.step_plan(None, &engine, &router);
        let deadlines = SettleDeadlines {
            // Generous, as nothing is known yet, and growing with every try.
            timeout: (self.settings.shortest_timeout * 3).min(self.settings.longest_timeout),
            longest_timeout: self.settings.longest_timeout,
            settle: self.settings.start,
            handed_over: Duration::ZERO,
            wiring: Duration::ZERO,
            is_mixed: false,
            loss: self.loss,
            deliveries: CONFIRMED,
        };
        let changed = Instant::now();
        // Without policies, nothing is denied that could arrive late.
        let mut ledger = Ledger::default();
        let Settled { tracks, loss, .. } =
            self.settle(&step_plan, &router, &unavailable, (&mut ledger, None), changed, deadlines).await;
        let answered = answered(&step_plan.cells, &tracks);
        let ways: Vec<Way> = step_plan.ways(&router);
        self.loss = loss;
        self.answered = answered.len();
        self.timeout = self.settings.timeout(slowest(&answered));
        self.calibrated = self.timeout;
        let cells = step_plan.cells.iter().zip(ways).zip(&step_plan.routes);
        for ((((cell, way), route), decision), track) in cells.zip(&step_plan.decisions).zip(&tracks) {
            // A Service that led nowhere then proves nothing about where it leads now.
            if *decision != Decision::Allow {
                continue;
            }
            let delivered =
                track.observation.as_ref().and_then(|o| o.agrees_with(Decision::Deny)) == Some(false);
            let servers = route.as_ref().map(|route| route.servers.clone()).unwrap_or_default();
            self.baseline.insert(cell.clone(), Baseline { way, servers, delivered });
        }
        let failed = self.baseline.values().filter(|baseline| !baseline.delivered).count();
        self.expected = step_plan.expected();
        let (cells, timeout) = (tracks.len(), self.timeout);
        self.events.send(Event::Baseline { index: self.index, cells, failed, timeout });
    }

    /// Whether a cell was delivered before there were policies, between the same addresses; `None` if it was not there,
    /// or if its Service leads elsewhere now: the old endpoints' silence is easily taken for that of the new ones.
    pub(super) fn baseline(&self, cell: &Cell, way: Way, route: Option<&Route>) -> Option<bool> {
        let baseline = self.baseline.get(cell).filter(|baseline| baseline.way == way)?;
        let is_same = route.is_none_or(|route| route.servers == baseline.servers);
        is_same.then_some(baseline.delivered)
    }
}
