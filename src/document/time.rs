//! Times, in whole milliseconds.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Step;
use crate::verdict::{PerChange, TimeToSettle};

/// A time in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Self {
        Self::from_millis(millis.0)
    }
}

/// Times of a step's slowest new denial and slowest new allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepTimes {
    pub time_to_enforce_ms: Option<Millis>,
    pub time_to_admit_ms: Option<Millis>,
}

impl From<TimeToSettle> for StepTimes {
    fn from(TimeToSettle { enforce, admit }: TimeToSettle) -> Self {
        Self { time_to_enforce_ms: enforce.map(Millis::from), time_to_admit_ms: admit.map(Millis::from) }
    }
}

/// Quantiles of times over steps. Each is a time that was measured (nearest rank).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    pub steps: usize,
    pub p50_ms: Millis,
    pub p95_ms: Millis,
    pub max_ms: Millis,
}

impl Quantiles {
    /// Returns the quantiles of times. `None` without any time.
    pub fn of(times: impl IntoIterator<Item = Millis>) -> Option<Self> {
        let mut times: Vec<Millis> = times.into_iter().collect();
        times.sort_unstable();
        let rank =
            |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { steps: times.len(), p50_ms: rank(50)?, p95_ms: rank(95)?, max_ms: rank(100)? })
    }
}

/// Times of the steps with new denials, and of the steps with new allowances. `None` without such steps.
pub type Latency = PerChange<Quantiles>;

impl Latency {
    /// Returns the latency of steps with these times.
    pub fn of(times: impl Iterator<Item = StepTimes> + Clone) -> Self {
        Self {
            enforce: Quantiles::of(times.clone().filter_map(|time| time.time_to_enforce_ms)),
            admit: Quantiles::of(times.filter_map(|time| time.time_to_admit_ms)),
        }
    }
}

/// Latency of a whole run, and of each of its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunLatency {
    #[serde(flatten)]
    pub total: Latency,
    pub nodes: BTreeMap<String, Latency>,
}

impl RunLatency {
    pub(super) fn of<'a>(steps: impl Iterator<Item = &'a Step> + Clone) -> Self {
        let mut nodes = BTreeMap::<&String, Vec<StepTimes>>::new();
        for (node, times) in steps.clone().flat_map(|step| &step.nodes) {
            nodes.entry(node).or_default().push(*times);
        }
        let nodes = nodes.into_iter().map(|(node, times)| (node.clone(), Latency::of(times.into_iter())));
        Self { nodes: nodes.collect(), total: Latency::of(steps.map(|step| step.times)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let of = |millis: &[u64]| {
            let Quantiles { steps, p50_ms, p95_ms, max_ms } =
                Quantiles::of(millis.iter().copied().map(Millis))?;
            Some((steps, p50_ms.0, p95_ms.0, max_ms.0))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[5]), Some((1, 5, 5, 5)));
        assert_eq!(of(&[9, 1]), Some((2, 1, 9, 9)));
        assert_eq!(of(&[3, 1, 2]), Some((3, 2, 3, 3)));
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(of(&hundred), Some((100, 50, 95, 100)));
    }
}
