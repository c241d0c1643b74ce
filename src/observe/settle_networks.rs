//! Simulated networks, on which the tests of settling run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ledger::{Late, Shows};
use super::sentinel::Signal;
use super::settle::{CONFIRMED, PAUSE, Prober, SettleDeadlines};
use super::track::{Expected, Loss, Sighting};
use crate::policy::Decision;
use crate::verdict::{Control, Observation};
use crate::world::EndpointName;

use Observation::{Connected, Dropped};

/// A network that answers every round at once. By default, nothing arrives late, no canary is lost, and the
/// change is in force from the beginning.
pub(super) trait Network {
    fn probe(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting>;

    fn elapsed(&self) -> Duration;

    fn late_arrivals(&mut self) -> Vec<Late> {
        Vec::new()
    }

    fn lost_canaries(&self) -> Loss {
        Loss::default()
    }

    fn signal(&self) -> Signal {
        Signal::not_asked()
    }
}

impl<N: Network> Prober for N {
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
        self.probe(cells, timeout)
    }

    async fn late_arrivals(&mut self) -> Vec<Late> {
        Network::late_arrivals(self)
    }

    fn lost_canaries(&self) -> Loss {
        Network::lost_canaries(self)
    }

    fn signal(&self) -> Signal {
        Network::signal(self)
    }

    fn elapsed(&self) -> Duration {
        Network::elapsed(self)
    }
}

/// Returns a sighting of a probe that ends at once, on a live path.
fn alive(cell: usize, observation: Observation, sent: Duration) -> Sighting {
    Sighting { control: Control::ALIVE, ..Sighting::new(cell, observation, sent) }
}

/// How long a round takes, unless a network says otherwise.
const ROUND: Duration = Duration::from_millis(100);

/// Plays back what each cell shows, one observation per probe. The last one stays.
pub(super) struct Script {
    pub(super) shows: Vec<Vec<Observation>>,
    pub(super) played: Vec<usize>,
    pub(super) rounds: u32,
    pub(super) round_takes: Duration,
    /// Until when the first cell reaches a denied endpoint of its Service.
    pub(super) denied_until: Duration,
    pub(super) in_force: Option<Duration>,
    pub(super) glances: u32,
}

impl Script {
    pub(super) fn new(shows: Vec<Vec<Observation>>) -> Self {
        Self {
            played: vec![0; shows.len()],
            shows,
            rounds: 0,
            round_takes: ROUND,
            denied_until: Duration::ZERO,
            in_force: Some(Duration::ZERO),
            glances: 0,
        }
    }
}

impl Network for Script {
    fn probe(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
        let sent = Network::elapsed(self);
        match cells {
            [] if self.in_force.is_none() => self.glances += 1,
            [] => {}
            _ => self.rounds += 1,
        }
        let ended = Network::elapsed(self);
        let sighting = |&cell: &usize| {
            let shows = &self.shows[cell];
            let observation = shows[self.played[cell].min(shows.len() - 1)].clone();
            self.played[cell] += 1;
            let is_final = matches!(observation, Observation::Unsupported { .. });
            let is_denied = cell == 0 && sent < self.denied_until;
            let denied_backend = is_denied.then(|| EndpointName::pod("x", "db"));
            Sighting { ended, denied_backend, is_final, ..alive(cell, observation, sent) }
        };
        cells.iter().map(sighting).collect()
    }

    fn elapsed(&self) -> Duration {
        self.round_takes * self.rounds + Duration::from_millis(20) * self.glances
    }

    fn signal(&self) -> Signal {
        Signal { in_force: self.in_force, stale: BTreeSet::new() }
    }
}

/// An enforcer that follows a change after a while, for all cells at the same time. A round takes as long as
/// its slowest answer, or until the timeout.
pub(super) struct Follows {
    pub(super) expected: Vec<Expected>,
    pub(super) after: Duration,
    pub(super) now: Duration,
}

impl Network for Follows {
    fn probe(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
        let sent = self.now;
        let is_new = sent >= self.after;
        let sighting = |&cell: &usize| {
            let is_allowed = (self.expected[cell].decision == Decision::Allow) == is_new;
            let ended = sent + if is_allowed { Duration::from_millis(5) } else { timeout };
            let observation = if is_allowed { Connected } else { Dropped };
            Sighting { ended, ..alive(cell, observation, sent) }
        };
        let sightings: Vec<_> = cells.iter().map(sighting).collect();
        self.now = sightings.iter().map(|sighting| sighting.ended).max().unwrap_or(self.now);
        // Settling pauses between rounds that end at once.
        self.now = self.now.max(sent + PAUSE);
        sightings
    }

