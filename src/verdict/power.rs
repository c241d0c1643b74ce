//! How much a denial proves: how many probes were dropped at each point that enforces it, and which share
//! of leaking connections would have shown.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::Verdict;
use super::machine::Machines;
use super::result::{CellResult, StepResult};
use crate::policy::{Decision, Direction, Expectation, PolicyName};

/// How sure a share has to be.
const CONFIDENCE: f64 = 0.95;
/// The most loss to reckon with: where nothing gets through, no number of probes is enough.
const MOST_LOSS: f64 = 0.9;

/// Where a policy is enforced: the specification does not say where, and all implementations do it on the
/// node of the pod that the policy selects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnforcementPoint {
    /// The node; `None` if it is not known, or not the only one.
    pub node: Option<String>,
    /// The policies that deny. Where several isolate a pod, no probe tells which of them dropped it.
    pub policies: BTreeSet<PolicyName>,
    /// In which direction.
    pub direction: Direction,
}

/// The points that deny a flow between these nodes, at most one a direction. A packet has to get past all of them.
pub fn enforcement_points(expected: &Expectation, machines: &Machines) -> BTreeSet<EnforcementPoint> {
    if expected.decision != Decision::Deny {
        return BTreeSet::new();
    }
    let mut points = BTreeMap::<Direction, BTreeSet<PolicyName>>::new();
    for (policy, direction) in expected.deciding_policies() {
        points.entry(direction).or_default().insert(policy.clone());
    }
    let point = |(direction, policies)| {
        let node = match direction {
            Direction::Egress => &machines.from,
            Direction::Ingress => &machines.to,
        };
        EnforcementPoint { node: node.clone(), policies, direction }
    };
    points.into_iter().map(point).collect()
}

/// For which points the dropped probes of each denied cell count together, given the points that deny it. A point that
/// denies cells alone is proved by those. What two points deny proves neither, as what the sender's node drops never comes
/// to the receiver's: it proves that nothing gets past both, and needs no proof where one of them is proved alone.
pub fn pools<P: Ord>(denied_at: &[BTreeSet<P>]) -> Vec<Option<&BTreeSet<P>>> {
    let alone: BTreeSet<&P> = denied_at.iter().filter(|points| points.len() == 1).flatten().collect();
    let of_cell = denied_at.iter().map(|points| match points.len() {
        0 => None,
        1 => Some(points),
        _ => points.iter().all(|point| !alone.contains(point)).then_some(points),
    });
    of_cell.collect()
}

/// The smallest share of leaking connections, from 0 to 1, that so many probes find with 95 % in a network that loses
/// this share of packets.
pub fn detectable_share(probes: u32, loss: f64) -> f64 {
    if probes == 0 {
        return 1.0;
    }
    // Of all probes, those that leak and are not lost.
    let delivered = 1.0 - (1.0 - CONFIDENCE).powf(1.0 / f64::from(probes));
    (delivered / (1.0 - loss)).min(1.0)
}

/// How many probes find this share of leaking connections with 95 % in a network that loses this share of packets;
/// `share` is above 0 and below 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and the value is positive"
)]
pub fn probes_for(share: f64, loss: f64) -> u32 {
    let delivered = share * (1.0 - loss.min(MOST_LOSS));
    ((1.0 - CONFIDENCE).ln() / (1.0 - delivered).ln()).ceil() as u32
}

/// What the denials of a step, or of several, rest on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Power {
    /// How many denials were proved.
    pub denials: usize,
    /// How many probes were dropped on a live path, in all.
    pub probes: u64,
    /// The fewest of them for one denial.
    pub fewest_per_cell: u32,
    /// How many points enforced them.
    pub points: usize,
    /// How many of those deny only what the other direction denies, too: nothing shows which of the two dropped it.
    pub untold: usize,
    /// The fewest probes at one point, or at two of which neither denies anything alone.
    pub fewest_per_point: u32,
    /// The smallest share of leaking connections, from 0 to 1, that would have been found with 95 % wherever policies deny,
    /// in a network that loses as many packets as it did; 0 where none do.
    pub detectable_share: f64,
}

impl Power {
    /// Of several steps together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let fewest =
            |(is_any, one): (bool, u32), (is_any_other, other): (bool, u32)| match (is_any, is_any_other) {
                (true, true) => one.min(other),
                (true, false) => one,
                (false, _) => other,
            };
        let (cells, other_cells) = (self.denials > 0, other.denials > 0);
        let (points, other_points) = (self.points > 0, other.points > 0);
        Self {
            denials: self.denials + other.denials,
            probes: self.probes + other.probes,
            fewest_per_cell: fewest((cells, self.fewest_per_cell), (other_cells, other.fewest_per_cell)),
            points: self.points + other.points,
            untold: self.untold + other.untold,
            fewest_per_point: fewest((points, self.fewest_per_point), (other_points, other.fewest_per_point)),
            detectable_share: self.detectable_share.max(other.detectable_share),
        }
    }

    /// Whether a share of leaking connections that was asked for might not have shown. How much the network loses is an
    /// estimate, which every probe changes.
    pub fn falls_short_of(&self, share: f64) -> bool {
        const TOLERANCE: f64 = 1.05;
        self.points > 0 && self.detectable_share > share * TOLERANCE
    }
}

