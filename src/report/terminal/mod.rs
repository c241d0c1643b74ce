//! The report for people: the verdict first, then the problems, then the rest.

mod alone;
mod diagnosis;
mod headline;
mod notes;
mod sections;
mod table;

use super::escape::{Plain, shown};
use super::page::Page;
use super::style::{FAINT, STRONG, Table, paint, thousands};
use super::{latency, matrix};
use crate::document::{NodeCounts, RunDocument, Step};

pub(super) use headline::lacks;
pub(super) use sections::findings;

/// Returns the report of a run. `everything` shows every matrix and every differing cell.
pub fn terminal(run: &RunDocument, everything: bool) -> String {
    let mut report = Report { page: Page::new(everything), run };
    report.verdict();
    report.diagnosis();
    report.alone();
    report.sections();
    report.latency();
    report.matrices();
    report.table();
    report.nodes();
    report.notes();
    report.page.text
}

struct Report<'a> {
    page: Page,
    run: &'a RunDocument,
}

impl Report<'_> {
    fn latency(&mut self) {
        if let Some(table) = latency::table(self.run, self.page.everything) {
            self.page.line(format!("\n{table}"));
        }
    }

    /// Shows the matrix of every step, or of the first step that differs.
    fn matrices(&mut self) {
        let differs = |step: &Step| step.counts.leaks + step.counts.blocked + step.counts.flaky > 0;
        let mut shown = 0;
        for (scenario, step) in self.run.steps() {
            if self.page.everything || (shown == 0 && differs(step)) {
                self.page.line(format!("\n{} › {}", paint(STRONG, Plain(&scenario.name)), Plain(&step.name)));
                self.page.text.push_str(&matrix::matrices(step));
                shown += 1;
            }
        }
        if shown > 0 {
            self.page.line(paint(FAINT, matrix::LEGEND));
        }
    }

    /// Shows a line for each node, if nodes may differ.
    fn nodes(&mut self) {
        let RunDocument { counts, facts, nodes, .. } = self.run;
        let is_cluster = !facts.is_empty();
        if nodes.len() < 2 || !(is_cluster || counts.leaks + counts.blocked > 0) {
            return;
        }
        let mut table = Table::new(["node", "as source", "as destination", "leaks", "blocked"]);
        for (name, NodeCounts { source, destination, leaks, blocked }) in nodes {
            let numbers = [source, destination, leaks, blocked].map(|number| thousands(*number));
            table.row([shown(name)].into_iter().chain(numbers));
        }
        self.page.block(&table.lines(1..5));
    }
}
