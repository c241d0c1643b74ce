//! Assertions and connections that are about nothing are mistakes, and found before anything runs.

use super::cell::{Cell, cells};
use crate::scenario::{Assertion, KeepOpen, Scenario, State};
use crate::source::{Error, Location};

/// Checks that every assertion of a scenario is about at least one cell of its step, and every connection to
/// keep open about one that was there before.
///
/// # Errors
/// The first that is not, with its place.
pub fn check(scenario: &Scenario) -> Result<(), Error> {
    let mut state = State::new(&scenario.topology);
    for step in &scenario.steps {
        check_connections(&step.keep_open, &cells(&state, &scenario.probes))
            .map_err(|(at, what)| Error::at(&scenario.file, at, format!("step `{}`: {what}", step.name)))?;
        for action in &step.actions {
            // The loader carried out the same actions before.
            state.apply(action).map_err(|message| Error::whole(&scenario.file, message))?;
        }
        let cells = cells(&state, &scenario.probes);
        for assertion in step.expect.iter().chain(&step.intent) {
            if let Some(what) = uncovered(assertion, &cells) {
                let message = format!("step `{}`: {what}", step.name);
                return Err(Error::at(&scenario.file, assertion.at, message));
            }
        }
    }
    Ok(())
}

/// Checks that there is a cell for each, before the step.
fn check_connections(keep_open: &[KeepOpen], cells: &[Cell]) -> Result<(), (Location, String)> {
    let is_there = |entry: &KeepOpen| cells.iter().any(|cell| entry.covers(&cell.from, &cell.to, cell.probe));
    match keep_open.iter().find(|entry| !is_there(entry)) {
        Some(KeepOpen { at, probe, .. }) => {
            let message = format!("keepOpen: before this step, no `{probe}` is sent between these ends");
            Err((*at, message))
        }
        None => Ok(()),
    }
}

/// What about the assertion matches nothing; `None` if everything does.
fn uncovered(assertion: &Assertion, cells: &[Cell]) -> Option<String> {
    for pattern in &assertion.from {
        if !cells.iter().any(|cell| pattern.matches(&cell.from)) {
            return Some(format!("from: nothing that sends is called `{pattern}`"));
        }
    }
    let covers =
        |assertion: &Assertion| cells.iter().any(|c| assertion.covers(&c.from, &c.to, c.family, c.probe));
    for pattern in &assertion.to {
        if !covers(&Assertion { to: vec![pattern.clone()], ..assertion.clone() }) {
            return Some(format!("this assertion covers no cell: none of its senders probes `{pattern}`"));
        }
    }
    for pattern in &assertion.probes {
        if !covers(&Assertion { probes: vec![*pattern], ..assertion.clone() }) {
            return Some(format!("this assertion covers no cell: `{pattern}` is not sent between its ends"));
        }
    }
    None
}
