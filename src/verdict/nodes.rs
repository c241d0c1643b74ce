//! Which nodes enforce, and which do not. The data path of every node enforces for itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::enforcers::{Nodes, denying, nodes_of, only};
use super::judge::Verdict;
use super::result::{CellResult, Environment, RunResult, ScenarioResult};

/// Counts of the cells that were measured at one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeCounts {
    /// Cells with the node as source.
    pub source: usize,
    /// Cells with the node as destination.
    pub destination: usize,
    /// Cells that the node should have denied, and did not.
    #[serde(rename = "leak")]
    pub leaks: usize,
    /// Blocked cells of which the node is an end.
    pub blocked: usize,
}

/// How many of a cluster's nodes a run covers. The run proves enforcement only on these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCoverage {
    /// Count of the nodes that are an end of a judged cell.
    pub used: usize,
    /// Count of the cluster's nodes.
    pub all: usize,
}

impl Environment {
    /// Returns how many of the cluster's nodes are among the nodes at which cells were judged. `None` in the
    /// lab.
    pub fn coverage(&self, judged: &BTreeSet<&str>) -> Option<NodeCoverage> {
        let used = self.nodes.keys().filter(|name| judged.contains(name.as_str())).count();
        (!self.nodes.is_empty()).then_some(NodeCoverage { used, all: self.nodes.len() })
    }

    /// Returns the facts about the environment. On a cluster, the first one is which of its nodes were judged:
    /// `2 of 200: node-1 (v1.35.2), node-2 (v1.35.2)`.
    pub fn facts_with_nodes(&self, judged: &BTreeSet<&str>) -> Vec<(String, String)> {
        let nodes = self.coverage(judged).map(|NodeCoverage { used, all }| {
            let nodes = self.nodes.iter().filter(|(name, _)| judged.contains(name.as_str()));
            let nodes: Vec<_> = nodes.map(|(name, kubelet)| format!("{name} ({kubelet})")).collect();
            let separator = if used == 0 { "" } else { ": " };
            ("nodes".to_owned(), format!("{used} of {all}{separator}{}", nodes.join(", ")))
        });
        nodes.into_iter().chain(self.facts.iter().cloned()).collect()
    }
}

impl CellResult {
    /// Returns the nodes that must deny the cell. `None` if one of them is not known.
    ///
    /// The specification does not say where a policy is enforced. All implementations do it on the node of
    /// the pod that the policy selects.
    pub fn enforcers(&self) -> Option<BTreeSet<&str>> {
        nodes_of(denying(&self.expected), &self.nodes)
    }
}

impl ScenarioResult {
    /// Returns the nodes that are an end of a judged cell. The run proves nothing about other nodes, whose
    /// pods never started or were never probed.
    pub fn judged_nodes(&self) -> BTreeSet<&str> {
        let cells = self.steps.iter().flat_map(|step| &step.cells).filter(|cell| cell.is_judged());
        let ends = cells.flat_map(|cell| [&cell.nodes.from, &cell.nodes.to]);
        ends.flatten().map(String::as_str).collect()
    }
}

impl RunResult {
    /// Returns the nodes that are an end of a judged cell.
    pub fn judged_nodes(&self) -> BTreeSet<&str> {
        self.scenarios.iter().flat_map(ScenarioResult::judged_nodes).collect()
    }

    /// Returns the counts of measured cells by node.
    pub fn nodes(&self) -> BTreeMap<&str, NodeCounts> {
        let mut counts = BTreeMap::<&str, NodeCounts>::new();
        for cell in self
            .cells()
            .filter(|cell| !matches!(cell.verdict, Verdict::Inconclusive(_) | Verdict::Skipped(_)))
        {
            let Nodes { from, to } = &cell.nodes;
            if let Some(from) = from {
                counts.entry(from).or_default().source += 1;
            }
            if let Some(to) = to {
                counts.entry(to).or_default().destination += 1;
            }
            if cell.verdict == Verdict::Leak {
                for node in cell.enforcers().into_iter().flatten() {
                    counts.entry(node).or_default().leaks += 1;
                }
            } else if cell.verdict == Verdict::Blocked {
                for node in BTreeSet::from_iter([from, to]).into_iter().flatten() {
                    counts.entry(node).or_default().blocked += 1;
                }
            }
        }
        counts
    }

    /// Returns the only one of several nodes that leaks. `None` if there is no such node.
    pub fn leaking_node(&self) -> Option<&str> {
        let mut leaks = self.cells().filter(|cell| cell.verdict == Verdict::Leak).peekable();
        leaks.peek()?;
        let enforcers: Option<Vec<_>> = leaks.map(CellResult::enforcers).collect();
        let one = only(enforcers?.into_iter().flatten().collect())?;
        // Another node is better only if it had to deny something, and did.
        let mut proved = self.cells().filter(|cell| cell.verdict == Verdict::Match);
        let is_elsewhere = |cell: &CellResult| {
            cell.enforcers().is_some_and(|enforcers| !enforcers.is_empty() && !enforcers.contains(one))
        };
        proved.any(is_elsewhere).then_some(one)
    }
}
