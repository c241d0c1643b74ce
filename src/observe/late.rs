//! Late arrivals: reading the logs of all destinations, and correcting the findings of states that are over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::actions::changes_servers;
use super::batch::by_agent;
use super::ledger::{Afterwards, DeniedBackend, Place};
use super::observer::Observer;
use super::planned::PlannedCell;
use crate::backend::{Agent, Backend, Error, ask_all};
use crate::plan::Cell;
use crate::policy::Decision;
use crate::verdict::{Before, Cause, CellResult, Observation, Verdict};
use crate::world::{Action, EndpointName};

impl<B: Backend> Observer<'_, B> {
    /// Waits for late arrivals of the last state, while its policies are in force.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn linger(&self) {
        if self.ledger.is_waiting() {
            // A late packet is usually late by about the time that an answer takes.
            let linger = self.settings.linger.max(self.calibrated * 2);
            tokio::time::sleep(linger.saturating_sub(self.last_probe.elapsed())).await;
        }
    }

    /// Corrects the results of all states by what late arrivals and missing controls show.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn look_back(&mut self, states: &mut [&mut [CellResult]]) {
        self.linger().await;
        let unread = self.read_logs().await;
        self.unread.push((states.len(), unread));
        for place in self.brackets.open() {
            let cause = if self.is_controlled {
                Cause::NoControlAfterwards
            } else {
                let message = "the scenario ended before it was seen to get through without policies";
                Cause::ProbeError(message.to_owned())
            };
            doubt(states, place, cause);
        }
        let in_force = |state: usize, cell: usize| -> Option<(Duration, Duration)> {
            let past = self.past.get(state)?;
            let (_, since) = past.cells.get(cell)?;
            // If the cell was not silent in the end, for example because of a probe error, arrivals of probes
            // from after the deadline still count.
            Some((since.unwrap_or(past.deadline), past.deadline))
        };
        for (place, shown) in self.ledger.afterwards(in_force) {
            match shown {
                Afterwards::Leak => record_leak(states, place),
                Afterwards::Doubt => doubt(states, place, Cause::LateArrival),
            }
        }
        let deadline = |state: usize| self.past.get(state).map(|past| past.deadline);
        for (place, backend) in self.ledger.leaks_to_backends(deadline) {
            record_leak_to(states, place, backend);
        }
        let dns = self.world.dns.as_ref().map(|dns| dns.pod_name());
        for (before, endpoints) in &self.unread {
            let is_unread = |endpoint: &EndpointName| endpoints.contains(endpoint);
            for cell in states.iter_mut().take(*before).flat_map(|cells| cells.iter_mut()) {
                // The lookup may have arrived at the DNS server.
                let is_lookup_unread = cell.cell.probe.is_by_name() && dns.as_ref().is_some_and(is_unread);
                if (is_unread(&cell.cell.to) || is_lookup_unread) && is_proved_denial(cell) {
                    let message = "the log of its destination could not be read afterwards";
                    cell.verdict = Verdict::Inconclusive(Cause::ProbeError(message.to_owned()));
                }
            }
        }
    }

    /// Ends the attempts to connect that are in progress, and reads the logs. This happens before the
    /// policies change, because the next policies may allow packets that are still on the way. If an agent
    /// does not answer, its attempts may go on, and its late connections prove nothing.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(super) async fn end_of_state(&mut self) {
        let agents = self.agents();
        let given_up = ask_all(agents.iter().map(|(agent, _)| agent.give_up())).await;
        let goes_on = |result: &Result<(), Error>| match result {
            Ok(()) | Err(Error::AgentGone { .. }) => false,
            Err(Error::Unavailable(_) | Error::Failed { .. } | Error::Agent { .. }) => true,
        };
        let failed = agents.iter().zip(&given_up).filter(|(_, result)| goes_on(result));
        let senders: HashSet<&EndpointName> = failed.flat_map(|((_, endpoints), _)| endpoints).collect();
        let past = &self.past;
        self.ledger.forget_streams(|state, cell| {
            let cell = past.get(state).and_then(|past| past.cells.get(cell));
            cell.is_none_or(|(cell, _)| senders.contains(&cell.from))
        });
        // A log that cannot be read now is read later. What it shows then only raises a doubt.
        let _ = self.read_logs_of(agents).await;
    }

    /// Records in the ledger that these actions have changed the policies, and which denials remain.
    pub(super) fn policies_changed(&mut self, actions: &[Action], plan: &[PlannedCell]) {
        // An address may belong to another pod now. Between two changes, there may be a moment in which
        // nothing denies.
        if actions.len() != 1 || actions.iter().any(changes_servers) {
            self.ledger.policies_changed(|_, _, _| false);
            return;
        }
        let plan: HashMap<&Cell, &PlannedCell> = plan.iter().map(|it| (&it.cell, it)).collect();
        let (past, expected) = (&self.past, &self.expected);
        self.ledger.policies_changed(|state, cell, backend| {
            let cell = past.get(state).and_then(|past| past.cells.get(cell));
            let now = cell.and_then(|(cell, _)| plan.get(cell));
            let Some(now) = now else { return false };
            let promised = Some(&now.expectation).filter(|_| now.decision == Decision::Deny);
            match backend {
                None => promised
                    .zip(expected.get(&now.cell))
                    .is_some_and(|(promised, before)| before.is_denied_at_one_end_still(promised)),
                Some(backend) => {
                    let mut own = now.endpoints.iter().filter(|(endpoint, _)| *endpoint == backend.endpoint);
                    let promised = own.next().map(|(_, promised)| promised).or(promised);
                    let promised = promised.filter(|promised| promised.decision == Decision::Deny);
                    let before = Before::new(&backend.promised, Decision::Deny);
                    promised.is_some_and(|promised| before.is_denied_at_one_end_still(promised))
                }
            }
        });
    }

    /// Returns the agents of the present state, each with its endpoints.
    fn agents(&self) -> Vec<(Arc<Agent>, Vec<EndpointName>)> {
        let world = &self.world;
        let pods = world.cluster.pods.iter().filter(|pod| !pod.ended).map(EndpointName::of_pod);
        let nodes = world.cluster.nodes.iter().map(|node| EndpointName::Node(node.name.clone()));
        let externals = world.externals.iter().map(|external| EndpointName::External(external.name.clone()));
        let endpoints = pods.chain(nodes).chain(externals);
        by_agent(endpoints.filter_map(|name| Some((self.backend.agent(&name)?, name))))
    }

    /// Reads the logs of all endpoints of the present state. Returns the endpoints whose logs could not be
    /// read, and all Services in the namespaces of these pods.
    pub(super) async fn read_logs(&mut self) -> HashSet<EndpointName> {
        let mut unread = self.read_logs_of(self.agents()).await;
        let services = self.world.cluster.services.iter().filter(|service| {
            let is_there = |name: &EndpointName| {
                matches!(name, EndpointName::Pod { namespace, .. } if *namespace == service.namespace)
            };
            unread.iter().any(is_there)
        });
        let services: Vec<_> = services.map(EndpointName::of_service).collect();
        unread.extend(services);
        unread
    }

    /// Reads the logs of agents. Returns the endpoints whose logs could not be read.
    async fn read_logs_of(&mut self, agents: Vec<(Arc<Agent>, Vec<EndpointName>)>) -> HashSet<EndpointName> {
        let logs = ask_all(agents.iter().map(|(agent, _)| agent.arrivals())).await;
        let mut unread = HashSet::new();
        for ((agent, endpoints), log) in agents.iter().zip(logs) {
            match log {
                Ok(log) => self.ledger.arrived(log.iter().map(|arrival| (arrival.nonce, agent.name()))),
                Err(error) => {
                    tracing::debug!("{error}");
                    unread.extend(endpoints.iter().cloned());
                }
            }
        }
        unread
    }
}

