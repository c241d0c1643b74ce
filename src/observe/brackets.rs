//! Brackets: denials between two deliveries. A path that was alive before and after a denied probe was alive
//! meanwhile.

use std::collections::{HashMap, HashSet};

use super::actions::removed_end;
use super::finding::Finding;
use super::ledger::Place;
use super::planned::{Addresses, PlannedCell, ProbedCell, Servers, servers};
use crate::plan::{Cell, Questions, Router};
use crate::policy::{Decision, Engine};
use crate::verdict::Verdict;
use crate::world::{Action, EndpointName, World};

/// A proved denial that needs a delivery.
#[derive(Debug, Clone)]
struct Denial {
    place: Place,
    /// Where the address led. A delivery to other endpoints says nothing about these.
    servers: Servers,
    /// Whether already the lookup of the connection was denied. Then the lookup has to be delivered, wherever
    /// the connection would lead.
    is_lookup: bool,
}

/// The proved denials that no delivery between the same addresses has followed yet.
#[derive(Debug, Default)]
pub(super) struct Brackets(HashMap<(Cell, Addresses), Vec<Denial>>);

impl Brackets {
    /// Records what a state showed.
    pub(super) fn take_state(&mut self, state: usize, cells: &[ProbedCell], found: &[Finding]) {
        for (index, (probed, Finding { result, .. })) in cells.iter().zip(found).enumerate() {
            self.take(probed);
            // If a deviation excuses the first moment, the cell was silent after it.
            let is_silent = result.verdict == Verdict::Match && result.decision() == Decision::Deny
                || result.is_excused() && result.delivered_until.is_some();
            if is_silent {
                let (servers, is_lookup) = (servers(probed.planned.route.as_ref()), !probed.track.found_name);
                let denial = Denial { place: (state, index), servers, is_lookup };
                self.0.entry(key(&probed.planned)).or_default().push(denial);
            }
        }
    }

    /// Records what a round showed of a cell. A delivery closes the denials before it.
    pub(super) fn take(&mut self, ProbedCell { planned, track }: &ProbedCell) {
        let key = key(planned);
        let Some(denials) = self.0.get_mut(&key) else { return };
        let is_delivered = track.agrees(Decision::Deny) == Some(false);
        let is_found = is_delivered || track.found_name;
        let servers = servers(planned.route.as_ref());
        denials.retain(|denial| match denial.is_lookup {
            true => !is_found,
            false => !is_delivered || denial.servers != servers,
        });
        if denials.is_empty() {
            self.0.remove(&key);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a delivery of this cell is missing.
    pub(super) fn wants(&self, planned: &PlannedCell) -> bool {
        self.0.contains_key(&key(planned))
    }

    /// Returns whether this state proved that a cell is denied, and the cell was not delivered since.
    pub(super) fn denied_in(&self, state: usize, planned: &PlannedCell) -> bool {
        self.0.get(&key(planned)).into_iter().flatten().any(|denial| denial.place.0 == state)
    }

    /// Returns whether the next state lacks a path of a denial that still needs a delivery.
    pub(super) fn are_broken_by(&self, actions: &[Action], next: &World, questions: Questions<'_>) -> bool {
        // A pod that is added again under its name is another pod.
        let removed: HashSet<EndpointName> = actions.iter().filter_map(removed_end).collect();
        let engine = Engine::new(next.cluster.clone());
        let router = Router::new(next, &engine);
        let cells: HashSet<Cell> = questions.cells(next).into_iter().collect();
        let is_kept = |cell: &Cell, denials: &[Denial]| {
            let is_gone = removed.contains(&cell.from) || removed.contains(&cell.to);
            if is_gone || !cells.contains(cell) {
                return false;
            }
            // Without a route, the address may not be known yet, but the endpoint exists.
            let Some(route) = router.route(cell) else { return true };
            let now = servers(Some(&route));
            denials.iter().all(|denial| denial.is_lookup && !now.is_empty() || denial.servers == now)
        };
        self.0.iter().any(|((cell, _), denials)| !is_kept(cell, denials))
    }

    /// Returns the denials that no delivery has followed.
    pub(super) fn open(&self) -> impl Iterator<Item = Place> {
        self.0.values().flatten().map(|denial| denial.place)
    }
}

/// Returns the key of a cell: other addresses may belong to another pod.
fn key(planned: &PlannedCell) -> (Cell, Addresses) {
    (planned.cell.clone(), planned.addresses)
}
