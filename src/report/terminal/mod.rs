//! The report for people: the verdict first, then what is wrong, then the rest.

mod headline;
mod notes;
mod sections;
mod table;

use std::fmt::Write;

use super::escape::Plain;
use super::style::{FAINT, STRONG, paint};
use super::{latency, machines, matrix};
use crate::verdict::{RunResult, ScenarioResult, StepResult};

/// The report of a run. `everything` shows every matrix and every differing cell.
pub fn terminal(result: &RunResult, everything: bool) -> String {
    let mut report = Report { text: String::new(), result, everything };
    report.verdict();
    report.sections();
    report.latency();
    report.matrices();
    report.table();
    report.machines();
    report.notes();
    report.text
}

/// Only what is wrong, as the report of a run has it.
pub(super) fn findings(result: &RunResult) -> String {
    let mut report = Report { text: String::new(), result, everything: false };
    report.sections();
    report.text
}

struct Report<'a> {
    text: String,
    result: &'a RunResult,
    everything: bool,
}

/// How many lines a list of cells may have unless everything is asked for.
const LINES: usize = 12;

impl Report<'_> {
    fn most(&self, lines: usize) -> usize {
        if self.everything { usize::MAX } else { lines }
    }

    fn line(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{line}");
    }

    fn latency(&mut self) {
        if let Some(table) = latency::table(self.result, self.everything) {
            self.line(format!("\n{table}"));
        }
    }

    /// Every step's matrix, or that of the first step that differs.
    fn matrices(&mut self) {
        let differs = |step: &StepResult| {
            let counts = step.counts();
            counts.leaks + counts.blocked + counts.flaky > 0
        };
        let mut shown = 0;
        for (scenario, step) in steps(self.result) {
            if self.everything || (shown == 0 && differs(step)) {
                self.line(format!("\n{} › {}", paint(STRONG, Plain(&scenario.name)), Plain(&step.name)));
                self.text.push_str(&matrix::matrices(step));
                shown += 1;
            }
        }
        if shown > 0 {
            self.line(paint(FAINT, matrix::LEGEND));
        }
    }

    /// One line a node, where they may differ.
    fn machines(&mut self) {
        let counts = self.result.counts();
        let is_cluster = !self.result.environment.facts.is_empty();
        if (is_cluster || counts.leaks + counts.blocked > 0)
            && let Some(table) = machines::table(self.result)
        {
            self.line(format!("\n{}", table.trim_end_matches('\n')));
        }
    }
}

fn steps(result: &RunResult) -> impl Iterator<Item = (&ScenarioResult, &StepResult)> {
    result.scenarios.iter().flat_map(|scenario| scenario.steps.iter().map(move |step| (scenario, step)))
}
