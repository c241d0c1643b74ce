//! What the probes of a cell have shown while it settles, and how often the network loses packets.

use std::net::IpAddr;
use std::time::Duration;

use super::ledger::Shows;
use crate::policy::Decision;
use crate::verdict::{Control, Observation};
use crate::world::EndpointName;

/// What one probe of a round showed.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    /// Index of the cell.
    pub(super) cell: usize,
    /// What both ends saw.
    pub(super) observation: Observation,
    /// The earliest time at which it was sent, since the change.
    pub(super) sent: Duration,
    /// The latest time at which it was sent: the request travels to the agent first.
    pub(super) left: Duration,
    /// When its result was known, since the change.
    pub(super) ended: Duration,
    /// What the controls of the same round showed of the probe's path.
    pub(super) control: Control,
    /// Whether its lookup was answered, if it needed one.
    pub(super) found_name: bool,
    /// The endpoint of a Service that it reached, if that endpoint is denied and others are not.
    pub(super) denied_backend: Option<EndpointName>,
    /// The address that the network puts in place of the sender's. `None` if it does not, as far as is known.
    pub(super) translated: Option<IpAddr>,
    /// Whether no other probe could show anything else.
    pub(super) is_final: bool,
}

impl Sighting {
    /// Returns a sighting of a probe that ends at once, with no control.
    pub(super) fn new(cell: usize, observation: Observation, sent: Duration) -> Self {
        Self {
            cell,
            observation,
            sent,
            left: sent,
            ended: sent,
            control: Control::default(),
            found_name: true,
            denied_backend: None,
            translated: None,
            is_final: false,
        }
    }
}

/// What settling expects of a cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) decision: Decision,
    /// Whether the change made it so.
    pub(super) is_new: bool,
    /// Whether its probes cross the network, so that they show how much the network loses.
    pub(super) crosses: bool,
    /// Whether a probe between the same addresses was delivered before. If not, silence may mean that the
    /// path does not exist yet.
    pub(super) is_proved: bool,
    /// The same number for all cells from one node to one address of a Service: a delivery of any of them
    /// shows that the node knows the address. `None` if the cell goes to no Service.
    pub(super) service: Option<usize>,
    /// Whether the cell is undefined only because the endpoints of its Service have different expectations,
    /// and one of them is denied.
    pub(super) has_denied_backend: bool,
}

/// How many probes of allowed cells went missing before a later one was answered, and how many were answered.
///
/// A cell that stays silent is an outage and says nothing about loss. On a cluster whose enforcer did not
/// know `endPort`, four blocked cells of 72 raised the estimate to 90 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) missed: u32,
    pub(super) agreed: u32,
}

impl Loss {
    /// Returns the share that went missing.
    pub(super) fn share(self) -> f64 {
        let Self { missed, agreed } = self;
        if missed == 0 { 0.0 } else { f64::from(missed) / f64::from(missed.saturating_add(agreed)) }
    }

    /// Returns the sum of both.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            missed: self.missed.saturating_add(other.missed),
            agreed: self.agreed.saturating_add(other.agreed),
        }
    }
}

/// What the probes of a cell have shown so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// The last observation. After a leak, the observation that shows it. `None` before the first probe.
    pub(super) observation: Option<Observation>,
    /// Whether a path was alive when probes were silent, and whether the listener ever answered its own agent:
    /// it stays open as long as the agent lives.
    pub(super) control: Control,
    /// Whether the lookup of the last probe was answered, if it needed one.
    pub(super) found_name: bool,
    /// Whether another probe could not change anything.
    pub(super) is_final: bool,
    /// The address that the network puts in place of the sender's, as soon as that was seen.
    pub(super) translated: Option<IpAddr>,
    pub(super) attempts: u32,
    pub(super) retries: u32,
    /// When the observations first agreed, if they have agreed since. In time since the change.
    pub(super) settled: Option<Duration>,
    /// When the first of the silences was sent on which the denial rests.
    pub(super) silent_since: Option<Duration>,
    /// The earliest time of the last observation that showed the opposite of what is expected.
    pub(super) opposed: Option<Duration>,
    /// Whether an allowed cell went missing more often than loss explains.
    pub(super) differed: bool,
    /// Whether a denied cell was delivered after the settle deadline. One packet is enough.
    pub(super) leaked: bool,
    /// The denied endpoint of a Service that was reached last, and whether one was reached after the settle
    /// deadline.
    pub(super) denied_backend: Option<(EndpointName, bool)>,
    /// The agent that answered a denied probe from after the settle deadline instead of its destination.
    pub(super) misdelivered: Option<String>,
    /// Whether it was delivered before the deadline, after all denials had been silent, and was not probed
    /// often enough since.
    pub(super) is_suspect: bool,
    /// Whether its silence may be loss: the cell was not silent as often as the loss requires.
    pub(super) unconfirmed: bool,
    /// How long the last answer took.
    pub(super) answered_in: Option<Duration>,
    /// Number of observations in a row that agree. A silence counts only if its path was alive and the change
    /// was in force.
    pub(super) streak: u32,
    /// Number of silences on which a denial rests: those on a live path, since the cell last disagreed, while
    /// the change was in force.
    pub(super) silences: u32,
    /// Number of all observations that agreed.
    pub(super) agreed: u32,
    /// Number of probes that should have been answered and went missing, before a later one was answered.
    pub(super) missed: u32,
    /// Number of probes that went missing on a live path since the last one that agreed.
    pub(super) missing: u32,
    /// Whether it was probed again after a relapse.
    pub(super) is_examined: bool,
    /// When it was last probed, since the change.
    pub(super) probed: Duration,
    /// The last probe that was delivered: when it was sent, since the change, and what it showed.
    pub(super) delivered: Option<(Duration, Observation)>,
}

