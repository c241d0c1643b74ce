//! Denials between deliveries: a path that was alive before a denied probe and after it was alive meanwhile.

use std::collections::{HashMap, HashSet};

use super::step_plan::Way;
use crate::plan::{Cell, Router, cells};
use crate::policy::{Decision, Engine};
use crate::run::ledger::Place;
use crate::run::track::Track;
use crate::scenario::{Action, EndpointName, Probe, State};
use crate::verdict::{CellResult, Verdict};

/// A proved denial that needs a delivery.
#[derive(Debug, Clone, Copy)]
struct Denial {
    place: Place,
    /// Whether the lookup of a connection by name was denied already: then the lookup is what has to be
    /// delivered, wherever the connection would lead.
    is_lookup: bool,
}

/// The proved denials that no delivery between the same addresses has followed so far.
#[derive(Debug, Default)]
pub(super) struct Brackets(HashMap<(Cell, Way), Vec<Denial>>);

impl Brackets {
    /// Takes in what a step showed.
    pub(super) fn take_step(&mut self, step: usize, cells: &[CellResult], ways: &[Way], tracks: &[Track]) {
        for (index, ((result, way), track)) in cells.iter().zip(ways).zip(tracks).enumerate() {
            self.take(&result.cell, *way, track);
            // Where a profile excuses a moment, silence followed it.
            let is_held = result.verdict == Verdict::Match && result.decision() == Decision::Deny
                || result.is_excused() && result.delivered_until.is_some();
            if is_held {
                let denial = Denial { place: (step, index), is_lookup: !track.found_name };
                self.0.entry((result.cell.clone(), *way)).or_default().push(denial);
            }
        }
    }

    /// Takes in what a round showed of a cell.
    pub(super) fn take(&mut self, cell: &Cell, way: Way, track: &Track) {
        let key = (cell.clone(), way);
        if track.agrees(Decision::Deny) == Some(false) {
            self.0.remove(&key);
        } else if track.found_name
            && let Some(denials) = self.0.get_mut(&key)
        {
            denials.retain(|denial| !denial.is_lookup);
            if denials.is_empty() {
                self.0.remove(&key);
            }
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
    pub(super) fn are_broken_by(&self, actions: &[Action], next: &State, probes: &[Probe]) -> bool {
        if self.is_empty() || !actions.iter().any(changes_paths) {
            return false;
        }
        // One that comes back under its name in the same step is another.
        let removed: HashSet<EndpointName> = actions.iter().filter_map(removed_end).collect();
        let engine = Engine::new(next.cluster.clone());
        let router = Router::new(next, &engine);
        let cells: HashSet<Cell> = cells(next, probes).into_iter().collect();
        let leads_somewhere = |cell: &Cell| {
            // Its address may not be known yet, but it is there.
            let is_gone = removed.contains(&cell.from) || removed.contains(&cell.to);
            let leads_to = || router.route(cell).is_none_or(|route| !route.servers.is_empty());
            !is_gone && cells.contains(cell) && leads_to()
        };
        self.0.keys().any(|(cell, _)| !leads_somewhere(cell))
    }

    /// The denials that nothing ever followed.
    pub(super) fn open(&self) -> impl Iterator<Item = Place> {
        self.0.values().flatten().map(|denial| denial.place)
    }
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

/// Whether an action changes which ends there are, or where Services lead.
pub(super) fn changes_paths(action: &Action) -> bool {
    match action {
        Action::RemovePod(_)
        | Action::EndPod(_)
        | Action::SetService(_)
        | Action::DeleteService(_)
        | Action::LabelPod { .. } => true,
        Action::SetPolicy(_)
        | Action::DeletePolicy(_)
        | Action::SetClusterPolicy(_)
        | Action::DeleteClusterPolicy(_)
        | Action::LabelNamespace { .. }
        | Action::AddPod(_) => false,
    }
}

/// Whether an action changes who is at an address, or where Services lead.
pub(super) fn changes_servers(action: &Action) -> bool {
    changes_paths(action) || matches!(action, Action::AddPod(_))
}
