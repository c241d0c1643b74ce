//! What a diagnosis makes of each fault: it must name the fault itself, or what cannot be told from it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::blamed::Blamed;
use super::result::ScenarioTrial;
use crate::deviation::{Fault, Follower, Opening};
use crate::diagnosis::{Case, Enforcement, Evidence, Seen, diagnose};

/// Returns what the cells of each fault are blamed on. `None` for a fault that no scenario shows.
pub(super) fn blame(faults: &[Fault], trials: &[ScenarioTrial]) -> Vec<(Fault, Option<Blamed>)> {
    let (results, next) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(fault) = faults.get(index) else { return };
            let blamed = blamed(*fault, trials);
            if let Ok(mut results) = results.lock() {
                results.push((index, *fault, blamed));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _, _)| *index);
    results.into_iter().map(|(_, fault, blamed)| (fault, blamed)).collect()
}

/// Returns what the cells of a fault are blamed on. `None` if no scenario shows it.
fn blamed(fault: Fault, trials: &[ScenarioTrial]) -> Option<Blamed> {
    let evidence = Evidence { scenarios: trials.iter().map(|trial| cases(fault, trial)).collect() };
    let diagnosis = diagnose(&evidence, Enforcement::default(), &[])?;
    Some(Blamed::new(fault, &diagnosis))
}

/// Returns what a scenario has shown with a fault.
fn cases(fault: Fault, trial: &ScenarioTrial) -> Vec<Case<'_>> {
    let steps = trial.right.steps.iter().enumerate();
    let cases = steps.map(|(index, step)| {
        let shown = trial.shown.get(&(fault.name, index));
        let mut verdicts = shown.into_iter().flatten();
        // Where the fault makes the same rules, packets do what they do without it. Where it was not tried, nothing is
        // known.
        let is_moment = is_moment(fault, trial, index);
        let is_same = shown.is_none() && !trial.untried.contains(&(fault.name, index));
        Case::new(&trial.scenario, step, |cell| match shown {
            Some(_) => Seen::with_verdict(cell, verdicts.next()?, is_moment),
            None => Seen::of(cell).filter(|_| is_same),
        })
    });
    cases.collect()
}

/// Returns whether a fault opens pods only for a moment after a step. The self-test looks at that moment as long as it
/// likes, and a run would see it pass.
fn is_moment(fault: Fault, trial: &ScenarioTrial, step: usize) -> bool {
    let mut follower = Follower::new(Some(fault.deviation()));
    let states = trial.right.steps.iter().take(step + 1).flat_map(|step| &step.states);
    let last = states.map(|world| follower.see(&world.cluster, &world.written)).last();
    last.is_some_and(|state| match state.opening {
        Opening::Briefly | Opening::AtFirst => !state.unguarded.is_empty(),
        Opening::Always | Opening::Late => false,
    })
}
