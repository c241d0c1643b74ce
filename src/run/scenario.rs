//! One scenario from its start to its end.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Event, Events};
use super::held::Held;
use super::listen::{self, Open, Unavailable};
use super::newcomers::{self, Newcomer, Newcomers};
use super::round::Rounds;
use super::settings::Settings;
use super::settle::{Patience, Settled, settle};
use super::track::{Expected, Loss, Track};
use super::variants::{Trials, glance};
use crate::backend::{Backend, Error, Variants};
use crate::plan::{Cell, Route, Router, cells, listeners};
use crate::policy::{Cluster, Decision, Engine, Expectation, Reason, UndefinedCause};
use crate::profile::{Difference, View, left_open};
use crate::scenario::{Assertion, Claim, EndpointName, Scenario, State, Step};
use crate::verdict::{
    Before, Cause, CellResult, Change, Evidence, Machines, Observation, ScenarioFailure, ScenarioResult,
    Settling, StepResult, Verdict, judge,
};

/// The result of a scenario that has not been started.
pub(super) fn not_started(scenario: &Scenario, failure: Option<ScenarioFailure>) -> ScenarioResult {
    ScenarioResult {
        name: scenario.name.clone(),
        description: scenario.description.clone(),
        file: scenario.file.clone(),
        demonstrates: scenario.demonstrates,
        ignored: scenario.ignored.clone(),
        steps: Vec::new(),
        failure,
        start: Duration::ZERO,
        timeout: Duration::ZERO,
        took: Duration::ZERO,
        repetitions: None,
    }
}

/// Carries a scenario out.
pub(super) async fn carry_out(
    index: usize,
    scenario: &Scenario,
    settings: &Settings,
    backend: &mut impl Backend,
    events: &Events,
) -> ScenarioResult {
    let start = Instant::now();
    let mut run = ScenarioRun::new(index, scenario, settings, backend, events);
    let mut steps = Vec::new();
    let ended = run.all(&mut steps).await;
    run.result(start, steps, ended)
}

/// Carries a scenario out, and looks after each step at what variants would show.
pub(super) async fn carry_out_with_variants<B: Variants>(
    index: usize,
    scenario: &Scenario,
    settings: &Settings,
    backend: &mut B,
    events: &Events,
    trials: &mut impl Trials<B::Variant>,
) -> ScenarioResult {
    let start = Instant::now();
    let mut run = ScenarioRun::new(index, scenario, settings, backend, events);
    let mut steps = Vec::new();
    let ended = run.all_with_variants(&mut steps, trials).await;
    run.result(start, steps, ended)
}

struct ScenarioRun<'a, B> {
    index: usize,
    scenario: &'a Scenario,
    settings: &'a Settings,
    backend: &'a mut B,
    events: &'a Events,
    state: State,
    start: Duration,
    /// How long to wait for an answer.
    timeout: Duration,
    /// The same, as the baseline showed it.
    calibrated: Duration,
    open: Open,
    /// Whether each cell was delivered when nothing denied it, and between which addresses.
    baseline: HashMap<Cell, Baseline>,
    /// How many cells answered in the baseline.
    answered: usize,
    /// What the network has lost so far.
    loss: Loss,
    /// What was expected of each cell after the last change.
    expected: HashMap<Cell, Before>,
}

/// What was seen of a cell before there were policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Baseline {
    way: Way,
    delivered: bool,
}

/// The addresses of both ends: a pod that takes over a name is another one.
type Way = (Option<IpAddr>, Option<SocketAddr>);

/// A state with everything that follows from it.
struct Situation {
    cells: Vec<Cell>,
    /// `None` where an obstacle is in the way.
    routes: Vec<Option<Route>>,
    obstacles: Vec<Option<Cause>>,
    expectations: Vec<Expectation>,
    /// The cells of pods that came with the step.
    newcomers: Vec<Option<Newcomer>>,
    /// The difference of a profile that leaves a cell undefined.
    left_open: Vec<Option<Arc<Difference>>>,
    /// What packets should do: what the policies promise, unless a profile leaves it undefined.
    decisions: Vec<Decision>,
}

