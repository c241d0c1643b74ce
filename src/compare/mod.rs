//! Compares two runs: what regressed, what was fixed, what became slower, and what cannot be compared.
//!
//! The comparison is pure: it takes the documents of two runs and returns a [`ComparisonDocument`].

mod environment;
mod times;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use environment::environment_changes;
use times::Times;

use crate::document::{
    Cell, CellPlace, CellState, ComparisonCounts, ComparisonDocument, Difference, EnvironmentChange, Outcome,
    Problem, RunDocument, Scenario, ScenarioCells, Step, StepCells, Thresholds, Verdict,
};

/// Compares two runs.
pub fn compare(before: &RunDocument, after: &RunDocument, thresholds: Thresholds) -> ComparisonDocument {
    let document = ComparisonDocument {
        before: before.into(),
        after: after.into(),
        environment_changes: environment_changes(before, after),
        thresholds,
        ..ComparisonDocument::default()
    };
    let mut comparing = Comparing { document, times: Times::new(thresholds) };
    comparing.scenarios(before, after);
    comparing.finish()
}

struct Comparing {
    document: ComparisonDocument,
    times: Times,
}

/// Pairs the items of the later run with those of the earlier run that have the same key. Also returns the
/// items that only the earlier run has.
fn pair<'a, T, K: Eq + Hash>(
    before: &'a [T],
    after: &'a [T],
    key: impl Fn(&'a T) -> K,
) -> (Vec<(Option<&'a T>, &'a T)>, Vec<&'a T>) {
    let earlier: HashMap<K, &T> = before.iter().map(|item| (key(item), item)).collect();
    let later: HashSet<K> = after.iter().map(&key).collect();
    let pairs = after.iter().map(|item| (earlier.get(&key(item)).copied(), item)).collect();
    (pairs, before.iter().filter(|item| !later.contains(&key(item))).collect())
}

impl Comparing {
    fn scenarios(&mut self, before: &RunDocument, after: &RunDocument) {
        let (pairs, removed) = pair(&before.scenarios, &after.scenarios, |scenario| scenario.name.as_str());
        for (earlier, scenario) in pairs {
            let is_shorter = match earlier {
                Some(earlier) => {
                    self.document.counts.scenarios += 1;
                    self.steps(earlier, scenario)
                }
                None => {
                    self.document.added.scenarios.push(scenario.into());
                    scenario.steps.iter().for_each(|step| self.new_cells(scenario, step));
                    false
                }
            };
            // A scenario that also failed before, and now got less far, hides the steps that it did not
            // reach.
            if let Some(failure) = &scenario.failure
                && (is_shorter || earlier.is_none_or(|earlier| earlier.failure.is_none()))
            {
                self.document.not_run.push((scenario.name.clone(), failure.clone()));
            }
            if scenario.misses_demonstration() && !earlier.is_some_and(Scenario::misses_demonstration) {
                self.document.nothing_demonstrated.push(scenario.name.clone());
            }
        }
        self.document.removed.scenarios = removed.into_iter().map(ScenarioCells::from).collect();
    }

    /// Compares the steps of a scenario. Returns whether the later run lacks some of its steps or cells.
    fn steps(&mut self, before: &Scenario, after: &Scenario) -> bool {
        let (pairs, removed) = pair(&before.steps, &after.steps, |step| step.name.as_str());
        let mut is_shorter = !removed.is_empty();
        for (earlier, step) in pairs {
            match earlier {
                Some(earlier) => {
                    self.document.counts.steps += 1;
                    self.times.add(&after.name, earlier, step);
                    is_shorter |= self.cells((before, earlier), (after, step));
                }
                None => {
                    self.document.added.steps.push(StepCells::new(after, step));
                    self.new_cells(after, step);
                }
            }
        }
        self.document.removed.steps.extend(removed.into_iter().map(|step| StepCells::new(before, step)));
        is_shorter
    }

