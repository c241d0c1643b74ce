//! The comparison of two runs.

use std::collections::{BTreeSet, HashMap};

use super::record::{Cell, Key, Problem, Record, Scenario, Step, Verdict};
use super::times::{Slower, Thresholds, TimeComparison, Times};
use crate::verdict::Outcome;

/// Kind of a [`Difference`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The cell has a new problem that is proved.
    Regressed,
    /// The cell has a new problem that proves nothing: it could not be measured, or its answers differed.
    Uncertain,
    /// The earlier run had a problem, and now the packets do what the policies promise.
    Fixed,
    /// There is no new problem, but the expectation or the verdict changed, or packets do something else in an
    /// undefined cell.
    Changed,
}

/// A cell that differs between two runs.
#[derive(Debug, Clone)]
pub struct Difference<'a> {
    /// Scenario of the cell.
    pub scenario: &'a str,
    /// Step of the cell.
    pub step: &'a str,
    /// Kind of the difference.
    pub kind: Kind,
    /// New problems, the worst first.
    pub problems: BTreeSet<Problem>,
    /// The cell in the earlier run. `None` if only the later run has it.
    pub before: Option<&'a Cell>,
    /// The cell in the later run.
    pub after: &'a Cell,
}

/// Scenarios, steps and cells that only one of two runs has. Nothing is known about them in the other run.
#[derive(Debug, Clone, Default)]
pub struct Coverage<'a> {
    /// Whole scenarios, each with its count of cells.
    pub scenarios: Vec<(&'a str, usize)>,
    /// Steps of scenarios that both runs have: scenario, step, and count of cells.
    pub steps: Vec<(&'a str, &'a str, usize)>,
    /// Cells of steps that both runs have: scenario, step, and cell.
    pub cells: Vec<(&'a str, &'a str, &'a Cell)>,
}

impl Coverage<'_> {
    /// Returns the count of all cells.
    pub fn number(&self) -> usize {
        let scenarios: usize = self.scenarios.iter().map(|(_, cells)| cells).sum();
        let steps: usize = self.steps.iter().map(|(_, _, cells)| cells).sum();
        scenarios + steps + self.cells.len()
    }

    /// Returns the count of steps and cells in scenarios that both runs have.
    fn parts(&self) -> usize {
        self.steps.len() + self.cells.len()
    }

    /// Returns whether there is nothing, not even a scenario without cells.
    pub fn is_empty(&self) -> bool {
        self.scenarios.is_empty() && self.steps.is_empty() && self.cells.is_empty()
    }
}

/// A difference between the environments of two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentChange<'a> {
    /// What differs.
    pub what: &'a str,
    /// Value in the earlier run. `None` if it was absent or unknown.
    pub before: Option<&'a str>,
    /// Value in the later run, in the same form.
    pub after: Option<&'a str>,
}

/// Comparison of two runs.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    /// The earlier run.
    pub before: &'a Record,
    /// The later run.
    pub after: &'a Record,
    /// Counts of the scenarios, steps and cells that both runs have.
    pub compared: (usize, usize, usize),
    /// Cells that differ, in the order of the later run.
    pub differences: Vec<Difference<'a>>,
    /// Problems that cells have in both runs, each with the count of cells.
    pub known: Vec<(Problem, usize)>,
    /// Scenarios that the later run could not run to their end, and why. A scenario that also failed in the earlier
    /// run counts only if it got less far.
    pub failures: Vec<(&'a str, &'a str)>,
    /// Scenarios that must demonstrate a mistake, and no longer do.
    pub misses: Vec<&'a str>,
    /// What only the earlier run has.
    pub removed: Coverage<'a>,
    /// What only the later run has.
    pub added: Coverage<'a>,
    /// Times of steps that both runs measured.
    pub times: Vec<TimeComparison>,
    /// Steps that became slower.
    pub slower: Vec<Slower<'a>>,
    /// Thresholds above which a time counts as slower.
    pub thresholds: Thresholds,
    /// Differences between the environments.
    pub environment_changes: Vec<EnvironmentChange<'a>>,
}

/// Compares two runs.
pub fn compare<'a>(before: &'a Record, after: &'a Record, thresholds: Thresholds) -> Comparison<'a> {
    let mut comparing = Comparing::new(before, after, thresholds);
    comparing.scenarios();
    comparing.finish()
}

struct Comparing<'a> {
    comparison: Comparison<'a>,
    times: Times<'a>,
    known: [(Problem, usize); 7],
}

impl<'a> Comparing<'a> {
    fn new(before: &'a Record, after: &'a Record, thresholds: Thresholds) -> Self {
        let comparison = Comparison {
            before,
            after,
            compared: (0, 0, 0),
            differences: Vec::new(),
            known: Vec::new(),
            failures: Vec::new(),
            misses: Vec::new(),
            removed: Coverage::default(),
            added: Coverage::default(),
            times: Vec::new(),
            slower: Vec::new(),
            thresholds,
            environment_changes: environment_changes(before, after),
        };
        let known = Problem::ALL.map(|problem| (problem, 0));
        Self { comparison, times: Times::new(thresholds), known }
    }

