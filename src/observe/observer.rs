//! The observer of one network: it changes the network, probes each state, and stores the observations.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netproof_probe::wire::{Listener, Transport};

use super::batch::References;
use super::brackets::Brackets;
use super::canary::Canaries;
use super::finding::Finding;
use super::held::Held;
use super::ledger::Ledger;
use super::listen::{self, Open, Unavailable};
use super::new_pods::{self, NewPods};
use super::pace::Pace;
use super::planned::{Addresses, PlannedCell, ProbedCell, plan};
use super::power::Pools;
use super::round::{Probing, Rounds};
use super::sentinel::Watch;
use super::settings::{LEAK_SHARE, Settings};
use super::settle::{CONFIRMED, SettleDeadlines, Settled, settle};
use super::track::{Expected, Loss};
use crate::backend::{Backend, Error};
use crate::plan::{Cell, Questions};
use crate::policy::{Cluster, Decision};
use crate::verdict::{AtFirst, Before, OpenConnection, TimeToSettle, enforcement_points};
use crate::world::{Action, Capability, EndpointName, World};

/// Observes a network through all of its states.
pub(crate) struct Observer<'a, B> {
    pub(crate) backend: &'a mut B,
    pub(super) settings: &'a Settings,
    pub(super) questions: Questions<'a>,
    pub(super) world: World,
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// The timeout that the control round before the policies calibrated. Unlike `timeout`, it never changes
    /// later.
    pub(crate) calibrated: Duration,
    open: Open,
    pub(super) baseline: HashMap<Cell, Baseline>,
    /// Count of the cells between different endpoints that were answered before there were policies.
    pub(super) answered: usize,
    /// Packet loss so far.
    pub(super) loss: Loss,
    /// What was expected of each cell after the last change.
    pub(super) expected: HashMap<Cell, Before>,
    pub(super) canaries: Canaries,
    pub(super) watch: Watch,
    pub(super) ledger: Ledger,
    pub(super) references: References,
    pub(super) pace: Pace,
    /// Since when a network that nobody changes is observed.
    pub(super) unchanged_since: Option<Instant>,
    pub(super) brackets: Brackets,
    /// Whether the control round after the last state is over.
    pub(super) is_controlled: bool,
    /// The states that were observed.
    pub(super) past: Vec<Past>,
    /// Destinations whose logs could not be read, each set with the count of states that were over by then.
    pub(super) unread: Vec<(usize, HashSet<EndpointName>)>,
    /// When the last probe of a state was sent.
    pub(super) last_probe: Instant,
    /// States that the enforcers were given since the last call of [`Self::take_states`], the oldest first.
    pub(super) states: Vec<Arc<World>>,
}

/// What a cell showed before there were policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Baseline {
    pub(super) addresses: Addresses,
    /// Endpoints and listeners to which its address led.
    pub(super) servers: Vec<(EndpointName, Listener)>,
    pub(super) showed: AtFirst,
}

/// Data about a state that is over. Late arrivals are judged by it.
pub(super) struct Past {
    /// Each cell with the start of its silence, measured from the change. `None` if it was not silent in the
    /// end.
    pub(super) cells: Vec<(Cell, Option<Duration>)>,
    /// Settle deadline, measured from the change.
    pub(super) deadline: Duration,
}

/// A change that the backend has executed.
pub(crate) struct Applied<'s> {
    pub(crate) actions: &'s [Action],
    /// The cluster before the change.
    pub(crate) before: Cluster,
    pub(super) changed: Instant,
    /// Whether sentinels show when the change is in force. If nothing was changed, there is nothing to wait for.
    pub(super) has_sentinels: bool,
    /// How long it took to hand the change over to the enforcers.
    pub(crate) handed_over: Duration,
}

/// What a state has shown.
pub(crate) struct Observed {
    pub(crate) cells: Vec<Finding>,
    pub(crate) new_pods: TimeToSettle,
    /// Count of rounds.
    pub(crate) rounds: u32,
    /// The share of probes that the network lost.
    pub(crate) loss: f64,
}

impl<'a, B: Backend> Observer<'a, B> {
    pub(crate) fn new(
        world: World,
        questions: Questions<'a>,
        settings: &'a Settings,
        backend: &'a mut B,
    ) -> Self {
        Self {
            backend,
            settings,
            questions,
            world,
            timeout: settings.longest_timeout,
            calibrated: settings.longest_timeout,
            open: Open::default(),
            baseline: HashMap::new(),
            answered: 0,
            loss: Loss::default(),
            expected: HashMap::new(),
            canaries: Canaries::default(),
            watch: Watch::default(),
            ledger: Ledger::default(),
            references: References::default(),
            pace: Pace::default(),
            unchanged_since: None,
            brackets: Brackets::default(),
            is_controlled: false,
            past: Vec::new(),
            unread: Vec::new(),
            last_probe: Instant::now(),
            states: Vec::new(),
        }
    }