impl Track {
    pub(super) fn agrees(&self, decision: Decision) -> Option<bool> {
        self.observation.as_ref()?.agrees_with(decision)
    }

    /// Returns the denied endpoint of a Service that was reached after the settle deadline.
    pub(super) fn leaked_to(&self) -> Option<&EndpointName> {
        let (endpoint, is_after_deadline) = self.denied_backend.as_ref()?;
        is_after_deadline.then_some(endpoint)
    }

    /// Records an early delivery as a leak, even if later probes are dropped. Returns when the last delivered
    /// probe was sent, if the cell agreed in the end.
    pub(super) fn record_leak(&mut self, decision: Decision) -> Option<Duration> {
        let is_over = self.agrees(decision) == Some(true);
        let (sent, observation) = self.delivered.take()?;
        (self.observation, self.differed) = (Some(observation), false);
        is_over.then_some(sent)
    }

    /// Records what a probe showed. A delivery of a denied cell is a leak if the probe was sent at `deadline`
    /// or later, whatever later probes show. A denial rests on silences from `in_force` on.
    pub(super) fn record(
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
        self.translated = sighting.translated.or(self.translated);
        let shows_leak = is_delivered && (self.leaked || sighting.denied_backend.is_some());
        if let Some(endpoint) = sighting.denied_backend {
            let is_late = self.denied_backend.as_ref().is_some_and(|(_, is_late)| *is_late);
            self.denied_backend = Some((endpoint, is_late || sent >= deadline));
        }
        // A denied packet that is delivered proves that the denial is not in force. An allowed packet that
        // goes missing after others were answered proves nothing, because it may be lost.
        let is_proof = expected.decision == Decision::Deny || self.agreed == 0;
        if observation.agrees_with(expected.decision) == Some(false) && is_proof {
            self.opposed = Some(sent);
        }
        let missed = self.attempts > 0 && self.agrees(expected.decision) != Some(true);
        // A cell that the change has just allowed is waited for, and not retried.
        if missed && expected.decision == Decision::Allow && (self.settled.is_some() || !expected.is_new) {
            self.retries += 1;
        }
        self.control.listener |= control.listener;
        match (agrees, expected.decision) {
            (false, _) => self.disagree(control.path, expected),
            // A denial is in force when the probe is sent, an allowance when the answer is there.
            (true, Decision::Deny) => self.stay_silent(sent, left, control.path, sent >= in_force),
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
        // A leak keeps the observation that shows it.
        if !is_shown || shows_leak {
            self.observation = Some(observation);
        }
        (self.found_name, self.is_final) = (found_name, is_final);
        self.probed = sent;
        self.attempts += 1;
    }

    /// Records that a probe of a denied cell arrived after its round. Returns whether that disproves the
    /// denial. A probe from before the denial was in force does not.
    pub(super) fn record_late(&mut self, sent: Duration, shows: Shows, deadline: Duration) -> bool {
        let is_silent = self.observation.as_ref().is_some_and(Observation::is_silence);
        let is_before = self.silent_since.is_none_or(|since| sent < since);
        // A cell that has leaked before shows nothing new.
        let is_leak = shows == Shows::Delivery && sent >= deadline && !self.leaked;
        // A leak counts whatever the last probe showed.
        if !is_leak && (!is_silent || is_before && sent < deadline) {
            return false;
        }
        (self.settled, self.silent_since) = (None, None);
        self.reset_denials();
        let message = match shows {
            Shows::Delivery => {
                self.opposed = Some(sent);
                self.delivered = Some((sent, Observation::OneWay));
                self.observation = Some(Observation::OneWay);
                self.leaked |= is_leak;
                return true;
            }
            Shows::Lookup => "its lookup arrived late",
            Shows::Elsewhere => "it arrived at another pod",
            Shows::Change => "it arrived after the policies had changed",
        };
        self.observation = Some(Observation::ProbeError { message: message.to_owned() });
        true
    }

    /// Discards all silences so far.
    pub(super) fn reset_denials(&mut self) {
        (self.streak, self.silences) = (0, 0);
    }

    fn disagree(&mut self, path: bool, expected: Expected) {
        (self.settled, self.silent_since) = (None, None);
        self.reset_denials();
        self.control.path |= path;
        // An allowance from this change may not be in force yet, and a dead path loses everything.
        let should_answer = self.agreed > 0 || !expected.is_new;
        self.missing += u32::from(should_answer && path);
    }

    fn stay_silent(&mut self, sent: Duration, left: Duration, path: bool, counts: bool) {
        self.control.path = path || self.streak > 0 && self.control.path;
        if path {
            self.settled.get_or_insert(left);
            self.silent_since.get_or_insert(sent);
            self.streak += u32::from(counts);
            self.silences += u32::from(counts);
            self.agreed += 1;
        }
    }

    fn answer(&mut self, ended: Duration) {
        self.settled.get_or_insert(ended);
        self.streak += 1;
        self.agreed += 1;
        self.missed += std::mem::take(&mut self.missing);
        self.control.path = false;
    }
}

/// Returns an upper bound of the probability that `missing` of `all` probes go missing at this loss.
pub(super) fn chance(missing: u32, all: u32, loss: f64) -> f64 {
    let ways = (1..=missing).map(|i| f64::from(all + 1 - i) / f64::from(i) * loss);
    ways.product()
}
