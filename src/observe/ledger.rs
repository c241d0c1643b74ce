//! The ledger of denied probes, over all states. A probe that arrives after its round, even several states
//! later, shows that its silence was no denial.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use netproof_probe::wire::Nonce;

use crate::policy::Expectation;
use crate::world::EndpointName;

/// The index of a state, and of a cell in it.
pub(super) type Place = (usize, usize);

/// A probe of a denied cell that has not arrived so far.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    /// The state, counted from 0. `None` for rounds that no report shows.
    step: Option<usize>,
    /// The cell's index in that state.
    cell: usize,
    /// When it was sent, since the change that led to the state.
    at: Duration,
    /// Whether its path was alive. On a dead path, silence proves nothing.
    is_proof: bool,
    /// Until when its arrival proves something.
    ends: Ends,
    /// What its arrival shows.
    shows: Shows,
    meant_for: MeantFor,
}

/// The receivers that show something about the cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MeantFor {
    /// The agents of a destination that is denied.
    Destination(Vec<String>),
    /// The denied endpoints of a Service. Its other endpoints are allowed.
    Backends(Vec<DeniedBackend>),
}

/// An endpoint of a Service that is denied although others are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeniedBackend {
    pub(super) agent: String,
    pub(super) endpoint: EndpointName,
    /// What the policies promise for it.
    pub(super) promised: Expectation,
    pub(super) node: Option<String>,
}

/// What the arrival of a probe shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// The cell was delivered.
    Delivery,
    /// The lookup before the connection was delivered. What the connection would have shown is not known.
    Lookup,
    /// It was on its way when the policies changed, and the later policies may have let it pass.
    Change,
    /// Another pod received it, which the policies may allow.
    Elsewhere,
}

/// A probe for the ledger to record.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub(super) nonce: Nonce,
    pub(super) ends: Ends,
    pub(super) shows: Shows,
    pub(super) meant_for: MeantFor,
}

/// A probe of the present state that arrived after its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) cell: usize,
    /// When it was sent, since the change.
    pub(super) sent: Duration,
    pub(super) shows: Shows,
}

/// Until when the arrival of a probe says something about the policies at the time when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// The arrival counts at any time: a datagram is sent only once.
    Never,
    /// The arrival counts until the attempt to connect is given up, before the policies change.
    WhenGivenUp,
    /// The arrival never counts: the attempt could not be given up, so it may have succeeded under later
    /// policies.
    Unknown,
}

/// The denied probes that have not arrived, and those that arrived late.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sent: HashMap<Nonce, Sent>,
    late: Vec<Sent>,
    /// By state and cell: the denied endpoint of a Service that the last late probe reached, and when that
    /// probe was sent.
    backends: BTreeMap<Place, (Duration, DeniedBackend)>,
    /// The state whose probes are being sent.
    step: Option<usize>,
}

/// What late arrivals show about the denial of a cell in a state that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// A probe from after the settle deadline was delivered.
    Leak,
    /// A probe that counted as dropped was delivered, but it was sent before the settle deadline. Or no
    /// silence is left that proves the denial.
    Doubt,
}

impl Ledger {
    /// Records which state the following probes belong to.
    pub(super) fn begin(&mut self, step: Option<usize>) {
        self.step = step;
    }

    /// Records a probe that has been sent.
    pub(super) fn note(&mut self, noted: Noted, cell: usize, at: Duration, is_proof: bool) {
        let Noted { nonce, ends, shows, meant_for } = noted;
        self.sent.insert(nonce, Sent { step: self.step, cell, at, is_proof, ends, shows, meant_for });
    }

    /// Records that attempts to connect may go on while the policies change. `goes_on` returns whether the
    /// attempts of a cell of a state may go on.
    pub(super) fn forget_streams(&mut self, goes_on: impl Fn(usize, usize) -> bool) {
        for sent in self.sent.values_mut().filter(|sent| sent.ends == Ends::WhenGivenUp) {
            if sent.step.is_none_or(|step| goes_on(step, sent.cell)) {
                sent.ends = Ends::Unknown;
            }
        }
    }

