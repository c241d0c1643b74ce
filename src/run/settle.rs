//! Settling: polling what differs until it agrees, then confirming everything.

use std::collections::HashMap;
use std::time::Duration;

use super::track::{Expected, Loss, Sighting, Track, chance};
use crate::policy::Decision;
use crate::verdict::Observation;

/// Something that can probe cells.
pub(super) trait Prober {
    /// Probes some cells, each once and all at once, and waits for each answer at most `timeout`.
    /// Gives one sighting for each.
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting>;

    /// How long ago the change was.
    fn elapsed(&self) -> Duration;
}

/// What settling came to.
#[derive(Debug)]
pub(super) struct Settled {
    /// What became of each cell.
    pub(super) tracks: Vec<Track>,
    /// How many rounds there were.
    pub(super) rounds: u32,
    /// What was lost meanwhile.
    pub(super) loss: Loss,
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
    /// How long afterwards new pods and Services may be without a way to them.
    pub(super) wiring: Duration,
    /// What was lost before.
    pub(super) loss: Loss,
}

/// How often a cell is probed at least before it is said to differ for good.
const TRIES: u32 = 4;
/// How often a cell that relapsed after settling is probed again.
const RETRIES: u32 = 3;
/// How often, where the network is seen to lose packets.
const RETRIES_WITH_LOSS: u32 = 10;
/// How many probes of an allowed cell may go missing in any case without its being called flaky: a
/// network may lose a packet.
const LOST: u32 = 2;
/// How often a cell has to agree in a row.
const CONFIRMED: u32 = 2;
/// How likely loss alone may be the reason for what a cell shows.
const RISK: f64 = 1e-4;
/// The pause between rounds that end at once.
const PAUSE: Duration = Duration::from_millis(10);