    /// Compares the cells of a step. Returns whether the later run lacks some of them.
    fn cells(&mut self, before: (&Scenario, &Step), after: (&Scenario, &Step)) -> bool {
        let (pairs, removed) = pair(&before.1.cells, &after.1.cells, Cell::key);
        for (was, cell) in pairs {
            match was {
                Some(_) => self.document.counts.cells += 1,
                None => self.document.added.cells.push(CellPlace::new(after, cell)),
            }
            self.cell(was.map(|was| (before.0, was)), after, cell);
        }
        self.document.removed.cells.extend(removed.iter().map(|cell| CellPlace::new(before, cell)));
        !removed.is_empty()
    }

    fn new_cells(&mut self, scenario: &Scenario, step: &Step) {
        step.cells.iter().for_each(|cell| self.cell(None, (scenario, step), cell));
    }

    /// Compares a cell. All problems of a cell that the earlier run does not have are new.
    fn cell(&mut self, was: Option<(&Scenario, &Cell)>, after: (&Scenario, &Step), is: &Cell) {
        let had = was.map(|(scenario, was)| problems_before(scenario, was, is)).unwrap_or_default();
        let has = after.0.problems(is);
        for problem in has.intersection(&had) {
            *self.document.as_before.entry(problem.name().to_owned()).or_default() += 1;
        }
        let was = was.map(|(_, was)| was);
        let is_changed = was.is_some_and(|was| {
            was.expected != is.expected
                || was.verdict != is.verdict
                || (is.verdict == Verdict::Undefined && was.observed != is.observed)
        });
        let problems: BTreeSet<Problem> = has.difference(&had).copied().collect();
        let differences = match problems.first() {
            Some(worst) if worst.is_doubt() => &mut self.document.uncertain,
            Some(_) => &mut self.document.regressed,
            None if has.is_empty() && !had.is_empty() && is.verdict == Verdict::Match => {
                &mut self.document.fixed
            }
            None if is_changed => &mut self.document.changed,
            None => return,
        };
        let place = CellPlace::new(after, is);
        differences.push(Difference { place, problems, before: was.map(CellState::from), after: is.into() });
    }

    fn finish(self) -> ComparisonDocument {
        let (latency, slower) = self.times.finish();
        let mut document = ComparisonDocument { latency, slower, ..self.document };
        document.counts = ComparisonCounts {
            regressed: document.regressed.len(),
            uncertain: document.uncertain.len(),
            fixed: document.fixed.len(),
            changed: document.changed.len(),
            removed: document.removed.number(),
            added: document.added.number(),
            slower: document.slower.len(),
            ..document.counts
        };
        document.outcome = outcome(&document);
        document.exit_code = document.outcome.exit_code();
        document
    }
}

/// Returns the problems that a cell had in the earlier run. The limit of the later run is applied to it, too,
/// because the earlier run may have had no limit.
fn problems_before(scenario: &Scenario, was: &Cell, is: &Cell) -> BTreeSet<Problem> {
    let mut problems = scenario.problems(was);
    if is.limit_ms.is_some_and(|limit| was.is_later_than(limit)) {
        problems.insert(Problem::Late);
    }
    problems
}

/// Returns the outcome of the later run. Problems count only if they are new. But a judged denial, the
/// capabilities that
/// `--require` names, and as many probes as `--confidence` needs are required in any case.
fn outcome(comparison: &ComparisonDocument) -> Outcome {
    let ComparisonDocument { after, counts, thresholds, .. } = comparison;
    let is_regressed = counts.regressed > 0 || !comparison.nothing_demonstrated.is_empty();
    if is_regressed || !after.lacking.is_empty() || (thresholds.fail && comparison.is_slower()) {
        return Outcome::Fail;
    }
    let is_uncertain = counts.uncertain > 0
        || !comparison.not_run.is_empty()
        || comparison.environment_changes.iter().any(EnvironmentChange::is_new_unmodelled_kind);
    // Two runs without common cells prove nothing. A later run that ended early, or that judged no denial,
    // proves nothing, either, even if the earlier run judged no denial.
    if is_uncertain || counts.cells == 0 || after.incomplete || after.judged_denials == 0 || after.falls_short
    {
        Outcome::Inconclusive
    } else {
        Outcome::Pass
    }
}
