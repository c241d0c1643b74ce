//! Settling: polling what differs until it agrees, then confirming everything.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::Instrument;

use super::ledger::Late;
use super::power::Pools;
use super::sentinel::Signal;
use super::settle_closer::CLOSER_LOOK;
use super::track::{Expected, Loss, Sighting, Track};
use crate::policy::Decision;
use crate::verdict::Observation;

/// Something that can probe cells.
pub(crate) trait Prober {
    /// Probes some cells, all at once, and waits for each answer at most `timeout`. A cell that is named
    /// several times is probed as often. Returns one sighting for each probe. Looks at the sentinels, too, and
    /// without cells at nothing else.
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting>;

    /// Looks once more at the logs of all destinations. Returns the probes that arrived after their round.
    async fn late_arrivals(&mut self) -> Vec<Late>;

    /// How many canaries were lost, and how many got through.
    fn lost_canaries(&self) -> Loss;

    /// What the sentinels have shown.
    fn signal(&self) -> Signal;

    /// How long ago the change was.
    fn elapsed(&self) -> Duration;
}

/// What settling came to.
#[derive(Debug)]
pub(crate) struct Settled {
    /// What is known of each cell.
    pub(crate) tracks: Vec<Track>,
    /// How many rounds there were.
    pub(crate) rounds: u32,
    /// What was lost meanwhile.
    pub(crate) loss: Loss,
    /// From when on a delivery of a denied cell is a leak, since the change.
    pub(crate) deadline: Duration,
    /// The nodes that enforced then what was there before the change.
    pub(crate) stale: BTreeSet<String>,
}

/// How long settling waits, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SettleDeadlines {
    /// How long to wait for an answer.
    pub(crate) timeout: Duration,
    /// How long to wait for the last answers of a cell that should answer.
    pub(crate) longest_timeout: Duration,
    /// How long observations may differ, once the change has been handed over.
    pub(crate) settle: Duration,
    /// How long that took, since the change.
    pub(crate) handed_over: Duration,
    /// How long afterwards new pods and Services may be without a path to them.
    pub(crate) propagation: Duration,
    /// Whether the change is more than one of NetworkPolicies. Sentinels follow those; labels, pods and Services come to
    /// the nodes on ways of their own, for which there is as much time as for paths.
    pub(crate) is_mixed: bool,
    /// What was lost before.
    pub(crate) loss: Loss,
    /// How often an allowed cell has to be delivered in a row.
    pub(crate) deliveries: u32,
}

/// How often a cell is probed at least before it is said to differ for good.
const TRIES: u32 = 4;
/// How often an allowed cell that relapsed after settling is probed again.
pub(crate) const RETRIES: u32 = 3;
/// How many times as long as usual they may take to answer then.
const PATIENCE: u32 = 3;
/// How often, where the network is seen to lose packets.
const RETRIES_WITH_LOSS: u32 = 10;
/// How often a cell has to agree in a row.
pub(crate) const CONFIRMED: u32 = 2;
/// How likely loss alone may be the reason for what a cell shows.
pub(crate) const RISK: f64 = 1e-4;
/// The pause between rounds that end at once.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);
/// How long after the settle deadline a step may go on for what packets may have been lost.
const OVERTIME: Duration = Duration::from_millis(1_500);
/// How long where nothing differs, and only denials have to be silent more often: on a busy machine, they are in the end.
const LONG_OVERTIME: Duration = Duration::from_secs(10);
/// Probes all cells until they hold what is expected and a round over all of them confirms it, or
/// until the time is over.
///
/// Before the settle deadline, a denied cell may be delivered. After it, one delivered packet is a leak.
pub(crate) async fn settle(
    prober: &mut impl Prober,
    expected: &[Expected],
    pools: &Pools,
    deadlines: SettleDeadlines,
) -> Settled {
    let tracks = vec![Track::new(); expected.len()];
    let mut settling = Settling {
        prober,
        expected,
        pools,
        deadlines,
        tracks,
        rounds: 0,
        last_sent: Duration::ZERO,
        last_silence: Duration::ZERO,
        disturbed: None,
        suspects: BTreeSet::new(),
        reexamined: BTreeSet::new(),
        closer_looks: 0,
        stale: BTreeSet::new(),
    };
    settling.run().await;
    let (loss, deadline) = (settling.own_loss(), settling.leak_deadline());
    // A node that works the change off meanwhile was late all the same.
    let stale = settling.stale.union(&settling.prober.signal().stale).cloned().collect();
    Settled { tracks: settling.tracks, rounds: settling.rounds, loss, deadline, stale }
}

pub(crate) struct Settling<'a, P> {
    pub(crate) prober: &'a mut P,
    pub(crate) expected: &'a [Expected],
    pools: &'a Pools,
    pub(crate) deadlines: SettleDeadlines,
    pub(crate) tracks: Vec<Track>,
    rounds: u32,
    /// When the last round was sent, since the change.
    last_sent: Duration,
    /// When the last round was sent that added a silence to what denials rest on.
    last_silence: Duration,
    /// When something of our own last failed, since the change.
    pub(crate) disturbed: Option<Duration>,
    /// The denied cells that were delivered after all denials had been silent, and before the deadline.
    pub(crate) suspects: BTreeSet<usize>,
    /// The cells that have been suspects. What was believed once and was not so is believed for twice as many silences.
    pub(crate) reexamined: BTreeSet<usize>,
    /// How often suspects have been probed after the deadline.
    pub(crate) closer_looks: u32,
    /// The nodes that still enforced what was there before when the denials were believed.
    stale: BTreeSet<String>,
}

