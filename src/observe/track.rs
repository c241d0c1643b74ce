//! What is known of a cell while it settles, and how often the network loses packets.

use std::time::Duration;

use super::ledger::Shows;
use crate::policy::Decision;
use crate::verdict::{Control, Observation};
use crate::world::EndpointName;

/// What one probe of a round showed.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    /// The cell, by its index.
    pub(crate) cell: usize,
    /// What both ends saw.
    pub(crate) observation: Observation,
    /// When it was sent at the earliest, since the change.
    pub(crate) sent: Duration,
    /// When it was sent at the latest: the request travels to its agent first.
    pub(crate) left: Duration,
    /// When its end was known, since the change.
    pub(crate) ended: Duration,
    /// What vouches for the probe's path in the same round.
    pub(crate) control: Control,
    /// Whether the name was found that it had to look up, if any.
    pub(crate) found_name: bool,
    /// The endpoint of a Service that it reached, if that one is denied though others are not.
    pub(crate) denied_backend: Option<EndpointName>,
    /// Whether another probe could not change anything.
    pub(crate) is_final: bool,
}

#[cfg(test)]
impl Sighting {
    /// What a probe shows that is answered at once, if at all, on a live path.
    pub(crate) fn at(sent: Duration, cell: usize, observation: Observation) -> Self {
        Self {
            cell,
            observation,
            sent,
            left: sent,
            ended: sent,
            control: Control::ALIVE,
            found_name: true,
            denied_backend: None,
            is_final: false,
        }
    }
}

/// What is expected of a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) decision: Decision,
    /// Whether the change made it so.
    pub(crate) is_new: bool,
    /// Whether its probes cross the network, and so show how much that loses.
    pub(crate) crosses: bool,
    /// Whether a probe between the same addresses was delivered before. If not, silence may mean that
    /// the path does not exist yet.
    pub(crate) is_proved: bool,
    /// The cells from the same node to the same address of a Service have the same number: what one of them delivers
    /// shows that the node knows the address. `None` if it goes to no Service.
    pub(crate) service: Option<usize>,
    /// Whether it is undefined only because a Service leads to endpoints that are promised different things, and one
    /// of them is denied.
    pub(crate) has_denied_backend: bool,
}

/// How many probes of allowed cells went missing and came back, and how many were answered.
///
/// A cell that stays silent is an outage and says nothing about loss: on a cluster whose enforcer did not
/// know `endPort`, four blocked cells of 72 raised the estimate to 90 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) missed: u32,
    pub(crate) agreed: u32,
}

impl Loss {
    /// The share that went missing.
    pub(crate) fn share(self) -> f64 {
        let Self { missed, agreed } = self;
        if missed == 0 { 0.0 } else { f64::from(missed) / f64::from(missed.saturating_add(agreed)) }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            missed: self.missed.saturating_add(other.missed),
            agreed: self.agreed.saturating_add(other.agreed),
        }
    }
}

