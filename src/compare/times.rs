//! Compares the times of steps, and finds those that became slower.

use std::time::Duration;

use super::record::Step;
use crate::verdict::{Change, Quantiles};

/// Thresholds above which a time counts as slower. Both must be exceeded, because short times may double by chance,
/// and long times may vary by a large amount.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Ratio of the later time to the earlier time.
    pub factor: f64,
    /// Difference between the later time and the earlier time.
    pub by: Duration,
    /// Whether a slower time makes the comparison fail, like a regression.
    pub fail: bool,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { factor: 2.0, by: Duration::from_millis(500), fail: false }
    }
}

impl Thresholds {
    fn is_slower(self, before: Duration, after: Duration) -> bool {
        after.saturating_sub(before) > self.by && after.as_secs_f64() > before.as_secs_f64() * self.factor
    }
}

/// A step that became slower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slower<'a> {
    /// Scenario of the step.
    pub scenario: &'a str,
    /// Name of the step.
    pub step: &'a str,
    /// Kind of the change.
    pub change: Change,
    /// Time in the earlier run.
    pub before: Duration,
    /// Time in the later run.
    pub after: Duration,
}

/// Times of one kind of change, over all steps for which both runs measured it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeComparison {
    /// Kind of the change.
    pub change: Change,
    /// Times in the earlier run.
    pub before: Quantiles,
    /// Times in the later run.
    pub after: Quantiles,
    /// Names of the quantiles that are slower: `p50`, `p95` or `max`.
    pub slower: Vec<&'static str>,
}

/// Collector of the times of steps.
#[derive(Debug)]
pub(super) struct Times<'a> {
    thresholds: Thresholds,
    enforce: Vec<(Duration, Duration)>,
    admit: Vec<(Duration, Duration)>,
    pub(super) slower: Vec<Slower<'a>>,
}

impl<'a> Times<'a> {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, enforce: Vec::new(), admit: Vec::new(), slower: Vec::new() }
    }

    pub(super) fn add(&mut self, scenario: &'a str, before: &Step, after: &'a Step) {
        let both = |before: Option<u64>, after: Option<u64>| {
            Some((Duration::from_millis(before?), Duration::from_millis(after?)))
        };
        let enforce = both(before.time_to_enforce_ms, after.time_to_enforce_ms);
        let admit = both(before.time_to_admit_ms, after.time_to_admit_ms);
        self.enforce.extend(enforce);
        self.admit.extend(admit);
        let step = after.name.as_str();
        for (change, times) in [(Change::Enforce, enforce), (Change::Admit, admit)] {
            if let Some((before, after)) = times.filter(|(a, b)| self.thresholds.is_slower(*a, *b)) {
                self.slower.push(Slower { scenario, step, change, before, after });
            }
        }
    }

    /// Returns the quantiles over all added steps, and the slower steps, with the largest increase first.
    pub(super) fn finish(mut self) -> (Vec<TimeComparison>, Vec<Slower<'a>>) {
        let all = [(Change::Enforce, &self.enforce), (Change::Admit, &self.admit)];
        let compared = all.into_iter().filter_map(|(change, times)| {
            let before = Quantiles::of(times.iter().map(|(before, _)| *before))?;
            let after = Quantiles::of(times.iter().map(|(_, after)| *after))?;
            let each = [
                ("p50", before.p50, after.p50),
                ("p95", before.p95, after.p95),
                ("max", before.max, after.max),
            ];
            let slower = each.into_iter().filter(|(_, a, b)| self.thresholds.is_slower(*a, *b));
            let slower = slower.map(|(name, _, _)| name).collect();
            Some(TimeComparison { change, before, after, slower })
        });
        let compared = compared.collect();
        self.slower.sort_by_key(|slower| std::cmp::Reverse(slower.after.saturating_sub(slower.before)));
        (compared, self.slower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, enforce: Option<u64>, admit: Option<u64>) -> Step {
        let (time_to_enforce_ms, time_to_admit_ms) = (enforce, admit);
        Step { name: name.to_owned(), time_to_enforce_ms, time_to_admit_ms, cells: Vec::new() }
    }

    #[test]
    fn slower_is_more_than_twice_and_more_than_half_a_second() {
        let is_slower = |before, after| {
            Thresholds::default().is_slower(Duration::from_millis(before), Duration::from_millis(after))
        };
        assert!(!is_slower(20, 520) && is_slower(20, 521), "half a second");
        assert!(!is_slower(1_000, 2_000) && is_slower(1_000, 2_001), "twice");
        assert!(!is_slower(3_000, 20) && !is_slower(0, 0));
    }

    #[test]
    fn only_steps_that_both_measured_are_compared() {
        let before =
            [step("one", Some(20), None), step("two", Some(40), Some(10)), step("three", Some(9), None)];
        let after = [
            step("one", Some(1_020), Some(5_000)),
            step("two", Some(3_000), Some(12)),
            step("three", None, None),
        ];
        let mut times = Times::new(Thresholds::default());
        for (before, after) in before.iter().zip(&after) {
            times.add("s", before, after);
        }
        let (compared, slower) = times.finish();
        let numbers: Vec<_> = compared.iter().map(|times| (times.change, times.after.number)).collect();
        assert_eq!(numbers, [(Change::Enforce, 2), (Change::Admit, 1)]);
        assert_eq!(compared[0].slower, ["p50", "p95", "max"]);
        assert!(compared[1].slower.is_empty());
        let steps: Vec<_> = slower.iter().map(|slower| slower.step).collect();
        assert_eq!(steps, ["two", "one"], "the slowest first");
    }
}
