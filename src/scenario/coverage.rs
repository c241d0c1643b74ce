//! Checks for assertions and `keepOpen` entries that cover no cell. They are mistakes, and are found before
//! anything runs.

use std::collections::BTreeSet;

use super::{Assertion, KeepOpen, ProbePattern, Scenario};
use crate::plan::{Cell, cells};
use crate::source::Error;

/// Checks that every assertion of a scenario covers at least one cell of its step, and that every `keepOpen`
/// entry covers a cell that existed before its step.
///
/// # Errors
/// The first one that covers none, with its location.
pub fn check_coverage(scenario: &Scenario) -> Result<(), Error> {
    let mut before = cells(&scenario.world, &scenario.probes);
    for (step, world) in scenario.worlds() {
        let error =
            |at, what: String| Err(Error::at(&scenario.file, at, format!("step `{}`: {what}", step.name)));
        let is_there =
            |entry: &&KeepOpen| before.iter().any(|cell| entry.covers(&cell.from, &cell.to, cell.probe));
        if let Some(KeepOpen { at, probe, .. }) = step.keep_open.iter().find(|entry| !is_there(entry)) {
            let what = format!("keepOpen: before this step, no `{probe}` is sent between these ends");
            return error(*at, what);
        }
        let cells = cells(&world, &scenario.probes);
        for assertion in step.expect.iter().chain(&step.intent) {
            if let Some(what) = uncovered(assertion, &cells) {
                return error(assertion.at, what);
            }
        }
        before = cells;
    }
    Ok(())
}

/// Describes which part of the assertion matches nothing. Returns `None` if every part matches something.
fn uncovered(assertion: &Assertion, cells: &[Cell]) -> Option<String> {
    for pattern in &assertion.from {
        if !cells.iter().any(|cell| pattern.matches(&cell.from)) {
            return Some(format!("from: nothing that sends is called `{pattern}`"));
        }
    }
    let covers =
        |assertion: &Assertion, cell: &Cell| assertion.covers(&cell.from, &cell.to, cell.family, cell.probe);
    let is_there = |assertion: &Assertion| cells.iter().any(|cell| covers(assertion, cell));
    // The probes that are sent between its ends instead.
    let sent = |assertion: Assertion| {
        let assertion = Assertion { probes: vec![ProbePattern::All], ..assertion };
        let probes = cells.iter().filter(|cell| covers(&assertion, cell)).map(|cell| cell.probe.to_string());
        probes.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    for pattern in &assertion.to {
        let single = Assertion { to: vec![pattern.clone()], ..assertion.clone() };
        if !is_there(&single) {
            return Some(match sent(single).as_str() {
                "" => format!("to: these ends send nothing to anything that is called `{pattern}`"),
                sent => format!("`{pattern}` gets none of these probes: {sent} is what it gets"),
            });
        }
    }
    let is_sent =
        |pattern: &ProbePattern| is_there(&Assertion { probes: vec![*pattern], ..assertion.clone() });
    let pattern = assertion.probes.iter().find(|pattern| !is_sent(pattern))?;
    Some(format!("`{pattern}` is not sent between these ends, but {}", sent(assertion.clone())))
}
