//! Denials between deliveries: a path that was alive before a denied probe and after it was alive meanwhile.

use std::collections::{BTreeSet, HashMap};

use super::situation::Way;
use crate::plan::Cell;
use crate::policy::Decision;
use crate::scenario::{Action, EndpointName};
use crate::verdict::{CellResult, Observation, Verdict};

/// A cell of a step that is over: the step's index, and the cell's in it.
pub(super) type Place = (usize, usize);

/// The proved denials that no delivery between the same addresses has followed so far.
#[derive(Debug, Default)]
pub(super) struct Brackets(HashMap<(Cell, Way), Vec<Place>>);

impl Brackets {
    /// Takes in what a step showed.
    pub(super) fn take_step(&mut self, step: usize, cells: &[CellResult], ways: &[Way]) {
        for (index, (result, way)) in cells.iter().zip(ways).enumerate() {
            let key = || (result.cell.clone(), *way);
            if result.observed.as_ref().is_some_and(is_delivered) {
                self.0.remove(&key());
            } else if result.decision() == Decision::Deny && result.verdict == Verdict::Match {
                self.0.entry(key()).or_default().push((step, index));
            }
        }
    }

    /// Takes in what a round without policies showed of a cell.
    pub(super) fn take(&mut self, cell: &Cell, way: Way, observation: Option<&Observation>) {
        if observation.is_some_and(is_delivered) {
            self.0.remove(&(cell.clone(), way));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a delivery of this cell is missing.
    pub(super) fn wants(&self, cell: &Cell, way: Way) -> bool {
        self.0.contains_key(&(cell.clone(), way))
    }

    /// Whether these actions take an end away whose denials still need a delivery.
    pub(super) fn are_broken_by(&self, actions: &[Action]) -> bool {
        let removed: BTreeSet<EndpointName> = actions.iter().filter_map(removed).collect();
        !removed.is_empty()
            && self.0.keys().any(|(cell, _)| removed.contains(&cell.from) || removed.contains(&cell.to))
    }

    /// The denials that nothing ever followed.
    pub(super) fn open(&self) -> impl Iterator<Item = Place> {
        self.0.values().flatten().copied()
    }
}

fn is_delivered(observation: &Observation) -> bool {
    observation.agrees_with(Decision::Deny) == Some(false)
}

/// The end that an action takes away.
fn removed(action: &Action) -> Option<EndpointName> {
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
