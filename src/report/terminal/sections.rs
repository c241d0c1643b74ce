//! What is wrong, a section a kind: each cell with what was seen, and why it should have been otherwise.

use anstyle::Style;

use super::{LINES, Report, steps};
use crate::policy::{Decision, IpFamily};
use crate::report::cells::{self, reasons, seen};
use crate::report::escape::{Plain, lines};
use crate::report::style::{BAD, FAINT, UNSURE, paint};
use crate::report::{latency, profiles};
use crate::verdict::{CellResult, StepResult, Verdict};

/// How many it may have where it only shows that a demonstration worked.
const DEMONSTRATED: usize = 2;

/// Cells of a step that belong into a section.
type Belongs = fn(&CellResult) -> bool;

impl Report<'_> {
    pub(super) fn sections(&mut self) {
        let is_leak: Belongs = |cell| cell.verdict == Verdict::Leak;
        let is_blocked: Belongs = |cell| cell.verdict == Verdict::Blocked;
        let is_flaky: Belongs = |cell| cell.verdict == Verdict::Flaky;
        self.section("Leaks", BAD, "denied by the policies, delivered anyway", is_leak, seen, reasons);
        self.section("Blocked", BAD, "allowed by the policies, not delivered", is_blocked, seen, reasons);
        let late = "in force as promised, but later than asked for";
        self.section("Late", BAD, late, CellResult::is_late, latency::lateness, reasons);
        self.gaps();
        self.section(
            "Assertion errors",
            BAD,
            "the scenario asserts something else than the policies promise",
            CellResult::is_assertion_error,
            |cell| match cell.asserted {
                Some(asserted) => format!("asserted {asserted}, computed {}", cell.expected.decision),
                None => String::new(),
            },
            reasons,
        );
        self.section("Flaky", UNSURE, "answers that differed after settling", is_flaky, seen, reasons);
        self.section(
            "Not measured",
            UNSURE,
            "inconclusive",
            is_inconclusive,
            |cell| cells::repeated(cell).unwrap_or_default(),
            |cell| match &cell.verdict {
                Verdict::Inconclusive(cause) => cause.to_string(),
                Verdict::Match
                | Verdict::Leak
                | Verdict::Blocked
                | Verdict::Flaky
                | Verdict::Undefined
                | Verdict::Skipped(_) => String::new(),
            },
        );
        self.failures();
        profiles::section(&mut self.text, self.result, self.everything);
    }

    fn section(
        &mut self,
        title: &str,
        style: Style,
        explanation: &str,
        belongs: Belongs,
        seen: impl Fn(&CellResult) -> String,
        reason: impl Fn(&CellResult) -> String,
    ) {
        let mut has_title = false;
        for (scenario, step) in steps(self.result) {
            let cells: Vec<_> = step.cells.iter().filter(|cell| belongs(cell)).collect();
            if cells.is_empty() {
                continue;
            }
            if !has_title {
                self.line(format!("\n{}  {}", paint(style, title), paint(FAINT, explanation)));
                has_title = true;
            }
            self.line(Plain(format!("  {} › {}", scenario.name, step.name)));
            let most = self.most(LINES);
            cells::list(&mut self.text, cells, has_both_families(step), most, &seen, &reason);
        }
    }

    fn gaps(&mut self) {
        let mut has_title = false;
        for (scenario, step) in steps(self.result) {
            let gaps: Vec<_> = step.gaps().map(|gap| gap.cell).collect();
            if gaps.is_empty() {
                continue;
            }
            if !has_title {
                let explanation = "the policies say something else than their owner wants: fix the policies";
                self.line(format!("\n{}  {}", paint(UNSURE, "Policy gaps"), paint(FAINT, explanation)));
                has_title = true;
            }
            let (shown, most) = match scenario.demonstrates {
                Some(_) => (paint(FAINT, " (found, as this scenario demonstrates)"), DEMONSTRATED),
                None => (String::new(), LINES),
            };
            self.line(format!("  {} › {}{shown}", Plain(&scenario.name), Plain(&step.name)));
            let seen = |cell: &CellResult| match cell.intended {
                Some(intended) => format!("wanted {intended}, the policies {}", verb(cell)),
                None => String::new(),
            };
            let most = self.most(most);
            cells::list(&mut self.text, gaps, has_both_families(step), most, seen, reasons);
        }
    }

    fn failures(&mut self) {
        for scenario in &self.result.scenarios {
            if let Some(failure) = &scenario.failure {
                self.line(format!("\n{}  {}", paint(UNSURE, "Not run"), Plain(&scenario.name)));
                self.line(format!("    {}", lines(&failure.message)));
            }
            if scenario.misses_demonstration() {
                self.line(format!("\n{}  {}", paint(BAD, "Nothing demonstrated"), Plain(&scenario.name)));
                self.line("    it has to show a policy gap, and there is none");
            }
        }
    }
}

fn is_inconclusive(cell: &CellResult) -> bool {
    matches!(cell.verdict, Verdict::Inconclusive(_))
}

fn has_both_families(step: &StepResult) -> bool {
    IpFamily::ALL.into_iter().all(|family| step.cells.iter().any(|cell| cell.cell.family == family))
}

fn verb(cell: &CellResult) -> &'static str {
    match cell.expected.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Undefined => "leave it open",
    }
}
