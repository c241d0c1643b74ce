//! Repetitions of scenarios. If the verdicts on a cell differ, the cell is flaky.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::judge::Verdict;
use super::latency::{Punctuality, TimeToSettle};
use super::result::{Beside, CellResult, Repetitions, ScenarioResult, StepResult};

/// Merges the results of repetitions, in the order of the first ones. `requested` returns the count of requested
/// repetitions of the scenario with a name.
pub fn merge(results: Vec<ScenarioResult>, requested: impl Fn(&str) -> usize) -> Vec<ScenarioResult> {
    let mut places = HashMap::<String, usize>::new();
    let mut groups: Vec<Vec<ScenarioResult>> = Vec::new();
    for result in results {
        let place = *places.entry(result.name.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(result),
            None => groups.push(vec![result]),
        }
    }
    groups.into_iter().filter_map(|group| merge_group(group, &requested)).collect()
}

/// Merges the results of one scenario. Returns `None` without results.
fn merge_group(group: Vec<ScenarioResult>, requested: impl Fn(&str) -> usize) -> Option<ScenarioResult> {
    let first = group.first()?;
    let requested = requested(&first.name);
    if requested < 2 {
        return group.into_iter().next();
    }
    let repetitions = Some(Repetitions { requested, done: group.len(), same: same(&group) });
    // A repetition that was not run to its end has fewer steps.
    let most = group.iter().map(|result| result.steps.len()).max()?;
    let longest = group.iter().find(|result| result.steps.len() == most)?;
    let steps = longest.steps.iter().enumerate().map(|(i, step)| {
        let others: Vec<_> = group.iter().filter_map(|result| result.steps.get(i)).collect();
        merge_step(step, &others)
    });
    Some(ScenarioResult {
        steps: steps.collect(),
        failure: group.iter().find_map(|result| result.failure.clone()),
        start: group.iter().map(|result| result.start).max().unwrap_or_default(),
        timeout: group.iter().map(|result| result.timeout).max().unwrap_or_default(),
        took: group.iter().map(|result| result.took).sum(),
        warnings: group.iter().flat_map(|result| result.warnings.clone()).collect(),
        repetitions,
        beside: beside(&group),
        ..longest.clone()
    })
}

/// Returns the scenarios that ran at the same time as any of the repetitions.
fn beside(group: &[ScenarioResult]) -> Option<Beside> {
    let others = group.iter().filter_map(|result| result.beside.as_ref()).flat_map(|beside| &beside.others);
    let others: BTreeSet<String> = others.cloned().collect();
    (!others.is_empty()).then_some(Beside { others, alone: None })
}

/// Returns the size of the largest group of identical results.
fn same(group: &[ScenarioResult]) -> usize {
    let verdicts = |result: &ScenarioResult| -> Vec<&'static str> {
        result.steps.iter().flat_map(|step| &step.cells).map(|cell| cell.verdict.name()).collect()
    };
    let mut numbers = HashMap::<Vec<&str>, usize>::new();
    for result in group {
        *numbers.entry(verdicts(result)).or_default() += 1;
    }
    numbers.into_values().max().unwrap_or_default()
}

fn merge_step(step: &StepResult, repetitions: &[&StepResult]) -> StepResult {
    let mut cells: Vec<Vec<&CellResult>> = vec![Vec::new(); step.cells.len()];
    for repetition in repetitions {
        for ((cell, own), results) in repetition.cells.iter().zip(&step.cells).zip(&mut cells) {
            if cell.cell == own.cell {
                results.push(cell);
            }
        }
    }
    StepResult {
        cells: step.cells.iter().zip(cells).map(|(cell, results)| merge_cell(cell, &results)).collect(),
        handed_over: repetitions.iter().map(|step| step.handed_over).max().unwrap_or_default(),
        new_pods: TimeToSettle {
            enforce: repetitions.iter().filter_map(|step| step.new_pods.enforce).max(),
            admit: repetitions.iter().filter_map(|step| step.new_pods.admit).max(),
        },
        open_connections: repetitions.iter().flat_map(|step| step.open_connections.clone()).collect(),
        rounds: repetitions.iter().map(|step| step.rounds).sum(),
        loss: repetitions.iter().map(|step| step.loss).fold(0.0, f64::max),
        took: repetitions.iter().map(|step| step.took).sum(),
        ..step.clone()
    }
}

