//! A profile, read and checked.

use std::sync::Arc;

use super::mechanism::Mechanism;
use crate::policy::Decision;
use crate::scenario::Assertion;
use crate::source::Place;

/// What a network plugin is known to do differently.
#[derive(Debug, Clone)]
pub struct Profile {
    /// `metadata.name`
    pub name: String,
    /// `metadata.description`
    pub description: String,
    /// At least one.
    pub differences: Vec<Arc<Difference>>,
}

/// One thing that is done differently, and the cells that it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The name of its profile.
    pub profile: String,
    /// What is done instead.
    pub reason: String,
    /// Where that is documented. At least one.
    pub references: Vec<String>,
    /// Where it stands.
    pub place: Place,
    pub(super) cells: CellPattern,
}

/// Which cells: those for which everything holds that is said here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CellPattern {
    /// The policies are read in this way, and that makes a difference.
    pub(super) mechanism: Option<Mechanism>,
    /// They are of a scenario with one of these names; empty means every scenario.
    pub(super) scenarios: Vec<String>,
    /// They are of a step with one of these names; empty means every step, and what is before the first.
    pub(super) steps: Vec<String>,
    /// Their ends, probes and families are these.
    pub(super) covered: Assertion,
    /// The policies promise this.
    pub(super) expected: Option<Decision>,
}
