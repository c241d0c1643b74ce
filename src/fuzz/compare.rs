//! Compares the answers of the policy engine, the naive evaluator and packets.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::recording::RecordedStep;
use super::world::Naive;
use crate::plan::Cell;
use crate::policy::{Decision, Reason};
use crate::verdict::{Observation, Verdict};

/// The one of the three that differs from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Differs {
    /// The policy engine: the naive evaluator and the packets agree.
    Engine,
    /// The naive evaluator: the policy engine and the packets agree.
    #[serde(rename = "naive-evaluator")]
    Naive,
    /// Engine and naive evaluator: they differ from each other, and packets cannot tell which one is right.
    Evaluators,
    /// The packets: engine and naive evaluator agree.
    Packets,
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "the policy engine differs from the naive evaluator and from packets",
            Self::Naive => "the naive evaluator differs from the policy engine and from packets",
            Self::Evaluators => "the policy engine and the naive evaluator differ; packets cannot tell",
            Self::Packets => "packets differ from the policy engine and from the naive evaluator",
        })
    }
}

/// A cell for which the three do not agree.
#[derive(Debug, Clone)]
pub struct Disagreement {
    /// The cell.
    pub cell: Cell,
    /// Decision of the policy engine.
    pub engine: Decision,
    /// Reasons for the engine's decision.
    pub reasons: Vec<Reason>,
    /// Decision of the naive evaluator.
    pub naive: Decision,
    /// Observation of the packets, if any were sent.
    pub observed: Option<Observation>,
    /// The one that differs.
    pub differs: Differs,
}

/// Returns the disagreements of one step.
pub(super) fn compare(step: &RecordedStep<'_>) -> Vec<Disagreement> {
    let naive = Naive::new(step.after);
    let disagreements = step.cells.iter().filter_map(|result| {
        // If the naive evaluator does not find an end of the cell, its decision counts as undefined.
        let naive = naive.decide(&result.cell).unwrap_or(Decision::Undefined);
        let engine = result.expected.decision;
        let differs = if engine == naive {
            match result.verdict {
                Verdict::Leak | Verdict::Blocked => Differs::Packets,
                Verdict::Match
                | Verdict::Undefined
                | Verdict::Flaky
                | Verdict::Skipped(_)
                | Verdict::Inconclusive(_) => {
                    return None;
                }
            }
        } else {
            who_is_alone(engine, naive, result.observed.as_ref())
        };
        Some(Disagreement {
            cell: result.cell.clone(),
            engine,
            reasons: result.expected.reasons.clone(),
            naive,
            observed: result.observed.clone(),
            differs,
        })
    });
    disagreements.collect()
}

/// Returns who differs. Packets confirm the evaluator that predicted them.
fn who_is_alone(engine: Decision, naive: Decision, observed: Option<&Observation>) -> Differs {
    let is_borne_out = |decision: Decision| {
        decision != Decision::Undefined
            && observed.and_then(|observation| observation.agrees_with(decision)) == Some(true)
    };
    match (is_borne_out(engine), is_borne_out(naive)) {
        (true, false) => Differs::Naive,
        (false, true) => Differs::Engine,
        (true, true) | (false, false) => Differs::Evaluators,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_say_who_is_alone() {
        use Decision::{Allow, Deny, Undefined};
        let (connected, dropped) = (Observation::Connected, Observation::Dropped);
        assert_eq!(who_is_alone(Allow, Deny, Some(&connected)), Differs::Naive);
        assert_eq!(who_is_alone(Allow, Deny, Some(&dropped)), Differs::Engine);
        assert_eq!(who_is_alone(Undefined, Deny, Some(&dropped)), Differs::Engine);
        assert_eq!(who_is_alone(Undefined, Deny, Some(&connected)), Differs::Evaluators);
        assert_eq!(who_is_alone(Allow, Deny, None), Differs::Evaluators);
    }
}