impl<P: Prober> Settling<'_, P> {
    async fn run(&mut self) {
        self.glance().await;
        let all: Vec<usize> = (0..self.expected.len()).collect();
        self.round(&all, self.deadlines.timeout).await;
        let mut relapses = 0;
        loop {
            self.poll().await;
            let relapsed = self.confirm().await;
            if relapsed.is_empty() {
                if !self.look_closer().await {
                    break;
                }
            } else if self.is_over() {
                // What fails again and again has no end of its own.
                relapses += u32::from(self.prober.elapsed() >= self.deadline() + OVERTIME);
                if relapses > RETRIES {
                    break;
                }
                self.examine(relapsed).await;
            }
        }
        self.stale = self.prober.signal().stale;
        self.try_backends().await;
        self.find_intermittent();
        self.control().await;
        self.find_unconfirmed();
        self.find_cut_short();
    }

    /// Silence proves nothing unless the listener was seen up and the path alive. On a busy machine that
    /// may take more time than usual.
    async fn control(&mut self) {
        for _ in 0..RETRIES {
            let uncontrolled = self.select(|track, decision| {
                let is_silent = track.observation.as_ref().is_some_and(Observation::is_silence);
                is_silent && !(track.control.listener && (track.control.path || decision == Decision::Allow))
            });
            self.round(&uncontrolled, self.longest_timeout()).await;
        }
    }

    /// From when on a delivery of a denied cell is a leak. What keeps us from seeing packets may keep the enforcers
    /// from seeing the change, so the time begins anew after it.
    pub(crate) fn leak_deadline(&self) -> Duration {
        let SettleDeadlines { settle, handed_over, .. } = self.deadlines;
        self.disturbed.map_or(handed_over, |disturbed| disturbed.max(handed_over)) + settle
    }

    /// How long to wait for that: the time begins anew once, or it might never end.
    pub(crate) fn deadline(&self) -> Duration {
        let SettleDeadlines { settle, handed_over, .. } = self.deadlines;
        self.leak_deadline().min(handed_over + settle.saturating_mul(2))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.prober.elapsed() >= self.deadline()
    }

    /// Whether there has been time enough, and so many rounds are enough tries: on a busy machine, one round
    /// may take longer than all of the time. What a network that loses packets needs beyond them has an end.
    ///
    /// What the last round shows is from when it was sent: one from before the deadline leaves time to come.
    fn is_enough(&self, rounds: u32) -> bool {
        let is_exhausted = self.prober.elapsed() >= self.deadline() + self.overtime();
        let is_over = self.last_sent >= self.deadline();
        is_over && rounds >= TRIES && (is_exhausted || rounds >= self.required_drops())
    }

    /// How long a step may go on after its deadline. On a dead path, no round adds a silence.
    fn overtime(&self) -> Duration {
        let is_getting_on = self.last_sent.saturating_sub(self.last_silence) < OVERTIME;
        let differs = self.select(|track, decision| track.agrees(decision) == Some(false));
        if is_getting_on && differs.is_empty() && !self.has_leaked() { LONG_OVERTIME } else { OVERTIME }
    }

    fn has_leaked(&self) -> bool {
        self.tracks.iter().any(|track| track.leaked)
    }

    /// How long a round may wait for answers that begins now: it ends before the deadline, so that the next one is sent
    /// then, unless that is hardly any time.
    fn patience(&self, timeout: Duration) -> Duration {
        let left = self.deadline().saturating_sub(self.prober.elapsed());
        if left.is_zero() { timeout } else { timeout.min(left.max(self.deadlines.timeout)) }
    }

    fn longest_timeout(&self) -> Duration {
        self.deadlines.longest_timeout.max(self.deadlines.timeout)
    }

    /// Probes what differs until nothing does, or until the time is over and each cell has had its
    /// tries.
    async fn poll(&mut self) {
        let mut polls = 0;
        loop {
            let differing = self.select(|track, decision| track.agrees(decision) != Some(true));
            if differing.is_empty() || self.is_enough(polls + 1) {
                return;
            }
            // Cells that should be silent answer at once if they do; a cell that should answer gets
            // more and more time, so that a slow machine is not taken for an outage.
            let timeout = self.deadlines.timeout.saturating_mul(1 << polls.min(8));
            let before = self.prober.elapsed();
            self.round(&differing, self.patience(timeout.min(self.longest_timeout()))).await;
            polls += 1;
            if self.prober.elapsed().saturating_sub(before) < PAUSE {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Probes everything that agrees again, until it has agreed often enough. Returns what does not any
    /// more.
    async fn confirm(&mut self) -> Vec<usize> {
        let mut rounds = 0;
        // How many rounds in a row added no silence to each cell that they probed: on a dead path, none ever does.
        let mut idle = vec![0; self.expected.len()];
        loop {
            self.await_force().await;
            let in_force = self.in_force();
            let required = self.required_drops();
            let needed = |decision| match decision {
                Decision::Allow | Decision::Undefined => self.deadlines.deliveries,
                Decision::Deny => required,
            };
            let mut unsure = self.select(|track, decision| {
                let is_unsure = track.streak < needed(decision) || track.probed < in_force;
                is_unsure && !track.is_examined && track.agrees(decision) == Some(true)
            });
            // Where a path is dead, nothing ever confirms its denials.
            if self.is_enough(rounds) {
                unsure.clear();
            }
            unsure.extend(self.without_power(&unsure, &idle));
            let relapsed = if unsure.is_empty() {
                let relapsed = self.arrived_late().await;
                if relapsed.is_empty() {
                    return Vec::new();
                }
                relapsed
            } else {
                let delivered = self.round_for_power(&unsure, &mut idle).await;
                // Also what was silent when it was probed once more in the same round.
                let relapsed = unsure.into_iter().filter(|cell| !self.agrees(*cell));
                relapsed.chain(delivered).collect::<BTreeSet<_>>()
            };
            rounds += 1;
            if !relapsed.is_empty() {
                self.suspect(&relapsed);
                return relapsed.into_iter().collect();
            }
        }
    }

    fn all_silences(&self) -> u64 {
        self.tracks.iter().map(|track| u64::from(track.silences)).sum()
    }

    /// The cells whose pools have not seen as many silences as the wanted confidence needs, each as often as
    /// it has to be probed besides `planned`.
    fn without_power(&self, planned: &[usize], idle: &[u32]) -> Vec<usize> {
        let mut silences: Vec<u32> = self.tracks.iter().map(|track| track.silences).collect();
        for cell in planned {
            if let Some(silences) = silences.get_mut(*cell) {
                *silences += 1;
            }
        }
        let mut silent = self.select(|track, decision| {
            decision == Decision::Deny && track.agrees(decision) == Some(true) && track.silences > 0
        });
        silent.retain(|cell| idle.get(*cell).is_some_and(|rounds| *rounds < RETRIES));
        self.pools.missing(&silences, &silent, &self.reexamined, self.loss(), CLOSER_LOOK)
    }

    /// A round that counts in `idle` which cells it added no silence to.
    async fn round_for_power(&mut self, cells: &[usize], idle: &mut [u32]) -> BTreeSet<usize> {
        let before: Vec<u32> = self.tracks.iter().map(|track| track.silences).collect();
        let delivered = self.round(cells, self.deadlines.timeout).await;
        for cell in cells.iter().copied().collect::<BTreeSet<_>>() {
            let silences = self.tracks.get(cell).map(|track| track.silences);
            if let Some(idle) = idle.get_mut(cell) {
                *idle = if silences.as_ref() == before.get(cell) { *idle + 1 } else { 0 };
            }
        }
        delivered
    }

    /// The cells that look silent although a probe arrived after its round.
    async fn arrived_late(&mut self) -> BTreeSet<usize> {
        let deadline = self.leak_deadline();
        let mut late = BTreeSet::new();
        for Late { cell, sent, shows } in self.prober.late_arrivals().await {
            if self.tracks.get_mut(cell).is_some_and(|track| track.record_late(sent, shows, deadline)) {
                late.insert(cell);
            }
        }
        late
    }

    fn agrees(&self, cell: usize) -> bool {
        let pair = self.tracks.get(cell).zip(self.expected.get(cell));
        pair.is_none_or(|(track, expected)| track.agrees(expected.decision) == Some(true))
    }

    /// Probes allowed cells again that relapsed although there had been time enough: one lost packet may be
    /// the network's.
    async fn examine(&mut self, relapsed: Vec<usize>) {
        let tries = if self.suspected_loss() > 0.0 { RETRIES_WITH_LOSS } else { RETRIES };
        let mut left: Vec<usize> = relapsed.into_iter().filter(|cell| !self.is_denied(*cell)).collect();
        // None is examined twice, so this ends.
        for cell in &left {
            if let Some(track) = self.tracks.get_mut(*cell) {
                track.is_examined = true;
            }
        }
        for tried in 0..tries {
            // What an outage takes has an end, too.
            if left.is_empty() || tried >= RETRIES && self.prober.elapsed() >= self.deadline() + OVERTIME {
                break;
            }
            let timeout = (self.deadlines.timeout * PATIENCE).min(self.longest_timeout());
            self.round(&left, timeout).await;
            left.retain(|cell| !self.agrees(*cell));
        }
    }

    pub(crate) fn is_denied(&self, cell: usize) -> bool {
        self.expected.get(cell).is_some_and(|expected| expected.decision == Decision::Deny)
    }

    /// The cells that are decided, worth a probe, and for which `is_wanted`. What has leaked is known.
    pub(crate) fn select(&self, is_wanted: impl Fn(&Track, Decision) -> bool) -> Vec<usize> {
        let pairs = self.tracks.iter().zip(self.expected).enumerate();
        let wanted = pairs.filter(|(_, (track, expected))| {
            let is_open = expected.decision != Decision::Undefined && !track.is_final && !track.leaked;
            is_open && is_wanted(track, expected.decision)
        });
        wanted.map(|(cell, _)| cell).collect()
    }

    /// Probes cells, and takes in what that shows. Returns the denied ones that were delivered, however other probes of
    /// them ended.
    pub(crate) async fn round(&mut self, cells: &[usize], timeout: Duration) -> BTreeSet<usize> {
        if cells.is_empty() {
            return BTreeSet::new();
        }
        self.rounds += 1;
        self.last_sent = self.prober.elapsed();
        let span = tracing::debug_span!("round", number = self.rounds, cells = cells.len(), ?timeout);
        let sightings = self.prober.round(cells, timeout).instrument(span).await;
        // A canary that gets through, or a listener that answers, shows that others can be asked.
        let is_lost = |sighting: &Sighting| {
            matches!(sighting.observation, Observation::ProbeError { .. })
                && !sighting.is_final
                && !sighting.control.path
                && !sighting.control.listener
        };
        let disturbed = sightings.iter().map(|sighting| sighting.ended).max();
        // An agent that is away concerns its own cells. Where nobody can be asked, the enforcers may hear nothing either.
        if sightings.iter().all(is_lost) {
            self.disturbed = self.disturbed.max(disturbed);
        }
        let (in_force, deadline) = (self.in_force(), self.leak_deadline());
        let silences = self.all_silences();
        let mut delivered = BTreeSet::new();
        for sighting in sightings {
            let Some(expected) = self.expected.get(sighting.cell) else { continue };
            let due = self.due(expected, in_force);
            let is_delivered = sighting.observation.agrees_with(Decision::Deny) == Some(false);
            if expected.decision == Decision::Deny && is_delivered {
                delivered.insert(sighting.cell);
            }
            if let Some(track) = self.tracks.get_mut(sighting.cell) {
                track.record(sighting, *expected, deadline, due);
            }
        }
        if self.all_silences() > silences {
            self.last_silence = self.last_sent;
        }
        // Who let that pass was not enforcing yet, and what it dropped until then proves nothing. After the deadline it
        // is a leak, and the report says where.
        let early = delivered.iter().copied().filter(|cell| !self.has_leaked_at(*cell)).collect();
        self.distrust(&early);
        delivered
    }

    /// Lets no silence count any more of these cells, and of those that are denied at the same places.
    pub(crate) fn distrust(&mut self, cells: &BTreeSet<usize>) {
        for cell in self.pools.mates(cells).into_iter().chain(cells.iter().copied()) {
            if let Some(track) = self.tracks.get_mut(cell) {
                track.distrust();
            }
        }
    }

    pub(crate) fn has_leaked_at(&self, cell: usize) -> bool {
        self.tracks.get(cell).is_some_and(|track| track.leaked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ledger::Shows;
    use crate::observe::settle_closer::{BACKEND_PROBES, REPROBES};
    use crate::verdict::Control;
    use crate::world::EndpointName;

    /// Plays back what each cell shows, one round after the other; the last observation stays.
    struct Script {
        shows: Vec<Vec<Observation>>,
        rounds: u32,
        played: Vec<usize>,
        round_takes: Duration,
        /// Until when the first cell reaches a denied endpoint of its Service.
        denied_until: Duration,
        in_force: Option<Duration>,
        glances: u32,
    }

    impl Script {
        fn new(shows: Vec<Vec<Observation>>) -> Self {
            let played = vec![0; shows.len()];
            Self {
                shows,
                rounds: 0,
                played,
                round_takes: Duration::from_millis(100),
                denied_until: Duration::ZERO,
                in_force: Some(Duration::ZERO),
                glances: 0,
            }
        }
    }

    impl Prober for Script {
        async fn round(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
            let sent = self.elapsed();
            match cells {
                [] if self.in_force.is_none() => self.glances += 1,
                [] => {}
                _ => self.rounds += 1,
            }
            let ended = self.elapsed();
            let mut sightings = Vec::new();
            for &cell in cells {
                let shows = &self.shows[cell];
                let observation = shows[self.played[cell].min(shows.len() - 1)].clone();
                self.played[cell] += 1;
                let is_final = matches!(observation, Observation::Unsupported { .. });
                let is_denied = cell == 0 && sent < self.denied_until;
                let denied_backend = is_denied.then(|| EndpointName::pod("x", "db"));
                sightings.push(Sighting {
                    ended,
                    denied_backend,
                    is_final,
                    ..Sighting::at(sent, cell, observation)
                });
            }
            sightings
        }

        async fn late_arrivals(&mut self) -> Vec<Late> {
            Vec::new()
        }

        fn lost_canaries(&self) -> Loss {
            Loss::default()
        }

        fn signal(&self) -> Signal {
            Signal { in_force: self.in_force, stale: BTreeSet::new() }
        }

        fn elapsed(&self) -> Duration {
            self.round_takes * self.rounds + Duration::from_millis(20) * self.glances
        }
    }

    use Observation::{Connected, Dropped, OneWay};

    fn plain(decision: Decision) -> Expected {
        let (is_new, crosses, is_proved, service) = (false, true, true, None);
        Expected { decision, is_new, crosses, is_proved, service, has_denied_backend: false }
    }

    fn deadlines() -> SettleDeadlines {
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

    async fn play(decision: Decision, is_new: bool, shows: Vec<Observation>) -> Track {
        let deadlines = SettleDeadlines {
            longest_timeout: Duration::from_millis(800),
            settle: Duration::from_millis(400),
            ..deadlines()
        };
        let mut script = Script::new(vec![shows]);
        let expected = Expected { is_new, ..plain(decision) };
        settle(&mut script, &[expected], &Pools::default(), deadlines).await.tracks.remove(0)
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
        assert_eq!(late.record_leak(Decision::Deny), Some(Duration::from_millis(100)));
        assert_eq!(late.observation, Some(OneWay));

        let mut never = play(Decision::Deny, true, vec![Connected]).await;
        assert_eq!((never.record_leak(Decision::Deny), never.observation), (None, Some(Connected)));

        let relapses = vec![Connected, Connected, Connected, Dropped, Connected, Dropped, Connected, Dropped];
        let mut relapses = play(Decision::Deny, true, relapses).await;
        relapses.record_leak(Decision::Deny);
        assert_eq!((relapses.observation, relapses.differed), (Some(Connected), false));

        let mut at_once = play(Decision::Deny, true, vec![Dropped]).await;
        assert_eq!((at_once.record_leak(Decision::Deny), at_once.observation), (None, Some(Dropped)));
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
    async fn a_packet_that_is_delivered_after_the_deadline_is_a_leak() {
        // Denied at the end of the time, delivered in the round that confirms, and denied ever after.
        let shows = vec![Connected, Connected, Connected, Dropped, Connected, Dropped];
        let track = play(Decision::Deny, true, shows).await;
        assert!(track.leaked && !track.differed);
        assert_eq!(track.observation, Some(Connected));
    }

    /// Within the settle time, a denial may begin late, but one that did not last is probed often after it.
    #[tokio::test]
    async fn a_denial_that_did_not_last_is_probed_often_after_the_deadline() {
        let mut shows = vec![Dropped, Connected];
        shows.extend(vec![Dropped; 20]);
        let transient = play(Decision::Deny, true, shows.clone()).await;
        assert!(!transient.leaked && transient.attempts as usize > REPROBES, "{transient:?}");
        shows.push(Connected);
        assert!(play(Decision::Deny, true, shows).await.leaked);
    }

    /// An outage is no loss: four blocked cells of 72 once made a step of 15 s take 90 s.
    #[tokio::test]
    async fn outages_that_began_late_neither_count_as_loss_nor_take_long() {
        // The blocked cells answered once, before the policy was in force.
        let blocked = vec![Connected, Dropped];
        let mut shows = vec![blocked; 4];
        shows.extend(vec![vec![Connected]; 34]);
        shows.extend(vec![vec![Dropped]; 34]);
        let mut expected = vec![plain(Decision::Allow); 38];
        expected.extend(vec![plain(Decision::Deny); 34]);
        let mut script = Script::new(shows);
        let settled = settle(&mut script, &expected, &Pools::default(), deadlines()).await;
        assert_eq!(settled.loss.missed, 0);
        assert!(script.elapsed() <= deadlines().settle + Duration::from_secs(2), "{:?}", script.elapsed());
        assert_eq!(settled.tracks[0].agrees(Decision::Allow), Some(false));
        assert!(settled.tracks[40].attempts <= 3, "denials are confirmed as if nothing were lost");
    }

    /// A timeout that is longer than the time of a step once left every denial with one silence.
    #[tokio::test]
    async fn a_denial_is_confirmed_even_if_its_first_probe_took_all_the_time() {
        let mut script = Script::new(vec![vec![Dropped]]);
        script.round_takes = Duration::from_secs(3);
        let deadlines = SettleDeadlines { settle: Duration::ZERO, ..deadlines() };
        let settled = settle(&mut script, &[plain(Decision::Deny)], &Pools::default(), deadlines).await;
        assert!(!settled.tracks[0].unconfirmed, "{settled:?}");
    }

    /// An enforcer that follows a change after a while, for all cells at once. Rounds take as long as the longest answer
    /// that does not come.
    struct Follows {
        expected: Vec<Expected>,
        after: Duration,
        now: Duration,
    }

    impl Prober for Follows {
        async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting> {
            let (sent, is_final) = (self.now, false);
            let is_new = sent >= self.after;
            let sighting = |&cell: &usize| {
                let is_allowed = (self.expected[cell].decision == Decision::Allow) == is_new;
                Sighting {
                    cell,
                    observation: if is_allowed { Connected } else { Dropped },
                    sent,
                    left: sent,
                    ended: sent + if is_allowed { Duration::from_millis(5) } else { timeout },
                    control: Control::ALIVE,
                    found_name: true,
                    denied_backend: None,
                    is_final,
                }
            };
            let sightings: Vec<_> = cells.iter().map(sighting).collect();
            self.now = sightings.iter().map(|sighting| sighting.ended).max().unwrap_or(self.now);
            // What ends at once is not tried again at once.
            self.now = self.now.max(sent + PAUSE);
            sightings
        }

        async fn late_arrivals(&mut self) -> Vec<Late> {
            Vec::new()
        }

        fn lost_canaries(&self) -> Loss {
            Loss::default()
        }

        fn signal(&self) -> Signal {
            Signal::not_asked()
        }

        fn elapsed(&self) -> Duration {
            self.now
        }
    }

    /// Rounds with an allowed cell that is silent take up to a second. The last was sent before the deadline and ended
    /// after it, and what it showed was called a leak and an outage.
    #[tokio::test]
    async fn a_change_that_is_in_force_just_before_the_deadline_is_in_time() {
        for after in (100..3_000).step_by(50).map(Duration::from_millis) {
            let expected = vec![
                Expected { is_new: true, ..plain(Decision::Allow) },
                Expected { is_new: true, ..plain(Decision::Deny) },
            ];
            let mut follows = Follows { expected: expected.clone(), after, now: Duration::ZERO };
            let deadlines = SettleDeadlines { settle: Duration::from_secs(3), ..deadlines() };
            let settled = settle(&mut follows, &expected, &Pools::default(), deadlines).await;
            for (track, expected) in settled.tracks.iter().zip(expected) {
                assert_eq!(track.agrees(expected.decision), Some(true), "{after:?}: {track:?}");
                assert!(!track.leaked, "{after:?}: {track:?}");
            }
            let took = follows.now.saturating_sub(deadlines.settle);
            assert!(took <= Duration::from_secs(2), "{after:?}: {took:?} after the deadline");
        }
    }

    /// Where no canary gets through, silence is no denial.
    #[tokio::test]
    async fn silence_on_a_dead_path_is_never_confirmed() {
        let mut dead = Busy { controls: vec![true; 100], rounds: 0, path: false };
        let deadlines = SettleDeadlines { settle: Duration::from_millis(400), ..deadlines() };
        let settled = settle(&mut dead, &[plain(Decision::Deny)], &Pools::default(), deadlines).await;
        let track = &settled.tracks[0];
        assert!(!track.control.path && track.unconfirmed && track.silences == 0, "{track:?}");
    }

    /// A probe that arrives after its round shows that the denial was none.
    #[tokio::test]
    async fn a_late_arrival_is_probed_again_until_the_deadline_and_then_a_leak() {
        let deadlines = SettleDeadlines { settle: Duration::from_millis(400), ..deadlines() };
        let delayed = |shows| Delayed { rounds: 0, late: Vec::new(), shows };
        let mut connections = delayed(Shows::Delivery);
        let settled = settle(&mut connections, &[plain(Decision::Deny)], &Pools::default(), deadlines).await;
        assert!(settled.tracks[0].leaked, "{:?}", settled.tracks[0]);
        assert_eq!(settled.tracks[0].observation, Some(OneWay));
        // What would have become of a connection whose lookup came late is not known.
        let mut lookups = delayed(Shows::Lookup);
        let settled = settle(&mut lookups, &[plain(Decision::Deny)], &Pools::default(), deadlines).await;
        assert!(!settled.tracks[0].leaked, "{:?}", settled.tracks[0]);
        assert_eq!(settled.tracks[0].agrees(Decision::Deny), None, "{:?}", settled.tracks[0]);
    }

    /// A network that delivers everything, after its round.
    struct Delayed {
        rounds: u32,
        late: Vec<Late>,
        shows: Shows,
    }

    impl Prober for Delayed {
        async fn round(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
            let (sent, observation, is_final) = (self.elapsed(), Dropped, false);
            self.rounds += 1;
            self.late.extend(cells.iter().map(|cell| Late { cell: *cell, sent, shows: self.shows }));
            let (left, ended, control) = (sent, self.elapsed(), Control::ALIVE);
            let sighting = |&cell: &usize| Sighting {
                cell,
                observation: observation.clone(),
                sent,
                left,
                ended,
                control,
                found_name: true,
                denied_backend: None,
                is_final,
            };
            cells.iter().map(sighting).collect()
        }

        async fn late_arrivals(&mut self) -> Vec<Late> {
            std::mem::take(&mut self.late)
        }

        fn lost_canaries(&self) -> Loss {
            Loss::default()
        }

        fn signal(&self) -> Signal {
            Signal::not_asked()
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(100) * self.rounds
        }
    }

    /// Enough probes are dropped at each point for the share that has to be found.
    #[tokio::test]
    async fn each_enforcement_point_sees_as_many_probes_as_the_share_needs() {
        use crate::policy::{Direction, PolicyName};
        use crate::verdict::EnforcementPoint;

        let policy = PolicyName::Namespaced { namespace: "x".to_owned(), name: "p".to_owned() };
        let point = EnforcementPoint { node: None, policies: [policy].into(), direction: Direction::Ingress };
        let pools = Pools::new(vec![[point.clone()].into(), [point].into()], 0.1);
        let mut script = Script::new(vec![vec![Dropped], vec![Dropped]]);
        let settled = settle(&mut script, &[plain(Decision::Deny); 2], &pools, deadlines()).await;
        let silences: u32 = settled.tracks.iter().map(|track| track.silences).sum();
        assert!((29..=31).contains(&silences), "{silences}");
        assert_eq!(settled.rounds, 2, "in the round that confirms");
    }

    /// A network that loses packets: allowed cells and leaks are heard only most of the time.
    struct Lossy {
        loss: f64,
        random: fastrand::Rng,
        is_delivered: Vec<bool>,
        rounds: u32,
        canaries: Loss,
    }

    impl Prober for Lossy {
        async fn round(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
            let (sent, is_final) = (self.elapsed(), false);
            self.rounds += u32::from(!cells.is_empty());
            let ended = self.elapsed();
            let sighting = |&cell: &usize| {
                let is_heard = self.is_delivered[cell] && self.random.f64() >= self.loss;
                let observation = if is_heard { Connected } else { Dropped };
                Sighting {
                    cell,
                    observation,
                    sent,
                    left: sent,
                    ended,
                    control: Control::ALIVE,
                    found_name: true,
                    denied_backend: None,
                    is_final,
                }
            };
            cells.iter().map(sighting).collect()
        }

        async fn late_arrivals(&mut self) -> Vec<Late> {
            Vec::new()
        }

        fn lost_canaries(&self) -> Loss {
            self.canaries
        }

        fn signal(&self) -> Signal {
            Signal::not_asked()
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(100) * self.rounds
        }
    }

    /// With every tenth probe lost, no leak may pass for a denial, and no allowed cell for an outage.
    #[tokio::test]
    async fn loss_is_neither_taken_for_a_denial_nor_for_an_outage() {
        let deadlines = deadlines();
        for seed in 0..8 {
            // A third is allowed, a third denied, a third leaks.
            let is_delivered: Vec<bool> = (0..1_500).map(|cell| cell % 3 != 1).collect();
            let decision = |cell| if cell % 3 == 0 { Decision::Allow } else { Decision::Deny };
            let expected: Vec<Expected> = (0..1_500).map(|cell| plain(decision(cell))).collect();
            let random = fastrand::Rng::with_seed(seed);
            let mut lossy = Lossy {
                loss: 0.1,
                random,
                is_delivered: is_delivered.clone(),
                rounds: 0,
                canaries: Loss::default(),
            };
            let tracks = settle(&mut lossy, &expected, &Pools::default(), deadlines).await.tracks;
            for (cell, track) in tracks.iter().enumerate() {
                let is_leak = cell % 3 == 2;
                let agrees = track.agrees(decision(cell)) == Some(true);
                assert_eq!(!agrees, is_leak, "seed {seed}, cell {cell}: {track:?}");
                assert!(!track.differed, "seed {seed}, cell {cell}: {track:?}");
            }
        }
    }

    /// Where everything is denied, only canaries tell of loss, and what was lost before; what a pod sends to
    /// itself says nothing.
    #[tokio::test]
    async fn loss_is_known_where_everything_is_denied() {
        let lossy = Loss { missed: 50, agreed: 450 };
        leaks_are_found_where_everything_is_denied(lossy, Loss::default()).await;
        leaks_are_found_where_everything_is_denied(Loss::default(), lossy).await;
    }

    async fn leaks_are_found_where_everything_is_denied(loss: Loss, canaries: Loss) {
        let deadlines = SettleDeadlines { settle: Duration::from_secs(2), loss, ..deadlines() };
        let own = Expected { crosses: false, ..plain(Decision::Allow) };
        for seed in 0..8 {
            let expected: Vec<Expected> =
                (0..600).map(|cell| if cell % 20 == 0 { own } else { plain(Decision::Deny) }).collect();
            let random = fastrand::Rng::with_seed(seed);
            let mut lossy = Lossy { loss: 0.1, random, is_delivered: vec![true; 600], rounds: 0, canaries };
            let settled = settle(&mut lossy, &expected, &Pools::default(), deadlines).await;
            for (track, expected) in settled.tracks.iter().zip(&expected) {
                let is_leak = track.agrees(Decision::Deny) == Some(false);
                assert!(is_leak || expected.decision == Decision::Allow, "seed {seed}: {track:?}");
            }
        }
    }

    /// On a busy machine so many answers are late that a denial needs more silences than there is time for after the
    /// deadline. Where nothing differs, nobody waits for an end: 428 denials of a whole library were inconclusive.
    #[tokio::test]
    async fn denials_are_silent_as_often_as_the_loss_requires() {
        let canaries = Loss { missed: 40, agreed: 60 };
        let deadlines = SettleDeadlines { settle: Duration::from_millis(400), ..deadlines() };
        let random = fastrand::Rng::with_seed(1);
        let mut lossy = Lossy { loss: 0.4, random, is_delivered: vec![false; 50], rounds: 0, canaries };
        let expected = vec![plain(Decision::Deny); 50];
        let tracks = settle(&mut lossy, &expected, &Pools::default(), deadlines).await.tracks;
        assert!(tracks.iter().all(|track| !track.unconfirmed && track.silences > 40), "{tracks:?}");
        assert!(lossy.elapsed() < Duration::from_secs(6), "{:?}", lossy.elapsed());
    }

    /// A way that is not there yet looks like a denial.
    #[tokio::test]
    async fn a_new_pod_has_to_be_silent_until_there_must_be_a_way_to_it() {
        let deadlines = SettleDeadlines {
            settle: Duration::from_secs(2),
            propagation: Duration::from_millis(600),
            ..deadlines()
        };
        let shows = vec![Dropped, Dropped, Dropped, Connected];
        for (is_proved, is_leak) in [(true, false), (false, true)] {
            let mut script =
                Script { round_takes: Duration::from_millis(250), ..Script::new(vec![shows.clone()]) };
            let expected = Expected { is_proved, ..plain(Decision::Deny) };
            let settled = settle(&mut script, &[expected], &Pools::default(), deadlines).await;
            assert_eq!(settled.tracks[0].agrees(Decision::Deny), Some(!is_leak), "{is_proved}");
        }
    }

    /// Seen: kube-proxy needs some seconds for a new Service, and until then nothing answers at its address.
    #[tokio::test]
    async fn a_new_service_has_to_be_silent_until_it_delivers_or_the_time_is_over() {
        let deadlines = SettleDeadlines { settle: Duration::from_secs(2), ..deadlines() };
        let denied = Expected { is_proved: false, service: Some(0), ..plain(Decision::Deny) };
        let allowed = Expected { decision: Decision::Allow, is_new: true, ..denied };
        let late = [vec![Dropped; 8], vec![Connected]].concat();
        let mut script = Script::new(vec![late]);
        let settled = settle(&mut script, &[denied], &Pools::default(), deadlines).await;
        assert_eq!(settled.tracks[0].agrees(Decision::Deny), Some(false));
        // Where an address delivers to one, it is known for all.
        let shows = vec![vec![Dropped], vec![Dropped, Dropped, Connected]];
        let mut script = Script::new(shows);
        let settled = settle(&mut script, &[denied, allowed], &Pools::default(), deadlines).await;
        assert_eq!(settled.tracks[0].agrees(Decision::Deny), Some(true));
        assert!(script.elapsed() < deadlines.settle, "{:?}", script.elapsed());
    }

    /// A denial that stands before and after a change looks the same until the change is in force.
    #[tokio::test]
    async fn silences_from_before_the_change_is_in_force_prove_nothing() {
        let shows = vec![Dropped, Dropped, Connected];
        for in_force in [Some(Duration::from_millis(300)), None] {
            let mut script = Script { in_force, ..Script::new(vec![shows.clone()]) };
            let settled = settle(&mut script, &[plain(Decision::Deny)], &Pools::default(), deadlines()).await;
            assert!(settled.tracks[0].leaked, "{in_force:?}");
        }
        // A network that works the change off at once need not be waited for.
        let mut script = Script::new(vec![shows]);
        let settled = settle(&mut script, &[plain(Decision::Deny)], &Pools::default(), deadlines()).await;
        assert_eq!(settled.tracks[0].observation, Some(Dropped));
    }

    #[tokio::test]
    async fn a_denial_rests_on_the_silences_since_the_change_is_in_force() {
        let in_force = Some(Duration::from_millis(250));
        let mut script = Script { in_force, ..Script::new(vec![vec![Dropped]]) };
        let track = settle(&mut script, &[plain(Decision::Deny)], &Pools::default(), deadlines()).await;
        // As much time again after it was seen: 500 ms.
        let Track { silences, attempts, probed, .. } = &track.tracks[0];
        assert!(*probed >= Duration::from_millis(500), "{probed:?}");
        assert!(*silences > 0 && silences < attempts, "{silences} of {attempts}");
    }

    /// A label comes to the nodes on another way than the sentinels' policy.
    #[tokio::test]
    async fn what_is_no_policy_has_as_much_time_as_paths() {
        let shows = vec![Dropped, Dropped, Dropped, Connected];
        for (is_mixed, is_leak) in [(false, false), (true, true)] {
            let propagation = Duration::from_millis(600);
            let deadlines = SettleDeadlines { is_mixed, propagation, ..deadlines() };
            let mut script =
                Script { round_takes: Duration::from_millis(250), ..Script::new(vec![shows.clone()]) };
            let settled = settle(&mut script, &[plain(Decision::Deny)], &Pools::default(), deadlines).await;
            assert_eq!(settled.tracks[0].leaked, is_leak, "{is_mixed}");
        }
    }

    /// Its listener is slow to answer its own agent.
    struct Busy {
        controls: Vec<bool>,
        rounds: usize,
        path: bool,
    }

    impl Prober for Busy {
        async fn round(&mut self, cells: &[usize], _timeout: Duration) -> Vec<Sighting> {
            let (sent, observation, is_final) = (self.elapsed(), Dropped, false);
            let listener = self.controls.get(self.rounds).copied().unwrap_or_default();
            let control = Control { listener, path: self.path };
            self.rounds += usize::from(!cells.is_empty());
            let ended = self.elapsed();
            let sighting = |&cell: &usize| Sighting {
                ended,
                control,
                is_final,
                ..Sighting::at(sent, cell, observation.clone())
            };
            cells.iter().map(sighting).collect()
        }

        async fn late_arrivals(&mut self) -> Vec<Late> {
            Vec::new()
        }

        fn lost_canaries(&self) -> Loss {
            Loss::default()
        }

        fn signal(&self) -> Signal {
            Signal::not_asked()
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(100) * u32::try_from(self.rounds).unwrap()
        }
    }

    /// On a loaded machine, a control probe that came too late in the last round made denials inconclusive.
    #[tokio::test]
    async fn a_listener_that_was_seen_up_once_is_up() {
        let deadlines = deadlines();
        let expected = [plain(Decision::Deny)];
        for controls in [vec![true, false], vec![false, true], vec![false, false, false, true]] {
            let mut busy = Busy { controls, rounds: 0, path: true };
            assert!(
                settle(&mut busy, &expected, &Pools::default(), deadlines).await.tracks[0].control.listener
            );
        }
        let mut dead = Busy { controls: Vec::new(), rounds: 0, path: true };
        assert!(!settle(&mut dead, &expected, &Pools::default(), deadlines).await.tracks[0].control.listener);
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

    /// The look at a denial that did not last was lost with its round, and two silences were enough again.
    #[tokio::test]
    async fn a_closer_look_that_failed_is_repeated() {
        let failed = Observation::ProbeError { message: "its agent is gone".to_owned() };
        let mut shows = vec![Dropped, Connected, Dropped, Dropped];
        shows.extend(vec![failed; 1 + REPROBES]);
        shows.extend([Dropped, Dropped, Connected]);
        assert!(play(Decision::Deny, true, shows).await.leaked);
    }

    /// The track of a Service with an endpoint that is denied, and that every probe reaches until `denied_until`
    /// milliseconds. The settle time is 400 ms.
    async fn play_service(denied_until: u64) -> Track {
        let mut script = Script::new(vec![vec![Connected]]);
        script.denied_until = Duration::from_millis(denied_until);
        let deadlines = SettleDeadlines { settle: Duration::from_millis(400), ..deadlines() };
        let expected = Expected { has_denied_backend: true, ..plain(Decision::Undefined) };
        settle(&mut script, &[expected], &Pools::default(), deadlines).await.tracks.remove(0)
    }

    #[tokio::test]
    async fn a_denied_endpoint_of_a_service_may_be_reached_until_the_deadline() {
        assert_eq!(play_service(0).await.attempts, 1 + BACKEND_PROBES as u32);
        let settled_late = play_service(200).await;
        assert_eq!(settled_late.leaked_to(), None);
    }

    #[tokio::test]
    async fn a_denied_endpoint_of_a_service_that_is_reached_after_the_deadline_is_a_leak() {
        let leak = play_service(10_000).await;
        assert_eq!(leak.leaked_to(), Some(&EndpointName::pod("x", "db")));
        assert_eq!(leak.observation, Some(Connected));
    }
}
