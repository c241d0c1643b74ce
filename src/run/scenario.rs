//! One scenario from its start to its end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::event::{Event, Events};
use super::listen::{self, Open, Unavailable};
use super::round::Rounds;
use super::settings::Settings;
use super::settle::{Expected, Patience, Track, settle};
use crate::backend::{Backend, Error};
use crate::plan::{Cell, Route, Router, cells, listeners};
use crate::policy::{Decision, Engine, Expectation, Reason, UndefinedCause};
use crate::scenario::{Assertion, Claim, EndpointName, Scenario, State, Step};
use crate::verdict::{
    Cause, CellResult, Evidence, Machines, Observation, ScenarioFailure, ScenarioResult, StepResult,
    TimeToSettle, Verdict, judge,
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
    let mut run = ScenarioRun {
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
        expected: HashMap::new(),
    };
    let mut steps = Vec::new();
    let failure = run.all(&mut steps).await.err().map(|error| ScenarioFailure {
        everywhere: matches!(error, Error::Unavailable(_)),
        message: error.to_string(),
    });
    ScenarioResult {
        steps,
        start: run.start,
        timeout: run.calibrated,
        took: start.elapsed(),
        ..not_started(scenario, failure)
    }
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
    /// Whether each cell of the beginning was delivered before there were policies.
    baseline: HashMap<Cell, bool>,
    /// What was expected of each cell after the last change.
    expected: HashMap<Cell, Decision>,
}

/// A state with everything that follows from it.
struct Situation {
    cells: Vec<Cell>,
    /// `None` where an obstacle is in the way.
    routes: Vec<Option<Route>>,
    obstacles: Vec<Option<Cause>>,
    expectations: Vec<Expectation>,
}