fn is_proved_denial(cell: &CellResult) -> bool {
    cell.verdict == Verdict::Match && cell.decision() == Decision::Deny
}

fn cell_at<'a>(states: &'a mut [&mut [CellResult]], (state, cell): Place) -> Option<&'a mut CellResult> {
    states.get_mut(state)?.get_mut(cell)
}

/// Makes a proved denial inconclusive.
fn doubt(states: &mut [&mut [CellResult]], place: Place, cause: Cause) {
    if let Some(cell) = cell_at(states, place).filter(|cell| is_proved_denial(cell)) {
        cell.verdict = Verdict::Inconclusive(cause);
        cell.settled = None;
    }
}

/// Records that a probe of a Service reached a denied endpoint after its state was over. The author wrote
/// about the Service, and this result is about one of its endpoints.
fn record_leak_to(states: &mut [&mut [CellResult]], place: Place, backend: &DeniedBackend) {
    if let Some(cell) = cell_at(states, place).filter(|cell| cell.verdict == Verdict::Undefined) {
        (cell.verdict, cell.excused, cell.asserted) = (Verdict::Leak, None, None);
        cell.observed = Some(Observation::OneWay);
        (cell.expected, cell.nodes.to) = (backend.promised.clone(), backend.node.clone());
    }
}

/// Records that a probe of a state that is over was delivered.
fn record_leak(states: &mut [&mut [CellResult]], place: Place) {
    // This includes cells whose first moment a profile excuses. Cells that it excuses for good are not in the
    // ledger.
    let is_judged = |cell: &&mut CellResult| {
        let is_translated = matches!(cell.verdict, Verdict::Inconclusive(Cause::Translated(_)));
        cell.expected.decision == Decision::Deny && !is_translated
    };
    if let Some(cell) = cell_at(states, place).filter(is_judged) {
        (cell.verdict, cell.excused) = (Verdict::Leak, None);
        cell.observed = Some(Observation::OneWay);
        cell.settled = None;
    }
}
