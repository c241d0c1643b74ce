//! Scenarios that fail beside others, and what they show alone.
//!
//! Scenarios that run at the same time have namespaces of their own, but not an enforcer of their own. An enforcer that gives
//! up because of one policy leaves the policies of all scenarios undone. The leaks are true, and another scenario causes
//! them.

use super::judge::Verdict;
use super::repeat::add_earlier;
use super::result::{Alone, CellResult, ScenarioResult};

impl CellResult {
    /// Returns whether packets did something else than the policies promise.
    pub fn differs(&self) -> bool {
        let is_wrong = match self.verdict {
            Verdict::Leak | Verdict::Blocked | Verdict::Flaky => true,
            Verdict::Match | Verdict::Undefined | Verdict::Skipped(_) | Verdict::Inconclusive(_) => false,
        };
        is_wrong || self.is_late()
    }
}

impl ScenarioResult {
    /// Returns whether packets differed while other scenarios ran.
    pub fn differs_beside_others(&self) -> bool {
        let mut cells = self.steps.iter().flat_map(|step| &step.cells);
        self.beside.is_some() && cells.any(CellResult::differs)
    }

    /// Returns this result with what the same scenario has shown alone. A difference stays one, whatever the scenario
    /// shows alone. One that is only seen alone is added, as a repetition.
    #[must_use]
    pub fn with_alone(mut self, alone: &Self) -> Self {
        if let Some(beside) = &mut self.beside {
            beside.alone = Some(match &alone.failure {
                Some(failure) => Alone::NotRun(failure.message.clone()),
                None => Alone::Run,
            });
        }
        for (own, alone) in self.steps.iter_mut().zip(&alone.steps) {
            for alone in &alone.cells {
                let is_it = |cell: &CellResult| cell.cell == alone.cell && cell.differs();
                if alone.differs() && !own.cells.iter().any(is_it) {
                    add_earlier(own, alone);
                }
                let cell = own.cells.iter_mut().find(|cell| is_it(cell));
                // A late change has no other verdict than one in time.
                if let Some(cell) = cell.filter(|_| alone.verdict != Verdict::Match || !alone.is_late()) {
                    cell.alone = Some(alone.verdict.clone());
                }
            }
        }
        self
    }
}
