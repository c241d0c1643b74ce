//! What became slower.

use std::time::Duration;

use super::record::Step;
use crate::verdict::{Change, Quantiles};

/// What is called slower. Both have to hold: short times may double by chance, and long ones may vary
/// by much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// More than so many times as long.
    pub factor: f64,
    /// More than so much longer.
    pub by: Duration,
    /// Whether what is slower is as bad as what broke.
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

/// A step whose change takes longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slower<'a> {
    /// Its scenario.
    pub scenario: &'a str,
    /// Its name.
    pub step: &'a str,
    /// Which change.
    pub change: Change,
    /// How long it took before.
    pub before: Duration,
    /// How long it takes now.
    pub after: Duration,
}

/// The times of all steps in which both runs measured one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeComparison {
    /// Of which change.
    pub change: Change,
    /// What they were before.
    pub before: Quantiles,
    /// What they are now.
    pub after: Quantiles,
    /// The quantiles that are slower: of p50, p95 and the maximum.
    pub slower: Vec<&'static str>,
}

/// Gathers the times of steps.
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

    /// The quantiles over the steps that were added, and the slowest steps first.
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
