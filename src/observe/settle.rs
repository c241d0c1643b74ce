//! Settling: probes the cells that differ from their expectation until they agree, then confirms all cells.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::Instrument;

use super::ledger::Sent;
use super::power::Pools;
use super::sentinel::Signal;
use super::track::{Expected, Loss, Sighting, Track};
use crate::policy::Decision;
use crate::verdict::Observation;

/// Something that can probe cells.
pub(super) trait Prober {
    /// Probes cells, all at the same time, and waits at most `timeout` for each answer. A cell that occurs
    /// N times is probed N times. Returns one sighting per probe. Also looks at the sentinels. Without cells,
    /// looks only at them.
    async fn round(&mut self, cells: &[usize], timeout: Duration) -> Vec<Sighting>;

    /// Reads the logs of all destinations again. Returns the probes that arrived after their round.
    async fn late_arrivals(&mut self) -> Vec<Sent>;

    /// Returns how many canaries were lost, and how many got through.
    fn lost_canaries(&self) -> Loss;

    /// Returns what the sentinels have shown.
    fn signal(&self) -> Signal;

    /// Returns how long ago the change was.
    fn elapsed(&self) -> Duration;
}

/// The result of settling.
#[derive(Debug)]
pub(super) struct Settled {
    /// What is known of each cell.
    pub(super) tracks: Vec<Track>,
    /// Count of rounds.
    pub(super) rounds: u32,
    /// Packet loss during settling.
    pub(super) loss: Loss,
    /// Time after the change from which on a delivery of a denied cell is a leak.
    pub(super) deadline: Duration,
    /// The nodes that still enforced the state from before the change.
    pub(super) stale: BTreeSet<String>,
}

/// How long settling waits, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct SettleDeadlines {
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// How long to wait for the last answers of a cell that should answer.
    pub(super) longest_timeout: Duration,
    /// How long observations may differ after the change was handed over.
    pub(super) settle: Duration,
    /// How long it took to hand the change over.
    pub(super) handed_over: Duration,
    /// How long there may be no path to new pods and Services after the change was handed over.
    pub(super) propagation: Duration,
    /// Whether the change is more than a change of NetworkPolicies. Sentinels follow only those. Labels, pods
    /// and Services reach the nodes in other ways, which may take as long as `propagation`.
    pub(super) is_mixed: bool,
    /// Packet loss in earlier states.
    pub(super) loss: Loss,
    /// Count of deliveries in a row that an allowed cell needs.
    pub(super) deliveries: u32,
}

/// Minimum count of rounds before the difference of a cell is final.
pub(super) const TRIES: u32 = 4;
/// Maximum count of repetitions, for example of probes of an allowed cell that relapsed after settling.
pub(super) const RETRIES: u32 = 3;
/// Count of agreeing observations in a row that a cell needs.
pub(super) const CONFIRMED: u32 = 2;
/// The largest probability that loss alone explains what a cell shows.
pub(super) const RISK: f64 = 1e-4;
/// The pause between rounds that end at once.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
/// How long settling may go on after the deadline because packets may have been lost.
pub(super) const OVERTIME: Duration = Duration::from_millis(1_500);
/// The overtime if no cell differs and denials only need more silences. On a busy machine, this takes long.
const LONG_OVERTIME: Duration = Duration::from_secs(10);

/// Probes all cells until they show what is expected and a round over all of them confirms it, or until the
/// time is over.
///
/// Before the settle deadline, a denied cell may be delivered. After it, one delivered packet is a leak.
pub(super) async fn settle(
    prober: &mut impl Prober,
    expected: &[Expected],
    pools: &Pools,
    deadlines: SettleDeadlines,
) -> Settled {
    let tracks = vec![Track::default(); expected.len()];
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
    // A node may have processed the change since the denials were confirmed. It was late, so it stays stale.
    let stale = settling.stale.union(&settling.prober.signal().stale).cloned().collect();
    Settled { tracks: settling.tracks, rounds: settling.rounds, loss, deadline, stale }
}

