//! What was observed of cells that profiles make undefined.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::excuse::Excuse;
use super::result::{CellResult, RunResult};
use crate::policy::Decision;

/// A deviation of a profile, and what was observed where it applies.
#[derive(Debug, Clone)]
pub struct DeviationResult<'a> {
    /// Deviation.
    pub deviation: &'a Excuse,
    /// Cells that the deviation makes undefined, each with the names of its scenario and step.
    pub cells: Vec<(&'a str, &'a str, &'a CellResult)>,
}

impl DeviationResult<'_> {
    /// Returns whether the deviation covers no cell of the run, although it should if it still existed.
    pub fn is_stale(&self) -> bool {
        self.cells.is_empty() && !self.deviation.is_momentary
    }

    /// Returns the count of cells for which the policies have this decision.
    pub fn promised(&self, decision: Decision) -> usize {
        self.cells.iter().filter(|(_, _, cell)| cell.expected.decision == decision).count()
    }

    /// Returns the count of cells by the name of the observation.
    pub fn observed(&self) -> BTreeMap<&'static str, usize> {
        let mut observed = BTreeMap::new();
        for (_, _, cell) in &self.cells {
            let name = cell.observed.as_ref().map_or("not probed", |observation| observation.name());
            *observed.entry(name).or_default() += 1;
        }
        observed
    }

    /// Returns the count of cells that did what the policies promise nevertheless.
    pub fn as_promised(&self) -> usize {
        let agrees = |cell: &CellResult| {
            let observed = cell.observed.as_ref();
            observed.and_then(|observed| observed.agrees_with(cell.expected.decision)) == Some(true)
        };
        self.cells.iter().filter(|(_, _, cell)| agrees(cell)).count()
    }
}

/// Count of the denials of a run that a profile excuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excuses<'a> {
    /// Name of the profile.
    pub profile: &'a str,
    /// Denials that the profile excuses.
    pub excused: usize,
    /// All denials of the run.
    pub denials: usize,
}

impl Excuses<'_> {
    /// Returns whether the profile excuses more than half of the denials, so that little is left to prove.
    pub fn is_most(&self) -> bool {
        self.excused > self.denials / 2
    }
}

impl RunResult {
    /// Returns how many denials each profile of the run excuses.
    pub fn excuses(&self) -> Vec<Excuses<'_>> {
        let steps = self.scenarios.iter().flat_map(|scenario| &scenario.steps);
        let cells = steps.flat_map(|step| &step.cells);
        let denials: Vec<_> = cells.filter(|cell| cell.expected.decision == Decision::Deny).collect();
        let excuses = self.profiles.iter().map(|profile| {
            let is_its_own = |cell: &&&CellResult| {
                cell.is_excused() && cell.excused.as_ref().is_some_and(|d| d.profile == profile.name)
            };
            let excused = denials.iter().filter(is_its_own).count();
            Excuses { profile: &profile.name, excused, denials: denials.len() }
        });
        excuses.collect()
    }

    /// Returns what the deviations of the run's profiles make undefined, in the order of the profiles.
    pub fn deviations(&self) -> Vec<DeviationResult<'_>> {
        let deviations = self.profiles.iter().flat_map(|profile| &profile.deviations);
        let deviations = deviations.map(|deviation: &Arc<Excuse>| {
            let steps = self
                .scenarios
                .iter()
                .flat_map(|scenario| scenario.steps.iter().map(move |step| (scenario.name.as_str(), step)));
            let cells = steps.flat_map(|(scenario, step)| {
                step.cells.iter().map(move |cell| (scenario, step.name.as_str(), cell))
            });
            let is_its_own =
                |(_, _, cell): &(_, _, &CellResult)| cell.excused.as_ref().is_some_and(|d| d == deviation);
            DeviationResult { deviation, cells: cells.filter(is_its_own).collect() }
        });
        deviations.collect()
    }
}
