//! The ledger of denied probes, over all states. A probe that arrives after its round, even several states
//! later, shows that its silence was no denial.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use netproof_probe::wire::Nonce;

use crate::policy::Expectation;
use crate::world::EndpointName;

/// The index of a state, and of a cell in it.
pub(super) type Place = (usize, usize);

/// A probe whose delivery the policies deny, at its destination or at some endpoints of its Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// The state, counted from 0. `None` for rounds that no report shows.
    pub(super) step: Option<usize>,
    /// The cell's index in that state.
    pub(super) cell: usize,
    /// When it was sent, since the change that led to the state.
    pub(super) at: Duration,
    /// Whether its path was alive. On a dead path, silence proves nothing.
    pub(super) is_proof: bool,
    /// Until when its arrival proves something.
    pub(super) ends: Ends,
    /// What its arrival shows.
    pub(super) shows: Shows,
    pub(super) meant_for: MeantFor,
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
    /// The state whose probes are being sent. `None` in rounds that no report shows.
    pub(super) step: Option<usize>,
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
    /// Records a probe that has been sent.
    pub(super) fn note(&mut self, nonce: Nonce, sent: Sent) {
        self.sent.insert(nonce, sent);
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
    pub(super) fn take_late(&mut self) -> Vec<Sent> {
        self.late.extract_if(.., |sent| sent.step == self.step).collect()
    }

    /// Returns, by state and cell, what arrivals after the end of the state show. For a cell of a state,
    /// `in_force` returns the start of its silence and the state's settle deadline, or `None` if the cell is
    /// unknown.
    pub(super) fn afterwards(
        &self,
        in_force: impl Fn(usize, usize) -> Option<(Duration, Duration)>,
    ) -> BTreeMap<Place, Afterwards> {
        let mut late = BTreeMap::<Place, Vec<(Duration, Shows)>>::new();
        let mut connected_late = HashSet::new();
        for Sent { step, cell, at, shows, ends, .. } in &self.late {
            let Some(key) = step.map(|step| (step, *cell)) else { continue };
            late.entry(key).or_default().push((*at, *shows));
            if *ends == Ends::WhenGivenUp {
                connected_late.insert(key);
            }
        }
        // The last silence of each cell.
        let mut silent = HashMap::<Place, Duration>::new();
        for Sent { step, cell, at, .. } in self.sent.values().filter(|sent| sent.is_proof) {
            if let Some(key) = step.map(|step| (step, *cell)) {
                silent.entry(key).and_modify(|last| *last = (*last).max(*at)).or_insert(*at);
            }
        }
        let said = late.into_iter().filter_map(|(key, arrived)| {
            let (since, deadline) = in_force(key.0, key.1)?;
            let arrived = || arrived.iter().filter(|(at, _)| *at >= since.min(deadline));
            let last = arrived().map(|(at, _)| *at).max()?;
            // Later attempts to connect were given up before they could succeed.
            let is_silent_since =
                !connected_late.contains(&key) && silent.get(&key).is_some_and(|silence| *silence > last);
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

    /// Returns a datagram of cell 7 of the first state, sent at this time.
    fn sent(at: u64) -> Sent {
        Sent {
            step: Some(0),
            cell: 7,
            at: millis(at),
            is_proof: true,
            ends: Ends::Never,
            shows: Shows::Delivery,
            meant_for: MeantFor::Destination(vec![AT.to_owned()]),
        }
    }

    /// Returns a ledger of these probes. The nonce of each is the time at which it was sent, in milliseconds.
    fn ledger(sent: impl IntoIterator<Item = Sent>) -> Ledger {
        let nonce = |sent: &Sent| Nonce(sent.at.as_millis() as u64);
        let sent = sent.into_iter().map(|sent| (nonce(&sent), sent)).collect();
        Ledger { sent, step: Some(1), ..Ledger::default() }
    }

    /// Returns what arrivals at an agent show of cell 7, which is silent from `since` on, with a settle
    /// deadline of 400 ms.
    fn shown(mut ledger: Ledger, arrived: &[u64], agent: &str, since: u64) -> Option<Afterwards> {
        ledger.arrived(arrived.iter().map(|at| (Nonce(*at), agent)));
        assert!(ledger.take_late().is_empty(), "they are of the step before");
        ledger.afterwards(|_, _| Some((millis(since), millis(400)))).remove(&(0, 7))
    }

    /// The same for datagrams that were sent at these times and arrive at their destination.
    fn after(times: &[u64], arrived: &[u64]) -> Option<Afterwards> {
        shown(ledger(times.iter().copied().map(sent)), arrived, AT, 100)
    }

    #[test]
    fn a_probe_from_after_the_deadline_that_arrives_steps_later_is_a_leak() {
        assert_eq!(after(&[100, 450], &[450]), Some(Afterwards::Leak));
    }

    /// Regression: the network delayed datagrams in front of the enforcer until the policies let them pass.
    #[test]
    fn a_probe_that_arrives_when_the_policies_allow_it_is_no_leak() {
        for (is_denied_still, said) in [(true, Afterwards::Leak), (false, Afterwards::Doubt)] {
            let mut ledger = ledger([sent(450)]);
            ledger.policies_changed(|step, cell, _| (step, cell) == (0, 7) && is_denied_still);
            // A later change makes no difference any more.
            ledger.policies_changed(|_, _, _| true);
            assert_eq!(shown(ledger, &[450], AT, 100), Some(said));
        }
    }

    /// The Service still leads to another pod, which may receive the probe.
    #[test]
    fn a_probe_that_arrives_at_another_pod_takes_its_silence_away_and_is_no_leak() {
        assert_eq!(shown(ledger([sent(450)]), &[450], "x/c", 100), Some(Afterwards::Doubt));
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
        let connections = [150, 200].map(|at| Sent { ends: Ends::WhenGivenUp, ..sent(at) });
        assert_eq!(shown(ledger(connections), &[150], AT, 100), Some(Afterwards::Doubt));
    }

    #[test]
    fn a_silence_on_a_dead_path_does_not_stand_for_one_that_was_taken_away() {
        let ledger = ledger([sent(150), Sent { is_proof: false, ..sent(200) }]);
        assert_eq!(shown(ledger, &[150], AT, 100), Some(Afterwards::Doubt));
    }

    #[test]
    fn late_arrivals_of_the_present_step_are_returned_once() {
        let present = Sent { step: Some(1), cell: 9, ..sent(20) };
        let mut ledger = ledger([present.clone(), sent(50)]);
        ledger.arrived([20, 50, 70].map(|nonce| (Nonce(nonce), AT)));
        assert_eq!(ledger.take_late(), [present]);
        assert!(ledger.take_late().is_empty());
    }

    #[test]
    fn a_probe_from_after_the_deadline_is_a_leak_though_the_silence_began_with_it() {
        assert_eq!(shown(ledger([450, 600].map(sent)), &[450], AT, 500), Some(Afterwards::Leak));
    }

    /// An agent that hangs does not answer, but its kernel goes on connecting.
    #[test]
    fn a_connection_that_could_not_be_given_up_says_nothing() {
        let connection = |cell, at| Sent { cell, ends: Ends::WhenGivenUp, ..sent(at) };
        let counting = [sent(451), connection(8, 452)];
        let mut ledger = ledger(counting.iter().cloned().chain([connection(7, 450)]));
        ledger.step = Some(0);
        ledger.forget_streams(|_, cell| cell == 7);
        ledger.arrived([(Nonce(450), AT)]);
        assert_eq!(ledger.take_late(), []);
        ledger.arrived([(Nonce(451), AT), (Nonce(452), AT)]);
        assert_eq!(ledger.take_late(), counting, "another agent gave up");
    }

    /// Regression: a DNS server hung, so that the lookup of a connection by name looked denied, and arrived
    /// later.
    #[test]
    fn a_lookup_that_arrives_late_takes_the_silence_away_and_is_no_leak_of_its_connection() {
        for at in [150, 450] {
            let lookup = || Sent { shows: Shows::Lookup, ..sent(at) };
            assert_eq!(shown(ledger([lookup()]), &[at], AT, 100), Some(Afterwards::Doubt), "{at}");
            assert_eq!(shown(ledger([lookup(), sent(at + 50)]), &[at], AT, 100), None, "{at}");
        }
    }
}
