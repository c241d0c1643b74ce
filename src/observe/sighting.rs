//! What the probes of a round showed, from the results of the senders and the logs of the destinations.

use std::collections::BTreeSet;
use std::time::Duration;

use netproof_probe::wire::{Listener, Nonce, Transport};

use super::arrived::{Arrived, Legs};
use super::batch::Answer;
use super::canary::Path;
use super::ledger::{DeniedBackend, Ends, MeantFor, Sent, Shows};
use super::legs::{silence_after, until_failure};
use super::planned::PlannedCell;
use super::round::Rounds;
use super::track::Sighting;
use crate::backend::{Backend, Error};
use crate::plan::Route;
use crate::policy::Decision;
use crate::verdict::{Agents, Control, Observation, observe};
use crate::world::EndpointName;

impl<B: Backend> Rounds<'_, B> {
    /// Returns the names of the agents that may answer on a leg.
    fn server_names(&self, leg: &Route) -> Vec<String> {
        let agents = leg.servers.iter().filter_map(|(endpoint, _)| self.agent(endpoint));
        agents.map(|agent| agent.name().to_owned()).collect()
    }

    /// Returns the endpoint of an agent, for reports.
    fn endpoint(&self, agent: &str) -> Option<String> {
        let signs = |endpoint: &&EndpointName| self.agent(endpoint).is_some_and(|a| a.name() == agent);
        let cells = self.probing.cells.iter();
        let servers = cells.clone().flat_map(PlannedCell::all_servers);
        let known = cells.map(|planned| &planned.cell.from).chain(servers);
        let signers: Vec<String> = known.filter(signs).map(EndpointName::to_string).collect();
        // Pods of a node's network share its agent.
        signers.iter().find(|name| *name == agent).or(signers.first()).cloned()
    }

    /// Returns what the probe of a leg showed of a cell, without its control. It was sent at `sent` or later.
    fn leg_sighting(
        &self,
        cell: usize,
        sent: Duration,
        leg: &Route,
        (nonce, result): &(Nonce, Result<Answer, Error>),
        arrived: &Arrived,
    ) -> Sighting {
        let servers = self.server_names(leg);
        let log_failure = servers.iter().find_map(|server| arrived.unread.get(server));
        let left = result.as_ref().map_or(sent, |answer| sent.max(answer.left));
        match (result, log_failure) {
            (Err(error), _) | (Ok(_), Some(error)) => {
                let is_final = matches!(error, Error::AgentGone { .. });
                let observation = Observation::ProbeError { message: error.to_string() };
                Sighting { left, ended: left, is_final, ..Sighting::new(cell, observation, sent) }
            }
            (Ok(Answer { result, .. }), None) => {
                let addresses = leg.lookup.as_ref().map(|lookup| lookup.addresses.as_slice());
                let arrived = arrived.is_at(*nonce, &servers);
                let agents = Agents { servers: &servers, endpoint: &|agent| self.endpoint(agent) };
                let observation = observe(&result.outcome, &agents, arrived, addresses.unwrap_or_default());
                let is_final = matches!(observation, Observation::Unsupported { .. });
                let ended = left + Duration::from_micros(result.elapsed_us.into());
                Sighting { left, ended, is_final, ..Sighting::new(cell, observation, sent) }
            }
        }
    }

    /// Returns what a probe of a cell showed with all of its legs. Records it in the ledger if it may arrive
    /// late.
    pub(super) fn sighting(
        &mut self,
        index: usize,
        legs: &Legs,
        sent: Duration,
        arrived: &Arrived,
    ) -> Option<Sighting> {
        let planned = self.planned(index)?;
        let (cell, route) = (&planned.cell, planned.route.as_ref()?);
        let seen = route.legs().enumerate().filter_map(|(leg, route)| {
            let is_up = |(endpoint, listener): &(EndpointName, Listener)| {
                arrived.listeners.contains(&(endpoint.clone(), *listener, cell.family))
            };
            let listener = !route.servers.is_empty() && route.servers.iter().all(is_up);
            let is_alive = |path: &Option<Path>| path.is_some_and(|path| arrived.paths.contains(&path));
            // The reference of a destination without an agent took the same path to it.
            let is_reference = route.transport == Transport::Handshake;
            let path = listener && is_reference || self.paths(index, leg).iter().all(is_alive);
            let control = Control { listener, path };
            let result = legs.get(&leg)?;
            let sighting = self.leg_sighting(index, sent, route, result, arrived);
            Some((result.0, Sighting { control, ..sighting }))
        });
        let (nonce, mut decisive) = until_failure(seen)?;
        decisive.translated = self.translated(index);
        let (step, is_proof) = (self.ledger.step, decisive.control.path);
        let probe = |leg: &Route, shows, meant_for| {
            let ends = if leg.transport.is_stream() { Ends::WhenGivenUp } else { Ends::Never };
            Sent { step, cell: index, at: sent, is_proof, ends, shows, meant_for }
        };
        if planned.decision == Decision::Deny {
            let leg = route.first.as_deref().filter(|_| !decisive.found_name).unwrap_or(route);
            let servers = self.server_names(leg);
            if let Some(shows) = self.correct_denied(planned, &servers, nonce, &mut decisive, arrived) {
                self.ledger.note(nonce, probe(leg, shows, MeantFor::Destination(servers)));
            }
        }
        // A delivery at a denied endpoint is a leak, however late. The DNS server, which answers a lookup, is no
        // endpoint of the Service.
        if decisive.found_name {
            let denied = self.denied_backends(planned);
            if arrived.elsewhere(nonce).is_none() && !denied.is_empty() {
                self.ledger.note(nonce, probe(route, Shows::Delivery, MeantFor::Backends(denied)));
            }
            decisive.denied_backend = self.denied_backend(planned, nonce, arrived);
        }
        Some(decisive)
    }

    /// Corrects what the decisive leg of a denied cell showed by the logs of the destinations. Returns what
    /// its arrival will show if it has not arrived yet.
    fn correct_denied(
        &self,
        planned: &PlannedCell,
        servers: &[String],
        nonce: Nonce,
        decisive: &mut Sighting,
        arrived: &Arrived,
    ) -> Option<Shows> {
        let has_arrived = arrived.is_at(nonce, servers);
        if let Some(agent) = arrived.elsewhere(nonce).filter(|_| !has_arrived)
            && decisive.observation.is_silence()
        {
            // Another pod received it, which the policies may allow. So this is no silence.
            let by = self.endpoint(agent).unwrap_or_else(|| agent.to_owned());
            decisive.observation = Observation::ProbeError { message: format!("it arrived at {by}") };
        }
        if decisive.observation.is_silence() {
            let silence = decisive.observation.clone();
            decisive.observation = silence_after(planned.lookup, decisive.found_name, silence);
        }
        let agrees = decisive.observation.agrees_with(Decision::Deny);
        match (has_arrived, decisive.found_name) {
            (true, true) => {
                if agrees.is_none() {
                    // It was delivered, even if the answer or another log was lost.
                    (decisive.observation, decisive.is_final) = (Observation::OneWay, false);
                }
                None
            }
            (true, false) => {
                // Only the answer was lost. If the policies deny the lookup, this is a delivery. If they deny
                // only the connection, nothing was sent that they deny.
                let message = "its lookup arrived, and no answer came back".to_owned();
                if planned.lookup == Some(Decision::Deny) {
                    decisive.observation = Observation::DnsFailure { message };
                } else if decisive.observation.is_silence() {
                    decisive.observation = Observation::ProbeError { message };
                }
                decisive.is_final = false;
                None
            }
            (false, found_name) => {
                // A denied lookup must not arrive itself.
                let is_denied_leg = found_name || planned.lookup == Some(Decision::Deny);
                let shows = if is_denied_leg { Shows::Delivery } else { Shows::Lookup };
                (agrees != Some(false)).then_some(shows)
            }
        }
    }

    /// Returns the denied endpoint of a cell's Service that a probe reached. `None` if it reached none.
    fn denied_backend(&self, planned: &PlannedCell, nonce: Nonce, arrived: &Arrived) -> Option<EndpointName> {
        let places = arrived.nonces.get(&nonce)?;
        let is_denied =
            |endpoint: &EndpointName| planned.denied_endpoints().any(|(denied, _)| denied == endpoint);
        let is_reached = |(endpoint, listener): &&(EndpointName, Listener)| {
            let agent = self.agent(endpoint);
            // Pods of a node's network share its agent, but have their own ports.
            is_denied(endpoint)
                && agent.is_some_and(|agent| places.iter().any(|(a, at)| a == agent.name() && at == listener))
        };
        let servers = &planned.route.as_ref()?.servers;
        servers.iter().find(is_reached).map(|(endpoint, _)| endpoint.clone())
    }

    /// Returns the denied endpoints of a cell's Service, if its endpoints have different expectations. Leaves
    /// out the endpoints that share an agent with others, because the agent's log does not distinguish them.
    fn denied_backends(&self, planned: &PlannedCell) -> Vec<DeniedBackend> {
        let name = |endpoint: &EndpointName| Some(self.agent(endpoint)?.name().to_owned());
        let others = planned.endpoints.iter().filter(|(_, promise)| promise.decision != Decision::Deny);
        let others: BTreeSet<String> = others.filter_map(|(endpoint, _)| name(endpoint)).collect();
        let denied = planned.denied_endpoints().filter_map(|(endpoint, promised)| {
            let agent = name(endpoint).filter(|agent| !others.contains(agent))?;
            let node = self.probing.world.node_of(endpoint);
            Some(DeniedBackend { agent, endpoint: endpoint.clone(), promised: promised.clone(), node })
        });
        denied.collect()
    }
}
