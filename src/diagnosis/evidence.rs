//! What a run has shown, as far as a diagnosis uses it: the judged cells of each step, and the states behind them.

use std::sync::Arc;

use crate::plan::Cell;
use crate::policy::Decision;
use crate::verdict::{CellResult, RunResult, StepResult, Verdict};
use crate::world::World;

/// What a run has shown: the cases of each scenario, in their order.
#[derive(Debug, Clone, Default)]
pub struct Evidence<'a> {
    /// The scenarios, each with its cases.
    pub scenarios: Vec<Vec<Case<'a>>>,
}

/// What a step has shown.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// Name of the scenario.
    pub scenario: &'a str,
    /// Name of the step.
    pub step: &'a str,
    /// States that the enforcers were given since the case before, the oldest first. The last one is this case's.
    pub states: &'a [Arc<World>],
    /// The judged cells. Flaky, inconclusive, skipped and undefined cells speak neither for nor against anything.
    pub cells: Vec<Seen<'a>>,
}

/// A judged cell.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// Whether the policies allow it. They deny it otherwise.
    pub is_allowed: bool,
    /// What its packets did.
    pub shown: Shown,
}

/// What the packets of a judged cell did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// What the policies promise.
    AsPromised,
    /// They were delivered, and denied.
    Leak,
    /// They were delivered for a moment after a change, and denied in the end.
    LeakForAMoment,
    /// They were not delivered, and allowed.
    Blocked,
}

impl Seen<'_> {
    /// Returns whether the packets did something else than the policies promise.
    pub fn differs(&self) -> bool {
        self.shown != Shown::AsPromised
    }
}

impl<'a> Evidence<'a> {
    /// Returns the evidence of a run.
    pub fn of(run: &'a RunResult) -> Self {
        let scenarios = run.scenarios.iter().map(|scenario| {
            scenario.steps.iter().map(|step| Case::new(&scenario.name, step, Seen::of)).collect()
        });
        Self { scenarios: scenarios.collect() }
    }

    /// Returns all cases.
    pub fn cases(&self) -> impl Iterator<Item = &Case<'a>> {
        self.scenarios.iter().flatten()
    }
}

impl<'a> Case<'a> {
    /// Creates a case of a step. `seen` returns what a cell has shown, or `None` if it was not judged.
    pub fn new(
        scenario: &'a str,
        step: &'a StepResult,
        seen: impl FnMut(&'a CellResult) -> Option<Seen<'a>>,
    ) -> Self {
        let cells = step.cells.iter().filter_map(seen).collect();
        Self { scenario, step: &step.name, states: &step.states, cells }
    }

    /// Returns whether any packet did something else than the policies promise.
    pub(super) fn differs(&self) -> bool {
        self.cells.iter().any(Seen::differs)
    }
}

impl<'a> Seen<'a> {
    /// Returns what a cell has shown. `None` if it was not judged, or if it differs only beside other scenarios: then it shows
    /// something about their policies.
    pub fn of(result: &'a CellResult) -> Option<Self> {
        let is_for_a_moment = result.delivered_until.is_some();
        let differs_alone = result.alone != Some(Verdict::Match);
        differs_alone.then(|| Self::with_verdict(result, &result.verdict, is_for_a_moment)).flatten()
    }

    /// Returns what a cell has shown with this verdict. `None` if it was not judged.
    pub fn with_verdict(result: &'a CellResult, verdict: &Verdict, is_for_a_moment: bool) -> Option<Self> {
        let shown = match verdict {
            Verdict::Match => Shown::AsPromised,
            Verdict::Leak if is_for_a_moment => Shown::LeakForAMoment,
            Verdict::Leak => Shown::Leak,
            Verdict::Blocked => Shown::Blocked,
            Verdict::Flaky | Verdict::Undefined | Verdict::Skipped(_) | Verdict::Inconclusive(_) => {
                return None;
            }
        };
        let is_allowed = match (shown, result.decision()) {
            (Shown::Leak | Shown::LeakForAMoment, _) | (Shown::AsPromised, Decision::Deny) => false,
            (Shown::Blocked, _) | (Shown::AsPromised, Decision::Allow) => true,
            (Shown::AsPromised, Decision::Undefined) => return None,
        };
        Some(Self { cell: &result.cell, is_allowed, shown })
    }
}
