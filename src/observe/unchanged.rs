//! Observes a network that nobody changes: a live cluster, whose policies are not netproof's to remove.
//!
//! A scenario proves each denial by a delivery of the same probe without policies. Here, that is not possible. So a
//! denial rests on the controls of its round (the listener of its destination, and canaries between the same nodes),
//! and on a delivery to or from each of its ends, which shows that their networks work.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use super::batch::OwnListener;
use super::brackets::Brackets;
use super::finding::Finding;
use super::observer::{Applied, Observed, Observer};
use super::planned::PlannedCell;
use super::reference::reference_of;
use crate::backend::Backend;
use crate::plan::Questions;
use crate::policy::{Decision, IpFamily};
use crate::verdict::{Before, Cause, Observation, Verdict};
use crate::world::{Capability, EndpointName};

/// Ends whose network works in a family.
type Alive = HashSet<(EndpointName, IpFamily)>;

impl<'a, B: Backend> Observer<'a, B> {
    /// Asks something else from now on.
    pub(crate) fn ask(&mut self, questions: Questions<'a>) {
        self.questions = questions;
    }

    /// Probes all cells until they have settled, while nothing is changed.
    pub(crate) async fn observe_unchanged(&mut self) -> Observed {
        let plan = self.plan();
        let allowed = plan.iter().filter(|planned| planned.decision == Decision::Allow).cloned();
        let calibrated = self.calibrate(allowed.collect(), self.settings.propagation).await;
        let mut alive = Alive::new();
        for probed in &calibrated {
            mark(&mut alive, &probed.planned, probed.track.observation.as_ref());
        }
        let before = |planned: &PlannedCell| {
            (planned.cell.clone(), Before::new(&planned.expectation, planned.decision))
        };
        self.expected = plan.iter().map(before).collect();
        // Paths to the agents and rules for them may still come into force after the first beginning, and not after the
        // later ones.
        let changed = *self.unchanged_since.get_or_insert_with(Instant::now);
        let (before, handed_over) = (self.world.cluster.clone(), Duration::ZERO);
        let applied = Applied { actions: &[], before, changed, has_sentinels: false, handed_over };
        let mut observed = self.observe(&applied, &BTreeSet::from([Capability::Sctp]), |_, _| ()).await;
        // No delivery without policies can follow.
        self.brackets = Brackets::default();
        for (planned, Finding { result, .. }) in plan.iter().zip(&observed.cells) {
            mark(&mut alive, planned, result.observed.as_ref());
        }
        let lost = self.lost_references(&plan).await;
        for (planned, Finding { result, .. }) in plan.iter().zip(&mut observed.cells) {
            let is_proved = result.verdict == Verdict::Match && result.decision() == Decision::Deny;
            if let Some(cause) = self.lack(planned, &alive, &lost).filter(|_| is_proved) {
                result.verdict = Verdict::Inconclusive(cause);
            }
        }
        observed
    }

    /// Returns what the silence of a cell lacks to be a proof.
    fn lack(&self, planned: &PlannedCell, alive: &Alive, lost: &HashSet<OwnListener>) -> Option<Cause> {
        if reference_of(planned).is_some_and(|own| lost.contains(&own)) {
            return Some(Cause::NoControl);
        }
        self.without_sign(planned, alive).map(|end| Cause::NoSignOfLife(end.to_string()))
    }

    /// Returns an end of the cell about whose network nothing is known.
    fn without_sign<'c>(&self, planned: &'c PlannedCell, alive: &Alive) -> Option<&'c EndpointName> {
        let family = planned.cell.family;
        let mut ends = [&planned.cell.from].into_iter().chain(planned.all_servers());
        // A destination without an agent has a reference, which reaches it.
        ends.find(|end| {
            !self.world.is_foreign(end)
                && !alive.contains(&((*end).clone(), family))
                && !self.backend.is_reached(end, family)
        })
    }
}

/// Records the ends of a cell, if its probe got from one to the other.
fn mark(alive: &mut Alive, planned: &PlannedCell, observation: Option<&Observation>) {
    let (from, family) = (&planned.cell.from, planned.cell.family);
    // A Service may have led to any of several endpoints.
    let mut servers = planned.all_servers();
    let (Some(server), None) = (servers.next(), servers.next()) else { return };
    let is_delivered = matches!(observation, Some(Observation::Connected | Observation::OneWay));
    if is_delivered && from != server {
        alive.extend([from, server].map(|end| (end.clone(), family)));
    }
}
