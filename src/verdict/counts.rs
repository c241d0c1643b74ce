//! Counts of cells and claims.

use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::judge::Verdict;
use super::result::{CellResult, RunResult, ScenarioResult, StepResult};
use crate::policy::Decision;

/// Counts of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Packets did what the policies say.
    #[serde(rename = "match")]
    pub matches: usize,
    /// Denied packets were delivered.
    #[serde(rename = "leak")]
    pub leaks: usize,
    /// Allowed packets were not delivered.
    pub blocked: usize,
    /// Allowed packets were not always delivered after settling.
    pub flaky: usize,
    /// Undefined by the specification or by a profile.
    pub undefined: usize,
    /// Undefined by a profile.
    #[serde(rename = "undefinedByProfile")]
    pub excused: usize,
    /// Not measured because the environment lacks a capability that the scenario requires.
    pub skipped: usize,
    /// Not measured for another reason.
    pub inconclusive: usize,
    /// Cells that must be judged: asserted by the author, or denied by the policies.
    pub claims: usize,
    /// Claims that were judged.
    pub judged: usize,
    /// Cells that the policies deny, judged or not.
    pub denials: usize,
    /// Judged claims that are denials.
    pub judged_denials: usize,
    /// Claims that were skipped.
    pub skipped_claims: usize,
    /// Claims that a profile excuses.
    pub excused_claims: usize,
    /// Cells with a policy gap.
    #[serde(rename = "policyGaps")]
    pub gaps: usize,
    /// Cells with an assertion error.
    pub assertion_errors: usize,
    /// Cells whose change was in force after the limit.
    pub late: usize,
    /// Probes that were sent again, because one had gone missing.
    pub retries: usize,
}

impl Counts {
    fn of(cell: &CellResult) -> Self {
        let (is_claim, is_judged) = (cell.is_claim(), cell.is_judged());
        let is_denial = cell.expected.decision == Decision::Deny;
        let is_skipped = matches!(cell.verdict, Verdict::Skipped(_));
        let mut counts = Self {
            excused: usize::from(cell.is_excused()),
            claims: usize::from(is_claim),
            judged: usize::from(is_claim && is_judged),
            denials: usize::from(is_denial),
            judged_denials: usize::from(is_judged && is_denial),
            skipped_claims: usize::from(is_claim && is_skipped),
            excused_claims: usize::from(is_claim && cell.is_excused()),
            gaps: usize::from(cell.is_policy_gap()),
            assertion_errors: usize::from(cell.contradicts(cell.asserted)),
            late: usize::from(cell.is_late()),
            retries: cell.retries as usize,
            ..Self::default()
        };
        let counter = match &cell.verdict {
            Verdict::Match => &mut counts.matches,
            Verdict::Leak => &mut counts.leaks,
            Verdict::Blocked => &mut counts.blocked,
            Verdict::Flaky => &mut counts.flaky,
            Verdict::Undefined => &mut counts.undefined,
            Verdict::Skipped(_) => &mut counts.skipped,
            Verdict::Inconclusive(_) => &mut counts.inconclusive,
        };
        *counter = 1;
        counts
    }

    /// Returns whether no denial was judged. Then nothing is known about isolation.
    pub fn proves_nothing(&self) -> bool {
        self.judged_denials == 0
    }

    /// Returns the count of claims that were neither judged, nor skipped or excused as declared.
    pub fn unjudged(&self) -> usize {
        self.claims.saturating_sub(self.judged + self.skipped_claims + self.excused_claims)
    }

    /// Returns the count of all cells.
    pub fn cells(&self) -> usize {
        self.matches
            + self.leaks
            + self.blocked
            + self.flaky
            + self.undefined
            + self.skipped
            + self.inconclusive
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            matches: self.matches + other.matches,
            leaks: self.leaks + other.leaks,
            blocked: self.blocked + other.blocked,
            flaky: self.flaky + other.flaky,
            undefined: self.undefined + other.undefined,
            excused: self.excused + other.excused,
            skipped: self.skipped + other.skipped,
            inconclusive: self.inconclusive + other.inconclusive,
            claims: self.claims + other.claims,
            judged: self.judged + other.judged,
            denials: self.denials + other.denials,
            judged_denials: self.judged_denials + other.judged_denials,
            skipped_claims: self.skipped_claims + other.skipped_claims,
            excused_claims: self.excused_claims + other.excused_claims,
            gaps: self.gaps + other.gaps,
            assertion_errors: self.assertion_errors + other.assertion_errors,
            late: self.late + other.late,
            retries: self.retries + other.retries,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

impl StepResult {
    /// Returns the counts of cells.
    pub fn counts(&self) -> Counts {
        self.cells.iter().map(Counts::of).sum()
    }
}

impl ScenarioResult {
    /// Returns the counts of cells over all steps.
    pub fn counts(&self) -> Counts {
        self.steps.iter().map(StepResult::counts).sum()
    }
}

impl RunResult {
    /// Returns the counts of cells over all scenarios.
    pub fn counts(&self) -> Counts {
        self.scenarios.iter().map(ScenarioResult::counts).sum()
    }
}