impl<'a, B: Backend> ScenarioRun<'a, B> {
    fn new(
        index: usize,
        scenario: &'a Scenario,
        settings: &'a Settings,
        backend: &'a mut B,
        events: &'a Events,
    ) -> Self {
        Self {
            index,
            scenario,
            settings,
            backend,
            events,
            state: State::new(&scenario.topology),
            start: Duration::ZERO,
            timeout: settings.longest_timeout,
            calibrated: settings.longest_timeout,
            open: Open::default(),
            baseline: HashMap::new(),
            answered: 0,
            loss: Loss::default(),
            expected: HashMap::new(),
        }
    }

    fn result(self, start: Instant, steps: Vec<StepResult>, ended: Result<(), Error>) -> ScenarioResult {
        let failure = ended.err().map(|error| ScenarioFailure {
            everywhere: matches!(error, Error::Unavailable(_)),
            message: error.to_string(),
        });
        let (start, timeout, took) = (self.start, self.calibrated, start.elapsed());
        ScenarioResult { steps, start, timeout, took, ..not_started(self.scenario, failure) }
    }

    async fn begin(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        self.backend.start(&mut self.state).await?;
        self.start = start.elapsed();
        self.measure_baseline().await;
        Ok(())
    }

    async fn all(&mut self, steps: &mut Vec<StepResult>) -> Result<(), Error> {
        self.begin().await?;
        for step in &self.scenario.steps {
            let result = self.step(step).await?;
            self.events.send(Event::StepFinished { index: self.index, result: Box::new(result.clone()) });
            steps.push(result);
        }
        Ok(())
    }

    /// What follows from the state that a step led to; without one, from the first state.
    fn situation(&self, step: Option<&Step>, engine: &Engine, router: &Router<'_>) -> Situation {
        let mut situation = Situation::new(self.scenario, &self.state, engine, router);
        let view = View {
            scenario: &self.scenario.name,
            step: step.map(|step| step.name.as_str()),
            state: &self.state,
            cells: &situation.cells,
            routes: &situation.routes,
            expectations: &situation.expectations,
        };
        let left_open = left_open(&self.settings.profiles, view);
        situation.leave_open(left_open);
        situation
    }

    async fn open_listeners(&mut self) -> Unavailable {
        let wanted = listeners(&self.state, &self.scenario.probes);
        listen::open(self.backend, &wanted, &mut self.open).await
    }

