//! The table at the end: what came of each scenario, or of each step.

use std::time::Duration;

use tabled::builder::Builder;
use tabled::settings::Style as TableStyle;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify};

use super::Report;
use crate::report::escape::shown;
use crate::report::style::{BAD, GOOD, UNSURE, count, duration, join, paint, thousands};
use crate::scenario::Demonstrates;
use crate::verdict::{Counts, Outcome, Quantiles, Repetitions, ScenarioResult, StepResult};
use crate::world::Capability;

impl Report<'_> {
    /// One line a scenario, or a step.
    pub(super) fn table(&mut self) {
        let mut table = Builder::new();
        table.push_record(["scenario", "step", "cells", "result", "to enforce", "to admit"]);
        for scenario in &self.result.scenarios {
            let total = scenario.counts();
            let latency = scenario.latency();
            let slowest = |quantiles: Option<Quantiles>| time(quantiles.map(|quantiles| quantiles.max));
            let steps = count(scenario.steps.len(), "step", "steps");
            table.push_record([
                shown(&scenario.name),
                if self.everything { String::new() } else { steps },
                thousands(total.cells()),
                scenario_result(scenario, &total),
                slowest(latency.enforce),
                slowest(latency.admit),
            ]);
            for step in scenario.steps.iter().filter(|_| self.everything) {
                let (counts, took) = (step.counts(), step.time());
                table.push_record([
                    String::new(),
                    shown(&step.name),
                    thousands(counts.cells()),
                    step_result(step, scenario.demonstrates),
                    time(took.enforce),
                    time(took.admit),
                ]);
            }
        }
        if !self.result.scenarios.is_empty() {
            let mut table = table.build();
            table.with(TableStyle::blank());
            for column in [2, 4, 5] {
                table.with(Modify::new(Columns::one(column)).with(Alignment::right()));
            }
            let lines: Vec<_> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
            self.line(format!("\n{}", lines.join("\n")));
        }
    }
}

fn scenario_result(scenario: &ScenarioResult, counts: &Counts) -> String {
    let result = once(scenario, counts);
    let excused = match counts.excused {
        0 => String::new(),
        number => format!(", {} undefined by profile", thousands(number)),
    };
    let skipped = match counts.skipped {
        0 => String::new(),
        number => format!(", {} skipped", thousands(number)),
    };
    let excused = skipped + &excused;
    match scenario.repetitions {
        Some(Repetitions { done, same, .. }) => {
            format!("{result}{excused}, {same} of {done} times the same")
        }
        None => result + &excused,
    }
}

/// The result of one step. What was skipped or excused as declared is never `ok`.
fn step_result(step: &StepResult, demonstrates: Option<Demonstrates>) -> String {
    match step.outcome(demonstrates) {
        Outcome::Skipped => SKIPPED.to_owned(),
        Outcome::Pass | Outcome::Inconclusive | Outcome::Fail => summary(&step.counts()),
    }
}

/// The result without what profiles left open, and without how often it was the same.
fn once(scenario: &ScenarioResult, counts: &Counts) -> String {
    let mut what: Vec<String> = Vec::new();
    if scenario.failure.is_some() {
        what.push("not run".to_owned());
    }
    let lacking: Vec<_> = scenario.lacking().into_iter().map(Capability::name).collect();
    if !lacking.is_empty() {
        what.push(format!("lacks {}", lacking.join(", ")));
    }
    if scenario.misses_demonstration() {
        what.push("no policy gap found".to_owned());
    }
    let counted = summary(counts);
    match scenario.outcome() {
        Outcome::Pass if scenario.demonstrates.is_some() => {
            return paint(GOOD, format!("ok: {counted} found, as it demonstrates"));
        }
        Outcome::Skipped => return paint(UNSURE, SKIPPED),
        Outcome::Pass => return paint(GOOD, OK),
        Outcome::Inconclusive | Outcome::Fail if counted != OK => what.push(counted),
        Outcome::Inconclusive | Outcome::Fail => {}
    }
    let style = if scenario.outcome() == Outcome::Fail { BAD } else { UNSURE };
    paint(style, what.join(", "))
}

const OK: &str = "ok";
const SKIPPED: &str = "skipped";

fn summary(counts: &Counts) -> String {
    let what = join([
        (counts.leaks, "leak", "leaks"),
        (counts.blocked, "blocked", "blocked"),
        (counts.gaps, "policy gap", "policy gaps"),
        (counts.assertion_errors, "assertion error", "assertion errors"),
        (counts.late, "late", "late"),
        (counts.flaky, "flaky", "flaky"),
        (counts.inconclusive, "not measured", "not measured"),
    ]);
    if what.is_empty() { OK.to_owned() } else { what }
}

fn time(time: Option<Duration>) -> String {
    time.map(duration).unwrap_or_default()
}
