//! The control round: without policies, every denied cell has to be delivered again. A denial whose path died
//! before its step, or whose pod never had one, is none.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ScenarioRun;
use super::brackets::{changes_servers, servers};
use super::step_plan::StepPlan;
use crate::backend::{Agent, Backend, Error, ask_all};
use crate::observe::ledger::{Afterwards, DeniedBackend, Ledger, Place};
use crate::observe::settle::SettleDeadlines;
use crate::plan::{Cell, Router};
use crate::policy::{Decision, Engine};
use crate::scenario::Step;
use crate::verdict::{Before, Cause, CellResult, Observation, StepResult, Verdict};
use crate::world::{Action, EndpointName};

impl<B: Backend> ScenarioRun<'_, B> {
    /// Removes all policies, and probes the cells whose denials no delivery has followed.
    pub(super) async fn control(&mut self) -> Result<(), Error> {
        if self.brackets.is_empty() {
            return Ok(());
        }
        let removal = self.world.removal_of_policies();
        let changed = Instant::now();
        self.change("remove the policies", &removal).await?;
        let handed_over = changed.elapsed();
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.world.cluster.clone());
        let router = Router::new(&self.world, &engine);
        let step_plan = self.step_plan(None, &engine, &router);
        let ways = step_plan.ways(&router);
        let wants =
            |cell: &_, index: usize| ways.get(index).is_some_and(|way| self.brackets.wants(cell, *way));
        let step_plan = step_plan.only(wants);
        let ways = step_plan.ways(&router);
        // One delivery shows that the path is alive.
        let deadlines = SettleDeadlines { deliveries: 1, ..self.deadlines(handed_over) };
        let mut ledger = std::mem::take(&mut self.ledger);
        let settled =
            self.settle(&step_plan, &router, &unavailable, (&mut ledger, None), changed, deadlines).await;
        self.ledger = ledger;
        let paths = ways.into_iter().zip(&step_plan.routes);
        for ((cell, (way, route)), track) in step_plan.cells.iter().zip(paths).zip(&settled.tracks) {
            self.brackets.take(cell, way, &servers(route.as_ref()), track);
        }
        Ok(())
    }

    /// The control round of the cells whose ends a step takes away. The policies are in force again
    /// afterwards.
    pub(super) async fn control_before(&mut self, step: &Step) -> Result<(), Error> {
        let mut next = self.world.clone();
        for action in &step.actions {
            // The step itself says what is wrong.
            if next.apply(action).is_err() {
                return Ok(());
            }
        }
        if !self.brackets.are_broken_by(&step.actions, &next, &self.scenario.probes) {
            return Ok(());
        }
        let restoration = self.world.restoration_of_policies();
        self.control().await?;
        let changed = Instant::now();
        self.change("apply the policies again", &restoration).await?;
        let handed_over = changed.elapsed();
        let unavailable = self.open_listeners().await;
        let engine = Engine::new(self.world.cluster.clone());
        let router = Router::new(&self.world, &engine);
        let step_plan = self.step_plan(None, &engine, &router);
        let deadlines = self.deadlines(handed_over);
        let mut ledger = std::mem::take(&mut self.ledger);
        self.settle(&step_plan, &router, &unavailable, (&mut ledger, None), changed, deadlines).await;
        self.ledger = ledger;
        // Before its ends are gone, and their logs with them.
        let unread = self.read_logs().await;
        self.unread.push((self.past.len(), unread));
        Ok(())
    }

    /// Changes the policies on the way between two steps.
    async fn change(&mut self, doing: &str, actions: &[Action]) -> Result<(), Error> {
        self.end_of_state().await;
        self.ledger.policies_changed(|_, _, _| false);
        for action in actions {
            self.world.apply(action).map_err(|message| Error::Failed { doing: doing.to_owned(), message })?;
        }
        self.backend.apply_between_steps(actions, &mut self.world).await?;
        self.watch.begin(self.backend);
        Ok(())
    }

    /// Waits for what the last step's denials may have held back, as long as its policies are in force.
    pub(super) async fn linger(&self) {
        if self.ledger.is_waiting() {
            // What takes longer than an answer may take is late by about as much.
            let linger = self.settings.linger.max(self.calibrated * 2);
            tokio::time::sleep(linger.saturating_sub(self.last_probe.elapsed())).await;
        }
    }

    /// Takes back what later arrivals and missing controls say about steps that are over.
    pub(super) async fn look_back(&mut self, steps: &mut [StepResult]) {
        self.linger().await;
        let unread = self.read_logs().await;
        self.unread.push((steps.len(), unread));
        for place in self.brackets.open() {
            let cause = if self.is_controlled {
                Cause::NoControlAfterwards
            } else {
                let message = "the scenario ended before it was seen to get through without policies";
                Cause::ProbeError(message.to_owned())
            };
            doubt(steps, place, cause);
        }
        let in_force = |step: usize, cell: usize| -> Option<(Duration, Duration)> {
            let past = self.past.get(step)?;
            // Where it ended with an error, what arrived from after the deadline still counts.
            Some((past.since.get(cell)?.unwrap_or(past.deadline), past.deadline))
        };
        for (place, said) in self.ledger.afterwards(in_force) {
            match said {
                Afterwards::Leak => record_leak(steps, place),
                Afterwards::Doubt => doubt(steps, place, Cause::LateArrival),
            }
        }
        let deadline = |step: usize| self.past.get(step).map(|past| past.deadline);
        for (place, backend) in self.ledger.leaks_to_backends(deadline) {
            record_leak_to(steps, place, backend);
        }
        let dns = self.world.dns.as_ref().map(|dns| EndpointName::pod(&dns.pod.namespace, &dns.pod.name));
        for (before, endpoints) in &self.unread {
            let is_unread = |endpoint: &EndpointName| endpoints.contains(endpoint);
            for cell in steps.iter_mut().take(*before).flat_map(|step| &mut step.cells) {
                // Its lookup may have arrived there.
                let is_lookup_unread = cell.cell.probe.is_by_name() && dns.as_ref().is_some_and(is_unread);
                if (is_unread(&cell.cell.to) || is_lookup_unread) && is_proved_denial(cell) {
                    let message = "the log of its destination could not be read afterwards";
                    cell.verdict = Verdict::Inconclusive(Cause::ProbeError(message.to_owned()));
                }
            }
        }
    }

    /// All endpoints that are there, with their agents: pods of a node's network share one.
    fn agents(&self) -> Vec<(EndpointName, Arc<Agent>)> {
        let state = &self.world;
        let pods = state.cluster.pods.iter().filter(|pod| !pod.ended);
        let pods = pods.map(|pod| EndpointName::pod(&pod.namespace, &pod.name));
        let nodes = state.cluster.nodes.iter().map(|node| EndpointName::Node(node.name.clone()));
        let externals = state.externals.iter().map(|external| EndpointName::External(external.name.clone()));
        let endpoints = pods.chain(nodes).chain(externals);
        endpoints.filter_map(|name| self.backend.agent(&name).map(|agent| (name, agent))).collect()
    }

    /// Takes in what the present policies let pass, before they change: what is under way then may be let pass by the
    /// next ones. Ends the attempts to connect that still go on. An agent that cannot be asked may go on, and then its
    /// late connections say nothing.
    pub(super) async fn end_of_state(&mut self) {
        let agents = self.agents();
        let given_up = ask_all(each_once(&agents).map(|agent| agent.give_up())).await;
        let goes_on = |result: &Result<(), Error>| match result {
            Ok(()) | Err(Error::AgentGone { .. }) => false,
            Err(Error::Unavailable(_) | Error::Failed { .. } | Error::Agent { .. }) => true,
        };
        let failed = each_once(&agents).zip(&given_up).filter(|(_, result)| goes_on(result));
        let failed: BTreeSet<&str> = failed.map(|(agent, _)| agent.name()).collect();
        let of_failed = agents.iter().filter(|(_, agent)| failed.contains(agent.name()));
        let senders: HashSet<&EndpointName> = of_failed.map(|(endpoint, _)| endpoint).collect();
        let past = &self.past;
        self.ledger.forget_streams(|step, cell| {
            let cell = past.get(step).and_then(|past| past.cells.get(cell));
            cell.is_none_or(|cell| senders.contains(&cell.from))
        });
        // A log that cannot be read now is read later, and what it shows then is only doubted.
        let _ = self.read_logs_of(&agents).await;
    }

    /// Takes in that a step has changed the policies, and what they promise now.
    pub(super) fn policies_changed(&self, ledger: &mut Ledger, step: &Step, step_plan: &StepPlan) {
        // An address may belong to another pod now. Between two changes, there may be a moment that nothing denies.
        if step.actions.len() != 1 || step.actions.iter().any(changes_servers) {
            ledger.policies_changed(|_, _, _| false);
            return;
        }
        let index: HashMap<&Cell, usize> = step_plan.cells.iter().zip(0..).collect();
        ledger.policies_changed(|past, cell, backend| {
            let cell = self.past.get(past).and_then(|past| past.cells.get(cell));
            let now = cell.and_then(|cell| Some((cell, *index.get(cell)?)));
            let Some((cell, now)) = now else { return false };
            let is_denied = step_plan.decisions.get(now) == Some(&Decision::Deny);
            let promised = step_plan.expectations.get(now).filter(|_| is_denied);
            match backend {
                None => promised
                    .zip(self.expected.get(cell))
                    .is_some_and(|(promised, before)| before.is_denied_at_one_end_still(promised)),
                Some(backend) => {
                    let promises = step_plan.backends.get(now).into_iter().flatten();
                    let mut promises = promises.filter(|(endpoint, _)| *endpoint == backend.endpoint);
                    let promised = promises.next().map(|(_, promised)| promised).or(promised);
                    let promised = promised.filter(|promised| promised.decision == Decision::Deny);
                    let before = Before::new(&backend.promised, Decision::Deny);
                    promised.is_some_and(|promised| before.is_denied_at_one_end_still(promised))
                }
            }
        });
    }

    /// Reads the logs of all endpoints that are there. Returns those that could not be read, and the Services
    /// of their namespaces.
    async fn read_logs(&mut self) -> HashSet<EndpointName> {
        let agents = self.agents();
        let unread = self.read_logs_of(&agents).await;
        let is_unread = |(_, agent): &(EndpointName, Arc<Agent>)| unread.contains(agent.name());
        let unread: Vec<EndpointName> = agents.into_iter().filter(is_unread).map(|(name, _)| name).collect();
        let services = self.world.cluster.services.iter().filter(|service| {
            let is_there = |name: &EndpointName| {
                matches!(name, EndpointName::Pod { namespace, .. } if *namespace == service.namespace)
            };
            unread.iter().any(is_there)
        });
        let services = services.map(|service| EndpointName::service(&service.namespace, &service.name));
        services.chain(unread.iter().cloned()).collect()
    }

    /// Reads the logs of agents. Returns the names of those that could not be read.
    async fn read_logs_of(&mut self, agents: &[(EndpointName, Arc<Agent>)]) -> BTreeSet<String> {
        let logs = ask_all(each_once(agents).map(|agent| agent.arrivals())).await;
        let mut unread = BTreeSet::new();
        for (agent, log) in each_once(agents).zip(logs) {
            match log {
                Ok(log) => {
                    self.ledger.arrived(log.iter().map(|arrival| (arrival.nonce, agent.name())));
                }
                Err(error) => {
                    tracing::debug!("{error}");
                    unread.insert(agent.name().to_owned());
                }
            }
        }
        unread
    }
}

