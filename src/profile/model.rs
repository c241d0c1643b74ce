//! The model of a profile, read and checked.

use std::sync::Arc;

use crate::deviation::Deviation;
use crate::plan::Cell;
use crate::policy::{Decision, Direction, Expectation, PolicyName};
use crate::scenario::Assertion;
use crate::source::wildcard;
use crate::verdict::{AppliedProfile, Excuse};

/// Known deviations of a network plugin.
#[derive(Debug, Clone)]
pub struct Profile {
    /// `metadata.name`
    pub name: String,
    /// `metadata.description`
    pub description: String,
    /// The deviations. At least one.
    pub deviations: Vec<KnownDeviation>,
}

impl Profile {
    /// Returns the parts of the profile that reports print.
    pub fn applied(&self) -> AppliedProfile {
        AppliedProfile {
            name: self.name.clone(),
            description: self.description.clone(),
            deviations: self.deviations.iter().map(|deviation| Arc::clone(&deviation.excuse)).collect(),
        }
    }
}

/// A known deviation, and the cells that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDeviation {
    /// Why the cells are excused.
    pub excuse: Arc<Excuse>,
    pub(super) cells: CellPattern,
}

impl KnownDeviation {
    /// Returns the deviation of the catalogue that must explain the cells. `None` if the profile names the cells.
    pub(crate) fn quirk(&self) -> Option<&'static Deviation> {
        self.cells.quirk
    }
}

/// A deviation of the catalogue that profiles offer.
pub(crate) type Quirk = &'static Deviation;

/// Pattern of cells. A cell must match all fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CellPattern {
    /// Quirk that must explain the cell.
    pub(super) quirk: Option<Quirk>,
    /// Names of scenarios. Empty means every scenario.
    pub(super) scenarios: Vec<String>,
    /// Names of steps. Empty means every step, and the state before the first step.
    pub(super) steps: Vec<String>,
    /// Ends, probes and families.
    pub(super) covered: Assertion,
    /// Policies that must decide the cell.
    pub(super) policies: PolicyPattern,
    /// Decision of the policies.
    pub(super) expected: Option<Decision>,
}

impl CellPattern {
    /// Returns whether the pattern matches the scenario and the step.
    pub(super) fn is_here(&self, scenario: &str, step: Option<&str>) -> bool {
        let fits = |patterns: &[String], name: Option<&str>| {
            let one = |pattern: &String| name.is_some_and(|name| wildcard(pattern, name));
            patterns.is_empty() || patterns.iter().any(one)
        };
        fits(&self.scenarios, Some(scenario)) && fits(&self.steps, step)
    }

    /// Returns whether the pattern matches the cell's ends and probe, the decision, and the deciding policies.
    pub(super) fn covers(&self, cell: &Cell, promised: &Expectation) -> bool {
        let Cell { from, to, family, probe } = cell;
        self.expected.is_none_or(|expected| expected == promised.decision)
            && self.policies.decides(promised)
            && self.covered.covers(from, to, *family, *probe)
    }
}

/// Pattern of policies and a direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct PolicyPattern {
    /// Names, as reports show them. Empty means all policies.
    pub(super) names: Vec<String>,
    /// Direction in which the policies decide. `None` means both.
    pub(super) direction: Option<Direction>,
}

impl PolicyPattern {
    /// Returns whether the pattern matches a policy in a direction.
    pub(super) fn matches(&self, policy: &PolicyName, direction: Direction) -> bool {
        let name = policy.to_string();
        self.direction.is_none_or(|own| own == direction)
            && (self.names.is_empty() || self.names.iter().any(|pattern| wildcard(pattern, &name)))
    }

    /// Returns whether the matching policies alone decide an expectation. For a denial, all policies that deny the
    /// flow must match, because any other policy must stop the flow by itself. For an allowance, it is enough if all
    /// policies that allow the flow in one direction match, because a flow that is stopped in one direction does not
    /// arrive.
    pub(super) fn decides(&self, promised: &Expectation) -> bool {
        if *self == Self::default() {
            return true;
        }
        let deciding = promised.deciding_policies();
        let matches = |(policy, direction): &(&PolicyName, Direction)| self.matches(policy, *direction);
        match promised.decision {
            Decision::Deny => !deciding.is_empty() && deciding.iter().all(matches),
            Decision::Allow => Direction::ALL.into_iter().any(|direction| {
                let mut own = deciding.iter().filter(|(_, other)| *other == direction).peekable();
                own.peek().is_some() && own.all(matches)
            }),
            Decision::Undefined => false,
        }
    }
}