    async fn measure_baseline(&mut self) {
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.state.cluster.clone());
        let router = Router::new(&self.state, &engine);
        let situation = self.situation(None, &engine, &router);
        let patience = Patience {
            // Generous, as nothing is known yet, and growing with every try.
            timeout: (self.settings.shortest_timeout * 3).min(self.settings.longest_timeout),
            longest_timeout: self.settings.longest_timeout,
            settle: self.settings.start,
            handed_over: Duration::ZERO,
            wiring: Duration::ZERO,
            loss: self.loss,
        };
        let changed = Instant::now();
        let Settled { tracks, loss, .. } =
            self.settle(&situation, &router, &unavailable, changed, patience).await;
        let answered = answered(&situation.cells, &tracks);
        let ways: Vec<Way> = situation.ways(&router);
        self.loss = loss;
        self.answered = answered.len();
        self.timeout = self.settings.timeout(slowest(&answered));
        self.calibrated = self.timeout;
        let cells = situation.cells.iter().zip(ways);
        for (((cell, way), decision), track) in cells.zip(&situation.decisions).zip(&tracks) {
            // A Service that led nowhere then proves nothing about where it leads now.
            if *decision != Decision::Allow {
                continue;
            }
            let delivered =
                track.observation.as_ref().and_then(|o| o.agrees_with(Decision::Deny)) == Some(false);
            self.baseline.insert(cell.clone(), Baseline { way, delivered });
        }
        let failed = self.baseline.values().filter(|baseline| !baseline.delivered).count();
        self.expected = situation.expected();
        let (cells, timeout) = (tracks.len(), self.timeout);
        self.events.send(Event::Baseline { index: self.index, cells, failed, timeout });
    }

    async fn step(&mut self, step: &Step) -> Result<StepResult, Error> {
        let start = Instant::now();
        let held = self.hold(step).await;
        let before = self.state.cluster.clone();
        for action in &step.actions {
            self.state.apply(action).map_err(|message| Error::Failed {
                doing: format!("carry out step `{}`", step.name),
                message,
            })?;
        }
        let changed = Instant::now();
        self.backend.apply(&step.actions, &mut self.state).await?;
        let handed_over = changed.elapsed();
        let result = self.observe(step, before, changed).await;
        let decision = |cell: &Cell| self.expected.get(cell).map(|before| before.decision);
        let open_connections = held.use_again(&step.actions, decision).await;
        Ok(StepResult { handed_over, open_connections, took: start.elapsed(), ..result })
    }

    /// Opens the connections that a step wants to find open, as far as the policies allowed them so far.
    async fn hold(&self, step: &Step) -> Held {
        if step.keep_open.is_empty() {
            return Held::default();
        }
        let engine = Engine::new(self.state.cluster.clone());
        let router = Router::new(&self.state, &engine);
        let situation = Situation::new(self.scenario, &self.state, &engine, &router);
        let is_wanted =
            |cell: &Cell| step.keep_open.iter().any(|entry| entry.covers(&cell.from, &cell.to, cell.probe));
        let cells = situation.allowed().filter(|(cell, _)| is_wanted(cell));
        Held::open(self.backend, cells, self.settings.longest_timeout).await
    }

    /// Probes all cells until they have settled. `before` is the cluster as it was before the step.
    async fn observe(&mut self, step: &Step, before: Cluster, changed: Instant) -> StepResult {
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.state.cluster.clone());
        let router = Router::new(&self.state, &engine);
        let mut situation = self.situation(Some(step), &engine, &router);
        let newcomers = Newcomers::new(&step.actions, before, &self.state, self.backend, changed);
        situation.newcomers = newcomers.cells(&situation.cells, &situation.routes, &situation.expectations);
        let patience = Patience {
            timeout: self.timeout,
            longest_timeout: self.settings.longest_timeout,
            settle: self.settings.settle,
            handed_over: changed.elapsed(),
            wiring: self.settings.wiring,
            loss: self.loss,
        };
        let Settled { tracks, rounds, loss } =
            self.settle(&situation, &router, &unavailable, changed, patience).await;
        let answered = answered(&situation.cells, &tracks);
        let ways = situation.ways(&router);
        self.loss = self.loss.plus(loss);
        // Few answers may all come from near by.
        if let Some(slowest) = slowest(&answered).filter(|_| answered.len() * 2 >= self.answered) {
            // A baseline may have been a bad moment, in which pods were still starting. Another bad moment
            // shows as probes that go missing, and then silence has to last for longer.
            self.timeout = self.settings.timeout(Some(slowest)).min(self.timeout);
        }
        let (expected, of_newcomers) = (situation.expected(), situation.newcomers.clone());
        let cells = self.results(step, situation, &ways, tracks);
        let new_pods = newcomers::times(cells.iter().zip(of_newcomers));
        self.expected = expected;
        let (name, items) = (step.name.clone(), step.items.clone());
        let (handed_over, took) = (Duration::ZERO, Duration::ZERO);
        let open_connections = Vec::new();
        StepResult { name, items, cells, new_pods, open_connections, handed_over, rounds, took }
    }

    fn expectations(&self, situation: &Situation, ways: &[Way]) -> Vec<Expected> {
        let promises = situation.decisions.iter().zip(&situation.newcomers);
        let cells = situation.cells.iter().zip(ways).zip(promises);
        let expected = cells.map(|((cell, way), (decision, newcomer))| Expected {
            decision: *decision,
            is_new: newcomer.is_some() || self.decided(cell) != Some(*decision),
            crosses: cell.from != cell.to,
            is_proved: self.baseline(cell, *way) == Some(true),
        });
        expected.collect()
    }

    async fn settle(
        &self,
        situation: &Situation,
        router: &Router<'_>,
        unavailable: &Unavailable,
        changed: Instant,
        patience: Patience,
    ) -> Settled {
        let Situation { cells, routes, .. } = situation;
        let expected = self.expectations(situation, &situation.ways(router));
        let mut rounds = Rounds::new(self.backend, router, cells, routes, unavailable, changed);
        let mut settled = settle(&mut rounds, &expected, patience).await;
        for cell in rounds.late_arrivals().await {
            if let Some(track) = settled.tracks.get_mut(cell)
                && matches!(track.observation, Some(Observation::Dropped | Observation::Rejected))
            {
                track.observation = Some(Observation::OneWay);
                track.delivered = Some((track.probed, Observation::OneWay));
            }
        }
        settled
    }

    /// Whether a cell was delivered before there were policies, between the same addresses; `None` if
    /// it was not there.
    fn baseline(&self, cell: &Cell, way: Way) -> Option<bool> {
        let baseline = self.baseline.get(cell).filter(|baseline| baseline.way == way)?;
        Some(baseline.delivered)
    }

    /// Where the ends of a cell are; the pods behind a Service may all be on one machine.
    fn machines(&self, cell: &Cell, route: Option<&Route>) -> Machines {
        let servers = route.into_iter().flat_map(|route| &route.servers);
        let mut to = servers.map(|(server, _)| machine_of(&self.state, server));
        let first = to.next().unwrap_or_else(|| machine_of(&self.state, &cell.to));
        let is_one = to.all(|other| other == first);
        Machines { from: machine_of(&self.state, &cell.from), to: first.filter(|_| is_one) }
    }

    /// What was expected of a cell after the last change.
    fn decided(&self, cell: &Cell) -> Option<Decision> {
        Some(self.expected.get(cell)?.decision)
    }

    /// How long the change took to be in force at a cell. `None` if nothing changed there.
    fn settling(
        &self,
        cell: &Cell,
        expected: &Expectation,
        decision: Decision,
        machines: &Machines,
        newcomer: Option<Newcomer>,
        track: &Track,
    ) -> Option<Settling> {
        // A pod that takes over a name is another one.
        let before = self.expected.get(cell).filter(|_| newcomer.is_none());
        let change = Change::since(before, decision)?;
        let settling = Settling::new(change, track.settled?, before, expected, machines);
        Some(Settling { opposed: track.opposed, limit: self.settings.limits.of(change), ..settling })
    }

    /// What is true of a cell.
    fn verdict(&self, situation: &Situation, index: usize, way: Way, track: &Track) -> Verdict {
        let obstacle = situation.obstacles.get(index).cloned().flatten();
        let cell = situation.cells.get(index).zip(situation.decisions.get(index));
        match (obstacle, &track.observation, cell) {
            (Some(cause), _, _) => Verdict::Inconclusive(cause),
            (None, Some(observation), Some((cell, decision))) => judge(&Evidence {
                decision: *decision,
                observation: observation.clone(),
                differed: track.differed,
                control: track.control,
                baseline: self.baseline(cell, way),
            }),
            (None, None, _) | (None, _, None) => {
                Verdict::Inconclusive(Cause::ProbeError("it was never probed".to_owned()))
            }
        }
    }

    fn results(
        &self,
        step: &Step,
        situation: Situation,
        ways: &[Way],
        mut tracks: Vec<Track>,
    ) -> Vec<CellResult> {
        let late: Vec<_> = tracks
            .iter_mut()
            .zip(&situation.decisions)
            .zip(&situation.newcomers)
            .map(|((track, decision), newcomer)| {
                newcomer.as_ref().filter(|_| *decision == Decision::Deny)?.convict(track, *decision)
            })
            .collect();
        let verdicts = ways.iter().zip(&tracks).enumerate();
        let verdicts: Vec<_> =
            verdicts.map(|(cell, (way, track))| self.verdict(&situation, cell, *way, track)).collect();
        let Situation { cells, routes, obstacles, expectations, newcomers, left_open, decisions } = situation;
        let machines = cells.iter().zip(&routes).map(|(cell, route)| self.machines(cell, route.as_ref()));
        let machines: Vec<_> = machines.collect();
        let found = verdicts.into_iter().zip(tracks).zip(late);
        let promises = expectations.into_iter().zip(left_open).zip(decisions).zip(newcomers);
        let cells = cells.into_iter().zip(machines).zip(obstacles).zip(found).zip(promises);
        cells
            .map(|((((cell, machines), obstacle), found), promise)| {
                let ((verdict, track), delivered_until) = found;
                let (((expected, left_open), decision), newcomer) = promise;
                // Without an address there is nothing that the author could disagree with.
                let is_evaluated = obstacle != Some(Cause::NoAddress);
                // A datagram that arrives late shows that the silence before was none.
                let is_in_force = verdict == Verdict::Match || delivered_until.is_some();
                let settled = self.settling(&cell, &expected, decision, &machines, newcomer, &track);
                CellResult {
                    asserted: last_claim(&step.expect, &cell).filter(|_| is_evaluated),
                    intended: last_claim(&step.intent, &cell).filter(|_| is_evaluated),
                    machines,
                    observed: track.observation,
                    attempts: track.attempts,
                    retries: track.retries,
                    settled: settled.filter(|_| is_in_force),
                    delivered_until,
                    cell,
                    expected,
                    left_open,
                    verdict,
                    repeated: BTreeMap::new(),
                }
            })
            .collect()
    }
}