fn merge_cell(cell: &CellResult, repetitions: &[&CellResult]) -> CellResult {
    let mut verdicts = BTreeMap::<&'static str, usize>::new();
    for repetition in repetitions {
        *verdicts.entry(repetition.verdict.name()).or_default() += 1;
    }
    let sum = |count: fn(&CellResult) -> u32| repetitions.iter().map(|cell| count(cell)).sum();
    // Reports show the worst repetition.
    let worst = repetitions.iter().copied().max_by_key(|cell| severity(&cell.verdict)).unwrap_or(cell);
    let settled = repetitions.iter().filter_map(|cell| cell.settled.as_ref());
    let slowest = settled.max_by_key(|settled| (settled.punctuality() == Punctuality::Late, settled.took));
    let settled = slowest.cloned().filter(|_| worst.verdict != Verdict::Leak);
    let mut merged = CellResult {
        attempts: sum(|cell| cell.attempts),
        retries: sum(|cell| cell.retries),
        silences: sum(|cell| cell.silences),
        settled,
        ..worst.clone()
    };
    if verdicts.len() < 2 {
        return merged;
    }
    // A moment that a profile excuses occurs in some repetitions only, and does not contradict a match.
    let agree = repetitions.iter().all(|cell| cell.is_excused() || cell.verdict == Verdict::Match);
    if !agree {
        let inconclusive = repetitions.iter().find(|cell| matches!(cell.verdict, Verdict::Inconclusive(_)));
        merged.verdict = match inconclusive {
            // One delivered packet is a leak, whatever the other repetitions show.
            _ if worst.verdict == Verdict::Leak => Verdict::Leak,
            // An inconclusive repetition does not contradict the other verdict, but makes it uncertain.
            Some(inconclusive) if verdicts.len() == 2 => inconclusive.verdict.clone(),
            Some(_) | None => Verdict::Flaky,
        };
    }
    merged.repeated = verdicts;
    merged
}

/// An attempt at a scenario. Another one follows it if a pod was lost.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What the attempt has found.
    pub result: ScenarioResult,
    /// Index of the step that the loss of a pod disturbed. `None` if no pod was lost, or only between steps.
    pub disturbed: Option<usize>,
}

impl Attempt {
    /// Returns the cells of a step that count if another attempt follows. A packet that was delivered is a leak, whatever
    /// later packets do. Of a step that the loss disturbed, only leaks count. What is inconclusive is not known.
    pub fn counting_cells(&self, step: usize) -> impl Iterator<Item = &CellResult> {
        let is_disturbed = self.disturbed == Some(step);
        let cells = self.result.steps.get(step).into_iter().flat_map(|step| &step.cells);
        cells.filter(move |cell| match &cell.verdict {
            Verdict::Leak => true,
            Verdict::Inconclusive(_) => false,
            Verdict::Match | Verdict::Undefined | Verdict::Skipped(_) | Verdict::Flaky | Verdict::Blocked => {
                !is_disturbed
            }
        })
    }
}

/// Adds what earlier attempts at a scenario have found, and the steps that only they have completed. Their cells count as
/// repetitions.
pub fn with_earlier(mut result: ScenarioResult, earlier: &[Attempt]) -> ScenarioResult {
    for attempt in earlier {
        for (index, step) in attempt.result.steps.iter().enumerate() {
            match result.steps.get_mut(index) {
                Some(own) => attempt.counting_cells(index).for_each(|cell| add_earlier(own, cell)),
                None => result.steps.push(step.clone()),
            }
        }
    }
    result
}

/// Adds what an earlier attempt at a step has found about a cell.
pub(super) fn add_earlier(step: &mut StepResult, earlier: &CellResult) {
    match step.cells.iter_mut().find(|cell| cell.cell == earlier.cell) {
        Some(own) => *own = merge_cell(own, &[own, earlier]),
        None if earlier.verdict == Verdict::Leak => step.cells.push(earlier.clone()),
        None => {}
    }
}

fn severity(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Match => 0,
        Verdict::Undefined => 1,
        Verdict::Skipped(_) => 2,
        Verdict::Inconclusive(_) => 3,
        Verdict::Flaky => 4,
        Verdict::Blocked => 5,
        Verdict::Leak => 6,
    }
}