impl<B: Backend> ScenarioRun<'_, B> {
    async fn all(&mut self, steps: &mut Vec<StepResult>) -> Result<(), Error> {
        let start = Instant::now();
        self.backend.start(&mut self.state).await?;
        self.start = start.elapsed();
        self.measure_baseline().await;
        for step in &self.scenario.steps {
            let result = self.step(step).await?;
            self.events.send(Event::StepFinished { index: self.index, result: Box::new(result.clone()) });
            steps.push(result);
        }
        Ok(())
    }

    async fn open_listeners(&mut self) -> Unavailable {
        let wanted = listeners(&self.state, &self.scenario.probes);
        listen::open(self.backend, &wanted, &mut self.open).await
    }

    async fn measure_baseline(&mut self) {
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.state.cluster.clone());
        let router = Router::new(&self.state, &engine);
        let situation = Situation::new(self.scenario, &self.state, &engine, &router);
        let patience = Patience {
            // Generous, as nothing is known yet, and growing with every try.
            timeout: (self.settings.shortest_timeout * 3).min(self.settings.longest_timeout),
            longest_timeout: self.settings.longest_timeout,
            settle: self.settings.start,
            handed_over: Duration::ZERO,
        };
        let changed = Instant::now();
        let (tracks, _) = self.settle(&situation, &router, &unavailable, changed, patience).await;
        self.timeout = self.settings.timeout(slowest(&tracks));
        self.calibrated = self.timeout;
        for ((cell, expectation), track) in situation.cells.iter().zip(&situation.expectations).zip(&tracks) {
            // A Service that led nowhere then proves nothing about where it leads now.
            if expectation.decision != Decision::Allow {
                continue;
            }
            let delivered =
                track.observation.as_ref().and_then(|o| o.agrees_with(Decision::Deny)) == Some(false);
            self.baseline.insert(cell.clone(), delivered);
        }
        let failed = self.baseline.values().filter(|got_through| !**got_through).count();
        self.expected = situation.decisions();
        let (cells, timeout) = (tracks.len(), self.timeout);
        self.events.send(Event::Baseline { index: self.index, cells, failed, timeout });
    }

    async fn step(&mut self, step: &Step) -> Result<StepResult, Error> {
        let start = Instant::now();
        for action in &step.actions {
            self.state.apply(action).map_err(|message| Error::Failed {
                doing: format!("carry out step `{}`", step.name),
                message,
            })?;
        }
        let changed = Instant::now();
        self.backend.apply(&step.actions, &mut self.state).await?;
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.state.cluster.clone());
        let router = Router::new(&self.state, &engine);
        let situation = Situation::new(self.scenario, &self.state, &engine, &router);
        let patience = Patience {
            timeout: self.timeout,
            longest_timeout: self.settings.longest_timeout,
            settle: self.settings.settle,
            handed_over: changed.elapsed(),
        };
        let (tracks, rounds) = self.settle(&situation, &router, &unavailable, changed, patience).await;
        if let Some(slowest) = slowest(&tracks) {
            // A baseline may have been a bad moment, in which pods were still starting. Another bad moment
            // shows as probes that go missing, and then silence has to last for longer.
            self.timeout = self.settings.timeout(Some(slowest)).min(self.timeout);
        }
        let decisions = situation.decisions();
        let cells = self.results(step, situation, tracks);
        let time = TimeToSettle::of(&cells, |cell| self.expected.get(cell).copied());
        self.expected = decisions;
        Ok(StepResult { name: step.name.clone(), cells, time, rounds, took: start.elapsed() })
    }

    async fn settle(
        &self,
        situation: &Situation,
        router: &Router<'_>,
        unavailable: &Unavailable,
        changed: Instant,
        patience: Patience,
    ) -> (Vec<Track>, u32) {
        let Situation { cells, routes, expectations, .. } = situation;
        let expected = cells.iter().zip(expectations).map(|(cell, expectation)| Expected {
            decision: expectation.decision,
            is_new: self.expected.get(cell) != Some(&expectation.decision),
        });
        let expected: Vec<_> = expected.collect();
        let mut rounds = Rounds::new(self.backend, &self.state, router, cells, routes, unavailable, changed);
        let (mut tracks, count) = settle(&mut rounds, &expected, patience).await;
        for cell in rounds.late_arrivals().await {
            if let Some(track) = tracks.get_mut(cell)
                && matches!(track.observation, Some(Observation::Dropped | Observation::Rejected))
            {
                track.observation = Some(Observation::OneWay);
            }
        }
        (tracks, count)
    }

    /// Where the ends of a cell are; the pods behind a Service may all be on one machine.
    fn machines(&self, cell: &Cell, route: Option<&Route>) -> Machines {
        let servers = route.into_iter().flat_map(|route| &route.servers);
        let mut to = servers.map(|(server, _)| machine_of(&self.state, server));
        let first = to.next().unwrap_or_else(|| machine_of(&self.state, &cell.to));
        let is_one = to.all(|other| other == first);
        Machines { from: machine_of(&self.state, &cell.from), to: first.filter(|_| is_one) }
    }

    fn results(&self, step: &Step, situation: Situation, tracks: Vec<Track>) -> Vec<CellResult> {
        let Situation { cells, routes, obstacles, expectations } = situation;
        let machines = cells.iter().zip(&routes).map(|(cell, route)| self.machines(cell, route.as_ref()));
        let machines: Vec<_> = machines.collect();
        let cells = cells.into_iter().zip(machines).zip(obstacles).zip(expectations).zip(tracks);
        cells
            .map(|((((cell, machines), obstacle), expected), track)| {
                let decision = expected.decision;
                // Without an address there is nothing that the author could disagree with.
                let is_evaluated = obstacle != Some(Cause::NoAddress);
                let verdict = match (obstacle, &track.observation) {
                    (Some(cause), _) => Verdict::Inconclusive(cause),
                    (None, None) => {
                        Verdict::Inconclusive(Cause::ProbeError("it was never probed".to_owned()))
                    }
                    (None, Some(observation)) => judge(&Evidence {
                        decision,
                        observation: observation.clone(),
                        differed: track.differed,
                        control: track.control,
                        baseline: self.baseline.get(&cell).copied(),
                    }),
                };
                let is_new = self.expected.get(&cell) != Some(&decision);
                CellResult {
                    asserted: last_claim(&step.expect, &cell).filter(|_| is_evaluated),
                    intended: last_claim(&step.intent, &cell).filter(|_| is_evaluated),
                    machines,
                    observed: track.observation,
                    attempts: track.attempts,
                    retries: track.retries,
                    settled: track.settled.filter(|_| is_new),
                    cell,
                    expected,
                    verdict,
                }
            })
            .collect()
    }
}

impl Situation {
    fn new(scenario: &Scenario, state: &State, engine: &Engine, router: &Router<'_>) -> Self {
        let cells = cells(state, &scenario.probes);
        let mut routes: Vec<_> = cells.iter().map(|cell| router.route(cell)).collect();
        let expectations = cells.iter().zip(&routes).map(|(cell, route)| match route {
            Some(route) => engine.evaluate(&route.flow),
            None => Expectation {
                decision: Decision::Undefined,
                reasons: vec![Reason::Undefined(UndefinedCause::NoAddress { endpoint: cell.to.to_string() })],
            },
        });
        let expectations = expectations.collect();
        let mut obstacles = Vec::new();
        for (cell, route) in cells.iter().zip(&mut routes) {
            let absent = [&cell.from, &cell.to].into_iter().find_map(|end| state.absent.get(end));
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
        Self { cells, routes, obstacles, expectations }
    }

    fn decisions(&self) -> HashMap<Cell, Decision> {
        let decisions = self.expectations.iter().map(|expectation| expectation.decision);
        self.cells.iter().cloned().zip(decisions).collect()
    }
}

/// How long the slowest answers took, without the few that stand for a bad moment: in a round, everybody
/// sends at once.
fn slowest(tracks: &[Track]) -> Option<Duration> {
    let mut answered: Vec<Duration> = tracks.iter().filter_map(|track| track.answered_in).collect();
    answered.sort_unstable();
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