impl<B: Variants> ScenarioRun<'_, B> {
    async fn all_with_variants(
        &mut self,
        steps: &mut Vec<StepResult>,
        trials: &mut impl Trials<B::Variant>,
    ) -> Result<(), Error> {
        self.begin().await?;
        for (index, step) in self.scenario.steps.iter().enumerate() {
            steps.push(self.step(step).await?);
            self.try_variants(index, trials).await?;
        }
        Ok(())
    }

    async fn try_variants(
        &mut self,
        index: usize,
        trials: &mut impl Trials<B::Variant>,
    ) -> Result<(), Error> {
        let variants = self.backend.differing(&trials.wanted(index));
        if variants.is_empty() {
            return Ok(());
        }
        let unavailable = self.open_listeners().await;
        let state = self.state.clone();
        let engine = Engine::new(state.cluster.clone());
        let router = Router::new(&state, &engine);
        let situation = Situation::new(self.scenario, &state, &engine, &router);
        let ways = situation.ways(&router);
        let expected = self.expectations(&situation, &ways);
        for variant in variants {
            self.backend.vary(Some(variant)).await?;
            let Situation { cells, routes, .. } = &situation;
            let changed = Instant::now();
            let mut rounds = Rounds::new(&*self.backend, &router, cells, routes, &unavailable, changed);
            let tracks = glance(&mut rounds, &expected, self.timeout).await;
            let verdicts: Vec<_> = (0..cells.len())
                .filter_map(|cell| Some(self.verdict(&situation, cell, *ways.get(cell)?, tracks.get(cell)?)))
                .collect();
            trials.seen(variant, index, &verdicts);
        }
        self.backend.vary(None).await
    }
}