/// What is known of a cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track {
    /// The last observation; `None` if there was none.
    pub(crate) observation: Option<Observation>,
    /// The best control of the silences since the cell last disagreed.
    pub(crate) control: Control,
    /// Whether the destination's own listener answered at any time: it stays open as long as its agent
    /// lives.
    listener_up: bool,
    /// Whether the last probe found the name that it had to look up, if any.
    pub(crate) found_name: bool,
    /// Whether another probe could not change anything.
    pub(crate) is_final: bool,
    pub(crate) attempts: u32,
    pub(crate) retries: u32,
    /// When the observations first held what is expected, and went on holding it.
    pub(crate) settled: Option<Duration>,
    /// When the first of these silences was sent.
    pub(crate) silent_since: Option<Duration>,
    /// When the last observation was made that was the opposite of what is expected, at the earliest.
    pub(crate) opposed: Option<Duration>,
    /// Whether an allowed cell went missing more often than the network loses packets.
    pub(crate) differed: bool,
    /// Whether a denied cell was delivered after the settle deadline. One packet is enough.
    pub(crate) leaked: bool,
    /// The denied endpoint of a Service that was last reached, and whether that was after the settle deadline.
    pub(crate) denied_backend: Option<(EndpointName, bool)>,
    /// Who answered a denied probe that was sent after the settle deadline, instead of its destination.
    pub(crate) misdelivered: Option<String>,
    /// Whether it was delivered before the deadline though all denials had been silent, and has not been probed
    /// often enough since.
    pub(crate) is_suspect: bool,
    /// Whether silence may be loss: the cell was not silent as often as the network requires.
    pub(crate) unconfirmed: bool,
    /// How long the last answer took.
    pub(crate) answered_in: Option<Duration>,
    /// How many observations in a row have agreed. A silence counts only if its path was alive and the change in force.
    pub(crate) streak: u32,
    /// How many silences with a live path a denial rests on: all since it last disagreed and the change is in
    /// force.
    pub(crate) silences: u32,
    /// How many have agreed in all.
    pub(crate) agreed: u32,
    /// How many went missing although they should have been answered, and were followed by one that was.
    pub(crate) missed: u32,
    /// How many went missing since the last that agreed, on a path that was alive.
    pub(crate) missing: u32,
    /// Whether it has been examined after a relapse.
    pub(crate) is_examined: bool,
    /// When it was last probed.
    pub(crate) probed: Duration,
    /// The last probe that was delivered: when it was sent, since the change, and what it showed.
    pub(crate) delivered: Option<(Duration, Observation)>,
}

impl Track {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn agrees(&self, decision: Decision) -> Option<bool> {
        self.observation.as_ref()?.agrees_with(decision)
    }

    /// The denied endpoint of a Service that was reached after the settle deadline.
    pub(crate) fn leaked_to(&self) -> Option<&EndpointName> {
        let (endpoint, is_after_deadline) = self.denied_backend.as_ref()?;
        is_after_deadline.then_some(endpoint)
    }

    /// Records an early delivery as a leak, even if later probes are dropped: isolation that comes later
    /// does not take the packet back. Returns when it was sent, if it was the last.
    pub(crate) fn record_leak(&mut self, decision: Decision) -> Option<Duration> {
        let is_over = self.agrees(decision) == Some(true);
        let (sent, observation) = self.delivered.take()?;
        (self.observation, self.differed) = (Some(observation), false);
        is_over.then_some(sent)
    }

    /// Takes in what a probe showed. A denied cell that is delivered by a probe that was sent at `deadline`
    /// or later has leaked, whatever later probes show. A denial rests on silences since the change is `in_force`.
    pub(crate) fn record(
        &mut self,
        sighting: Sighting,
        expected: Expected,
        deadline: Duration,
        in_force: Duration,
    ) {
        let Sighting { observation, sent, left, ended, control, found_name, is_final, .. } = sighting;
        let agrees = observation.agrees_with(expected.decision) == Some(true);
        let is_delivered = observation.agrees_with(Decision::Deny) == Some(false);
        let is_shown = self.leaked || self.leaked_to().is_some();
        let shows_leak = is_delivered && (self.leaked || sighting.denied_backend.is_some());
        if let Some(endpoint) = sighting.denied_backend {
            let is_late = self.denied_backend.as_ref().is_some_and(|(_, is_late)| *is_late);
            self.denied_backend = Some((endpoint, is_late || sent >= deadline));
        }
        // A denied packet that is delivered proves that the denial is not in force. An allowed one that goes missing
        // proves nothing once others were answered: it may be lost.
        let is_proof = expected.decision == Decision::Deny || self.agreed == 0;
        if observation.agrees_with(expected.decision) == Some(false) && is_proof {
            self.opposed = Some(sent);
        }
        let missed = self.attempts > 0 && self.agrees(expected.decision) != Some(true);
        // A cell that the change just allowed is not retried but waited for.
        if missed && expected.decision == Decision::Allow && (self.settled.is_some() || !expected.is_new) {
            self.retries += 1;
        }
        self.listener_up |= control.listener;
        let control = Control { listener: self.listener_up, ..control };
        match (agrees, expected.decision) {
            (false, _) => self.disagree(control, expected),
            // Denied when it was sent; admitted when the answer was there.
            (true, Decision::Deny) => self.stay_silent(sent, left, control, sent >= in_force),
            (true, Decision::Allow | Decision::Undefined) => self.answer(ended),
        }
        if is_delivered {
            self.delivered = Some((sent, observation.clone()));
        }
        if let Observation::Misdelivered { by } = &observation
            && expected.decision == Decision::Deny
            && sent >= deadline
        {
            self.misdelivered = Some(by.clone());
        }
        self.leaked |= is_delivered && expected.decision == Decision::Deny && sent >= deadline;
        if observation == Observation::Connected {
            self.answered_in = Some(ended.saturating_sub(left));
        }
        // What has leaked keeps the observation that shows it.
        if !is_shown || shows_leak {
            self.observation = Some(observation);
        }
        (self.found_name, self.is_final) = (found_name, is_final);
        self.probed = sent;
        self.attempts += 1;
    }

