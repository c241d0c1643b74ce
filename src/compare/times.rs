//! Compares the times of steps, and finds those that became slower.

use std::time::Duration;

use crate::document::{Change, Millis, Quantiles, Slower, Step, Thresholds, TimeComparison};

/// Collector of the times of steps.
pub(super) struct Times {
    thresholds: Thresholds,
    /// Earlier and later times, by the kind of change.
    measured: [(Change, Vec<(Millis, Millis)>); 2],
    slower: Vec<Slower>,
}

fn is_slower(thresholds: Thresholds, before: Millis, after: Millis) -> bool {
    let (before, after) = (Duration::from(before), Duration::from(after));
    let is_longer = after.saturating_sub(before) > thresholds.by;
    is_longer && after.as_secs_f64() > before.as_secs_f64() * thresholds.factor
}

impl Times {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        let measured = [Change::Enforce, Change::Admit].map(|change| (change, Vec::new()));
        Self { thresholds, measured, slower: Vec::new() }
    }

    pub(super) fn add(&mut self, scenario: &str, before: &Step, after: &Step) {
        let times = [
            (before.times.time_to_enforce_ms, after.times.time_to_enforce_ms),
            (before.times.time_to_admit_ms, after.times.time_to_admit_ms),
        ];
        for ((change, measured), times) in self.measured.iter_mut().zip(times) {
            let (Some(before_ms), Some(after_ms)) = times else { continue };
            measured.push((before_ms, after_ms));
            if is_slower(self.thresholds, before_ms, after_ms) {
                let (scenario, step) = (scenario.to_owned(), after.name.clone());
                self.slower.push(Slower { scenario, step, change: *change, before_ms, after_ms });
            }
        }
    }

    /// Returns the quantiles over all added steps, and the slower steps, with the largest increase first.
    pub(super) fn finish(mut self) -> (Vec<(String, TimeComparison)>, Vec<Slower>) {
        let compared = self.measured.into_iter().filter_map(|(change, times)| {
            let before = Quantiles::of(times.iter().map(|(before, _)| *before))?;
            let after = Quantiles::of(times.iter().map(|(_, after)| *after))?;
            let each = [
                ("p50", before.p50_ms, after.p50_ms),
                ("p95", before.p95_ms, after.p95_ms),
                ("max", before.max_ms, after.max_ms),
            ];
            let slower =
                each.into_iter().filter(|(_, before, after)| is_slower(self.thresholds, *before, *after));
            let slower = slower.map(|(name, ..)| name.to_owned()).collect();
            Some((change.name().to_owned(), TimeComparison { before, after, slower }))
        });
        let compared = compared.collect();
        self.slower
            .sort_by_key(|slower| std::cmp::Reverse(slower.after_ms.0.saturating_sub(slower.before_ms.0)));
        (compared, self.slower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, enforce: Option<u64>, admit: Option<u64>) -> Step {
        let times = serde_json::json!({
            "name": name, "timeToEnforceMs": enforce, "timeToAdmitMs": admit, "cells": [],
        });
        serde_json::from_value(times).unwrap()
    }

    #[test]
    fn slower_is_more_than_twice_and_more_than_half_a_second() {
        let is_slower = |before, after| is_slower(Thresholds::default(), Millis(before), Millis(after));
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
        let numbers: Vec<_> =
            compared.iter().map(|(change, times)| (change.as_str(), times.after.steps)).collect();
        assert_eq!(numbers, [("enforce", 2), ("admit", 1)]);
        assert_eq!(compared[0].1.slower, ["p50", "p95", "max"]);
        assert!(compared[1].1.slower.is_empty());
        let steps: Vec<_> = slower.iter().map(|slower| slower.step.as_str()).collect();
        assert_eq!(steps, ["two", "one"], "the slowest first");
    }
}
