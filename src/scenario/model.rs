//! A scenario, read and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::item::Item;
use super::probe::Probe;
use super::step::Step;
use super::topology::Topology;
use crate::snapshot::Unmodelled;

/// A scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// `metadata.name`; unique in a run.
    pub name: String,
    /// `metadata.description`: what it decides and why that matters.
    pub description: String,
    /// `metadata.tags`
    pub tags: Vec<String>,
    /// `metadata.items`: what its steps decide, unless they say it themselves.
    pub items: BTreeSet<Item>,
    /// `metadata.references`
    pub references: Vec<String>,
    /// The cluster at the beginning.
    pub topology: Topology,
    /// What is sent between every two endpoints.
    pub probes: Vec<Probe>,
    /// What happens, in order. At least one.
    pub steps: Vec<Step>,
    /// Set if the scenario shows a mistake that has to be found.
    pub demonstrates: Option<Demonstrates>,
    /// The objects of its manifests that have no part in NetworkPolicy, by kind and number.
    pub ignored: BTreeMap<String, usize>,
    /// The kinds of objects of its manifests without which the expected answers are not known.
    pub unmodelled: Vec<Unmodelled>,
    /// What to warn of.
    pub warnings: Vec<String>,
    /// The file that it was read from.
    pub file: Arc<str>,
}

/// What a scenario demonstrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demonstrates {
    /// `policy-gap`: the policies do not say what their owner wanted, and that has to be found.
    PolicyGap,
}
