//! One scenario from its start to its end.

mod baseline;
mod brackets;
mod control;
mod results;
mod step_plan;
mod variants;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::event::{Event, Events};
use super::settings::{LEAK_SHARE, Settings};
use crate::backend::{Backend, Error};
use crate::observe::canary::Canaries;
use crate::observe::held::Held;
use crate::observe::ledger::Ledger;
use crate::observe::listen::{self, Open, Unavailable};
use crate::observe::new_pods::{self, NewPods};
use crate::observe::power::Pools;
use crate::observe::round::{Probing, Rounds};
use crate::observe::sentinel::Watch;
use crate::observe::settle::{CONFIRMED, SettleDeadlines, Settled, settle};
use crate::observe::track::{Expected, Loss, Track};
use crate::plan::{Cell, Router, listeners};
use crate::policy::{Cluster, Decision, Engine};
use crate::profile::{View, excused, judged_endpoints, open_at_first, open_while_replaced};
use crate::scenario::{Scenario, Step};
use crate::verdict::{Before, ScenarioFailure, ScenarioResult, StepResult, enforcement_points};
use crate::world::{Action, EndpointName, World};

use baseline::Baseline;
use brackets::{Brackets, servers};
use step_plan::{StepPlan, Way};
pub use variants::Trials;
pub(super) use variants::carry_out_with_variants;

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
        required: BTreeSet::new(),
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
    run.look_back(&mut steps).await;
    run.result(start, steps, ended)
}

/// What has to be known of a step when it is over.
struct Past {
    cells: Vec<Cell>,
    /// From when on each cell held what is expected, since the step's change.
    since: Vec<Option<Duration>>,
    /// The settle deadline, since then.
    deadline: Duration,
}