pub(super) struct Settling<'a, P> {
    pub(super) prober: &'a mut P,
    pub(super) expected: &'a [Expected],
    pub(super) pools: &'a Pools,
    pub(super) deadlines: SettleDeadlines,
    pub(super) tracks: Vec<Track>,
    rounds: u32,
    /// When the last round was sent, since the change.
    last_sent: Duration,
    /// When the last round was sent that added a silence to a denial's evidence.
    last_silence: Duration,
    /// When a request to the agents last failed, since the change.
    pub(super) disturbed: Option<Duration>,
    /// Denied cells that were delivered before the deadline, after all denials had been silent.
    pub(super) suspects: BTreeSet<usize>,
    /// Cells that have been suspects. They need twice as many silences, because the first ones were
    /// misleading.
    pub(super) reexamined: BTreeSet<usize>,
    /// How often suspects have been probed after the deadline.
    pub(super) closer_looks: u32,
    /// Nodes that still enforced the state from before the change when the denials were confirmed.
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
                // Without a limit, a cell that relapses again and again would keep the loop running forever.
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

    /// Probes silent cells again whose listener was not seen up, or whose path was not seen alive: their
    /// silence proves nothing. On a busy machine, the controls may need more time than usual.
    async fn control(&mut self) {
        for _ in 0..RETRIES {
            let uncontrolled = self.select(|track, decision| {
                let is_silent = track.observation.as_ref().is_some_and(Observation::is_silence);
                is_silent && !(track.control.listener && (track.control.path || decision == Decision::Allow))
            });
            self.round(&uncontrolled, self.longest_timeout()).await;
        }
    }

    /// Returns from when on a delivery of a denied cell is a leak. A disturbance that keeps netproof from
    /// seeing packets may also keep the enforcers from seeing the change, so the time begins again after it.
    pub(super) fn leak_deadline(&self) -> Duration {
        let SettleDeadlines { settle, handed_over, .. } = self.deadlines;
        self.disturbed.map_or(handed_over, |disturbed| disturbed.max(handed_over)) + settle
    }

    /// Returns how long settling waits for the leak deadline. Disturbances extend it to at most twice the
    /// settle time. Without this limit, settling might never end.
    pub(super) fn deadline(&self) -> Duration {
        let SettleDeadlines { settle, handed_over, .. } = self.deadlines;
        self.leak_deadline().min(handed_over + settle.saturating_mul(2))
    }

    pub(super) fn is_over(&self) -> bool {
        self.prober.elapsed() >= self.deadline()
    }

    /// Returns whether the deadline has passed and this count of rounds is enough. The count matters because
    /// on a busy machine, one round may take longer than the settle time. The overtime limits settling if the
    /// network loses packets.
    ///
    /// A round shows the network at the time when it was sent. So the deadline has passed only if the last
    /// round was sent after it.
    pub(super) fn is_enough(&self, rounds: u32) -> bool {
        let is_exhausted = self.prober.elapsed() >= self.deadline() + self.overtime();
        let is_over = self.last_sent >= self.deadline();
        is_over && rounds >= TRIES && (is_exhausted || rounds >= self.required_drops())
    }

    /// Returns how long settling may go on after its deadline. The long overtime applies only while rounds
    /// still add silences. On a dead path, they do not.
    fn overtime(&self) -> Duration {
        let is_getting_on = self.last_sent.saturating_sub(self.last_silence) < OVERTIME;
        let differs = self.select(|track, decision| track.agrees(decision) == Some(false));
        let has_leaked = self.tracks.iter().any(|track| track.leaked);
        if is_getting_on && differs.is_empty() && !has_leaked { LONG_OVERTIME } else { OVERTIME }
    }

    /// Returns how long a round that begins now may wait for answers. It ends before the deadline, so that
    /// the next round is sent at the deadline, unless hardly any time is left.
    fn until_deadline(&self, timeout: Duration) -> Duration {
        let left = self.deadline().saturating_sub(self.prober.elapsed());
        if left.is_zero() { timeout } else { timeout.min(left.max(self.deadlines.timeout)) }
    }

    pub(super) fn longest_timeout(&self) -> Duration {
        self.deadlines.longest_timeout.max(self.deadlines.timeout)
    }

    /// Probes the cells that differ until none differs, or until `is_enough`.
    async fn poll(&mut self) {
        let mut polls = 0;
        loop {
            let differing = self.select(|track, decision| track.agrees(decision) != Some(true));
            if differing.is_empty() || self.is_enough(polls + 1) {
                return;
            }
            // A denied cell that is still open answers at once. An allowed cell gets more time in each round,
            // so that a slow machine does not look like an outage.
            let timeout = self.deadlines.timeout.saturating_mul(1 << polls.min(8));
            let before = self.prober.elapsed();
            self.round(&differing, self.until_deadline(timeout.min(self.longest_timeout()))).await;
            polls += 1;
            if self.prober.elapsed().saturating_sub(before) < PAUSE {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    pub(super) fn all_silences(&self) -> u64 {
        self.tracks.iter().map(|track| u64::from(track.silences)).sum()
    }

    pub(super) fn agrees(&self, cell: usize) -> bool {
        let pair = self.tracks.get(cell).zip(self.expected.get(cell));
        pair.is_none_or(|(track, expected)| track.agrees(expected.decision) == Some(true))
    }

    pub(super) fn is_denied(&self, cell: usize) -> bool {
        self.expected.get(cell).is_some_and(|expected| expected.decision == Decision::Deny)
    }

    /// Returns the cells that fulfil `is_wanted`, are not undefined, and can still show something new. A leak
    /// is final.
    pub(super) fn select(&self, is_wanted: impl Fn(&Track, Decision) -> bool) -> Vec<usize> {
        let pairs = self.tracks.iter().zip(self.expected).enumerate();
        let wanted = pairs.filter(|(_, (track, expected))| {
            let is_open = expected.decision != Decision::Undefined && !track.is_final && !track.leaked;
            is_open && is_wanted(track, expected.decision)
        });
        wanted.map(|(cell, _)| cell).collect()
    }

    /// Probes cells and records what they show. Returns the denied cells that were delivered by any of their
    /// probes.
    pub(super) async fn round(&mut self, cells: &[usize], timeout: Duration) -> BTreeSet<usize> {
        if cells.is_empty() {
            return BTreeSet::new();
        }
        self.rounds += 1;
        self.last_sent = self.prober.elapsed();
        let span = tracing::debug_span!("round", number = self.rounds, cells = cells.len(), ?timeout);
        let sightings = self.prober.round(cells, timeout).instrument(span).await;
        // If a canary gets through or a listener answers, at least some agents can be reached.
        let is_lost = |sighting: &Sighting| {
            matches!(sighting.observation, Observation::ProbeError { .. })
                && !sighting.is_final
                && !sighting.control.path
                && !sighting.control.listener
        };
        let disturbed = sightings.iter().map(|sighting| sighting.ended).max();
        // An agent that cannot be reached concerns only its own cells. If no agent can be reached, the
        // enforcers may not be reached either.
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
        // The point that let a packet pass did not enforce yet, so the packets that it dropped before prove
        // nothing. After the deadline, the packet is a leak, and the report names the point.
        let early = delivered.iter().copied().filter(|cell| !self.has_leaked_at(*cell)).collect();
        self.reset_denials(&early);
        delivered
    }

    /// Discards the silences of these cells, and of the cells that the same points deny.
    pub(super) fn reset_denials(&mut self, cells: &BTreeSet<usize>) {
        for cell in self.pools.mates(cells).into_iter().chain(cells.iter().copied()) {
            if let Some(track) = self.tracks.get_mut(cell) {
                track.reset_denials();
            }
        }
    }

    pub(super) fn has_leaked_at(&self, cell: usize) -> bool {
        self.tracks.get(cell).is_some_and(|track| track.leaked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ledger::Shows;
    use crate::observe::settle_closer::{BACKEND_PROBES, REPROBES};
    use crate::observe::settle_networks::{DENIED, Network, deadlines, plain, point};
    use crate::policy::Direction;
    use crate::world::EndpointName;

    use Observation::{Connected, Dropped, OneWay};

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    async fn play(decision: Decision, is_new: bool, shows: Vec<Observation>) -> Track {
        let deadlines = SettleDeadlines { longest_timeout: millis(800), ..deadlines(400) };
        Network::script(vec![shows]).track(Expected { is_new, ..plain(decision) }, deadlines).await
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
        assert_eq!(track.settled, Some(millis(200)));
        assert_eq!(track.opposed, Some(millis(100)));
        assert!(!track.differed);
    }

    #[tokio::test]
    async fn a_packet_that_was_delivered_once_stays_a_leak_where_none_may_be() {
        let mut late = play(Decision::Deny, true, vec![Connected, OneWay, Dropped]).await;
        assert_eq!(late.record_leak(Decision::Deny), Some(millis(100)));
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
        // The packet of the first round was lost. Enforcement began only later.
        let track = play(Decision::Deny, true, vec![Dropped, Connected, Connected, Dropped]).await;
        assert_eq!(track.settled, Some(millis(300)));
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
        // Silent at the deadline, delivered in the confirming round, and silent from then on.
        let shows = vec![Connected, Connected, Connected, Dropped, Connected, Dropped];
        let track = play(Decision::Deny, true, shows).await;
        assert!(track.leaked && !track.differed);
        assert_eq!(track.observation, Some(Connected));
    }

    /// Within the settle time, a denial may begin late. If it does not last, the cell is probed often after
    /// the deadline.
    #[tokio::test]
    async fn a_denial_that_did_not_last_is_probed_often_after_the_deadline() {
        let mut shows = vec![Dropped, Connected];
        shows.extend(vec![Dropped; 20]);
        let transient = play(Decision::Deny, true, shows.clone()).await;
        assert!(!transient.leaked && transient.attempts as usize > REPROBES, "{transient:?}");
        shows.push(Connected);
        assert!(play(Decision::Deny, true, shows).await.leaked);
    }

    /// Regression: four blocked cells of 72 counted as loss, and a step of 15 s took 90 s.
    #[tokio::test]
    async fn outages_that_began_late_neither_count_as_loss_nor_take_long() {
        // The blocked cells answered once, before the policy was in force.
        let shows = [vec![vec![Connected, Dropped]; 4], vec![vec![Connected]; 34], vec![vec![Dropped]; 34]];
        let expected = [vec![plain(Decision::Allow); 38], vec![DENIED; 34]].concat();
        let (mut network, deadlines) = (Network::script(shows.concat()), deadlines(5_000));
        let settled = network.settle(&expected, deadlines).await;
        assert_eq!(settled.loss.missed, 0);
        let took = network.elapsed();
        assert!(took <= deadlines.settle + Duration::from_secs(2), "{took:?}");
        assert_eq!(settled.tracks[0].agrees(Decision::Allow), Some(false));
        assert!(settled.tracks[40].attempts <= 3, "denials are confirmed as if nothing were lost");
    }

    /// Regression: a timeout longer than the settle time left every denial with one silence.
    #[tokio::test]
    async fn a_denial_is_confirmed_even_if_its_first_probe_took_all_the_time() {
        let mut network = Network::script(vec![vec![Dropped]]);
        network.round_takes = Duration::from_secs(3);
        let track = network.track(DENIED, deadlines(0)).await;
        assert!(!track.unconfirmed, "{track:?}");
    }

    /// Regression: a round with a silent allowed cell takes up to a second. The last round was sent before
    /// the deadline and ended after it, and its observations became a leak and an outage.
    #[tokio::test]
    async fn a_change_that_is_in_force_just_before_the_deadline_is_in_time() {
        for after in (100..3_000).step_by(50).map(millis) {
            let expected = [Decision::Allow, Decision::Deny]
                .map(|decision| Expected { is_new: true, ..plain(decision) })
                .to_vec();
            let deadlines = deadlines(3_000);
            let mut network = Network::that_follows(expected.clone(), after);
            let settled = network.settle(&expected, deadlines).await;
            for (track, expected) in settled.tracks.iter().zip(expected) {
                assert_eq!(track.agrees(expected.decision), Some(true), "{after:?}: {track:?}");
                assert!(!track.leaked, "{after:?}: {track:?}");
            }
            let took = network.elapsed().saturating_sub(deadlines.settle);
            assert!(took <= Duration::from_secs(2), "{after:?}: {took:?} after the deadline");
        }
    }

    /// If no canary gets through, silence is no denial.
    #[tokio::test]
    async fn silence_on_a_dead_path_is_never_confirmed() {
        let track = Network::busy(vec![true; 100], false).track(DENIED, deadlines(400)).await;
        assert!(!track.control.path && track.unconfirmed && track.silences == 0, "{track:?}");
    }

    /// A probe that arrives after its round disproves the denial.
    #[tokio::test]
    async fn a_late_arrival_is_probed_again_until_the_deadline_and_then_a_leak() {
        let connection = Network::delayed(Shows::Delivery).track(DENIED, deadlines(400)).await;
        assert!(connection.leaked, "{connection:?}");
        assert_eq!(connection.observation, Some(OneWay));
        // If the lookup arrived late, it is not known what the connection would have shown.
        let lookup = Network::delayed(Shows::Lookup).track(DENIED, deadlines(400)).await;
        assert!(!lookup.leaked, "{lookup:?}");
        assert_eq!(lookup.agrees(Decision::Deny), None, "{lookup:?}");
    }

    /// Each point drops as many probes as the requested share needs.
    #[tokio::test]
    async fn each_enforcement_point_sees_as_many_probes_as_the_share_needs() {
        let pools = Pools::new(vec![[point("p", Direction::Ingress)].into(); 2], 0.1);
        let mut network = Network::script(vec![vec![Dropped], vec![Dropped]]);
        let settled = settle(&mut network, &[DENIED; 2], &pools, deadlines(5_000)).await;
        let silences: u32 = settled.tracks.iter().map(|track| track.silences).sum();
        assert!((29..=31).contains(&silences), "{silences}");
        assert_eq!(settled.rounds, 2, "in the round that confirms");
    }

    /// Even if every tenth probe is lost, a leak must not look like a denial, and an allowed cell must not
    /// look like an outage.
    #[tokio::test]
    async fn loss_is_neither_taken_for_a_denial_nor_for_an_outage() {
        for seed in 0..8 {
            // One third is allowed, one third is denied, and one third leaks.
            let decision = |cell| if cell % 3 == 0 { Decision::Allow } else { Decision::Deny };
            let expected: Vec<Expected> = (0..1_500).map(|cell| plain(decision(cell))).collect();
            let mut lossy = Network::lossy(0.1, seed, |cell| cell % 3 != 1);
            let settled = lossy.settle(&expected, deadlines(5_000)).await;
            for (cell, track) in settled.tracks.iter().enumerate() {
                let is_leak = cell % 3 == 2;
                let agrees = track.agrees(decision(cell)) == Some(true);
                assert_eq!(!agrees, is_leak, "seed {seed}, cell {cell}: {track:?}");
                assert!(!track.differed, "seed {seed}, cell {cell}: {track:?}");
            }
        }
    }

    /// If everything is denied, only canaries and earlier loss show that packets are lost. The packets that a
    /// pod sends to itself say nothing.
    #[tokio::test]
    async fn loss_is_known_where_everything_is_denied() {
        let lossy = Loss { missed: 50, agreed: 450 };
        let own = Expected { crosses: false, ..plain(Decision::Allow) };
        let expected: Vec<_> = (0..600).map(|cell| if cell % 20 == 0 { own } else { DENIED }).collect();
        for (loss, canaries) in [(lossy, Loss::default()), (Loss::default(), lossy)] {
            for seed in 0..8 {
                let mut lossy = Network { canaries, ..Network::lossy(0.1, seed, |_| true) };
                let settled = lossy.settle(&expected, SettleDeadlines { loss, ..deadlines(2_000) }).await;
                for (track, expected) in settled.tracks.iter().zip(&expected) {
                    let is_leak = track.agrees(Decision::Deny) == Some(false);
                    assert!(is_leak || expected.decision == Decision::Allow, "seed {seed}: {track:?}");
                }
            }
        }
    }

    /// Regression: on a busy machine, so many answers are late that a denial needs more silences than fit
    /// into the overtime. 428 denials of the whole library were inconclusive. If nothing differs, settling
    /// may go on.
    #[tokio::test]
    async fn denials_are_silent_as_often_as_the_loss_requires() {
        let canaries = Loss { missed: 40, agreed: 60 };
        let mut lossy = Network { canaries, ..Network::lossy(0.4, 1, |_| false) };
        let tracks = lossy.settle(&[DENIED; 50], deadlines(400)).await.tracks;
        assert!(tracks.iter().all(|track| !track.unconfirmed && track.silences > 40), "{tracks:?}");
        assert!(lossy.elapsed() < Duration::from_secs(6), "{:?}", lossy.elapsed());
    }

    /// A missing path looks like a denial. A label reaches the nodes in another way than the policy of the
    /// sentinels.
    #[tokio::test]
    async fn what_has_no_path_and_what_is_no_policy_has_more_time() {
        let shows = vec![Dropped, Dropped, Dropped, Connected];
        for (is_proved, is_mixed, is_leak) in [(true, false, false), (false, false, true), (true, true, true)]
        {
            let deadlines = SettleDeadlines { propagation: millis(600), is_mixed, ..deadlines(5_000) };
            let mut network = Network { round_takes: millis(250), ..Network::script(vec![shows.clone()]) };
            let track = network.track(Expected { is_proved, ..DENIED }, deadlines).await;
            assert_eq!(track.agrees(Decision::Deny), Some(!is_leak), "{is_proved} {is_mixed}");
            assert_eq!(track.leaked, is_leak, "{is_proved} {is_mixed}");
        }
    }

    /// kube-proxy needs some seconds for a new Service. Until then, nothing answers at its address.
    #[tokio::test]
    async fn a_new_service_has_to_be_silent_until_it_delivers_or_the_time_is_over() {
        let deadlines = deadlines(2_000);
        let denied = Expected { is_proved: false, service: Some(0), ..DENIED };
        let allowed = Expected { decision: Decision::Allow, is_new: true, ..denied };
        let late = [vec![Dropped; 8], vec![Connected]].concat();
        let track = Network::script(vec![late]).track(denied, deadlines).await;
        assert_eq!(track.agrees(Decision::Deny), Some(false));
        // If an address delivers to one cell, the node knows the address for all cells.
        let mut network = Network::script(vec![vec![Dropped], vec![Dropped, Dropped, Connected]]);
        let settled = network.settle(&[denied, allowed], deadlines).await;
        assert_eq!(settled.tracks[0].agrees(Decision::Deny), Some(true));
        assert!(network.elapsed() < deadlines.settle, "{:?}", network.elapsed());
    }

    /// If a cell is denied before and after a change, its silence does not show when the change is in force.
    #[tokio::test]
    async fn silences_from_before_the_change_is_in_force_prove_nothing() {
        let script = || Network::script(vec![vec![Dropped, Dropped, Connected]]);
        for in_force in [Some(millis(300)), None] {
            let mut network = Network { in_force, ..script() };
            assert!(network.track(DENIED, deadlines(5_000)).await.leaked, "{in_force:?}");
        }
        // A network that processes the change at once needs no waiting.
        let track = script().track(DENIED, deadlines(5_000)).await;
        assert_eq!(track.observation, Some(Dropped));
    }

    #[tokio::test]
    async fn a_denial_rests_on_the_silences_since_the_change_is_in_force() {
        let mut network = Network { in_force: Some(millis(250)), ..Network::script(vec![vec![Dropped]]) };
        let Track { silences, attempts, probed, .. } = network.track(DENIED, deadlines(5_000)).await;
        // The time at which the change was seen is doubled: 500 ms.
        assert!(probed >= millis(500), "{probed:?}");
        assert!(silences > 0 && silences < attempts, "{silences} of {attempts}");
    }

    /// Regression: on a busy machine, a control probe was late in the last round, and denials became
    /// inconclusive.
    #[tokio::test]
    async fn a_listener_that_was_seen_up_once_is_up() {
        for controls in [vec![true, false], vec![false, true], vec![false, false, false, true], vec![]] {
            let is_seen = !controls.is_empty();
            let track = Network::busy(controls, true).track(DENIED, deadlines(5_000)).await;
            assert_eq!(track.control.listener, is_seen);
        }
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

    /// Regression: the closer look at a denial that did not last failed, and two silences were enough again.
    #[tokio::test]
    async fn a_closer_look_that_failed_is_repeated() {
        let failed = Observation::ProbeError { message: "its agent is gone".to_owned() };
        let mut shows = vec![Dropped, Connected, Dropped, Dropped];
        shows.extend(vec![failed; 1 + REPROBES]);
        shows.extend([Dropped, Dropped, Connected]);
        assert!(play(Decision::Deny, true, shows).await.leaked);
    }

    /// Returns the track of a Service with a denied endpoint, which every probe reaches until `denied_until`
    /// milliseconds. The settle time is 400 ms.
    async fn play_service(denied_until: u64) -> Track {
        let mut network = Network::new(move |probe| {
            let denied_backend = (probe.sent < millis(denied_until)).then(|| EndpointName::pod("x", "db"));
            Sighting { denied_backend, ..probe.shows(Connected) }
        });
        let expected = Expected { has_denied_backend: true, ..plain(Decision::Undefined) };
        network.track(expected, deadlines(400)).await
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
