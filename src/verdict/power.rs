//! How much a denial proves: how many probes were dropped at each point that enforces it, and which share
//! of leaking connections would have shown.

use std::collections::BTreeMap;

use super::judge::Verdict;
use super::machine::Machines;
use super::result::{CellResult, StepResult};
use crate::policy::{Decision, Direction, Expectation, PolicyName, Reason};

/// How sure a share has to be.
const CONFIDENCE: f64 = 0.95;

/// Where a policy is enforced: the specification does not say where, and all implementations do it on the
/// node of the pod that the policy selects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnforcementPoint {
    /// The node; `None` if it is not known, or not the only one.
    pub node: Option<String>,
    /// The policy that denies.
    pub policy: PolicyName,
    /// In which direction.
    pub direction: Direction,
}

/// The points that deny a flow between these nodes.
pub fn enforcement_points(expected: &Expectation, machines: &Machines) -> Vec<EnforcementPoint> {
    if expected.decision != Decision::Deny {
        return Vec::new();
    }
    let point = |policy: &PolicyName, direction: Direction| {
        let node = match direction {
            Direction::Egress => &machines.from,
            Direction::Ingress => &machines.to,
        };
        EnforcementPoint { node: node.clone(), policy: policy.clone(), direction }
    };
    let points = expected.reasons.iter().flat_map(|reason| match reason {
        Reason::Isolated { direction, policies } => {
            policies.iter().map(|policy| point(policy, *direction)).collect()
        }
        Reason::DeniedBy(rule) => vec![point(&rule.policy, rule.direction)],
        Reason::NotIsolated(_)
        | Reason::AllowedBy { .. }
        | Reason::PassedBy(_)
        | Reason::OwnAddress
        | Reason::OwnNode
        | Reason::NoPodNetwork
        | Reason::Undefined(_)
        | Reason::Reading { .. } => Vec::new(),
    });
    points.collect()
}

/// The smallest share of leaking connections, from 0 to 1, that so many probes find with 95 %.
pub fn detectable_share(probes: u32) -> f64 {
    if probes == 0 { 1.0 } else { 1.0 - (1.0 - CONFIDENCE).powf(1.0 / f64::from(probes)) }
}

/// How many probes find this share of leaking connections with 95 %; `share` is above 0 and below 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and the value is positive"
)]
pub fn probes_for(share: f64) -> u32 {
    ((1.0 - CONFIDENCE).ln() / (1.0 - share).ln()).ceil() as u32
}

/// What the denials of a step, or of several, rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Power {
    /// How many denials were proved.
    pub denials: usize,
    /// How many probes were dropped on a live path, in all.
    pub probes: u64,
    /// The fewest of them for one denial.
    pub fewest_per_cell: u32,
    /// How many points enforced them.
    pub points: usize,
    /// The fewest of them at one point.
    pub fewest_per_point: u32,
}

impl Power {
    /// The smallest share of leaking connections, from 0 to 1, that would have been found with 95 % at
    /// every point.
    pub fn detectable_share(&self) -> f64 {
        detectable_share(self.fewest_per_point)
    }

    /// Of several steps together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        // One without denials has no fewest.
        if self.denials == 0 || other.denials == 0 {
            return if self.denials == 0 { other } else { self };
        }
        Self {
            denials: self.denials + other.denials,
            probes: self.probes + other.probes,
            fewest_per_cell: self.fewest_per_cell.min(other.fewest_per_cell),
            points: self.points + other.points,
            fewest_per_point: self.fewest_per_point.min(other.fewest_per_point),
        }
    }
}

fn is_proved_denial(cell: &&CellResult) -> bool {
    cell.verdict == Verdict::Match && cell.expected.decision == Decision::Deny
}

impl StepResult {
    /// How many probes each enforcement point of a proved denial dropped.
    pub fn enforcement(&self) -> BTreeMap<EnforcementPoint, u32> {
        let mut probes = BTreeMap::new();
        for cell in self.cells.iter().filter(is_proved_denial) {
            for point in enforcement_points(&cell.expected, &cell.machines) {
                *probes.entry(point).or_default() += cell.silences;
            }
        }
        probes
    }

    /// What the denials of the step rest on.
    pub fn power(&self) -> Power {
        let denials = || self.cells.iter().filter(is_proved_denial).map(|cell| cell.silences);
        let points = self.enforcement();
        Power {
            denials: denials().count(),
            probes: denials().map(u64::from).sum(),
            fewest_per_cell: denials().min().unwrap_or_default(),
            points: points.len(),
            fewest_per_point: points.into_values().min().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_numbers_of_probes_belong_together() {
        assert_eq!(probes_for(0.1), 29);
        assert_eq!(probes_for(0.001), 2_995);
        for probes in [1, 2, 29, 500] {
            assert!(probes_for(detectable_share(probes)) <= probes + 1);
        }
        assert!((detectable_share(2) - 0.776).abs() < 0.001);
        assert_eq!(detectable_share(0), 1.0);
    }

    #[test]
    fn a_step_without_denials_takes_no_power_away() {
        let power = Power { denials: 3, probes: 9, fewest_per_cell: 2, points: 1, fewest_per_point: 9 };
        assert_eq!(power.plus(Power::default()), power);
        assert_eq!(Power::default().plus(power), power);
    }
}
