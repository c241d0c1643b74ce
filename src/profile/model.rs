//! A profile, read and checked.

use std::sync::Arc;
use std::time::Duration;

use super::quirk::Quirk;
use crate::policy::{Decision, Direction, Expectation, PolicyName};
use crate::scenario::{Assertion, wildcard};
use crate::source::Place;

/// What a network plugin is known to do differently.
#[derive(Debug, Clone)]
pub struct Profile {
    /// `metadata.name`
    pub name: String,
    /// `metadata.description`
    pub description: String,
    /// At least one.
    pub deviations: Vec<Arc<KnownDeviation>>,
}

/// One thing that is done differently, and the cells that it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDeviation {
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

impl KnownDeviation {
    /// Whether it leaves a moment open, which may be over before the first probe: a run in which it decides nothing says
    /// nothing about it.
    pub fn is_momentary(&self) -> bool {
        self.cells.quirk.is_some_and(Quirk::is_momentary)
    }

    /// Whether something that lasted so long is no longer than the moment that is left open.
    pub fn is_moment(&self, lasted: Duration) -> bool {
        self.cells.quirk.and_then(Quirk::longest_moment).is_none_or(|longest| lasted <= longest)
    }
}

/// Which cells: those for which everything holds that is said here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CellPattern {
    /// The policies are read in this way, and that makes a deviation.
    pub(super) quirk: Option<Quirk>,
    /// They are of a scenario with one of these names; empty means every scenario.
    pub(super) scenarios: Vec<String>,
    /// They are of a step with one of these names; empty means every step, and what is before the first.
    pub(super) steps: Vec<String>,
    /// Their ends, probes and families are these.
    pub(super) covered: Assertion,
    /// These policies decide them.
    pub(super) policies: PolicyPattern,
    /// The policies promise this.
    pub(super) expected: Option<Decision>,
}

/// Which policies, in which direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct PolicyPattern {
    /// They have one of these names, as reports show it; empty means all policies.
    pub(super) names: Vec<String>,
    /// They decide in this direction; `None` means both.
    pub(super) direction: Option<Direction>,
}

impl PolicyPattern {
    /// Whether it stands for a policy in a direction.
    pub(super) fn matches(&self, policy: &PolicyName, direction: Direction) -> bool {
        let name = policy.to_string();
        self.direction.is_none_or(|own| own == direction)
            && (self.names.is_empty() || self.names.iter().any(|pattern| wildcard(pattern, &name)))
    }

    /// Whether these policies alone decide a promise. All policies that deny a flow have to be among them,
    /// because one that is not has to stop the flow by itself. Of policies that allow a flow it is enough that
    /// they are all of one direction: a flow that one direction stops does not arrive.
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
