//! The diagnosis: what explains the leaks and blocked cells, after the verdict.

use super::Report;
use crate::document::{Cause, Diagnosis, Enforcement, Explanation, UnexplainedCell};
use crate::report::escape::Plain;
use crate::report::page::Row;
use crate::report::style::{BAD, FAINT, STRONG, UNSURE, count, paint, thousands};

/// Greatest count of alternatives that are shown, unless everything is.
const ALTERNATIVES: usize = 3;

/// Greatest count of lines of cells that are listed for each step.
const CELLS: usize = 4;

/// Returns a line about a cluster that delivered every denied packet. `None` if it denied any.
pub(in crate::report) fn unenforced(
    Enforcement { denials, absent, only, .. }: &Enforcement,
) -> Option<String> {
    let all = thousands(*denials);
    if *absent {
        return Some(format!(
            "nothing enforces policies here: {all} of the first {all} denials were delivered"
        ));
    }
    (!only.is_empty()).then(|| {
        let only = only.join(", ");
        format!(
            "{all} of {all} denials were delivered, but only {only} was asked: other packets may be denied"
        )
    })
}

/// Returns what an explanation explains, and what tested it.
fn evidence(explanation: &Explanation, diagnosis: &Diagnosis) -> String {
    let Explanation { leaks, blocked, uncertain, scenarios, differing_steps, agreeing_steps, .. } =
        explanation;
    let of = |explained: &usize, all: usize, one: &str, many: &str| {
        let noun = if all == 1 { one } else { many };
        (*explained > 0).then(|| format!("{} of {} {noun}", thousands(*explained), thousands(all)))
    };
    let leaks = of(leaks, diagnosis.leaks, "leak", "leaks");
    let blocked = of(blocked, diagnosis.blocked, "blocked cell", "blocked cells");
    let cells: Vec<_> = leaks.into_iter().chain(blocked).collect();
    let uncertain = match uncertain {
        0 => String::new(),
        number => format!(" ({} of them agree, and prove nothing)", thousands(*number)),
    };
    format!(
        "explains {}{uncertain} in {}; tested by {} that would differ and {} that would not",
        cells.join(" and "),
        count(*scenarios, "scenario", "scenarios"),
        count(*differing_steps, "case", "cases"),
        thousands(*agreeing_steps),
    )
}

fn names(causes: &[Cause]) -> String {
    causes.iter().map(|cause| cause.name.as_str()).collect::<Vec<_>>().join(" and ")
}

impl Report<'_> {
    /// Shows what explains the leaks and blocked cells.
    pub(super) fn diagnosis(&mut self) {
        let Some(diagnosis) = &self.run.diagnosis else { return };
        let about = "the known deviations that predict these cells, and no difference where there was none";
        self.page.title(STRONG, "Diagnosis", paint(FAINT, about));
        if let Some(line) = unenforced(&diagnosis.enforcement) {
            self.page.line(format!("  {}", paint(BAD, Plain(line))));
        }
        for explanation in &diagnosis.explanations {
            self.explanation(explanation, diagnosis);
        }
        if !diagnosis.unexplained.is_empty() {
            self.unexplained(&diagnosis.unexplained);
        }
    }

    fn explanation(&mut self, explanation: &Explanation, diagnosis: &Diagnosis) {
        for (index, Cause { name, explanation, .. }) in explanation.causes.iter().enumerate() {
            let and = if index == 0 { "" } else { "and " };
            self.page.line(format!("  {and}{}", paint(STRONG, Plain(format!("{name}: {explanation}")))));
        }
        self.page.line(format!("    {}", evidence(explanation, diagnosis)));
        for seen in explanation.causes.iter().filter_map(|cause| cause.seen.as_ref()) {
            self.page.line(Plain(format!("    seen in {seen}")));
        }
        let all = explanation.causes.iter().chain(explanation.alternatives.iter().flatten());
        for Cause { name, profiles, .. } in all {
            for profile in profiles {
                let note = format!(
                    "    --profile {profile} makes cells with this deviation undefined (quirk {name})"
                );
                self.page.line(Plain(note));
            }
        }
        let alternatives = &explanation.alternatives;
        if !alternatives.is_empty() {
            let shown = if self.page.everything { alternatives.len() } else { ALTERNATIVES };
            let mut named: Vec<_> = alternatives.iter().take(shown).map(|causes| names(causes)).collect();
            if let Some(more) = alternatives.len().checked_sub(shown).filter(|more| *more > 0) {
                named.push(format!("{more} more"));
            }
            let noun = count(alternatives.len(), "other deviation predicts", "other deviations predict");
            let note =
                format!("    {noun} the same, so this run cannot tell the cause: {}", named.join(", "));
            self.page.line(paint(UNSURE, Plain(note)));
        }
    }

    /// Lists the cells that nothing explains, by scenario and step.
    fn unexplained(&mut self, cells: &[UnexplainedCell]) {
        let total = count(cells.len(), "cell", "cells");
        self.page
            .line(format!("  {}", paint(UNSURE, format!("not explained by any known deviation: {total}"))));
        let same = |one: &UnexplainedCell, other: &UnexplainedCell| {
            (&one.scenario, &one.step) == (&other.scenario, &other.step)
        };
        for cells in cells.chunk_by(same) {
            if let Some(first) = cells.first() {
                self.page.line(Plain(format!("  {} › {}", first.scenario, first.step)));
            }
            let rows = cells.iter().map(|cell| Row {
                from: &cell.from,
                to: &cell.to,
                family: cell.family,
                probe: &cell.probe,
                what: cell.verdict.name().to_owned(),
                why: String::new(),
            });
            self.page.cells(rows, true, CELLS);
        }
    }
}
