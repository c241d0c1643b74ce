//! Simulated networks, on which the tests of settling run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ledger::{Ends, MeantFor, Sent, Shows};
use super::power::Pools;
use super::sentinel::Signal;
use super::settle::{CONFIRMED, PAUSE, Prober, SettleDeadlines, Settled, settle};
use super::track::{Expected, Loss, Sighting, Track};
use crate::policy::{Decision, Direction, PolicyName};
use crate::verdict::{Control, EnforcementPoint, Observation};

use Observation::{Connected, Dropped};

/// A probe that a simulated network has to answer.
pub(super) struct Probe {
    pub(super) cell: usize,
    /// When it is sent, since the change.
    pub(super) sent: Duration,
    timeout: Duration,
    /// Count of the rounds before it.
    round: usize,
    round_takes: Duration,
}

impl Probe {
    /// Returns a sighting on a live path. Its result is known when its round ends.
    pub(super) fn shows(&self, observation: Observation) -> Sighting {
        let ended = self.sent + self.round_takes;
        Sighting { control: Control::ALIVE, ended, ..Sighting::new(self.cell, observation, self.sent) }
    }
}

/// A simulated network. By default, nothing arrives late, no canary is lost, and the change is in force from
/// the beginning.
pub(super) struct Network {
    pub(super) shows: Box<dyn FnMut(&Probe) -> Sighting>,
    /// How long a round takes, unless `shows` says otherwise.
    pub(super) round_takes: Duration,
    pub(super) in_force: Option<Duration>,
    pub(super) canaries: Loss,
    /// The meaning of a probe that arrives after its round. `None` if none does.
    pub(super) afterwards: Option<Shows>,
    pub(super) late: Vec<Sent>,
    pub(super) rounds: usize,
    pub(super) now: Duration,
    /// Set if the network runs in real time.
    pub(super) start: Option<Instant>,
}

impl Network {
    pub(super) fn new(shows: impl FnMut(&Probe) -> Sighting + 'static) -> Self {
        Self {
            shows: Box::new(shows),
            round_takes: Duration::from_millis(100),
            in_force: Some(Duration::ZERO),
            canaries: Loss::default(),
            afterwards: None,
            late: Vec::new(),
            rounds: 0,
            now: Duration::ZERO,
            start: None,
        }
    }

    /// Returns a network that plays back what each cell shows, one observation per probe. The last one stays.
    pub(super) fn script(shows: Vec<Vec<Observation>>) -> Self {
        let mut played = vec![0; shows.len()];
        Self::new(move |probe| {
            let (shows, played) = (&shows[probe.cell], &mut played[probe.cell]);
            let observation = shows[(*played).min(shows.len() - 1)].clone();
            *played += 1;
            let is_final = matches!(observation, Observation::Unsupported { .. });
            Sighting { is_final, ..probe.shows(observation) }
        })
    }

    /// Returns a network whose enforcer follows a change after a while, for all cells at the same time. A
    /// round takes as long as its slowest answer, or until the timeout.
    pub(super) fn that_follows(expected: Vec<Expected>, after: Duration) -> Self {
        Self::new(move |probe| {
            let is_new = probe.sent >= after;
            let is_allowed = (expected[probe.cell].decision == Decision::Allow) == is_new;
            let took = if is_allowed { Duration::from_millis(5) } else { probe.timeout };
            let observation = if is_allowed { Connected } else { Dropped };
            Sighting { ended: probe.sent + took, ..probe.shows(observation) }
        })
    }

    /// Returns a network that delivers everything, after its round.
    pub(super) fn delayed(shows: Shows) -> Self {
        Self { afterwards: Some(shows), ..Self::script(vec![vec![Dropped]]) }
    }

    /// Returns a network that loses packets, so that some answers of allowed and of leaking cells are missing.
    pub(super) fn lossy(loss: f64, seed: u64, is_delivered: impl Fn(usize) -> bool + 'static) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self::new(move |probe| {
            let is_heard = is_delivered(probe.cell) && random.f64() >= loss;
            probe.shows(if is_heard { Connected } else { Dropped })
        })
    }

    /// Returns a network that drops everything. Its listener answers its own agent only in some rounds.
    pub(super) fn busy(controls: Vec<bool>, path: bool) -> Self {
        Self::new(move |probe| {
            let listener = controls.get(probe.round).copied().unwrap_or_default();
            Sighting { control: Control { listener, path }, ..probe.shows(Dropped) }
        })
    }

    /// Settles cells of which no pool needs more probes.
    pub(super) async fn settle(&mut self, expected: &[Expected], deadlines: SettleDeadlines) -> Settled {
        settle(self, expected, &Pools::default(), deadlines).await
    }

    /// Settles one cell.
    pub(super) async fn track(&mut self, expected: Expected, deadlines: SettleDeadlines) -> Track {
        self.settle(&[expected], deadlines).await.tracks.remove(0)
    }
}

impl Prober for Network {
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
        let (sent, round, round_takes) = (self.elapsed(), self.rounds, self.round_takes);
        let probes = cells.iter().map(|cell| Probe { cell: *cell, sent, timeout, round, round_takes });
        let sightings: Vec<_> = probes.map(|probe| (self.shows)(&probe)).collect();
        match sightings.iter().map(|sighting| sighting.ended).max() {
            Some(ended) => {
                self.rounds += 1;
                // Settling pauses between rounds that end at once.
                self.now = ended.max(sent + PAUSE);
            }
            None if self.in_force.is_none() => self.now += Duration::from_millis(20),
            None => {}
        }
        if let Some(shows) = self.afterwards {
            let (ends, meant_for) = (Ends::Never, MeantFor::Destination(Vec::new()));
            let probe = Sent { step: None, cell: 0, at: sent, is_proof: true, ends, shows, meant_for };
            self.late.extend(cells.iter().map(|cell| Sent { cell: *cell, ..probe.clone() }));
        }
        sightings
    }

    async fn late_arrivals(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.late)
    }

    fn lost_canaries(&self) -> Loss {
        self.canaries
    }

    fn signal(&self) -> Signal {
        Signal { in_force: self.in_force, stale: BTreeSet::new() }
    }

    fn elapsed(&self) -> Duration {
        self.start.map_or(self.now, |start| start.elapsed())
    }
}

/// Returns the expectation of a cell that the change leaves as it is, and that was delivered before.
pub(super) const fn plain(decision: Decision) -> Expected {
    let (is_new, crosses, is_proved, service) = (false, true, true, None);
    Expected { decision, is_new, crosses, is_proved, service, has_denied_backend: false }
}

pub(super) const DENIED: Expected = plain(Decision::Deny);

/// Returns the point at which a policy of this name denies.
pub(super) fn point(policy: &str, direction: Direction) -> EnforcementPoint {
    let policy = PolicyName::Namespaced { namespace: "x".to_owned(), name: policy.to_owned() };
    EnforcementPoint { node: None, policies: [policy].into(), direction }
}

/// Returns deadlines with a settle time in milliseconds.
pub(super) fn deadlines(settle: u64) -> SettleDeadlines {
    SettleDeadlines {
        timeout: Duration::from_millis(100),
        longest_timeout: Duration::from_secs(1),
        settle: Duration::from_millis(settle),
        handed_over: Duration::ZERO,
        propagation: Duration::ZERO,
        is_mixed: false,
        loss: Loss::default(),
        deliveries: CONFIRMED,
    }
}