    fn finish(self) -> Comparison<'a> {
        let (times, slower) = self.times.finish();
        let known = self.known.into_iter().filter(|(_, number)| *number > 0).collect();
        Comparison { times, slower, known, ..self.comparison }
    }

    fn scenarios(&mut self) {
        let Comparison { before, after, .. } = self.comparison;
        let earlier: HashMap<&str, &Scenario> =
            before.scenarios.iter().map(|scenario| (scenario.name.as_str(), scenario)).collect();
        let later: BTreeSet<&str> = after.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        for scenario in &after.scenarios {
            let removed = self.comparison.removed.parts();
            match earlier.get(scenario.name.as_str()) {
                Some(before) => {
                    self.comparison.compared.0 += 1;
                    self.steps(before, scenario);
                }
                None => {
                    self.comparison.added.scenarios.push((&scenario.name, scenario.cells()));
                    scenario.steps.iter().for_each(|step| self.new_cells(scenario, step, &step.cells));
                }
            }
            let earlier = earlier.get(scenario.name.as_str());
            // A scenario that also failed before, and now got less far, hides the steps that it did not reach.
            let is_shorter = self.comparison.removed.parts() > removed;
            if let Some(failure) = &scenario.failure
                && (is_shorter || earlier.is_none_or(|earlier| earlier.failure.is_none()))
            {
                self.comparison.failures.push((&scenario.name, failure));
            }
            if scenario.misses_demonstration()
                && !earlier.is_some_and(|earlier| earlier.misses_demonstration())
            {
                self.comparison.misses.push(&scenario.name);
            }
        }
        let removed = before.scenarios.iter().filter(|scenario| !later.contains(scenario.name.as_str()));
        let removed = removed.map(|scenario| (scenario.name.as_str(), scenario.cells()));
        self.comparison.removed.scenarios.extend(removed);
    }

    fn steps(&mut self, before: &'a Scenario, after: &'a Scenario) {
        let earlier: HashMap<&str, &Step> =
            before.steps.iter().map(|step| (step.name.as_str(), step)).collect();
        let later: BTreeSet<&str> = after.steps.iter().map(|step| step.name.as_str()).collect();
        for step in &after.steps {
            match earlier.get(step.name.as_str()) {
                Some(earlier) => {
                    self.comparison.compared.1 += 1;
                    self.times.add(&after.name, earlier, step);
                    self.cells(before, earlier, after, step);
                }
                None => {
                    self.comparison.added.steps.push((&after.name, &step.name, step.cells.len()));
                    self.new_cells(after, step, &step.cells);
                }
            }
        }
        let removed = before.steps.iter().filter(|step| !later.contains(step.name.as_str()));
        let removed = removed.map(|step| (before.name.as_str(), step.name.as_str(), step.cells.len()));
        self.comparison.removed.steps.extend(removed);
    }

    fn cells(&mut self, before: &'a Scenario, earlier: &'a Step, after: &'a Scenario, later: &'a Step) {
        let mut left: HashMap<Key<'_>, &Cell> = earlier.cells.iter().map(|cell| (cell.key(), cell)).collect();
        for cell in &later.cells {
            match left.remove(&cell.key()) {
                Some(was) => {
                    self.comparison.compared.2 += 1;
                    self.cell(before, was, after, later, cell);
                }
                None => {
                    self.comparison.added.cells.push((&after.name, &later.name, cell));
                    self.new_cells(after, later, std::slice::from_ref(cell));
                }
            }
        }
        let removed = earlier.cells.iter().filter(|cell| left.contains_key(&cell.key()));
        let removed = removed.map(|cell| (before.name.as_str(), earlier.name.as_str(), cell));
        self.comparison.removed.cells.extend(removed);
    }

    fn cell(&mut self, before: &Scenario, was: &'a Cell, after: &'a Scenario, step: &'a Step, is: &'a Cell) {
        let had = problems_before(before, was, is);
        let has = after.problems(is);
        let new: BTreeSet<Problem> = has.difference(&had).copied().collect();
        for (problem, number) in &mut self.known {
            *number += usize::from(has.contains(problem) && had.contains(problem));
        }
        let is_left_open = is.verdict == Verdict::Undefined;
        let kind = match worst(&new) {
            Some(kind) => kind,
            None if has.is_empty() && !had.is_empty() && is.verdict == Verdict::Match => Kind::Fixed,
            None if was.expected != is.expected || was.verdict != is.verdict => Kind::Changed,
            None if is_left_open && was.observed != is.observed => Kind::Changed,
            None => return,
        };
        self.differ(after, step, kind, new, Some(was), is);
    }

    /// Adds cells that the earlier run does not have. All their problems are new.
    fn new_cells(&mut self, scenario: &'a Scenario, step: &'a Step, cells: &'a [Cell]) {
        for cell in cells {
            let problems = scenario.problems(cell);
            if let Some(kind) = worst(&problems) {
                self.differ(scenario, step, kind, problems, None, cell);
            }
        }
    }

    fn differ(
        &mut self,
        scenario: &'a Scenario,
        step: &'a Step,
        kind: Kind,
        problems: BTreeSet<Problem>,
        before: Option<&'a Cell>,
        after: &'a Cell,
    ) {
        let (scenario, step) = (scenario.name.as_str(), step.name.as_str());
        self.comparison.differences.push(Difference { scenario, step, kind, problems, before, after });
    }
}

