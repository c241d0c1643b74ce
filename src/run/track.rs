//! What is known of a cell while it settles, and how often the network loses what was sent.

use std::time::Duration;

use crate::policy::Decision;
use crate::verdict::Observation;

/// What one probe of a round showed.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    /// The cell, by its position.
    pub(super) cell: usize,
    /// What both ends saw.
    pub(super) observation: Observation,
    /// When it was sent at the earliest, since the change.
    pub(super) sent: Duration,
    /// When it was sent at the latest: it has a way to its agent first.
    pub(super) left: Duration,
    /// When its end was known, since the change.
    pub(super) ended: Duration,
    /// Whether the destination's own listener answered at the same time.
    pub(super) control: bool,
    /// Whether probing again could not change anything.
    pub(super) is_final: bool,
}

/// What is expected of a cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) decision: Decision,
    /// Whether the change made it so.
    pub(super) is_new: bool,
    /// Whether its probes cross the network, and so tell how much that loses.
    pub(super) crosses: bool,
    /// Whether it has been seen to get through between the same addresses. Where not, silence may just
    /// mean that the way is not there yet.
    pub(super) is_proved: bool,
}

/// How many probes went missing although their cells had answered before, and how many did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) missed: u32,
    pub(super) agreed: u32,
}

impl Loss {
    /// The share that went missing.
    pub(super) fn share(self) -> f64 {
        let Self { missed, agreed } = self;
        if missed == 0 { 0.0 } else { f64::from(missed) / f64::from(missed.saturating_add(agreed)) }
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            missed: self.missed.saturating_add(other.missed),
            agreed: self.agreed.saturating_add(other.agreed),
        }
    }
}

/// What became of a cell.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// The last observation; `None` if there was none.
    pub(super) observation: Option<Observation>,
    pub(super) control: bool,
    /// Whether probing again could not change anything.
    pub(super) is_final: bool,
    pub(super) attempts: u32,
    pub(super) retries: u32,
    /// When the observations first held what is expected, and went on holding it.
    pub(super) settled: Option<Duration>,
    /// When the last observation was made that was the opposite of what is expected, at the earliest.
    pub(super) opposed: Option<Duration>,
    /// Whether they differed again after settling.
    pub(super) differed: bool,
    /// How long the last answer took.
    pub(super) answered_in: Option<Duration>,
    /// How many observations in a row have agreed.
    pub(super) streak: u32,
    /// How many have agreed in all.
    pub(super) agreed: u32,
    /// How many have not, after the first that did.
    pub(super) missed: u32,
    /// Whether it has been looked at more closely, and everything is known.
    pub(super) is_examined: bool,
    /// When it was last probed.
    pub(super) probed: Duration,
    /// The last probe of it that was delivered: when it was sent, since the change, and what it showed.
    pub(super) delivered: Option<(Duration, Observation)>,
}

impl Track {
    pub(super) fn new() -> Self {
        Self {
            observation: None,
            control: false,
            is_final: false,
            attempts: 0,
            retries: 0,
            settled: None,
            opposed: None,
            differed: false,
            answered_in: None,
            streak: 0,
            agreed: 0,
            missed: 0,
            is_examined: false,
            probed: Duration::ZERO,
            delivered: None,
        }
    }

    pub(super) fn agrees(&self, decision: Decision) -> Option<bool> {
        self.observation.as_ref()?.agrees_with(decision)
    }

    /// Lets a delivery be what was seen of a cell of which nothing may be delivered, ever: isolation that
    /// comes later does not take the packet back. Gives when it was sent, if it was the last.
    pub(super) fn convict(&mut self, decision: Decision) -> Option<Duration> {
        let is_over = self.agrees(decision) == Some(true);
        let (sent, observation) = self.delivered.take()?;
        (self.observation, self.differed) = (Some(observation), false);
        is_over.then_some(sent)
    }

    pub(super) fn record(&mut self, sighting: Sighting, expected: Expected) {
        let Sighting { observation, sent, left, ended, control, is_final, .. } = sighting;
        let agrees = observation.agrees_with(expected.decision) == Some(true);
        if observation.agrees_with(expected.decision) == Some(false) {
            self.opposed = Some(sent);
        }
        let missed = self.attempts > 0 && self.agrees(expected.decision) != Some(true);
        // A cell that the change just allowed is not retried but waited for.
        if missed && expected.decision == Decision::Allow && (self.settled.is_some() || !expected.is_new) {
            self.retries += 1;
        }
        match (agrees, expected.decision) {
            (false, _) => self.settled = None,
            // Denied when it was sent; admitted when the answer was there.
            (true, Decision::Deny) => {
                self.settled.get_or_insert(left);
            }
            (true, Decision::Allow | Decision::Undefined) => {
                self.settled.get_or_insert(ended);
            }
        }
        if agrees {
            self.streak += 1;
            self.agreed += 1;
        } else {
            self.streak = 0;
            self.missed += u32::from(self.agreed > 0);
        }
        if observation.agrees_with(Decision::Deny) == Some(false) {
            self.delivered = Some((sent, observation.clone()));
        }
        if observation == Observation::Connected {
            self.answered_in = Some(ended.saturating_sub(left));
        }
        self.observation = Some(observation);
        // A listener stays open for as long as its agent lives.
        self.control |= control;
        self.is_final = is_final;
        self.probed = sent;
        self.attempts += 1;
    }
}

/// How likely it is at most that so many of all go missing, if each does with this probability.
pub(super) fn chance(missing: u32, all: u32, loss: f64) -> f64 {
    let ways = (1..=missing).map(|i| f64::from(all + 1 - i) / f64::from(i) * loss);
    ways.product()
}