    /// Lets the backend create the network. Returns how long that took.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn start(&mut self) -> Result<Duration, Error> {
        let start = Instant::now();
        let deployed = self.backend.deploy(&self.world).await?;
        self.world.complete(&deployed);
        self.states.push(Arc::new(self.world.clone()));
        let took = start.elapsed();
        self.canaries = Canaries::open(self.backend).await;
        self.watch = Watch::open(self.backend).await;
        Ok(took)
    }

    /// Returns the plan of the present state, with nothing excused.
    pub(super) fn plan(&self) -> Vec<PlannedCell> {
        plan(&self.world, self.questions)
    }

    pub(super) async fn open_listeners(&mut self) -> Unavailable {
        let mut wanted = self.questions.listeners(&self.world);
        // Where netproof has no agent, others listen, or nobody.
        wanted
            .retain(|endpoint, _| !self.world.is_foreign(endpoint) || self.backend.agent(endpoint).is_some());
        listen::open(self.backend, &wanted, &mut self.open).await
    }

    /// Opens the wanted connections, as far as the present policies allow them.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn hold(&self, is_wanted: impl Fn(&Cell) -> bool) -> Held {
        let allowed = self.plan().into_iter().filter(|it| it.decision == Decision::Allow);
        let routes = allowed.filter_map(|it| Some((it.cell, it.route?)));
        let wanted = routes.filter(|(cell, _)| is_wanted(cell));
        Held::open(self.backend, wanted, self.settings.longest_timeout).await
    }

    /// Uses the open connections again after a change, and closes them.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn use_again(&self, held: Held, actions: &[Action]) -> Vec<OpenConnection> {
        held.use_again(actions, self.settings.longest_timeout, |cell| self.decided(cell)).await
    }

    /// Waits until the sentinels can show the next change, if they can at all.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn prepare_change(&mut self) {
        self.watch.prepare(self.timeout).await;
    }

    /// Changes the network. `doing` names the change in errors.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn apply<'s>(
        &mut self,
        doing: &str,
        actions: &'s [Action],
    ) -> Result<Applied<'s>, Error> {
        let before = self.world.cluster.clone();
        self.end_of_state().await;
        self.change_world(doing, actions)?;
        let changed = Instant::now();
        let deployed = self.backend.apply(actions, &self.world).await;
        let deployed = deployed.inspect_err(|_| {
            // Some of the actions may have an effect.
            self.ledger.policies_changed(|_, _, _| false);
        })?;
        self.world.complete(&deployed);
        self.states.push(Arc::new(self.world.clone()));
        self.watch.begin(self.backend);
        Ok(Applied { actions, before, changed, has_sentinels: true, handed_over: changed.elapsed() })
    }

    pub(super) fn change_world(&mut self, doing: &str, actions: &[Action]) -> Result<(), Error> {
        for action in actions {
            self.world
                .apply(action)
                .map_err(|error| Error::Failed { doing: doing.to_owned(), message: error.to_string() })?;
        }
        Ok(())
    }

    /// Returns the states that the enforcers were given since the last call, the oldest first. Between two steps, there may
    /// be those of a control round.
    pub(crate) fn take_states(&mut self) -> Vec<Arc<World>> {
        std::mem::take(&mut self.states)
    }

    /// Checks that no other user has changed the network.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn check_intact(&self) -> Result<(), Error> {
        self.backend.check_intact(&self.world).await
    }

    /// Probes all cells until they have settled. `excuse` marks the cells that known deviations make
    /// undefined. A capability that is missing here excuses a cell only if it is among `declared`.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn observe(
        &mut self,
        applied: &Applied<'_>,
        declared: &BTreeSet<Capability>,
        excuse: impl FnOnce(&World, &mut [PlannedCell]),
    ) -> Observed {
        let Applied { actions, before, changed, has_sentinels, .. } = applied;
        let unavailable = self.open_listeners().await;
        let mut plan = self.plan();
        NewPods::new(actions, before, &self.world, self.backend, *changed).mark(&mut plan);
        excuse(&self.world, &mut plan);
        let is_policy = |action: &Action| matches!(action, Action::SetPolicy(_) | Action::DeletePolicy(_));
        let is_mixed = !actions.iter().all(is_policy);
        let deadlines = SettleDeadlines { is_mixed, ..self.deadlines(changed.elapsed()) };
        self.policies_changed(actions, &plan);
        self.ledger.step = Some(self.past.len());
        let (cells, settled) = self.settle(plan, &unavailable, *has_sentinels, *changed, deadlines).await;
        self.ledger.step = None;
        self.last_probe = Instant::now();
        let Settled { rounds, loss, deadline, stale, .. } = settled;
        self.loss = self.loss.plus(loss);
        let answered = answered(&cells);
        // A few answers may all come from the same node.
        if let Some(slowest) = slowest(&answered).filter(|_| answered.len() * 2 >= self.answered) {
            // Answers may have been slow before the policies, because pods were still starting. So the
            // timeout may shrink. It never grows: if the network becomes slow, probes go missing. That counts
            // as loss, and denials then need more silences.
            self.timeout = self.settings.timeout(Some(slowest)).min(self.timeout);
        }
        let found: Vec<Finding> =
            cells.iter().map(|cell| self.conclude(cell, actions, declared, &stale)).collect();
        self.brackets.take_state(self.past.len(), &cells, &found);
        let new_pods = new_pods::times(&cells, &found);
        self.expected = expected(&cells);
        let past = cells.into_iter().map(|it| (it.planned.cell, it.track.silent_since));
        self.past.push(Past { cells: past.collect(), deadline });
        Observed { cells: found, new_pods, rounds, loss: loss.share() }
    }

    /// Returns the deadlines for a change that took this long to hand over.
    pub(super) fn deadlines(&self, handed_over: Duration) -> SettleDeadlines {
        SettleDeadlines {
            timeout: self.timeout,
            longest_timeout: self.settings.longest_timeout,
            settle: self.settings.settle,
            handed_over,
            propagation: self.settings.propagation,
            is_mixed: false,
            loss: self.loss,
            deliveries: CONFIRMED,
        }
    }

    /// Probes cells until they have settled. Returns each cell with its track.
    pub(super) async fn settle(
        &mut self,
        plan: Vec<PlannedCell>,
        unavailable: &Unavailable,
        has_sentinels: bool,
        changed: Instant,
        deadlines: SettleDeadlines,
    ) -> (Vec<ProbedCell>, Settled) {
        let (expected, pools) = (self.expectations(&plan), self.pools(&plan));
        let Self { backend, world, canaries, ledger, references, pace, watch, .. } = self;
        let probing = Probing { backend: &**backend, world, canaries, cells: &plan, unavailable, changed };
        let mut rounds = Rounds::new(probing, ledger, (references, pace), has_sentinels.then_some(watch));
        let mut settled = settle(&mut rounds, &expected, &pools, deadlines).await;
        let tracks = std::mem::take(&mut settled.tracks);
        let cells = plan.into_iter().zip(tracks).map(|(planned, track)| ProbedCell { planned, track });
        (cells.collect(), settled)
    }

    /// Returns what settling expects of each cell.
    pub(super) fn expectations(&self, plan: &[PlannedCell]) -> Vec<Expected> {
        let mut services = HashMap::new();
        let expected = |planned: &PlannedCell| Expected {
            service: service_address(planned).map(|address| {
                let next = services.len();
                *services.entry((self.world.node_of(&planned.cell.from), address)).or_insert(next)
            }),
            decision: planned.decision,
            is_new: planned.new_pod.is_some() || self.decided(&planned.cell) != Some(planned.decision),
            crosses: planned.cell.from != planned.cell.to,
            is_proved: self.was_delivered_at_first(planned) == Some(true),
            has_denied_backend: planned.denied_endpoints().next().is_some(),
        };
        plan.iter().map(expected).collect()
    }

    /// Returns which points deny each cell.
    fn pools(&self, plan: &[PlannedCell]) -> Pools {
        let points = plan.iter().map(|planned| match (planned.decision, &planned.excused_at_first) {
            (Decision::Deny, None) => enforcement_points(&planned.expectation, &planned.nodes(&self.world)),
            // A profile may excuse such a cell when it is concluded. Then its probes prove nothing.
            (Decision::Deny, Some(_)) | (Decision::Allow | Decision::Undefined, _) => BTreeSet::new(),
        });
        Pools::new(points.collect(), self.settings.leak_share.unwrap_or(LEAK_SHARE))
    }

    /// Returns what was expected of a cell after the last change.
    pub(super) fn decided(&self, cell: &Cell) -> Option<Decision> {
        Some(self.expected.get(cell)?.decision)
    }
}