/// Returns the problems that a cell had in the earlier run. The limit of the later run is applied to it, too, because
/// the earlier run may have had no limit.
fn problems_before(scenario: &Scenario, was: &Cell, is: &Cell) -> BTreeSet<Problem> {
    let mut problems = scenario.problems(was);
    if is.limit().is_some_and(|limit| was.is_later_than(limit)) {
        problems.insert(Problem::Late);
    }
    problems
}

fn worst(problems: &BTreeSet<Problem>) -> Option<Kind> {
    let worst = problems.first()?;
    Some(if worst.is_doubt() { Kind::Uncertain } else { Kind::Regressed })
}

fn environment_changes<'a>(before: &'a Record, after: &'a Record) -> Vec<EnvironmentChange<'a>> {
    let mut changes = vec![
        EnvironmentChange {
            what: "netproof",
            before: before.version.as_deref(),
            after: after.version.as_deref(),
        },
        EnvironmentChange { what: "backend", before: Some(&before.backend), after: Some(&after.backend) },
    ];
    let facts: BTreeSet<&String> = before.facts.keys().chain(after.facts.keys()).collect();
    changes.extend(facts.into_iter().map(|fact| EnvironmentChange {
        what: fact,
        before: before.facts.get(fact).map(String::as_str),
        after: after.facts.get(fact).map(String::as_str),
    }));
    let profiles = |record: &'a Record| -> Vec<&'a str> {
        record.profiles.iter().map(|profile| profile.name.as_str()).collect()
    };
    let warnings =
        |record: &'a Record| -> Vec<&'a str> { record.warnings.iter().map(String::as_str).collect() };
    for (what, before, after) in [
        ("profile", profiles(before), profiles(after)),
        ("warning", warnings(before), warnings(after)),
        ("not modelled", unaccepted(before), unaccepted(after)),
    ] {
        let removed = before.iter().filter(|one| !after.contains(one)).map(|one| (Some(*one), None));
        let new = after.iter().filter(|one| !before.contains(one)).map(|one| (None, Some(*one)));
        changes.extend(removed.chain(new).map(|(before, after)| EnvironmentChange { what, before, after }));
    }
    changes.retain(|change| change.before != change.after);
    changes
}

/// Returns the kinds of objects that a run did not model, and that its user did not accept.
fn unaccepted(record: &Record) -> Vec<&str> {
    let kinds = record.unmodelled.iter().filter(|kind| !kind.accepted);
    kinds.map(|kind| kind.kind.as_str()).collect()
}

impl<'a> Comparison<'a> {
    /// Returns the differences of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Difference<'a>> {
        self.differences.iter().filter(move |difference| difference.kind == kind)
    }

    /// Returns whether anything became slower.
    pub fn is_slower(&self) -> bool {
        !self.slower.is_empty() || self.times.iter().any(|times| !times.slower.is_empty())
    }

    /// Returns the outcome of the later run. Problems count only if they are new. But a judged denial, the
    /// capabilities that `--require` names, and as many probes as `--confidence` needs are required in any case.
    pub fn outcome(&self) -> Outcome {
        let regressed = self.of(Kind::Regressed).next().is_some() || !self.misses.is_empty();
        if regressed || !self.after.lacking.is_empty() || (self.thresholds.fail && self.is_slower()) {
            return Outcome::Fail;
        }
        let is_uncertain = self.of(Kind::Uncertain).next().is_some() || !self.failures.is_empty();
        let (_, _, cells) = self.compared;
        let before = unaccepted(self.before);
        let is_uncertain = is_uncertain || unaccepted(self.after).iter().any(|kind| !before.contains(kind));
        // Two runs without common cells prove nothing. A later run that ended early, or that judged no denial, proves
        // nothing, either, even if the earlier run judged no denial.
        let is_unproved = self.after.proves_nothing() || self.after.proof.falls_short;
        if is_uncertain || cells == 0 || self.after.is_incomplete() || is_unproved {
            return Outcome::Inconclusive;
        }
        Outcome::Pass
    }
}