/// Probes all cells until they hold what is expected and a round over all of them confirms it, or
/// until patience ends.
pub(super) async fn settle(prober: &mut impl Prober, expected: &[Expected], patience: Patience) -> Settled {
    let tracks = vec![Track::new(); expected.len()];
    let mut settling = Settling { prober, expected, patience, tracks, rounds: 0, disturbed: None };
    settling.run().await;
    let loss = settling.own_loss();
    Settled { tracks: settling.tracks, rounds: settling.rounds, loss }
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

impl<P: Prober> Settling<'_, P> {
    async fn run(&mut self) {
        let all: Vec<usize> = (0..self.expected.len()).collect();
        self.round(&all, self.patience.timeout).await;
        loop {
            self.poll().await;
            let relapsed = self.confirm().await;
            if relapsed.is_empty() {
                break;
            }
            if self.is_over() {
                self.examine(relapsed).await;
                // The others have yet to be confirmed. None is examined twice, so this ends.
                loop {
                    let relapsed = self.confirm().await;
                    if relapsed.is_empty() {
                        break;
                    }
                    self.examine(relapsed).await;
                }
                break;
            }
        }
        self.find_restless();
        self.control().await;
    }

    /// Silence proves nothing unless the listener was seen up. On a busy machine that may take more
    /// time than usual.
    async fn control(&mut self) {
        let timeout = self.patience.longest_timeout.max(self.patience.timeout);
        for _ in 0..RETRIES {
            let uncontrolled = self.select(|track, _| {
                let is_silent =
                    matches!(track.observation, Some(Observation::Dropped | Observation::Rejected));
                is_silent && !track.control
            });
            self.round(&uncontrolled, timeout).await;
        }
    }

    /// Finds the allowed cells that missed more probes than the network loses elsewhere.
    fn find_restless(&mut self) {
        let loss = self.suspected_loss();
        for (track, expected) in self.tracks.iter_mut().zip(self.expected) {
            let is_heard = track.agrees(expected.decision) == Some(true);
            let by_chance = chance(track.missed, track.missed + track.agreed, loss);
            if expected.decision == Decision::Allow && is_heard && track.missed > LOST && by_chance < RISK {
                track.differed = true;
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
            if differing.is_empty() || (self.is_over() && polls + 1 >= TRIES.max(self.silences())) {
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

    /// Probes everything that agrees again, until it has agreed often enough. Gives what does not any
    /// more.
    async fn confirm(&mut self) -> Vec<usize> {
        loop {
            let needed = |decision| match decision {
                Decision::Allow | Decision::Undefined => CONFIRMED,
                Decision::Deny => CONFIRMED.max(self.silences()),
            };
            let mut unsure = self.select(|track, decision| {
                let is_unsure = track.streak < needed(decision) && !track.is_examined;
                is_unsure && track.agrees(decision) == Some(true)
            });
            if unsure.is_empty() {
                unsure = self.unproved().await;
            }
            if unsure.is_empty() {
                return Vec::new();
            }
            self.round(&unsure, self.patience.timeout).await;
            let relapsed: Vec<usize> = unsure.into_iter().filter(|cell| !self.agrees(*cell)).collect();
            if !relapsed.is_empty() {
                self.doubt(&relapsed);
                return relapsed;
            }
        }
    }

    /// Waits until there must be a way to every cell. Gives those that have to be silent even then,
    /// without having been seen to get through before.
    async fn unproved(&self) -> Vec<usize> {
        let due = self.patience.handed_over + self.patience.wiring;
        let pairs = self.tracks.iter().zip(self.expected).enumerate();
        let unproved = pairs.filter(|(_, (track, expected))| {
            let is_early = !expected.is_proved && track.probed < due && !track.is_examined;
            is_early && expected.decision == Decision::Deny && track.agrees(Decision::Deny) == Some(true)
        });
        let unproved: Vec<usize> = unproved.map(|(cell, _)| cell).collect();
        if !unproved.is_empty() {
            tokio::time::sleep(due.saturating_sub(self.prober.elapsed())).await;
        }
        unproved
    }

    /// If a denial did not last, none has to be believed yet.
    fn doubt(&mut self, relapsed: &[usize]) {
        if relapsed.iter().any(|cell| self.is_denied(*cell)) {
            for track in &mut self.tracks {
                track.streak = track.streak.min(1);
            }
        }
    }

    /// How often a cell has to be silent until its silence can hardly be loss: the more often, the
    /// more of the probes that should be answered go missing.
    fn silences(&self) -> u32 {
        let loss = self.suspected_loss();
        if loss <= 0.0 {
            return CONFIRMED;
        }
        let mut silences = 1;
        let mut risk = loss;
        while risk > RISK {
            risk *= loss;
            silences += 1;
        }
        silences
    }

    /// The loss to reckon with: twice as much as was seen, which may have been in a good moment.
    fn suspected_loss(&self) -> f64 {
        (self.loss() * 2.0).min(0.9)
    }

    /// The share of probes that go missing: now, or ever since the beginning. Where everything is
    /// denied, only the past can tell.
    fn loss(&self) -> f64 {
        let own = self.own_loss();
        own.share().max(own.plus(self.patience.loss).share())
    }

    fn own_loss(&self) -> Loss {
        let tells = |expected: &Expected| expected.decision == Decision::Allow && expected.crosses;
        let telling = self.tracks.iter().zip(self.expected).filter(|(_, expected)| tells(expected));
        let losses = telling.map(|(track, _)| Loss { missed: track.missed, agreed: track.agreed });
        losses.fold(Loss::default(), Loss::plus)
    }

    fn agrees(&self, cell: usize) -> bool {
        let pair = self.tracks.get(cell).zip(self.expected.get(cell));
        pair.is_none_or(|(track, expected)| track.agrees(expected.decision) == Some(true))
    }

    /// Looks closer at cells that relapsed although there had been time enough.
    async fn examine(&mut self, relapsed: Vec<usize>) {
        let timeout = self.patience.longest_timeout.max(self.patience.timeout);
        let loss = self.suspected_loss();
        let tries = if loss > 0.0 { RETRIES_WITH_LOSS } else { RETRIES };
        let mut left = relapsed.clone();
        // The relapse itself is the first time.
        let mut differing: HashMap<usize, (u32, Option<Observation>)> =
            relapsed.iter().map(|cell| (*cell, (1, self.observation(*cell)))).collect();
        for _ in 0..tries {
            self.round(&left, timeout).await;
            for cell in left.iter().filter(|cell| !self.agrees(**cell)) {
                let seen = self.observation(*cell);
                let (count, last) = differing.entry(*cell).or_default();
                (*count, *last) = (*count + 1, seen);
            }
            // One lost packet may be the network's; one delivered packet is one too many.
            left.retain(|cell| !self.agrees(*cell) || self.is_denied(*cell));
        }
        for (cell, (count, last)) in differing {
            let is_denied = self.is_denied(cell);
            let Some(track) = self.tracks.get_mut(cell) else { continue };
            track.is_examined = true;
            let silent = tries + 1 - count;
            if is_denied && silent > 0 && chance(silent, tries + 1, loss) < RISK {
                track.differed = true;
            } else if is_denied {
                // What is missing of it was lost on the way.
                track.observation = last;
            }
        }
    }

    fn observation(&self, cell: usize) -> Option<Observation> {
        self.tracks.get(cell)?.observation.clone()
    }

    fn is_denied(&self, cell: usize) -> bool {
        self.expected.get(cell).is_some_and(|expected| expected.decision == Decision::Deny)
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
                sightings.push(Sighting {
                    cell,
                    observation,
                    sent,
                    left: sent,
                    ended,
                    control: true,
                    is_final,
                });
            }
            sightings
        }

        fn elapsed(&self) -> Duration {
            self.round_takes * self.rounds
        }
    }

    use Observation::{Connected, Dropped, OneWay};

    fn plain(decision: Decision) -> Expected {
        Expected { decision, is_new: false, crosses: true, is_proved: true }
    }

    fn patient() -> Patience {
        Patience {
            timeout: Duration::from_millis(100),
            longest_timeout: Duration::from_secs(1),
            settle: Duration::from_secs(5),
            handed_over: Duration::ZERO,
            wiring: Duration::ZERO,
            loss: Loss::default(),
        }
    }

    async fn play(decision: Decision, is_new: bool, shows: Vec<Observation>) -> Track {
        let patience = Patience {
            longest_timeout: Duration::from_millis(800),
            settle: Duration::from_millis(400),
            ..patient()
        };
        let mut script = Script::new(vec![shows]);
        let expected = Expected { is_new, ..plain(decision) };
        settle(&mut script, &[expected], patience).await.tracks.remove(0)
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
        assert_eq!(track.opposed, Some(Duration::from_millis(100)));
        assert!(!track.differed);
    }

    #[tokio::test]
    async fn a_packet_that_was_delivered_once_stays_a_leak_where_none_may_be() {
        let mut late = play(Decision::Deny, true, vec![Connected, OneWay, Dropped]).await;
        assert_eq!(late.convict(Decision::Deny), Some(Duration::from_millis(100)));
        assert_eq!(late.observation, Some(OneWay));

        let mut never = play(Decision::Deny, true, vec![Connected]).await;
        assert_eq!((never.convict(Decision::Deny), never.observation), (None, Some(Connected)));

        let relapses = vec![Connected, Connected, Connected, Dropped, Connected, Dropped, Connected, Dropped];
        let mut relapses = play(Decision::Deny, true, relapses).await;
        relapses.convict(Decision::Deny);
        assert_eq!((relapses.observation, relapses.differed), (Some(Connected), false));

        let mut at_once = play(Decision::Deny, true, vec![Dropped]).await;
        assert_eq!((at_once.convict(Decision::Deny), at_once.observation), (None, Some(Dropped)));
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

    /// A network that loses packets: allowed cells and leaks are heard only most of the time.
    struct Lossy {
        loss: f64,
        random: fastrand::Rng,
        is_delivered: Vec<bool>,
        rounds: u32,
    }

    impl Prober for Lossy {
        async fn round(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
            let (sent, is_final) = (self.elapsed(), false);
            self.rounds += 1;
            let ended = self.elapsed();
            let sighting = |&cell: &usize| {
                let is_heard = self.is_delivered[cell] && self.random.f64() >= self.loss;
                let observation = if is_heard { Connected } else { Dropped };
                Sighting { cell, observation, sent, left: sent, ended, control: true, is_final }
            };
            cells.iter().map(sighting).collect()
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(100) * self.rounds
        }
    }

    /// With every tenth probe lost, no leak may pass for a denial, and no allowed cell for an outage.
    #[tokio::test]
    async fn loss_is_neither_taken_for_a_denial_nor_for_an_outage() {
        let patience = patient();
        for seed in 0..8 {
            // A third is allowed, a third denied, a third leaks.
            let is_delivered: Vec<bool> = (0..1_500).map(|cell| cell % 3 != 1).collect();
            let decision = |cell| if cell % 3 == 0 { Decision::Allow } else { Decision::Deny };
            let expected: Vec<Expected> = (0..1_500).map(|cell| plain(decision(cell))).collect();
            let random = fastrand::Rng::with_seed(seed);
            let mut lossy = Lossy { loss: 0.1, random, is_delivered: is_delivered.clone(), rounds: 0 };
            let tracks = settle(&mut lossy, &expected, patience).await.tracks;
            for (cell, track) in tracks.iter().enumerate() {
                let is_leak = cell % 3 == 2;
                let agrees = track.agrees(decision(cell)) == Some(true);
                assert_eq!(!agrees, is_leak, "seed {seed}, cell {cell}: {track:?}");
                assert!(!track.differed, "seed {seed}, cell {cell}: {track:?}");
            }
        }
    }

    /// Where everything is denied, nothing tells of loss any more: what was lost before has to be known, and
    /// what a pod sends to itself says nothing.
    #[tokio::test]
    async fn loss_is_remembered_where_everything_is_denied() {
        let patience =
            Patience { settle: Duration::from_secs(2), loss: Loss { missed: 50, agreed: 450 }, ..patient() };
        let own = Expected { crosses: false, ..plain(Decision::Allow) };
        for seed in 0..8 {
            let expected: Vec<Expected> =
                (0..600).map(|cell| if cell % 20 == 0 { own } else { plain(Decision::Deny) }).collect();
            let random = fastrand::Rng::with_seed(seed);
            let mut lossy = Lossy { loss: 0.1, random, is_delivered: vec![true; 600], rounds: 0 };
            let settled = settle(&mut lossy, &expected, patience).await;
            for (track, expected) in settled.tracks.iter().zip(&expected) {
                let is_leak = track.agrees(Decision::Deny) == Some(false);
                assert!(is_leak || expected.decision == Decision::Allow, "seed {seed}: {track:?}");
            }
        }
    }

    /// A way that is not there yet looks like a denial.
    #[tokio::test]
    async fn a_new_pod_has_to_be_silent_until_there_must_be_a_way_to_it() {
        let patience =
            Patience { settle: Duration::from_secs(2), wiring: Duration::from_millis(600), ..patient() };
        let shows = vec![Dropped, Dropped, Dropped, Connected];
        for (is_proved, is_leak) in [(true, false), (false, true)] {
            let mut script =
                Script { round_takes: Duration::from_millis(250), ..Script::new(vec![shows.clone()]) };
            let expected = Expected { is_proved, ..plain(Decision::Deny) };
            let settled = settle(&mut script, &[expected], patience).await;
            assert_eq!(settled.tracks[0].agrees(Decision::Deny), Some(!is_leak), "{is_proved}");
        }
    }

    /// Its listener is slow to answer its own agent.
    struct Busy {
        controls: Vec<bool>,
        rounds: usize,
    }

    impl Prober for Busy {
        async fn round(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
            let (sent, observation, is_final) = (self.elapsed(), Dropped, false);
            let control = self.controls.get(self.rounds).copied().unwrap_or_default();
            self.rounds += 1;
            let ended = self.elapsed();
            let sighting = |&cell: &usize| Sighting {
                cell,
                observation: observation.clone(),
                sent,
                left: sent,
                ended,
                control,
                is_final,
            };
            cells.iter().map(sighting).collect()
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(100) * u32::try_from(self.rounds).unwrap()
        }
    }

    /// On a loaded machine, a control probe that came too late in the last round made denials inconclusive.
    #[tokio::test]
    async fn a_listener_that_was_seen_up_once_is_up() {
        let patience = patient();
        let expected = [plain(Decision::Deny)];
        for controls in [vec![true, false], vec![false, true], vec![false, false, false, true]] {
            let mut busy = Busy { controls, rounds: 0 };
            assert!(settle(&mut busy, &expected, patience).await.tracks[0].control);
        }
        let mut dead = Busy { controls: Vec::new(), rounds: 0 };
        assert!(!settle(&mut dead, &expected, patience).await.tracks[0].control);
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
