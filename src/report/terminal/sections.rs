//! The problems, a section for each kind: the cells, with what was observed and the reasons for the
//! expectation.

use super::Report;
use crate::document::{Deviation, IpFamily, Problem, Profile, Scenario, Step};
use crate::report::escape::{Plain, lines};
use crate::report::page::{LINES, Page, Row};
use crate::report::style::{BAD, FAINT, UNSURE, paint};
use crate::report::view::{self, Section};

/// Greatest count of lines of a list that only shows that a demonstration worked.
const DEMONSTRATED: usize = 2;

/// Shows the problems of some scenarios, in sections.
pub(in crate::report) fn findings(page: &mut Page, scenarios: &[Scenario]) {
    for section in &view::SECTIONS {
        cells(page, scenarios, section);
    }
    for scenario in scenarios {
        if let Some(failure) = &scenario.failure {
            page.title(UNSURE, "Not run", Plain(&scenario.name));
            page.line(format!("    {}", lines(failure)));
        }
        if scenario.misses_demonstration() {
            page.title(BAD, "Nothing demonstrated", Plain(&scenario.name));
            page.line(format!("    {}", view::NO_GAP));
        }
    }
}

/// Lists the cells with one problem.
fn cells(page: &mut Page, scenarios: &[Scenario], section: &Section) {
    let Section { problem, title, style, explanation } = *section;
    let mut has_title = false;
    let steps = scenarios.iter().flat_map(|scenario| scenario.steps.iter().map(move |step| (scenario, step)));
    for (scenario, step) in steps {
        let cells = step.cells.iter().filter(|cell| cell.has(problem));
        let rows =
            cells.map(|cell| Row::new(cell, view::finding(problem, cell), view::reason(problem, cell)));
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            continue;
        }
        if !has_title {
            page.title(style, title, paint(FAINT, explanation));
            has_title = true;
        }
        let (note, most) = match (problem, scenario.demonstrates) {
            (Problem::PolicyGap, Some(_)) => {
                (paint(FAINT, " (found, as this scenario demonstrates)"), DEMONSTRATED)
            }
            (_, _) => (String::new(), LINES),
        };
        page.line(format!("  {} › {}{note}", Plain(&scenario.name), Plain(&step.name)));
        page.cells(rows, has_both_families(step), most);
    }
}

fn has_both_families(step: &Step) -> bool {
    IpFamily::ALL.into_iter().all(|family| step.cells.iter().any(|cell| cell.family == family))
}

impl Report<'_> {
    pub(super) fn sections(&mut self) {
        findings(&mut self.page, &self.run.scenarios);
        let run = self.run;
        let deviations = run.profiles.iter().flat_map(|profile| {
            profile.deviations.iter().filter(|deviation| deviation.cells > 0).map(move |each| (profile, each))
        });
        for (index, (profile, deviation)) in deviations.enumerate() {
            if index == 0 {
                let explanation = paint(FAINT, "known deviations: recorded, never judged");
                self.page.title(UNSURE, "Left undefined by profiles", explanation);
            }
            self.deviation(profile, deviation);
        }
    }

    /// Shows what a deviation makes undefined.
    fn deviation(&mut self, profile: &Profile, deviation: &Deviation) {
        self.page.line(Plain(format!("  {}: {}", profile.name, deviation.reason)));
        self.page.line(format!("    {}", view::deviation(deviation)));
        for reference in &deviation.references {
            self.page.line(format!("    {}", paint(FAINT, Plain(reference))));
        }
        let run = self.run;
        for (scenario, step) in run.steps().take(if self.page.everything { usize::MAX } else { 0 }) {
            let own = step.cells.iter().filter(|cell| {
                cell.deviation
                    .as_ref()
                    .is_some_and(|own| own.profile == profile.name && own.place == deviation.place)
            });
            let rows: Vec<_> =
                own.map(|cell| Row::new(cell, view::seen(cell), view::reasons(cell))).collect();
            if !rows.is_empty() {
                self.page.line(Plain(format!("  {} › {}", scenario.name, step.name)));
                self.page.cells(rows, true, LINES);
            }
        }
    }
}
