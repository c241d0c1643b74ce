//! Which machines enforce, and which do not: every node's data path enforces for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::judge::Verdict;
use super::result::{CellResult, Environment, RunResult, ScenarioResult};
use crate::policy::{Direction, Expectation, Reason};

/// The machines on which the ends of a cell are; `None` for what is on no machine, or on several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machines {
    /// Who sends.
    pub from: Option<String>,
    /// To whom.
    pub to: Option<String>,
}

/// What was measured at one machine, in numbers of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MachineCounts {
    /// It was the source.
    pub source: usize,
    /// It was the destination.
    pub destination: usize,
    /// It should have denied them, and did not.
    #[serde(rename = "leak")]
    pub leaks: usize,
    /// It was an end of them, and they should have been delivered.
    pub blocked: usize,
}

/// How many of a cluster's nodes a run covers. What a run proves, it proves of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCoverage<'a> {
    /// The nodes that are an end of a judged cell, with the versions of their kubelets.
    pub used: Vec<(&'a str, &'a str)>,
    /// How many nodes the cluster has.
    pub all: usize,
}

impl fmt::Display for NodeCoverage<'_> {
    /// `2 of 200: node-1 (v1.35.2), node-2 (v1.35.2)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, all } = self;
        write!(f, "{} of {all}", used.len())?;
        for (index, (name, kubelet)) in used.iter().enumerate() {
            let separator = if index == 0 { ":" } else { "," };
            write!(f, "{separator} {name} ({kubelet})")?;
        }
        Ok(())
    }
}

impl Environment {
    /// How many of the cluster's nodes are among these machines, at which cells were judged; `None` in the lab.
    pub fn coverage(&self, judged: &BTreeSet<&str>) -> Option<NodeCoverage<'_>> {
        let used = self.nodes.iter().map(|(name, kubelet)| (name.as_str(), kubelet.as_str()));
        let used = used.filter(|(name, _)| judged.contains(name)).collect();
        (!self.nodes.is_empty()).then_some(NodeCoverage { used, all: self.nodes.len() })
    }

    /// Returns the facts about the environment, with how many of a cluster's nodes were judged.
    pub fn facts_with_nodes(&self, judged: &BTreeSet<&str>) -> Vec<(String, String)> {
        let nodes = self.coverage(judged).map(|coverage| ("nodes".to_owned(), coverage.to_string()));
        nodes.into_iter().chain(self.facts.iter().cloned()).collect()
    }
}

impl CellResult {
    /// The machines that should have denied a cell. `None` if one of them is not known.
    ///
    /// The specification does not say where a policy is enforced; all implementations do it where the
    /// pod is that the policy selects.
    pub fn enforcers(&self) -> Option<BTreeSet<&str>> {
        machines_of(denying(&self.expected), &self.machines)
    }
}

/// The directions in which policies deny what is expected to be denied.
pub(super) fn denying(expected: &Expectation) -> impl Iterator<Item = Direction> {
    expected.reasons.iter().filter_map(|reason| match reason {
        Reason::Isolated { direction, .. } => Some(*direction),
        Reason::DeniedBy(rule) => Some(rule.direction),
        Reason::NotIsolated(_)
        | Reason::AllowedBy { .. }
        | Reason::PassedBy(_)
        | Reason::OwnAddress
        | Reason::OwnNode
        | Reason::NoPodNetwork
        | Reason::Undefined(_)
        | Reason::Reading { .. } => None,
    })
}

/// The machines that have to deny in these directions. `None` if one of them is not known.
pub(super) fn machines_of(
    directions: impl IntoIterator<Item = Direction>,
    machines: &Machines,
) -> Option<BTreeSet<&str>> {
    let machine = |direction| match direction {
        Direction::Egress => machines.from.as_deref(),
        Direction::Ingress => machines.to.as_deref(),
    };
    directions.into_iter().map(machine).collect()
}

impl ScenarioResult {
    /// The machines that are an end of a judged cell. Only of these is anything proved: a run may have others, whose
    /// pods never started or were never probed.
    pub fn judged_machines(&self) -> BTreeSet<&str> {
        let cells = self.steps.iter().flat_map(|step| &step.cells).filter(|cell| cell.is_judged());
        let ends = cells.flat_map(|cell| [&cell.machines.from, &cell.machines.to]);
        ends.flatten().map(String::as_str).collect()
    }
}

impl RunResult {
    /// The machines that are an end of a judged cell.
    pub fn judged_machines(&self) -> BTreeSet<&str> {
        self.scenarios.iter().flat_map(ScenarioResult::judged_machines).collect()
    }

    /// What was measured at each machine.
    pub fn machines(&self) -> BTreeMap<&str, MachineCounts> {
        let mut counts = BTreeMap::<&str, MachineCounts>::new();
        for cell in self
            .cells()
            .filter(|cell| !matches!(cell.verdict, Verdict::Inconclusive(_) | Verdict::Skipped(_)))
        {
            let Machines { from, to } = &cell.machines;
            if let Some(from) = from {
                counts.entry(from).or_default().source += 1;
            }
            if let Some(to) = to {
                counts.entry(to).or_default().destination += 1;
            }
            match cell.verdict {
                Verdict::Leak => {
                    for machine in cell.enforcers().into_iter().flatten() {
                        counts.entry(machine).or_default().leaks += 1;
                    }
                }
                Verdict::Blocked => {
                    for machine in BTreeSet::from_iter([from, to]).into_iter().flatten() {
                        counts.entry(machine).or_default().blocked += 1;
                    }
                }
                Verdict::Match
                | Verdict::Flaky
                | Verdict::Undefined
                | Verdict::Skipped(_)
                | Verdict::Inconclusive(_) => {}
            }
        }
        counts
    }

    /// The only machine of several that leaks, if there is one.
    pub fn leaking_machine(&self) -> Option<&str> {
        let mut leaks = self.cells().filter(|cell| cell.verdict == Verdict::Leak).peekable();
        leaks.peek()?;
        let enforcers: Option<Vec<_>> = leaks.map(CellResult::enforcers).collect();
        let all: BTreeSet<&str> = enforcers?.into_iter().flatten().collect();
        let mut all = all.into_iter();
        let one = all.next().filter(|_| all.next().is_none())?;
        // Only a node that has to deny something can be better than this one.
        let mut proved = self.cells().filter(|cell| cell.verdict == Verdict::Match);
        let is_elsewhere = |cell: &CellResult| {
            cell.enforcers().is_some_and(|enforcers| !enforcers.is_empty() && !enforcers.contains(one))
        };
        proved.any(is_elsewhere).then_some(one)
    }

    fn cells(&self) -> impl Iterator<Item = &CellResult> {
        self.steps().flat_map(|step| &step.cells)
    }
}