fn is_proved_denial(cell: &&CellResult) -> bool {
    cell.verdict == Verdict::Match && cell.expected.decision == Decision::Deny
}

impl StepResult {
    /// What the denials of the step rest on.
    pub fn power(&self) -> Power {
        let proved: Vec<&CellResult> = self.cells.iter().filter(is_proved_denial).collect();
        let denied_at: Vec<_> =
            proved.iter().map(|cell| enforcement_points(&cell.expected, &cell.machines)).collect();
        let mut dropped = BTreeMap::<&BTreeSet<EnforcementPoint>, u32>::new();
        for (cell, pool) in proved.iter().zip(pools(&denied_at)) {
            if let Some(pool) = pool {
                *dropped.entry(pool).or_default() += cell.silences;
            }
        }
        let points: BTreeSet<&EnforcementPoint> = denied_at.iter().flatten().collect();
        let alone = dropped.keys().filter(|pool| pool.len() == 1).count();
        let fewest = dropped.values().min().copied();
        Power {
            denials: proved.len(),
            probes: proved.iter().map(|cell| u64::from(cell.silences)).sum(),
            fewest_per_cell: proved.iter().map(|cell| cell.silences).min().unwrap_or_default(),
            points: points.len(),
            untold: points.len() - alone,
            fewest_per_point: fewest.unwrap_or_default(),
            // What a step without denials lost takes no power away.
            detectable_share: fewest.map_or(0.0, |fewest| detectable_share(fewest, self.loss)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Reason;

    #[test]
    fn shares_and_numbers_of_probes_belong_together() {
        assert_eq!(probes_for(0.1, 0.0), 29);
        assert_eq!(probes_for(0.001, 0.0), 2_995);
        for (probes, loss) in [1, 2, 29, 500].into_iter().flat_map(|n| [(n, 0.0), (n, 0.04)]) {
            assert!(probes_for(detectable_share(probes, loss), loss) <= probes + 1);
        }
        assert!((detectable_share(2, 0.0) - 0.776).abs() < 0.001);
        assert_eq!(detectable_share(0, 0.0), 1.0);
    }

    /// A leak that is lost does not show.
    #[test]
    fn loss_takes_power_away() {
        assert_eq!(probes_for(0.1, 0.2), 36);
        assert_eq!(probes_for(0.1, 1.0), 299, "they end");
        assert!((detectable_share(29, 0.2) - 0.098 / 0.8).abs() < 0.001);
        assert_eq!(detectable_share(1, 0.2), 1.0, "no share of them is found with 95 %");
    }

    #[test]
    fn a_step_without_denials_takes_no_power_away() {
        let power = Power {
            denials: 3,
            probes: 9,
            fewest_per_cell: 2,
            points: 1,
            untold: 0,
            fewest_per_point: 9,
            detectable_share: detectable_share(9, 0.0),
        };
        assert_eq!(power.plus(Power::default()), power);
        assert_eq!(Power::default().plus(power), power);
        assert!(!Power::default().falls_short_of(0.1));
    }

    #[test]
    fn what_was_asked_for_is_missed_by_more_than_an_estimate_may_change() {
        let with =
            |fewest| Power { points: 1, detectable_share: detectable_share(fewest, 0.0), ..Power::default() };
        assert!(!with(probes_for(0.01, 0.0)).falls_short_of(0.01));
        assert!(with(probes_for(0.01, 0.0) * 9 / 10).falls_short_of(0.01));
    }

    #[test]
    fn what_both_directions_deny_has_a_point_in_each() {
        let isolated = |direction, names: &[&str]| Reason::Isolated {
            direction,
            policies: names.iter().map(|name| policy(name)).collect(),
        };
        let deny = |reasons| Expectation { decision: Decision::Deny, reasons };
        let machines = Machines { from: Some("one".to_owned()), to: Some("two".to_owned()) };

        let (egress, ingress) =
            (isolated(Direction::Egress, &["e"]), isolated(Direction::Ingress, &["a", "b"]));
        assert_eq!(enforcement_points(&deny(vec![egress, ingress.clone()]), &machines).len(), 2);

        // Two policies that isolate one pod are one point.
        let policies = ["a", "b"].map(policy).into();
        let point = EnforcementPoint { node: machines.to.clone(), policies, direction: Direction::Ingress };
        assert_eq!(enforcement_points(&deny(vec![ingress]), &machines), [point].into());
    }

    #[test]
    fn what_two_points_deny_counts_for_both_together_where_neither_is_proved_alone() {
        let cells =
            |cells: &[&[u8]]| cells.iter().map(|points| points.iter().copied().collect()).collect::<Vec<_>>();
        let pools_of = |all: &[&[u8]]| -> Vec<Option<Vec<u8>>> {
            pools(&cells(all))
                .into_iter()
                .map(|pool| pool.map(|pool| pool.iter().copied().collect()))
                .collect()
        };
        assert_eq!(pools_of(&[&[1, 2], &[1, 3], &[]]), [Some(vec![1, 2]), Some(vec![1, 3]), None]);
        assert_eq!(pools_of(&[&[1, 2], &[1, 3], &[3]]), [Some(vec![1, 2]), None, Some(vec![3])]);
    }

    fn policy(name: &str) -> PolicyName {
        PolicyName::Namespaced { namespace: "x".to_owned(), name: name.to_owned() }
    }
}