impl Situation {
    fn new(scenario: &Scenario, state: &State, engine: &Engine, router: &Router<'_>) -> Self {
        let cells = cells(state, &scenario.probes);
        let mut routes: Vec<_> = cells.iter().map(|cell| router.route(cell)).collect();
        let expectations = cells.iter().zip(&routes).map(|(cell, route)| match route {
            Some(route) => route.evaluate(engine),
            None => Expectation {
                decision: Decision::Undefined,
                reasons: vec![Reason::Undefined(UndefinedCause::NoAddress { endpoint: cell.to.to_string() })],
            },
        });
        let expectations: Vec<_> = expectations.collect();
        let mut obstacles = Vec::new();
        for (cell, route) in cells.iter().zip(&mut routes) {
            let servers = route.iter().flat_map(Route::all_servers).map(|(server, _)| server);
            let ends = [&cell.from, &cell.to].into_iter().chain(servers);
            let absent = ends.into_iter().find_map(|end| state.absent.get(end));
            let obstacle = match (absent, &route) {
                (_, None) => Some(Cause::NoAddress),
                (Some(why), Some(_)) => Some(Cause::Absent(why.clone())),
                (None, Some(_)) => None,
            };
            if obstacle.is_some() {
                *route = None;
            }
            obstacles.push(obstacle);
        }
        let decisions = expectations.iter().map(|expectation| expectation.decision).collect();
        let (newcomers, left_open) = (vec![None; cells.len()], vec![None; cells.len()]);
        Self { cells, routes, obstacles, expectations, newcomers, left_open, decisions }
    }