/// Returns what was expected of each cell, for the next change.
pub(super) fn expected(cells: &[ProbedCell]) -> HashMap<Cell, Before> {
    let planned = cells.iter().map(|it| &it.planned);
    planned.map(|it| (it.cell.clone(), Before::new(&it.expectation, it.decision))).collect()
}

/// Returns the answer times of the cells between different endpoints, in ascending order.
pub(super) fn answered(cells: &[ProbedCell]) -> Vec<Duration> {
    let crossing = cells.iter().filter(|it| it.planned.cell.from != it.planned.cell.to);
    let mut answered: Vec<Duration> = crossing.filter_map(|it| it.track.answered_in).collect();
    answered.sort_unstable();
    answered
}

/// Returns the slowest answer time, without the slowest 1 %. Those answers are slow only because a round
/// sends all probes at the same time.
pub(super) fn slowest(answered: &[Duration]) -> Option<Duration> {
    answered.get(answered.len() * 99 / 100).copied()
}

/// Returns the address of the Service to which a cell goes.
fn service_address(planned: &PlannedCell) -> Option<SocketAddr> {
    if planned.route.as_ref().is_some_and(|route| route.transport == Transport::Handshake) {
        // Its reference has reached it from the same node.
        return None;
    }
    match planned.cell.to {
        // Services with a node port are probed at the node.
        EndpointName::Service { .. } | EndpointName::Node(_) => planned.addresses.1,
        EndpointName::Pod { .. } | EndpointName::External(_) => None,
    }
}
