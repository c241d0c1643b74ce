//! The problems, a section for each kind: the cells, with what was observed and the reasons for the expectation.

use std::fmt::{Display, Write};

use anstyle::Style;

use super::{LINES, Report};
use crate::document::{Deviation, IpFamily, Problem, Profile, Scenario, Step};
use crate::report::cells::{Row, list};
use crate::report::escape::{Plain, lines};
use crate::report::style::{BAD, FAINT, UNSURE, paint};
use crate::report::view::{self, Section};

/// Greatest count of lines of a list that only shows that a demonstration worked.
const DEMONSTRATED: usize = 2;

/// Returns the sections about the problems of some scenarios, as the report of a run has them.
pub(in crate::report) fn findings(scenarios: &[Scenario], everything: bool) -> String {
    let mut text = String::new();
    for section in &view::SECTIONS {
        cells(&mut text, scenarios, section, everything);
    }
    for scenario in scenarios {
        if let Some(failure) = &scenario.failure {
            title(&mut text, UNSURE, "Not run", Plain(&scenario.name));
            let _ = writeln!(text, "    {}", lines(failure));
        }
        if scenario.misses_demonstration() {
            title(&mut text, BAD, "Nothing demonstrated", Plain(&scenario.name));
            let _ = writeln!(text, "    {}", view::NO_GAP);
        }
    }
    text
}

fn title(text: &mut String, style: Style, title: &str, about: impl Display) {
    let _ = writeln!(text, "\n{}  {about}", paint(style, title));
}

/// Lists the cells with one problem.
fn cells(text: &mut String, scenarios: &[Scenario], section: &Section, everything: bool) {
    let Section { problem, title: heading, style, explanation } = *section;
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
            title(text, style, heading, paint(FAINT, explanation));
            has_title = true;
        }
        let (note, most) = match (problem, scenario.demonstrates) {
            (Problem::PolicyGap, Some(_)) => {
                (paint(FAINT, " (found, as this scenario demonstrates)"), DEMONSTRATED)
            }
            (_, _) => (String::new(), LINES),
        };
        let _ = writeln!(text, "  {} › {}{note}", Plain(&scenario.name), Plain(&step.name));
        list(text, rows, has_both_families(step), if everything { usize::MAX } else { most });
    }
}

fn has_both_families(step: &Step) -> bool {
    IpFamily::ALL.into_iter().all(|family| step.cells.iter().any(|cell| cell.family == family))
}

impl Report<'_> {
    pub(super) fn sections(&mut self) {
        self.text.push_str(&findings(&self.run.scenarios, self.everything));
        let run = self.run;
        let deviations = run.profiles.iter().flat_map(|profile| {
            profile.deviations.iter().filter(|deviation| deviation.cells > 0).map(move |each| (profile, each))
        });
        for (index, (profile, deviation)) in deviations.enumerate() {
            if index == 0 {
                let explanation = paint(FAINT, "known deviations: recorded, never judged");
                title(&mut self.text, UNSURE, "Left undefined by profiles", explanation);
            }
            self.deviation(profile, deviation);
        }
    }

    /// Shows what a deviation makes undefined.
    fn deviation(&mut self, profile: &Profile, deviation: &Deviation) {
        self.line(Plain(format!("  {}: {}", profile.name, deviation.reason)));
        self.line(format!("    {}", view::deviation(deviation)));
        for reference in &deviation.references {
            self.line(format!("    {}", paint(FAINT, Plain(reference))));
        }
        let run = self.run;
        for (scenario, step) in run.steps().take(if self.everything { usize::MAX } else { 0 }) {
            let own = step.cells.iter().filter(|cell| {
                cell.deviation
                    .as_ref()
                    .is_some_and(|own| own.profile == profile.name && own.reason == deviation.reason)
            });
            let rows: Vec<_> =
                own.map(|cell| Row::new(cell, view::seen(cell), view::reasons(cell))).collect();
            if !rows.is_empty() {
                self.line(Plain(format!("  {} › {}", scenario.name, step.name)));
                list(&mut self.text, rows, true, usize::MAX);
            }
        }
    }
}