    fn elapsed(&self) -> Duration {
        self.now
    }
}

/// A network that delivers everything, after its round.
pub(super) struct Delayed {
    rounds: u32,
    late: Vec<Late>,
    shows: Shows,
}

impl Delayed {
    pub(super) fn new(shows: Shows) -> Self {
        Self { rounds: 0, late: Vec::new(), shows }
    }
}

impl Network for Delayed {
    fn probe(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
        let sent = Network::elapsed(self);
        self.rounds += 1;
        self.late.extend(cells.iter().map(|cell| Late { cell: *cell, sent, shows: self.shows }));
        let ended = Network::elapsed(self);
        cells.iter().map(|cell| Sighting { ended, ..alive(*cell, Dropped, sent) }).collect()
    }

    fn elapsed(&self) -> Duration {
        ROUND * self.rounds
    }

    fn late_arrivals(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }
}

/// A network that loses packets, so that some answers of allowed and of leaking cells are missing.
pub(super) struct Lossy {
    pub(super) loss: f64,
    pub(super) random: fastrand::Rng,
    pub(super) is_delivered: Vec<bool>,
    pub(super) rounds: u32,
    pub(super) canaries: Loss,
}

impl Network for Lossy {
    fn probe(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
        let sent = Network::elapsed(self);
        self.rounds += u32::from(!cells.is_empty());
        let ended = Network::elapsed(self);
        let sighting = |&cell: &usize| {
            let is_heard = self.is_delivered[cell] && self.random.f64() >= self.loss;
            let observation = if is_heard { Connected } else { Dropped };
            Sighting { ended, ..alive(cell, observation, sent) }
        };
        cells.iter().map(sighting).collect()
    }

    fn elapsed(&self) -> Duration {
        ROUND * self.rounds
    }

    fn lost_canaries(&self) -> Loss {
        self.canaries
    }
}

/// A network that drops everything. Its listener answers its own agent only in some rounds.
pub(super) struct Busy {
    pub(super) controls: Vec<bool>,
    pub(super) rounds: usize,
    pub(super) path: bool,
}

impl Network for Busy {
    fn probe(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
        let sent = Network::elapsed(self);
        let listener = self.controls.get(self.rounds).copied().unwrap_or_default();
        let control = Control { listener, path: self.path };
        self.rounds += usize::from(!cells.is_empty());
        let ended = Network::elapsed(self);
        let sighting = |&cell: &usize| Sighting { ended, control, ..alive(cell, Dropped, sent) };
        cells.iter().map(sighting).collect()
    }

    fn elapsed(&self) -> Duration {
        ROUND * u32::try_from(self.rounds).unwrap()
    }
}

/// A network that delivers a tenth of the denied probes of some cells, in real time.
pub(super) struct Leaky {
    pub(super) rng: fastrand::Rng,
    pub(super) start: Instant,
    /// The cells from this index on do not leak.
    pub(super) closed_from: usize,
}

impl Network for Leaky {
    fn probe(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
        let sent = Network::elapsed(self);
        let sighting = |&cell: &usize| {
            let is_let_through = self.rng.u8(..10) == 0 && cell < self.closed_from;
            let observation = if is_let_through { Connected } else { Dropped };
            alive(cell, observation, sent)
        };
        cells.iter().map(sighting).collect()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Returns the expectation of a cell that the change leaves as it is, and that was delivered before.
pub(super) fn plain(decision: Decision) -> Expected {
    let (is_new, crosses, is_proved, service) = (false, true, true, None);
    Expected { decision, is_new, crosses, is_proved, service, has_denied_backend: false }
}

pub(super) fn deadlines() -> SettleDeadlines {
    SettleDeadlines {
        timeout: Duration::from_millis(100),
        longest_timeout: Duration::from_secs(1),
        settle: Duration::from_secs(5),
        handed_over: Duration::ZERO,
        propagation: Duration::ZERO,
        is_mixed: false,
        loss: Loss::default(),
        deliveries: CONFIRMED,
    }
}
