//! Profiles of a run, and what they make undefined.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cell::Observation;
use crate::policy::Decision;
use crate::verdict::{AppliedProfile, CellResult, Excuse, RunResult};

/// A profile of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub excused_denials: usize,
    #[serde(default)]
    pub denials: usize,
    #[serde(default)]
    pub deviations: Vec<Deviation>,
}

/// A known deviation of a profile, and what was observed where it applies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deviation {
    pub reason: String,
    pub references: Vec<String>,
    pub place: String,
    pub stale: bool,
    pub cells: usize,
    pub denied: usize,
    pub allowed: usize,
    pub as_promised: usize,
    pub observed: BTreeMap<String, usize>,
}

impl Profile {
    /// Returns the profile of a run in which these cells were probed.
    pub fn new(profile: &AppliedProfile, cells: &[&CellResult]) -> Self {
        let denials = cells.iter().filter(|cell| cell.expected.decision == Decision::Deny);
        let is_excused = |cell: &&&CellResult| {
            cell.is_excused() && cell.excused.as_ref().is_some_and(|own| own.profile == profile.name)
        };
        let deviations = profile.deviations.iter().map(|deviation| {
            let own = cells.iter().copied().filter(|cell| cell.excused.as_ref() == Some(deviation));
            Deviation::new(deviation, &own.collect::<Vec<_>>())
        });
        Self {
            name: profile.name.clone(),
            description: profile.description.clone(),
            excused_denials: denials.clone().filter(is_excused).count(),
            denials: denials.count(),
            deviations: deviations.collect(),
        }
    }

    pub(super) fn all(result: &RunResult) -> Vec<Self> {
        let cells: Vec<_> = result.cells().collect();
        result.profiles.iter().map(|profile| Self::new(profile, &cells)).collect()
    }

    /// Returns whether the profile excuses more than half of the denials, so that little is left to prove.
    pub fn excuses_most(&self) -> bool {
        self.excused_denials > self.denials / 2
    }
}

impl Deviation {
    /// Describes a deviation. `cells` are those that it makes undefined.
    fn new(deviation: &Excuse, cells: &[&CellResult]) -> Self {
        let promised = |decision| cells.iter().filter(|cell| cell.expected.decision == decision).count();
        let is_as_promised = |cell: &&&CellResult| {
            let observed = cell.observed.as_ref();
            observed.and_then(|observed| observed.agrees_with(cell.expected.decision)) == Some(true)
        };
        let mut observed = BTreeMap::new();
        for cell in cells {
            let name = cell.observed.as_ref().map_or("not probed", |it| Observation::from(it).name());
            *observed.entry(name.to_owned()).or_default() += 1;
        }
        Self {
            reason: deviation.reason.clone(),
            references: deviation.references.clone(),
            place: deviation.place.to_string(),
            // A momentary deviation may be over before the first probe.
            stale: cells.is_empty() && !deviation.is_momentary,
            cells: cells.len(),
            denied: promised(Decision::Deny),
            allowed: promised(Decision::Allow),
            as_promised: cells.iter().filter(is_as_promised).count(),
            observed,
        }
    }
}
