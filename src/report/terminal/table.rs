//! The table at the end: the result of each scenario, or of each step.

use super::Report;
use crate::document::{
    Counts, Demonstrates, Millis, Outcome, Repetitions, RunDocument, Scenario, Step, Verdict,
};
use crate::report::escape::shown;
use crate::report::style::{BAD, GOOD, Table, UNSURE, count, duration, paint, thousands};
use crate::report::view;

const OK: &str = "ok";
const SKIPPED: &str = "skipped";

impl Report<'_> {
    /// Shows a line for each scenario, and for each step if everything is shown.
    pub(super) fn table(&mut self) {
        if self.run.scenarios.is_empty() {
            return;
        }
        let mut table = Table::new(["scenario", "step", "cells", "result", "to enforce", "to admit"]);
        let time = |time: Option<Millis>| time.map(duration).unwrap_or_default();
        for scenario in &self.run.scenarios {
            let latency = scenario.latency();
            let steps = count(scenario.steps.len(), "step", "steps");
            table.row([
                shown(&scenario.name),
                if self.page.everything { String::new() } else { steps },
                thousands(scenario.counts.cells()),
                scenario_result(scenario, self.run),
                time(latency.enforce.map(|quantiles| quantiles.max_ms)),
                time(latency.admit.map(|quantiles| quantiles.max_ms)),
            ]);
            for step in scenario.steps.iter().filter(|_| self.page.everything) {
                table.row([
                    String::new(),
                    shown(&step.name),
                    thousands(step.counts.cells()),
                    step_result(step, scenario.demonstrates),
                    time(step.times.time_to_enforce_ms),
                    time(step.times.time_to_admit_ms),
                ]);
            }
        }
        self.page.block(&table.lines([2, 4, 5]));
    }
}

fn scenario_result(scenario: &Scenario, run: &RunDocument) -> String {
    let mut result = once(scenario, run);
    for (number, what) in
        [(scenario.counts.skipped, SKIPPED), (scenario.counts.excused, "undefined by profile")]
    {
        if number > 0 {
            result.push_str(&format!(", {} {what}", thousands(number)));
        }
    }
    if let Some(Repetitions { done, same, .. }) = scenario.repetitions {
        result.push_str(&format!(", {same} of {done} times the same"));
    }
    result
}

/// Returns the result of one step. A step that was skipped or excused as declared is never `ok`.
fn step_result(step: &Step, demonstrates: Option<Demonstrates>) -> String {
    match step.counts.outcome(demonstrates) {
        Outcome::Skipped => SKIPPED.to_owned(),
        Outcome::Pass | Outcome::Inconclusive | Outcome::Fail => summary(&step.counts),
    }
}

/// Returns the result without what was skipped and excused, and without repetitions.
fn once(scenario: &Scenario, run: &RunDocument) -> String {
    let mut what: Vec<String> = Vec::new();
    if scenario.failure.is_some() {
        what.push("not run".to_owned());
    }
    let is_lacking = |capability: &&String| {
        let mut cells = scenario.steps.iter().flat_map(|step| &step.cells);
        cells.any(|cell| cell.verdict == Verdict::Skipped && cell.requires.as_ref() == Some(*capability))
    };
    let lacking: Vec<_> = run.lacking.iter().filter(is_lacking).map(String::as_str).collect();
    if !lacking.is_empty() {
        what.push(format!("lacks {}", lacking.join(", ")));
    }
    if scenario.misses_demonstration() {
        what.push("no policy gap found".to_owned());
    }
    let counted = summary(&scenario.counts);
    match scenario.outcome {
        Outcome::Pass if scenario.demonstrates.is_some() => {
            return paint(GOOD, format!("ok: {counted} found, as it demonstrates"));
        }
        Outcome::Skipped => return paint(UNSURE, SKIPPED),
        Outcome::Pass => return paint(GOOD, OK),
        Outcome::Inconclusive | Outcome::Fail if counted != OK => what.push(counted),
        Outcome::Inconclusive | Outcome::Fail => {}
    }
    paint(if scenario.outcome == Outcome::Fail { BAD } else { UNSURE }, what.join(", "))
}

fn summary(counts: &Counts) -> String {
    let what = view::all_problems(counts);
    if what.is_empty() { OK.to_owned() } else { what }
}
