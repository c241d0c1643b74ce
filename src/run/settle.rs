//! Settling: polling what differs until it agrees, then confirming everything.

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
    /// When it was sent, since the change.
    pub(super) sent: Duration,
    /// When its end was known, since the change.
    pub(super) ended: Duration,
    /// Whether the destination's own listener answered at the same time.
    pub(super) control: bool,
    /// Whether probing again could not change anything.
    pub(super) is_final: bool,
}

/// Something that can probe cells.
pub(super) trait Prober {
    /// Probes some cells, each once and all at once, and waits for each answer at most `timeout`.
    /// Gives one sighting for each.
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting>;

    /// How long ago the change was.
    fn elapsed(&self) -> Duration;
}

/// What is expected of a cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) decision: Decision,
    /// Whether the change made it so.
    pub(super) is_new: bool,
}

/// How patient settling is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// How long to wait for the last answers of a cell that should answer.
    pub(super) longest_timeout: Duration,
    /// How long observations may differ, once the change has been handed over.
    pub(super) settle: Duration,
    /// How long that took, since the change.
    pub(super) handed_over: Duration,
}

/// What became of a cell.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// The last observation; `None` if there was none.
    pub(super) observation: Option<Observation>,
    pub(super) control: bool,
    /// Whether probing again could not change anything.
    is_final: bool,
    pub(super) attempts: u32,
    pub(super) retries: u32,
    /// When the observations first held what is expected, and went on holding it.
    pub(super) settled: Option<Duration>,
    /// Whether they differed again after settling.
    pub(super) differed: bool,
    /// How long the last answer took.
    pub(super) answered_in: Option<Duration>,
}

/// How often a cell is probed at least before it is said to differ for good.
const TRIES: u32 = 4;
/// How often a cell that relapsed after settling is probed again.
const RETRIES: u32 = 3;
/// How many of those may go missing without being called flaky: a network may lose a packet.
const LOST: u32 = 2;
/// The pause between rounds that end at once.
const PAUSE: Duration = Duration::from_millis(10);

/// Probes all cells until they hold what is expected and a round over all of them confirms it, or
/// until patience ends.
pub(super) async fn settle(
    prober: &mut impl Prober,
    expected: &[Expected],
    patience: Patience,
) -> (Vec<Track>, u32) {
    let tracks = vec![Track::new(); expected.len()];
    let mut settling = Settling { prober, expected, patience, tracks, rounds: 0, disturbed: None };
    settling.run().await;
    (settling.tracks, settling.rounds)
}

struct Settling<'a, P> {
    prober: &'a mut P,
    expected: &'a [Expected],
    patience: Patience,
    tracks: Vec<Track>,
    rounds: u32,
    /// When something of our own last failed, since the change.
    disturbed: Option<Duration>,
}

impl Track {
    fn new() -> Self {
        Self {
            observation: None,
            control: false,
            is_final: false,
            attempts: 0,
            retries: 0,
            settled: None,
            differed: false,
            answered_in: None,
        }
    }

    fn agrees(&self, decision: Decision) -> Option<bool> {
        self.observation.as_ref()?.agrees_with(decision)
    }

    fn record(&mut self, sighting: Sighting, expected: Expected) {
        let Sighting { observation, sent, ended, control, is_final, .. } = sighting;
        let agrees = observation.agrees_with(expected.decision) == Some(true);
        let missed = self.attempts > 0 && self.agrees(expected.decision) != Some(true);
        // A cell that the change just allowed is not retried but waited for.
        if missed && expected.decision == Decision::Allow && (self.settled.is_some() || !expected.is_new) {
            self.retries += 1;
        }
        match (agrees, expected.decision) {
            (false, _) => self.settled = None,
            // Denied from when it was sent; admitted when the answer was there.
            (true, Decision::Deny) => {
                self.settled.get_or_insert(sent);
            }
            (true, Decision::Allow | Decision::Undefined) => {
                self.settled.get_or_insert(ended);
            }
        }
        if observation == Observation::Connected {
            self.answered_in = Some(ended.saturating_sub(sent));
        }
        self.observation = Some(observation);
        self.control = control;
        self.is_final = is_final;
        self.attempts += 1;
    }
}