/// The agents of some endpoints, each once.
fn each_once(agents: &[(EndpointName, Arc<Agent>)]) -> impl Iterator<Item = &Agent> {
    let by_name: BTreeMap<&str, &Agent> =
        agents.iter().map(|(_, agent)| (agent.name(), agent.as_ref())).collect();
    by_name.into_values()
}

fn is_proved_denial(cell: &CellResult) -> bool {
    cell.verdict == Verdict::Match && cell.decision() == Decision::Deny
}

fn cell_at(steps: &mut [StepResult], (step, cell): Place) -> Option<&mut CellResult> {
    steps.get_mut(step)?.cells.get_mut(cell)
}

/// Takes back that a denial was proved.
fn doubt(steps: &mut [StepResult], place: Place, cause: Cause) {
    if let Some(cell) = cell_at(steps, place).filter(|cell| is_proved_denial(cell)) {
        cell.verdict = Verdict::Inconclusive(cause);
        cell.settled = None;
    }
}

/// Records that a probe of a Service reached an endpoint that is denied, after its step was over. The author wrote
/// about the Service, and this result is about one of its endpoints.
fn record_leak_to(steps: &mut [StepResult], place: Place, backend: &DeniedBackend) {
    if let Some(cell) = cell_at(steps, place).filter(|cell| cell.verdict == Verdict::Undefined) {
        (cell.verdict, cell.excused, cell.asserted) = (Verdict::Leak, None, None);
        cell.observed = Some(Observation::OneWay);
        (cell.expected, cell.machines.to) = (backend.promised.clone(), backend.machine.clone());
    }
}

/// Records that a probe of a step that is over was delivered.
fn record_leak(steps: &mut [StepResult], place: Place) {
    // Also where a profile excuses that it was delivered at first; what it leaves open for good was never noted.
    if let Some(cell) = cell_at(steps, place).filter(|cell| cell.expected.decision == Decision::Deny) {
        (cell.verdict, cell.excused) = (Verdict::Leak, None);
        cell.observed = Some(Observation::OneWay);
        cell.settled = None;
    }
}