    /// Takes in that a probe of a denied cell arrived after its round. Returns whether that takes the denial
    /// back; a probe from before it was in force does not.
    pub(crate) fn record_late(&mut self, sent: Duration, shows: Shows, deadline: Duration) -> bool {
        let is_silent = self.observation.as_ref().is_some_and(Observation::is_silence);
        let is_before = self.silent_since.is_none_or(|since| sent < since);
        // What is known to leak shows nothing new.
        let is_leak = shows == Shows::Delivery && sent >= deadline && !self.leaked;
        // Whatever else was seen last does not take a packet back.
        if !is_leak && (!is_silent || is_before && sent < deadline) {
            return false;
        }
        (self.settled, self.silent_since) = (None, None);
        self.distrust();
        match shows {
            Shows::Delivery => {
                self.opposed = Some(sent);
                self.delivered = Some((sent, Observation::OneWay));
                self.observation = Some(Observation::OneWay);
                self.leaked |= is_leak;
            }
            Shows::Lookup => {
                let message = "its lookup arrived late".to_owned();
                self.observation = Some(Observation::ProbeError { message });
            }
            Shows::Elsewhere => {
                let message = "it arrived at another pod".to_owned();
                self.observation = Some(Observation::ProbeError { message });
            }
            Shows::Change => {
                let message = "it arrived after the policies had changed".to_owned();
                self.observation = Some(Observation::ProbeError { message });
            }
        }
        true
    }

    /// Lets no silence count that there was so far.
    pub(crate) fn distrust(&mut self) {
        (self.streak, self.silences) = (0, 0);
    }

    fn disagree(&mut self, control: Control, expected: Expected) {
        (self.settled, self.silent_since) = (None, None);
        self.distrust();
        self.control.listener = self.listener_up;
        self.control.path |= control.path;
        // What was just allowed may not be in force yet, and a dead path loses everything.
        let should_answer = self.agreed > 0 || !expected.is_new;
        self.missing += u32::from(should_answer && control.path);
    }

    fn stay_silent(&mut self, sent: Duration, left: Duration, control: Control, counts: bool) {
        if self.streak == 0 {
            self.control = control;
        }
        if control.path {
            self.settled.get_or_insert(left);
            self.silent_since.get_or_insert(sent);
            self.streak += u32::from(counts);
            self.silences += u32::from(counts);
            self.agreed += 1;
        }
        self.control = Control { path: self.control.path || control.path, listener: self.listener_up };
    }

    fn answer(&mut self, ended: Duration) {
        self.settled.get_or_insert(ended);
        self.streak += 1;
        self.agreed += 1;
        self.missed += std::mem::take(&mut self.missing);
        self.control.path = false;
    }

    /// How many went missing, those included that may never come back.
    pub(crate) fn all_missed(&self) -> u32 {
        self.missed + self.missing
    }
}

/// The probability that so many of all go missing, at most, if each does with this probability.
pub(crate) fn chance(missing: u32, all: u32, loss: f64) -> f64 {
    let ways = (1..=missing).map(|i| f64::from(all + 1 - i) / f64::from(i) * loss);
    ways.product()
}
