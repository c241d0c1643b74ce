//! What each tenant may and can send to each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::question::Question;
use crate::policy::Decision;
use crate::verdict::{CellResult, StepResult, Verdict};

/// What is known about the connections from one tenant to another. The worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nothing was asked.
    NotAsked,
    /// Everything is denied, as the policies promise and nobody minds.
    Isolated,
    /// Something is open, and everything is as wanted.
    Open,
    /// The specification leaves something undefined.
    Undefined,
    /// Something was not measured.
    Inconclusive,
    /// The policies say something else than what is wanted.
    PolicyGap,
    /// The policies allow something that was not delivered.
    Blocked,
    /// The policies deny something that was delivered.
    Leak,
}

impl State {
    /// Returns what a cell shows. `wanted` is what packets should do according to the owners.
    fn of(cell: &CellResult) -> Self {
        match &cell.verdict {
            Verdict::Leak => return Self::Leak,
            Verdict::Blocked | Verdict::Flaky => return Self::Blocked,
            Verdict::Match | Verdict::Undefined | Verdict::Inconclusive(_) | Verdict::Skipped(_) => {}
        }
        if cell.is_policy_gap() {
            return Self::PolicyGap;
        }
        match (&cell.verdict, cell.expected.decision) {
            (Verdict::Inconclusive(_), _) => Self::Inconclusive,
            (Verdict::Skipped(_), _) => Self::NotAsked,
            (_, Decision::Undefined) => Self::Undefined,
            (_, Decision::Allow) => Self::Open,
            (_, Decision::Deny) => Self::Isolated,
        }
    }
}

/// A tenant, or everything that belongs to none.
pub type Party = Option<String>;

/// The states of all ordered pairs of tenants about which something was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matrix {
    /// By source and destination.
    pub states: BTreeMap<(Party, Party), State>,
}

impl Matrix {
    /// Collects the states of a check. The cells of the step are in the order of the questions. Probes are a sample, so what
    /// the policies allow (`open`) and where they are not as wanted (`gaps`) counts without packets, too.
    pub(super) fn new<'a>(
        questions: &[Question],
        step: Option<&StepResult>,
        gaps: impl Iterator<Item = [&'a [String]; 2]>,
        open: &BTreeSet<(Party, Party)>,
    ) -> Self {
        let mut states = BTreeMap::new();
        let cells = step.map(|step| step.cells.as_slice()).unwrap_or_default();
        for (question, cell) in questions.iter().zip(cells) {
            if question.from.is_empty() && question.to.is_empty() {
                // Probe pods of no tenant, among themselves.
                continue;
            }
            let state = State::of(cell);
            raise(&mut states, pairs(&question.from, &question.to), state);
        }
        for (pair, state) in &mut states {
            if *state == State::Isolated && open.contains(pair) {
                *state = State::Open;
            }
        }
        for [from, to] in gaps {
            raise(&mut states, pairs(from, to), State::PolicyGap);
        }
        Self { states }
    }
}

/// Records a state of these pairs, unless a worse one is known.
fn raise(states: &mut BTreeMap<(Party, Party), State>, pairs: Vec<(Party, Party)>, state: State) {
    for pair in pairs {
        let known = states.entry(pair).or_insert(state);
        *known = state.max(*known);
    }
}

/// Returns the pairs of parties between ends that belong to these tenants. A pod of a namespace that several tenants own
/// counts for each of them.
pub(super) fn pairs(from: &[String], to: &[String]) -> Vec<(Party, Party)> {
    let to = parties(to);
    parties(from).into_iter().flat_map(|from| to.iter().map(move |to| (from.clone(), to.clone()))).collect()
}

/// Returns the tenants of an end, or the one party that is none.
fn parties(tenants: &[String]) -> Vec<Party> {
    match tenants {
        [] => vec![None],
        tenants => tenants.iter().cloned().map(Some).collect(),
    }
}
