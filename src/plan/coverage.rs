//! Assertions that are about nothing are mistakes, and found before anything runs.

use super::cell::{Cell, cells};
use crate::scenario::{Assertion, Scenario, State};
use crate::source::Error;

/// Checks that every assertion of a scenario is about at least one cell of its step.
///
/// # Errors
/// The first that is not, with its place.
pub fn check(scenario: &Scenario) -> Result<(), Error> {
    let mut state = State::new(&scenario.topology);
    for step in &scenario.steps {
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
