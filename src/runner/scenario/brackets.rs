//! Denials between deliveries: a path that was alive before a denied probe and after it was alive meanwhile.

use std::collections::{BTreeSet, HashMap, HashSet};

use netproof_probe::wire::Listener;

use super::step_plan::Way;
use crate::observe::ledger::Place;
use crate::observe::track::Track;
use crate::plan::{Cell, Route, Router, cells};
use crate::policy::{Decision, Engine};
use crate::verdict::{CellResult, Verdict};
use crate::world::{Action, EndpointName, Probe, World};

/// Where a Service leads, or the endpoint itself.
type Servers = BTreeSet<(EndpointName, Listener)>;

/// A proved denial that needs a delivery.
#[derive(Debug, Clone)]
struct Denial {
    place: Place,
    /// Where the address led: what is delivered elsewhere says nothing about these endpoints.
    servers: Servers,
    /// Whether the lookup of a connection by name was denied already: then the lookup is what has to be
    /// delivered, wherever the connection would lead.
    is_lookup: bool,
}

/// The proved denials that no delivery between the same addresses has followed so far.
#[derive(Debug, Default)]
pub(super) struct Brackets(HashMap<(Cell, Way), Vec<Denial>>);

impl Brackets {
    /// Takes in what a step showed. `paths` are the addresses of each cell, and where they led.
    pub(super) fn take_step(
        &mut self,
        step: usize,
        cells: &[CellResult],
        paths: impl IntoIterator<Item = (Way, Servers)>,
        tracks: &[Track],
    ) {
        for (index, ((result, (way, servers)), track)) in cells.iter().zip(paths).zip(tracks).enumerate() {
            self.take(&result.cell, way, &servers, track);
            // Where a profile excuses a moment, silence followed it.
            let is_held = result.verdict == Verdict::Match && result.decision() == Decision::Deny
                || result.is_excused() && result.delivered_until.is_some();
            if is_held {
                let denial = Denial { place: (step, index), servers, is_lookup: !track.found_name };
                self.0.entry((result.cell.clone(), way)).or_default().push(denial);
            }
        }
    }

    /// Takes in what a round showed of a cell whose address leads to these servers.
    pub(super) fn take(&mut self, cell: &Cell, way: Way, servers: &Servers, track: &Track) {
        let key = (cell.clone(), way);
        let Some(denials) = self.0.get_mut(&key) else { return };
        let is_delivered = track.agrees(Decision::Deny) == Some(false);
        let is_found = is_delivered || track.found_name;
        denials.retain(|denial| match denial.is_lookup {
            true => !is_found,
            false => !is_delivered || denial.servers != *servers,
        });
        if denials.is_empty() {
            self.0.remove(&key);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a delivery of this cell is missing.
    pub(super) fn wants(&self, cell: &Cell, way: Way) -> bool {
        self.0.contains_key(&(cell.clone(), way))
    }

    /// Whether this step proved that a cell is denied, and nothing was delivered since.
    pub(super) fn denied_in(&self, step: usize, cell: &Cell, way: Way) -> bool {
        let denials = self.0.get(&(cell.clone(), way)).into_iter().flatten();
        denials.into_iter().any(|denial| denial.place.0 == step)
    }

    /// Whether the next state has no path any more for denials that still need a delivery.
    pub(super) fn are_broken_by(&self, actions: &[Action], next: &World, probes: &[Probe]) -> bool {
        if self.is_empty() || !actions.iter().any(changes_servers) {
            return false;
        }
        // One that comes back under its name in the same step is another.
        let removed: HashSet<EndpointName> = actions.iter().filter_map(removed_end).collect();
        let engine = Engine::new(next.cluster.clone());
        let router = Router::new(next, &engine);
        let cells: HashSet<Cell> = cells(next, probes).into_iter().collect();
        let is_kept = |cell: &Cell, denials: &[Denial]| {
            let is_gone = removed.contains(&cell.from) || removed.contains(&cell.to);
            if is_gone || !cells.contains(cell) {
                return false;
            }
            // Its address may not be known yet, but it exists.
            let Some(route) = router.route(cell) else { return true };
            let now = servers(Some(&route));
            denials.iter().all(|denial| denial.is_lookup && !now.is_empty() || denial.servers == now)
        };
        self.0.iter().any(|((cell, _), denials)| !is_kept(cell, denials))
    }

    /// The denials that nothing ever followed.
    pub(super) fn open(&self) -> impl Iterator<Item = Place> {
        self.0.values().flatten().map(|denial| denial.place)
    }
}

/// Returns where a route leads.
pub(super) fn servers(route: Option<&Route>) -> Servers {
    route.into_iter().flat_map(|route| route.servers.iter().cloned()).collect()
}

/// The end that an action takes away.
fn removed_end(action: &Action) -> Option<EndpointName> {
    match action {
        Action::RemovePod(pod) | Action::EndPod(pod) => Some(EndpointName::pod(&pod.namespace, &pod.name)),
        Action::DeleteService(service) => Some(EndpointName::service(&service.namespace, &service.name)),
        Action::SetPolicy(_)
        | Action::DeletePolicy(_)
        | Action::SetClusterPolicy(_)
        | Action::DeleteClusterPolicy(_)
        | Action::SetService(_)
        | Action::LabelPod { .. }
        | Action::LabelNamespace { .. }
        | Action::AddPod(_) => None,
    }
}

/// Returns whether an action changes who is at an address, or where Services lead.
pub(super) fn changes_servers(action: &Action) -> bool {
    match action {
        Action::AddPod(_)
        | Action::RemovePod(_)
        | Action::EndPod(_)
        | Action::SetService(_)
        | Action::DeleteService(_)
        | Action::LabelPod { .. } => true,
        Action::SetPolicy(_)
        | Action::DeletePolicy(_)
        | Action::SetClusterPolicy(_)
        | Action::DeleteClusterPolicy(_)
        | Action::LabelNamespace { .. } => false,
    }
}