impl<P: Prober> Settling<'_, P> {
    async fn run(&mut self) {
        let all: Vec<usize> = (0..self.expected.len()).collect();
        self.round(&all, self.patience.timeout).await;
        loop {
            self.poll().await;
            let relapsed = self.confirm().await;
            if relapsed.is_empty() {
                return;
            }
            if self.is_over() {
                self.examine(relapsed).await;
                return;
            }
        }
    }

    /// Whether there has been time enough. What keeps us from seeing packets may keep the enforcers
    /// from seeing the change, so the time begins anew after it; once, or it might never end.
    fn is_over(&self) -> bool {
        let Patience { settle, handed_over, .. } = self.patience;
        let longest = handed_over + settle * 2;
        let begun = self.disturbed.map_or(handed_over, |disturbed| disturbed.max(handed_over));
        self.prober.elapsed() >= (begun + settle).min(longest)
    }

    /// Probes what differs until nothing does, or until the time is over and each cell has had its
    /// tries.
    async fn poll(&mut self) {
        let mut polls = 0;
        loop {
            let differing = self.select(|track, decision| track.agrees(decision) != Some(true));
            if differing.is_empty() || (self.is_over() && polls + 1 >= TRIES) {
                return;
            }
            // Cells that should be silent answer at once if they do; a cell that should answer gets
            // more and more time, so that a slow machine is not taken for an outage.
            let longest = self.patience.longest_timeout.max(self.patience.timeout);
            let timeout = self.patience.timeout.saturating_mul(1 << polls.min(8)).min(longest);
            let before = self.prober.elapsed();
            self.round(&differing, timeout).await;
            polls += 1;
            if self.prober.elapsed().saturating_sub(before) < PAUSE {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Probes everything that agrees once more. Gives what does not any more.
    async fn confirm(&mut self) -> Vec<usize> {
        let agreeing = self.select(|track, decision| track.agrees(decision) == Some(true));
        self.round(&agreeing, self.patience.timeout).await;
        let relapsed = |cell: &usize| {
            let pair = self.tracks.get(*cell).zip(self.expected.get(*cell));
            pair.is_some_and(|(track, expected)| track.agrees(expected.decision) != Some(true))
        };
        agreeing.into_iter().filter(relapsed).collect()
    }

    /// Looks closer at cells that relapsed although there had been time enough.
    async fn examine(&mut self, relapsed: Vec<usize>) {
        let mut missed: Vec<(usize, u32)> = relapsed.into_iter().map(|cell| (cell, 1)).collect();
        for _ in 0..RETRIES {
            let cells: Vec<usize> = missed.iter().map(|(cell, _)| *cell).collect();
            self.round(&cells, self.patience.longest_timeout.max(self.patience.timeout)).await;
            for (cell, count) in &mut missed {
                let pair = self.tracks.get(*cell).zip(self.expected.get(*cell));
                if pair.is_some_and(|(track, expected)| track.agrees(expected.decision) != Some(true)) {
                    *count += 1;
                }
            }
        }
        for (cell, count) in missed {
            let Some((track, expected)) = self.tracks.get_mut(cell).zip(self.expected.get(cell)) else {
                continue;
            };
            let always = count == RETRIES + 1;
            // One delivered packet is one too many; one lost packet may be the network's.
            let forgiven = expected.decision == Decision::Allow && count <= LOST;
            track.differed = !always && !forgiven;
        }
    }

    /// The cells that are decided, worth a probe, and for which `is_wanted`.
    fn select(&self, is_wanted: impl Fn(&Track, Decision) -> bool) -> Vec<usize> {
        let pairs = self.tracks.iter().zip(self.expected).enumerate();
        let wanted = pairs.filter(|(_, (track, expected))| {
            expected.decision != Decision::Undefined && !track.is_final && is_wanted(track, expected.decision)
        });
        wanted.map(|(cell, _)| cell).collect()
    }

    async fn round(&mut self, cells: &[usize], timeout: Duration) {
        if cells.is_empty() {
            return;
        }
        self.rounds += 1;
        for sighting in self.prober.round(cells, timeout).await {
            let pair = self.tracks.get_mut(sighting.cell).zip(self.expected.get(sighting.cell));
            if let Some((track, expected)) = pair {
                if matches!(sighting.observation, Observation::ProbeError { .. }) && !sighting.is_final {
                    self.disturbed = Some(sighting.ended);
                }
                track.record(sighting, *expected);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays back what each cell shows, one round after the other; the last observation stays.
    struct Script {
        shows: Vec<Vec<Observation>>,
        rounds: u32,
        played: Vec<usize>,
        round_takes: Duration,
    }

    impl Script {
        fn new(shows: Vec<Vec<Observation>>) -> Self {
            let played = vec![0; shows.len()];
            Self { shows, rounds: 0, played, round_takes: Duration::from_millis(100) }
        }
    }

    impl Prober for Script {
        async fn round(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
            let sent = self.elapsed();
            self.rounds += 1;
            let ended = self.elapsed();
            let mut sightings = Vec::new();
            for &cell in cells {
                let shows = &self.shows[cell];
                let observation = shows[self.played[cell].min(shows.len() - 1)].clone();
                self.played[cell] += 1;
                let is_final = matches!(observation, Observation::Unsupported { .. });
                sightings.push(Sighting { cell, observation, sent, ended, control: true, is_final });
            }
            sightings
        }

        fn elapsed(&self) -> Duration {
            self.round_takes * self.rounds
        }
    }

    use Observation::{Connected, Dropped, OneWay};

    async fn play(decision: Decision, is_new: bool, shows: Vec<Observation>) -> Track {
        let patience = Patience {
            timeout: Duration::from_millis(100),
            longest_timeout: Duration::from_millis(800),
            settle: Duration::from_millis(400),
            handed_over: Duration::ZERO,
        };
        let mut script = Script::new(vec![shows]);
        let (mut tracks, _) = settle(&mut script, &[Expected { decision, is_new }], patience).await;
        tracks.remove(0)
    }

    #[tokio::test]
    async fn what_agrees_is_confirmed_once() {
        let track = play(Decision::Deny, true, vec![Dropped]).await;
        assert_eq!((track.attempts, track.retries, track.differed), (2, 0, false));
        assert_eq!(track.settled, Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_new_denial_is_waited_for_and_its_time_measured() {
        let track = play(Decision::Deny, true, vec![Connected, Connected, Dropped]).await;
        assert_eq!(track.observation, Some(Dropped));
        assert_eq!(track.settled, Some(Duration::from_millis(200)));
        assert!(!track.differed);
    }

    #[tokio::test]
    async fn one_lucky_loss_does_not_settle_a_denial() {
        // The packet of the first round was lost; enforcement came only later.
        let track = play(Decision::Deny, true, vec![Dropped, Connected, Connected, Dropped]).await;
        assert_eq!(track.settled, Some(Duration::from_millis(300)));
        assert!(!track.differed);
    }

    #[tokio::test]
    async fn a_leak_stays_a_leak() {
        for leak in [Connected, OneWay] {
            let track = play(Decision::Deny, true, vec![leak.clone()]).await;
            assert_eq!(track.observation, Some(leak));
            assert_eq!(track.settled, None);
            assert!(track.attempts >= TRIES && !track.differed);
        }
    }

    #[tokio::test]
    async fn a_lost_packet_of_an_allowed_cell_is_retried_and_counted() {
        let track = play(Decision::Allow, false, vec![Dropped, Connected]).await;
        assert_eq!((track.observation, track.retries, track.differed), (Some(Connected), 1, false));
    }

    #[tokio::test]
    async fn an_outage_is_probed_with_growing_patience_before_it_is_called_one() {
        let track = play(Decision::Allow, false, vec![Dropped]).await;
        assert_eq!(track.observation, Some(Dropped));
        assert!(track.attempts >= TRIES);
    }

    #[tokio::test]
    async fn a_denial_that_fails_now_and_then_is_flaky() {
        // Denied at the end of the time, delivered in the round that confirms, and so on.
        let shows = vec![Connected, Connected, Connected, Dropped, Connected, Dropped, Connected, Dropped];
        let track = play(Decision::Deny, true, shows).await;
        assert!(track.differed);
    }

    #[tokio::test]
    async fn undefined_cells_are_probed_once_and_not_waited_for() {
        let track = play(Decision::Undefined, false, vec![Dropped, Connected]).await;
        assert_eq!((track.attempts, track.observation), (1, Some(Dropped)));
    }

    #[tokio::test]
    async fn what_the_kernel_cannot_do_is_not_tried_again() {
        let unsupported = Observation::Unsupported { message: "no SCTP".to_owned() };
        assert_eq!(play(Decision::Deny, true, vec![unsupported]).await.attempts, 1);
    }
}
