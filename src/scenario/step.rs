//! Steps: the changes, and what must hold after them.

use std::collections::BTreeSet;

use super::assertion::Assertion;
use super::keep_open::KeepOpen;
use super::spec_rule::SpecRule;
use crate::world::{Action, Capability};

/// A step of a scenario.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name, unique in its scenario.
    pub name: String,
    /// Why it matters.
    pub description: String,
    /// Spec rules that the step decides. By default those of its scenario.
    pub spec_rules: BTreeSet<SpecRule>,
    /// What the environment must have, according to the scenario or the step. If something is missing, the
    /// cells that need it are skipped.
    pub requires: BTreeSet<Capability>,
    /// The changes in order. There may be none: then the step only says what must hold.
    pub actions: Vec<Action>,
    /// Connections that stay open during the changes.
    pub keep_open: Vec<KeepOpen>,
    /// What the policies mean after the changes, written by hand.
    pub expect: Vec<Assertion>,
    /// What the owner of the policies wants.
    pub intent: Vec<Assertion>,
}