    fn ways(&self, router: &Router<'_>) -> Vec<Way> {
        let way = |(cell, route): (&Cell, &Option<Route>)| {
            (router.address(&cell.from, cell.family), route.as_ref().map(|route| route.address))
        };
        self.cells.iter().zip(&self.routes).map(way).collect()
    }

    /// The cells that are expected to be allowed, with their routes.
    fn allowed(&self) -> impl Iterator<Item = (Cell, Route)> {
        let cells = self.cells.iter().zip(&self.routes).zip(&self.decisions);
        cells.filter_map(|((cell, route), decision)| {
            let route = route.as_ref().filter(|_| *decision == Decision::Allow)?;
            Some((cell.clone(), route.clone()))
        })
    }

    fn leave_open(&mut self, left_open: Vec<Option<Arc<Difference>>>) {
        for (decision, difference) in self.decisions.iter_mut().zip(&left_open) {
            if difference.is_some() {
                *decision = Decision::Undefined;
            }
        }
        self.left_open = left_open;
    }

    fn expected(&self) -> HashMap<Cell, Before> {
        let before = self.expectations.iter().zip(&self.decisions);
        let before = before.map(|(expectation, decision)| Before::new(expectation, *decision));
        self.cells.iter().cloned().zip(before).collect()
    }
}

/// How long the answers took that came over the network, ascending.
fn answered(cells: &[Cell], tracks: &[Track]) -> Vec<Duration> {
    let crossing = cells.iter().zip(tracks).filter(|(cell, _)| cell.from != cell.to);
    let mut answered: Vec<Duration> = crossing.filter_map(|(_, track)| track.answered_in).collect();
    answered.sort_unstable();
    answered
}

/// How long the slowest took, without the few that stand for a bad moment: in a round, everybody sends
/// at once.
fn slowest(answered: &[Duration]) -> Option<Duration> {
    answered.get(answered.len() * 99 / 100).copied()
}

/// The machine on which an endpoint is, as far as there is just one.
fn machine_of(state: &State, endpoint: &EndpointName) -> Option<String> {
    let node = match endpoint {
        EndpointName::Pod { namespace, name } => {
            let pods = &state.cluster.pods;
            pods.iter().find(|pod| pod.namespace == *namespace && pod.name == *name)?.node.as_ref()?
        }
        EndpointName::Node(name) => name,
        EndpointName::Service { .. } | EndpointName::External(_) => return None,
    };
    Some(state.machines.get(node).unwrap_or(node).clone())
}

/// What the assertions say about a cell: the last that covers it counts.
fn last_claim(assertions: &[Assertion], cell: &Cell) -> Option<Claim> {
    let covers = |assertion: &&Assertion| assertion.covers(&cell.from, &cell.to, cell.family, cell.probe);
    assertions.iter().rev().find(covers).map(|assertion| assertion.claim)
}
