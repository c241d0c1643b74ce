//! Profiles of a run, and what they make undefined.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::Decision;
use crate::verdict::{DeviationResult, RunResult};

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
    pub(super) fn all(result: &RunResult) -> Vec<Self> {
        let deviations = result.deviations();
        let profiles = result.profiles.iter().zip(result.excuses()).map(|(profile, excuses)| {
            let own = deviations.iter().filter(|result| result.deviation.profile == profile.name);
            Self {
                name: profile.name.clone(),
                description: profile.description.clone(),
                excused_denials: excuses.excused,
                denials: excuses.denials,
                deviations: own.map(Deviation::from).collect(),
            }
        });
        profiles.collect()
    }

    /// Returns whether the profile excuses more than half of the denials, so that little is left to prove.
    pub fn excuses_most(&self) -> bool {
        self.excused_denials > self.denials / 2
    }
}

impl From<&DeviationResult<'_>> for Deviation {
    fn from(result: &DeviationResult<'_>) -> Self {
        let observed = result.observed().into_iter().map(|(name, count)| (name.to_owned(), count));
        Self {
            reason: result.deviation.reason.clone(),
            references: result.deviation.references.clone(),
            place: result.deviation.place.to_string(),
            stale: result.is_stale(),
            cells: result.cells.len(),
            denied: result.promised(Decision::Deny),
            allowed: result.promised(Decision::Allow),
            as_promised: result.as_promised(),
            observed: observed.collect(),
        }
    }
}