struct ScenarioRun<'a, B> {
    index: usize,
    scenario: &'a Scenario,
    settings: &'a Settings,
    backend: &'a mut B,
    events: &'a Events,
    world: World,
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
    canaries: Canaries,
    watch: Watch,
    /// The probes that nothing may answer.
    ledger: Ledger,
    /// The denials that a delivery over the same path has yet to follow.
    brackets: Brackets,
    /// Whether the control round after the last step is over.
    is_controlled: bool,
    /// The steps that are over.
    past: Vec<Past>,
    /// The destinations whose logs could not be read after so many steps.
    unread: Vec<(usize, HashSet<EndpointName>)>,
    /// When the last probe of a step was sent.
    last_probe: Instant,
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
            world: scenario.world.clone(),
            start: Duration::ZERO,
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
            brackets: Brackets::default(),
            is_controlled: false,
            past: Vec::new(),
            unread: Vec::new(),
            last_probe: Instant::now(),
        }
    }

    fn result(self, start: Instant, steps: Vec<StepResult>, ended: Result<(), Error>) -> ScenarioResult {
        let failure = ended.err().map(|error| ScenarioFailure {
            everywhere: matches!(error, Error::Unavailable(_)),
            message: error.to_string(),
        });
        let (start, timeout, took) = (self.start, self.calibrated, start.elapsed());
        let required = self.settings.required.clone();
        ScenarioResult { steps, start, timeout, took, required, ..not_started(self.scenario, failure) }
    }

    async fn begin(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        self.backend.start(&mut self.world).await?;
        self.start = start.elapsed();
        self.canaries = Canaries::open(self.backend).await;
        self.watch = Watch::open(self.backend).await;
        self.measure_baseline().await;
        Ok(())
    }

    async fn all(&mut self, steps: &mut Vec<StepResult>) -> Result<(), Error> {
        self.begin().await?;
        for step in &self.scenario.steps {
            self.control_before(step).await?;
            self.watch.prepare(self.timeout).await;
            let span = tracing::debug_span!("step", title = step.name);
            let result = self.step(step).instrument(span).await?;
            self.events.send(Event::StepFinished { index: self.index, result: Box::new(result.clone()) });
            steps.push(result);
        }
        self.linger().await;
        self.control().await?;
        self.is_controlled = true;
        Ok(())
    }

    /// What follows from the state that a step led to; without one, from the first state.
    fn step_plan(&self, step: Option<&Step>, engine: &Engine, router: &Router<'_>) -> StepPlan {
        let mut step_plan = StepPlan::new(self.scenario, &self.world, engine, router);
        let excused = excused(&self.settings.profiles, self.view(step, &step_plan));
        step_plan.leave_open(excused);
        let backends = std::mem::take(&mut step_plan.backends);
        step_plan.backends = judged_endpoints(&self.settings.profiles, self.view(step, &step_plan), backends);
        step_plan
    }

    /// What profiles are held against.
    fn view<'s>(&'s self, step: Option<&'s Step>, step_plan: &'s StepPlan) -> View<'s> {
        View {
            scenario: &self.scenario.name,
            step: step.map(|step| step.name.as_str()),
            world: &self.world,
            cells: &step_plan.cells,
            routes: &step_plan.routes,
            expectations: &step_plan.expectations,
        }
    }

    async fn open_listeners(&mut self) -> Unavailable {
        let wanted = listeners(&self.world, &self.scenario.probes);
        listen::open(self.backend, &wanted, &mut self.open).await
    }

    async fn step(&mut self, step: &Step) -> Result<StepResult, Error> {
        let start = Instant::now();
        let held = self.hold(step).await;
        let before = self.world.cluster.clone();
        self.end_of_state().await;
        for action in &step.actions {
            self.world
                .apply(action)
                .map_err(|message| Error::Failed { doing: format!("run step `{}`", step.name), message })?;
        }
        let changed = Instant::now();
        if let Err(error) = self.backend.apply(&step.actions, &mut self.world).await {
            // A part of it may be in force.
            self.ledger.policies_changed(|_, _, _| false);
            return Err(error);
        }
        self.watch.begin(self.backend);
        let handed_over = changed.elapsed();
        let result = self.observe(step, before, changed).await;
        let decision = |cell: &Cell| self.expected.get(cell).map(|before| before.decision);
        let open_connections = held.use_again(&step.actions, decision).await;
        // What followed other policies than the step's is no verdict about those.
        self.backend.check_intact(&self.world).await?;
        Ok(StepResult { handed_over, open_connections, took: start.elapsed(), ..result })
    }

    /// Opens the connections that a step wants to find open, as far as the policies allowed them so far.
    async fn hold(&self, step: &Step) -> Held {
        if step.keep_open.is_empty() {
            return Held::default();
        }
        let engine = Engine::new(self.world.cluster.clone());
        let router = Router::new(&self.world, &engine);
        let step_plan = StepPlan::new(self.scenario, &self.world, &engine, &router);
        let is_wanted =
            |cell: &Cell| step.keep_open.iter().any(|entry| entry.covers(&cell.from, &cell.to, cell.probe));
        let cells = step_plan.allowed().filter(|(cell, _)| is_wanted(cell));
        Held::open(self.backend, cells, self.settings.longest_timeout).await
    }

    /// Probes all cells until they have settled. `before` is the cluster as it was before the step.
    async fn observe(&mut self, step: &Step, before: Cluster, changed: Instant) -> StepResult {
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.world.cluster.clone());
        let router = Router::new(&self.world, &engine);
        let mut step_plan = self.step_plan(Some(step), &engine, &router);
        let of_others =
            open_while_replaced(&self.settings.profiles, self.view(Some(step), &step_plan), &before);
        let new_pods = NewPods::new(&step.actions, before, &self.world, self.backend, changed);
        step_plan.new_pods = new_pods.cells(&step_plan.cells, &step_plan.routes, &step_plan.expectations);
        let of_new_pods = open_at_first(&self.settings.profiles, self.view(Some(step), &step_plan));
        step_plan.leave_first_moment_open(of_new_pods, of_others);
        let is_policy = |action: &Action| matches!(action, Action::SetPolicy(_) | Action::DeletePolicy(_));
        let is_mixed = !step.actions.iter().all(is_policy);
        let deadlines = SettleDeadlines { is_mixed, ..self.deadlines(changed.elapsed()) };
        let mut ledger = std::mem::take(&mut self.ledger);
        self.policies_changed(&mut ledger, step, &step_plan);
        ledger.begin(Some(self.past.len()));
        let mut watch = std::mem::take(&mut self.watch);
        let kept = (&mut ledger, Some(&mut watch));
        let settled = self.settle(&step_plan, &router, &unavailable, kept, changed, deadlines).await;
        ledger.begin(None);
        (self.ledger, self.watch) = (ledger, watch);
        let Settled { tracks, rounds, loss, deadline, stale } = settled;
        self.last_probe = Instant::now();
        let answered = answered(&step_plan.cells, &tracks);
        let ways = step_plan.ways(&router);
        self.loss = self.loss.plus(loss);
        // Few answers may all come from near by.
        if let Some(slowest) = slowest(&answered).filter(|_| answered.len() * 2 >= self.answered) {
            // A baseline may have been a bad moment, in which pods were still starting. Another bad moment
            // shows as probes that go missing, and then silence has to last for longer.
            self.timeout = self.settings.timeout(Some(slowest)).min(self.timeout);
        }
        let (expected, of_new_pods) = (step_plan.expected(), step_plan.new_pods.clone());
        let since = tracks.iter().map(|track| track.silent_since).collect();
        let past = Past { cells: step_plan.cells.clone(), since, deadline };
        let servers: Vec<_> = step_plan.routes.iter().map(|route| servers(route.as_ref())).collect();
        let cells = self.results(step, step_plan, &ways, tracks.clone(), &stale);
        self.brackets.take_step(self.past.len(), &cells, ways.into_iter().zip(servers), &tracks);
        self.past.push(past);
        let new_pods = new_pods::times(cells.iter().zip(of_new_pods));
        self.expected = expected;
        let (name, items) = (step.name.clone(), step.items.clone());
        let (handed_over, took) = (Duration::ZERO, Duration::ZERO);
        let (open_connections, loss) = (Vec::new(), loss.share());
        StepResult { name, items, cells, new_pods, open_connections, handed_over, rounds, loss, took }
    }

    fn expectations(&self, step_plan: &StepPlan, ways: &[Way]) -> Vec<Expected> {
        let promises = step_plan.decisions.iter().zip(&step_plan.new_pods);
        let cells = step_plan.cells.iter().zip(ways).zip(promises).zip(&step_plan.backends);
        let mut services = HashMap::new();
        let expected = cells.zip(&step_plan.routes);
        let expected = expected.map(|((((cell, way), (decision, new_pod)), backends), route)| Expected {
            service: service_address(cell, *way).map(|address| {
                let number = services.len();
                *services.entry((self.world.machine_of(&cell.from), address)).or_insert(number)
            }),
            decision: *decision,
            is_new: new_pod.is_some() || self.decided(cell) != Some(*decision),
            crosses: cell.from != cell.to,
            is_proved: self.baseline(cell, *way, route.as_ref()) == Some(true),
            has_denied_backend: backends.iter().any(|(_, promise)| promise.decision == Decision::Deny),
        });
        expected.collect()
    }

    /// How long a change may take that took so long to be handed over.
    fn deadlines(&self, handed_over: Duration) -> SettleDeadlines {
        SettleDeadlines {
            timeout: self.timeout,
            longest_timeout: self.settings.longest_timeout,
            settle: self.settings.settle,
            handed_over,
            wiring: self.settings.wiring,
            is_mixed: false,
            loss: self.loss,
            deliveries: CONFIRMED,
        }
    }

    async fn settle(
        &self,
        step_plan: &StepPlan,
        router: &Router<'_>,
        unavailable: &Unavailable,
        (ledger, watch): (&mut Ledger, Option<&mut Watch>),
        changed: Instant,
        deadlines: SettleDeadlines,
    ) -> Settled {
        let expected = self.expectations(step_plan, &step_plan.ways(router));
        let pools = self.pools(step_plan);
        let probing = self.probing(step_plan, router, unavailable, changed);
        settle(&mut Rounds::new(probing, ledger, watch), &expected, &pools, deadlines).await
    }

    /// What is needed to probe the cells of a step plan.
    fn probing<'s>(
        &'s self,
        step_plan: &'s StepPlan,
        router: &'s Router<'s>,
        unavailable: &'s Unavailable,
        changed: Instant,
    ) -> Probing<'s, B> {
        let StepPlan { cells, routes, backends, decisions, lookups, .. } = step_plan;
        let (backend, world, canaries) = (&*self.backend, &self.world, &self.canaries);
        Probing {
            backend,
            world,
            router,
            canaries,
            cells,
            routes,
            backends,
            decisions,
            lookups,
            unavailable,
            changed,
        }
    }

    /// What denies each cell together with others.
    fn pools(&self, step_plan: &StepPlan) -> Pools {
        let StepPlan { cells, routes, expectations, decisions, open_at_first, .. } = step_plan;
        let cells = cells.iter().zip(routes).zip(expectations).zip(decisions.iter().zip(open_at_first));
        let points = cells.map(|(((cell, route), expected), decision)| match decision {
            (Decision::Deny, None) => enforcement_points(expected, &self.machines(cell, route.as_ref())),
            // A profile may excuse these cells in the end. Then their probes prove nothing.
            (Decision::Deny, Some(_)) | (Decision::Allow | Decision::Undefined, _) => BTreeSet::new(),
        });
        Pools::new(points.collect(), self.settings.leak_share.unwrap_or(LEAK_SHARE))
    }

    /// What was expected of a cell after the last change.
    fn decided(&self, cell: &Cell) -> Option<Decision> {
        Some(self.expected.get(cell)?.decision)
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

/// The address of the Service that a cell goes to.
fn service_address(cell: &Cell, (_, address): Way) -> Option<SocketAddr> {
    match cell.to {
        // A node stands for the Services with a port at it.
        EndpointName::Service { .. } | EndpointName::Node(_) => address,
        EndpointName::Pod { .. } | EndpointName::External(_) => None,
    }
}