    /// Records that the policies have changed. Packets on their way may pass because of the later policies,
    /// unless those deny them, too. `is_denied_still` returns whether the later policies deny a cell of a
    /// state, or a denied endpoint of its Service.
    pub(super) fn policies_changed(
        &mut self,
        is_denied_still: impl Fn(usize, usize, Option<&DeniedBackend>) -> bool,
    ) {
        self.sent.retain(|_, sent| {
            let Sent { step, cell, shows, meant_for, .. } = sent;
            let is_denied_still = |backend: Option<&DeniedBackend>| {
                step.is_some_and(|step| is_denied_still(step, *cell, backend))
            };
            match meant_for {
                MeantFor::Destination(_) => {
                    if !is_denied_still(None) {
                        *shows = Shows::Change;
                    }
                    true
                }
                MeantFor::Backends(denied) => {
                    denied.retain(|backend| is_denied_still(Some(backend)));
                    !denied.is_empty()
                }
            }
        });
    }

    /// Returns whether the arrival of a probe could still say something.
    pub(super) fn is_waiting(&self) -> bool {
        self.sent.values().any(|sent| sent.step.is_some())
    }

    /// Records which probes arrived at which agent. Probes that the ledger does not contain were delivered in
    /// time.
    pub(super) fn arrived<'a>(&mut self, arrivals: impl IntoIterator<Item = (Nonce, &'a str)>) {
        for (nonce, agent) in arrivals {
            if self.sent.get(&nonce).is_none_or(|sent| sent.ends == Ends::Unknown) {
                continue;
            }
            let Some(mut sent) = self.sent.remove(&nonce) else { continue };
            match &mut sent.meant_for {
                MeantFor::Destination(servers) => {
                    if !servers.iter().any(|server| server == agent) {
                        sent.shows = Shows::Elsewhere;
                    }
                    self.late.push(sent);
                }
                MeantFor::Backends(denied) => {
                    let reached = std::mem::take(denied).into_iter().find(|backend| backend.agent == agent);
                    if let (Some(step), Some(reached)) = (sent.step, reached) {
                        let place = (step, sent.cell);
                        if self.backends.get(&place).is_none_or(|(at, _)| *at <= sent.at) {
                            self.backends.insert(place, (sent.at, reached));
                        }
                    }
                }
            }
        }
    }

    /// Returns, by state and cell, the denied endpoints of Services that were reached late by a probe from
    /// after the settle deadline. `deadline` returns the settle deadline of a state.
    pub(super) fn leaks_to_backends(
        &self,
        deadline: impl Fn(usize) -> Option<Duration>,
    ) -> impl Iterator<Item = (Place, &DeniedBackend)> {
        let is_late = move |(place, (at, _)): &(&Place, &(Duration, DeniedBackend))| {
            deadline(place.0).is_some_and(|deadline| *at >= deadline)
        };
        self.backends.iter().filter(is_late).map(|(place, (_, backend))| (*place, backend))
    }

    /// Returns the probes of the present state that arrived late, each once.
    pub(super) fn take_late(&mut self) -> Vec<Late> {
        let (own, others) =
            std::mem::take(&mut self.late).into_iter().partition(|sent| sent.step == self.step);
        self.late = others;
        let own: Vec<Sent> = own;
        let late = |Sent { cell, at, shows, .. }: Sent| Late { cell, sent: at, shows };
        own.into_iter().map(late).collect()
    }

    /// Returns, by state and cell, what arrivals after the end of the state show. For a cell of a state,
    /// `in_force` returns the start of its silence and the state's settle deadline, or `None` if the cell is
    /// unknown.
    pub(super) fn afterwards(
        &self,
        in_force: impl Fn(usize, usize) -> Option<(Duration, Duration)>,
    ) -> BTreeMap<(usize, usize), Afterwards> {
        let mut late = BTreeMap::<(usize, usize), Vec<(Duration, Shows)>>::new();
        let mut connected_late = HashSet::new();
        for Sent { step, cell, at, shows, ends, .. } in &self.late {
            let Some(key) = step.map(|step| (step, *cell)) else { continue };
            late.entry(key).or_default().push((*at, *shows));
            if *ends == Ends::WhenGivenUp {
                connected_late.insert(key);
            }
        }
        let mut silent = HashMap::<(usize, usize), Vec<Duration>>::new();
        for Sent { step, cell, at, .. } in self.sent.values().filter(|sent| sent.is_proof) {
            if let Some(key) = step.map(|step| (step, *cell)).filter(|key| late.contains_key(key)) {
                silent.entry(key).or_default().push(*at);
            }
        }
        let said = late.into_iter().filter_map(|(key, arrived)| {
            let (since, deadline) = in_force(key.0, key.1)?;
            let arrived = || arrived.iter().filter(|(at, _)| *at >= since.min(deadline));
            let last = arrived().map(|(at, _)| *at).max()?;
            // Later attempts to connect were given up before they could succeed.
            let is_silent_since = !connected_late.contains(&key)
                && silent.get(&key).is_some_and(|silent| silent.iter().any(|at| *at > last));
            let is_leak = |(at, shows): &(Duration, Shows)| *at >= deadline && *shows == Shows::Delivery;
            // The probe counted as a silence. If it had arrived in time, the cell would have been probed much
            // more often.
            let is_doubt = |(_, shows): &(Duration, Shows)| *shows == Shows::Delivery;
            match (arrived().any(is_leak), is_silent_since && !arrived().any(is_doubt)) {
                (true, _) => Some((key, Afterwards::Leak)),
                (false, false) => Some((key, Afterwards::Doubt)),
                (false, true) => None,
            }
        });
        said.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Agent of the destination.
    const AT: &str = "x/b";

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn late(cell: usize, sent: u64) -> Late {
        Late { cell, sent: millis(sent), shows: Shows::Delivery }
    }

    fn noted(nonce: u64, ends: Ends) -> Noted {
        let meant_for = MeantFor::Destination(vec![AT.to_owned()]);
        Noted { nonce: Nonce(nonce), ends, shows: Shows::Delivery, meant_for }
    }

    /// Returns what late arrivals show of a cell that is silent from 100 ms on, with a settle deadline of 400
    /// ms. Its probes were sent at these times.
    fn after(sent: &[u64], arrived: &[u64]) -> Option<Afterwards> {
        let mut ledger = Ledger::default();
        ledger.begin(Some(0));
        for at in sent {
            ledger.note(noted(*at, Ends::Never), 7, millis(*at), true);
        }
        ledger.begin(Some(1));
        ledger.arrived(arrived.iter().map(|at| (Nonce(*at), AT)));
        assert!(ledger.take_late().is_empty(), "they are of the step before");
        ledger.afterwards(|_, _| Some((millis(100), millis(400)))).remove(&(0, 7))
    }

    #[test]
    fn a_probe_from_after_the_deadline_that_arrives_steps_later_is_a_leak() {
        assert_eq!(after(&[100, 450], &[450]), Some(Afterwards::Leak));
    }

    /// Regression: the network delayed datagrams in front of the enforcer until the policies let them pass.
    #[test]
    fn a_probe_that_arrives_when_the_policies_allow_it_is_no_leak() {
        for (is_denied_still, said) in [(true, Afterwards::Leak), (false, Afterwards::Doubt)] {
            let mut ledger = Ledger::default();
            ledger.begin(Some(0));
            ledger.note(noted(1, Ends::Never), 7, millis(450), true);
            ledger.policies_changed(|step, cell, _| (step, cell) == (0, 7) && is_denied_still);
            // A later change makes no difference any more.
            ledger.policies_changed(|_, _, _| true);
            ledger.begin(Some(1));
            ledger.arrived([(Nonce(1), AT)]);
            let afterwards = ledger.afterwards(|_, _| Some((millis(100), millis(400)))).remove(&(0, 7));
            assert_eq!(afterwards, Some(said));
        }
    }

    /// The Service still leads to another pod, which may receive the probe.
    #[test]
    fn a_probe_that_arrives_at_another_pod_takes_its_silence_away_and_is_no_leak() {
        let mut ledger = Ledger::default();
        ledger.begin(Some(0));
        ledger.note(noted(450, Ends::Never), 7, millis(450), true);
        ledger.arrived([(Nonce(450), "x/c")]);
        let said = ledger.afterwards(|_, _| Some((millis(100), millis(400)))).remove(&(0, 7));
        assert_eq!(said, Some(Afterwards::Doubt));
    }

    #[test]
    fn late_arrivals_from_before_the_deadline_take_their_own_silence_away() {
        assert_eq!(after(&[100, 200], &[100, 200]), Some(Afterwards::Doubt));
        assert_eq!(after(&[100, 200], &[100]), Some(Afterwards::Doubt), "it was counted as dropped");
        assert_eq!(after(&[50, 200], &[50]), None, "it was not in force yet");
    }

    /// The kernel sends a lost packet of a connection again after a second. Later attempts had no second try.
    #[test]
    fn a_connection_that_came_about_late_takes_younger_silences_away_too() {
        let mut ledger = Ledger::default();
        ledger.begin(Some(0));
        ledger.note(noted(150, Ends::WhenGivenUp), 7, millis(150), true);
        ledger.note(noted(200, Ends::WhenGivenUp), 7, millis(200), true);
        ledger.begin(Some(1));
        ledger.arrived([(Nonce(150), AT)]);
        let said = ledger.afterwards(|_, _| Some((millis(100), millis(400)))).remove(&(0, 7));
        assert_eq!(said, Some(Afterwards::Doubt));
    }

    #[test]
    fn a_silence_on_a_dead_path_does_not_stand_for_one_that_was_taken_away() {
        let mut ledger = Ledger::default();
        ledger.begin(Some(0));
        ledger.note(noted(1, Ends::Never), 7, millis(150), true);
        ledger.note(noted(2, Ends::Never), 7, millis(200), false);
        ledger.begin(Some(1));
        ledger.arrived([(Nonce(1), AT)]);
        let said = ledger.afterwards(|_, _| Some((millis(100), millis(400)))).remove(&(0, 7));
        assert_eq!(said, Some(Afterwards::Doubt));
    }

    #[test]
    fn late_arrivals_of_the_present_step_are_returned_once() {
        let mut ledger = Ledger::default();
        ledger.begin(Some(3));
        ledger.note(noted(1, Ends::Never), 9, millis(20), true);
        ledger.arrived([(Nonce(1), AT), (Nonce(2), AT)]);
        assert_eq!(ledger.take_late(), [late(9, 20)]);
        assert!(ledger.take_late().is_empty());
    }

    #[test]
    fn a_probe_from_after_the_deadline_is_a_leak_though_the_silence_began_with_it() {
        let mut ledger = Ledger::default();
        ledger.begin(Some(0));
        for at in [450, 600] {
            ledger.note(noted(at, Ends::Never), 7, millis(at), true);
        }
        ledger.begin(Some(1));
        ledger.arrived([(Nonce(450), AT)]);
        let said = ledger.afterwards(|_, _| Some((millis(500), millis(400)))).remove(&(0, 7));
        assert_eq!(said, Some(Afterwards::Leak));
    }

    /// An agent that hangs does not answer, but its kernel goes on connecting.
    #[test]
    fn a_connection_that_could_not_be_given_up_says_nothing() {
        let mut ledger = Ledger::default();
        ledger.begin(Some(0));
        ledger.note(noted(1, Ends::WhenGivenUp), 7, millis(450), true);
        ledger.note(noted(2, Ends::Never), 7, millis(450), true);
        ledger.note(noted(3, Ends::WhenGivenUp), 8, millis(450), true);
        ledger.forget_streams(|_, cell| cell == 7);
        ledger.arrived([(Nonce(1), AT)]);
        assert_eq!(ledger.take_late(), []);
        ledger.arrived([(Nonce(2), AT), (Nonce(3), AT)]);
        assert_eq!(ledger.take_late(), [late(7, 450), late(8, 450)], "another agent gave up");
    }

    /// Regression: a DNS server hung, so that the lookup of a connection by name looked denied, and arrived
    /// later.
    #[test]
    fn a_lookup_that_arrives_late_takes_the_silence_away_and_is_no_leak_of_its_connection() {
        for (at, silent_later, said) in [
            (450, false, Some(Afterwards::Doubt)),
            (450, true, None),
            (150, false, Some(Afterwards::Doubt)),
            (150, true, None),
        ] {
            let mut ledger = Ledger::default();
            ledger.begin(Some(0));
            let lookup = Noted { shows: Shows::Lookup, ..noted(1, Ends::Never) };
            ledger.note(lookup, 7, millis(at), true);
            if silent_later {
                ledger.note(noted(2, Ends::Never), 7, millis(at + 50), true);
            }
            ledger.begin(Some(1));
            ledger.arrived([(Nonce(1), AT)]);
            let afterwards = ledger.afterwards(|_, _| Some((millis(100), millis(400)))).remove(&(0, 7));
            assert_eq!(afterwards, said, "{at} {silent_later}");
        }
    }
}
