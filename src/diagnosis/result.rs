//! The value of a diagnosis.

use super::enforcement::Enforcement;
use super::evidence::Shown;
use crate::plan::Cell;

/// What explains the differences of a run.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// Count of leaks.
    pub leaks: usize,
    /// Count of blocked cells.
    pub blocked: usize,
    /// Whether anything enforces policies at all.
    pub enforcement: Enforcement,
    /// The explanations, the one of most cells first. None of them predicts a difference where there was none.
    pub explanations: Vec<Explanation>,
    /// Differing cells that no explanation predicts.
    pub unexplained: Vec<Unexplained>,
}

/// An explanation of some or all of the differing cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The cause, or two causes together.
    pub causes: Vec<Cause>,
    /// Other causes that predict the same cells. The run cannot tell them apart.
    pub alternatives: Vec<Vec<Cause>>,
    /// Count of leaks that it explains.
    pub leaks: usize,
    /// Count of blocked cells that it explains.
    pub blocked: usize,
    /// Count of explained cells for which it makes the outcome uncertain. They agree with it, and do not prove it.
    pub uncertain: usize,
    /// Count of scenarios with an explained cell.
    pub scenarios: usize,
    /// Count of steps in which it predicts a difference that was there.
    pub differing_cases: usize,
    /// Count of steps in which it predicts no difference, and there was none of its kind.
    pub agreeing_cases: usize,
}

/// Something that may be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Its name in the catalogue, or `open-node`.
    pub name: String,
    /// What goes wrong.
    pub explanation: String,
    /// Numbers of the spec rules that it violates.
    pub spec_rules: Vec<u8>,
    /// Where it has been seen. `None` if it has not been seen yet.
    pub seen: Option<String>,
    /// Names of the built-in profiles that describe it.
    pub profiles: Vec<String>,
}

/// A differing cell that nothing explains.
#[derive(Debug, Clone)]
pub struct Unexplained {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the step.
    pub step: String,
    /// The cell.
    pub cell: Cell,
    /// What its packets did.
    pub shown: Shown,
}

impl Explanation {
    /// Returns the count of cells that it explains.
    pub fn cells(&self) -> usize {
        self.leaks + self.blocked
    }
}
