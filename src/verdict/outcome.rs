//! The outcomes of steps, scenarios and runs.

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::power::Proof;
use super::result::{RunResult, ScenarioResult};
use crate::scenario::Demonstrates;

/// Outcome of a step, a scenario or a run. The worst outcome is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// No claim was judged, or none of the denials, as declared: the environment lacks a capability, or a
    /// profile excuses all of them.
    Skipped,
    /// Every claim was judged and holds, except those that were skipped or excused as declared.
    Pass,
    /// A claim was not judged, or a cell was flaky, and nothing is worse.
    #[default]
    Inconclusive,
    /// Leaks, blocked cells, policy gaps, assertion errors, late changes, or the lack of a required
    /// capability.
    Fail,
}

/// Exit code of a run that the user interrupted. Shells use it for a command that SIGINT ended.
pub const INTERRUPTED: u8 = 130;

impl Outcome {
    /// Returns the exit code that `--help` explains.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            // A run that skips everything proves nothing.
            Self::Inconclusive | Self::Skipped => 3,
        }
    }

    /// Returns the exit code of a command that the user may have interrupted.
    pub fn exit_code_unless(self, is_interrupted: bool) -> u8 {
        if is_interrupted { INTERRUPTED } else { self.exit_code() }
    }
}

impl Counts {
    /// Returns the outcome of cells with these counts.
    pub fn outcome(&self, demonstrates: Option<Demonstrates>) -> Outcome {
        let gaps_count = match demonstrates {
            Some(Demonstrates::PolicyGap) => false,
            None => self.gaps > 0,
        };
        if self.leaks + self.blocked + self.assertion_errors + self.late > 0 || gaps_count {
            Outcome::Fail
        } else if self.flaky + self.inconclusive + self.unjudged() > 0 {
            Outcome::Inconclusive
        } else if self.denials > 0 && self.proves_nothing() {
            // All denials were skipped or excused. The remaining allowances prove no isolation.
            Outcome::Skipped
        } else if self.judged > 0 {
            Outcome::Pass
        } else if self.skipped + self.excused > 0 {
            Outcome::Skipped
        } else {
            // Nothing was claimed, so nothing is proved.
            Outcome::Inconclusive
        }
    }
}

impl ScenarioResult {
    /// Returns whether the scenario must demonstrate a mistake, and does not.
    pub fn misses_demonstration(&self) -> bool {
        match self.demonstrates {
            Some(Demonstrates::PolicyGap) => self.failure.is_none() && self.counts().gaps == 0,
            None => false,
        }
    }

    /// Returns the outcome of the scenario.
    pub fn outcome(&self) -> Outcome {
        let outcome = self.counts().outcome(self.demonstrates);
        if self.misses_demonstration() || !self.lacking().is_empty() {
            Outcome::Fail
        } else if self.failure.is_some() {
            outcome.max(Outcome::Inconclusive)
        } else {
            outcome
        }
    }
}

impl RunResult {
    /// Returns the outcome of the run. `proof` is the evidence for its denials. A run passes only if it proves at least
    /// one denial.
    pub fn outcome(&self, proof: &Proof) -> Outcome {
        let worst = self.scenarios.iter().map(ScenarioResult::outcome).max().unwrap_or(Outcome::Skipped);
        let is_unproved =
            self.counts().proves_nothing() || proof.falls_short || !self.environment.is_modelled();
        // A lack of what the run requires has failed its scenarios already.
        if self.interrupted || self.left() > 0 || is_unproved {
            worst.max(Outcome::Inconclusive)
        } else {
            worst
        }
    }
}
