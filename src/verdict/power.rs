//! How much a denial proves: how many probes were dropped at each enforcement point, and which share of
//! leaking connections would have been found.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::enforcers::Nodes;
use super::judge::Verdict;
use super::result::{CellResult, RunResult, StepResult};
use crate::policy::{Decision, Direction, Expectation, PolicyName};

/// Probability with which a share must be found.
const CONFIDENCE: f64 = 0.95;
/// Greatest loss to calculate with. If nothing gets through, no count of probes is enough.
const MOST_LOSS: f64 = 0.9;

/// Point at which a policy is enforced. The specification does not say where. All implementations do it on
/// the node of the pod that the policy selects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnforcementPoint {
    /// Node. `None` if it is not known, or not the only one.
    pub node: Option<String>,
    /// Policies that deny. If several isolate a pod, no probe shows which of them dropped it.
    pub policies: BTreeSet<PolicyName>,
    /// Direction.
    pub direction: Direction,
}

/// Returns the points that deny a flow between these nodes, at most one for each direction. A packet must
/// pass all of them.
pub fn enforcement_points(expected: &Expectation, nodes: &Nodes) -> BTreeSet<EnforcementPoint> {
    if expected.decision != Decision::Deny {
        return BTreeSet::new();
    }
    let mut points = BTreeMap::<Direction, BTreeSet<PolicyName>>::new();
    for (policy, direction) in expected.deciding_policies() {
        points.entry(direction).or_default().insert(policy.clone());
    }
    let point = |(direction, policies)| {
        let node = nodes.enforcing(direction).map(str::to_owned);
        EnforcementPoint { node, policies, direction }
    };
    points.into_iter().map(point).collect()
}

/// Returns for each denied cell the points for which its dropped probes count, given the points that deny
/// each cell.
///
/// Cells that one point denies alone prove that point. A cell that two points deny proves neither of them,
/// because packets that the sender's node drops never reach the receiver's node. It proves that nothing
/// passes both. That proof is not needed if one of the two is proved alone.
pub fn pools<P: Ord>(denied_at: &[BTreeSet<P>]) -> Vec<Option<&BTreeSet<P>>> {
    let alone: BTreeSet<&P> = denied_at.iter().filter(|points| points.len() == 1).flatten().collect();
    let of_cell = denied_at.iter().map(|points| match points.len() {
        0 => None,
        1 => Some(points),
        _ => points.iter().all(|point| !alone.contains(point)).then_some(points),
    });
    of_cell.collect()
}

/// Returns the smallest share of leaking connections, from 0 to 1, that this count of probes finds with 95 %,
/// in a network that loses this share of packets.
fn detectable_share(probes: u32, loss: f64) -> f64 {
    if probes == 0 {
        return 1.0;
    }
    // Share of the probes that leak and are not lost.
    let delivered = 1.0 - (1.0 - CONFIDENCE).powf(1.0 / f64::from(probes));
    (delivered / (1.0 - loss)).min(1.0)
}

/// Returns how many probes find this share of leaking connections with 95 %, in a network that loses this
/// share of packets. `share` must be above 0 and below 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and the value is positive"
)]
pub fn probes_for(share: f64, loss: f64) -> u32 {
    let delivered = share * (1.0 - loss.min(MOST_LOSS));
    ((1.0 - CONFIDENCE).ln() / (1.0 - delivered).ln()).ceil() as u32
}

/// Evidence for the denials of one or more steps.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proof {
    /// Count of proved denials.
    pub denials: usize,
    /// Count of probes that were dropped on a live path.
    pub dropped_probes: u64,
    /// Smallest count of dropped probes for one denial.
    pub fewest_per_denial: u32,
    /// Count of enforcement points, by step.
    pub enforcement_points: usize,
    /// Count of the points that deny only what the other direction denies, too. No probe shows which of the
    /// two dropped it.
    pub untold_enforcement_points: usize,
    /// Smallest count of dropped probes at one point, or at two points of which neither denies anything
    /// alone.
    pub fewest_per_enforcement_point: u32,
    /// Smallest share of leaking connections, from 0 to 1, that would have been found with 95 % at every
    /// point, given the share of packets that the network lost. `None` without points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detectable_share: Option<f64>,
    /// Share that `--confidence` requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_share: Option<f64>,
    /// Whether the requested share might not have been found.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub falls_short: bool,
}

impl Proof {
    /// Combines what several steps prove.
    fn plus(self, other: Self) -> Self {
        let fewest = |fewest: fn(&Self) -> Option<u32>| [self, other].iter().filter_map(fewest).min();
        let per_denial = fewest(|proof| (proof.denials > 0).then_some(proof.fewest_per_denial));
        let per_point =
            fewest(|proof| (proof.enforcement_points > 0).then_some(proof.fewest_per_enforcement_point));
        let shares = self.detectable_share.into_iter().chain(other.detectable_share);
        Self {
            denials: self.denials + other.denials,
            dropped_probes: self.dropped_probes + other.dropped_probes,
            fewest_per_denial: per_denial.unwrap_or_default(),
            enforcement_points: self.enforcement_points + other.enforcement_points,
            untold_enforcement_points: self.untold_enforcement_points + other.untold_enforcement_points,
            fewest_per_enforcement_point: per_point.unwrap_or_default(),
            detectable_share: shares.reduce(f64::max),
            ..self
        }
    }

    /// Adds the share that was requested. The tolerance is there because the loss of the network is an
    /// estimate, which changes with every probe.
    fn requested(self, share: Option<f64>) -> Self {
        const TOLERANCE: f64 = 1.05;
        let shares = share.zip(self.detectable_share);
        let falls_short = shares.is_some_and(|(requested, detectable)| detectable > requested * TOLERANCE);
        Self { requested_share: share, falls_short, ..self }
    }
}

fn is_proved_denial(cell: &&CellResult) -> bool {
    cell.verdict == Verdict::Match && cell.expected.decision == Decision::Deny
}

impl StepResult {
    /// Returns the evidence for the denials of the step.
    fn proof(&self) -> Proof {
        let proved: Vec<&CellResult> = self.cells.iter().filter(is_proved_denial).collect();
        let denied_at: Vec<_> =
            proved.iter().map(|cell| enforcement_points(&cell.expected, &cell.nodes)).collect();
        let mut dropped = BTreeMap::<&BTreeSet<EnforcementPoint>, u32>::new();
        for (cell, pool) in proved.iter().zip(pools(&denied_at)) {
            if let Some(pool) = pool {
                *dropped.entry(pool).or_default() += cell.silences;
            }
        }
        let points: BTreeSet<&EnforcementPoint> = denied_at.iter().flatten().collect();
        let alone = dropped.keys().filter(|pool| pool.len() == 1).count();
        let fewest = dropped.values().min().copied();
        Proof {
            denials: proved.len(),
            dropped_probes: proved.iter().map(|cell| u64::from(cell.silences)).sum(),
            fewest_per_denial: proved.iter().map(|cell| cell.silences).min().unwrap_or_default(),
            enforcement_points: points.len(),
            untold_enforcement_points: points.len() - alone,
            fewest_per_enforcement_point: fewest.unwrap_or_default(),
            // The loss of a step without denials makes no proof weaker.
            detectable_share: fewest.map(|fewest| detectable_share(fewest, self.loss)),
            ..Proof::default()
        }
    }
}

impl RunResult {
    /// Returns the evidence for the denials of the run.
    pub fn proof(&self) -> Proof {
        self.steps()
            .map(StepResult::proof)
            .fold(Proof::default(), Proof::plus)
            .requested(self.requested_share)
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

    /// A leaking packet that is lost does not show.
    #[test]
    fn loss_takes_power_away() {
        assert_eq!(probes_for(0.1, 0.2), 36);
        assert_eq!(probes_for(0.1, 1.0), 299, "they end");
        assert!((detectable_share(29, 0.2) - 0.098 / 0.8).abs() < 0.001);
        assert_eq!(detectable_share(1, 0.2), 1.0, "no share of them is found with 95 %");
    }

    #[test]
    fn a_step_without_denials_takes_no_power_away() {
        let proof = Proof {
            denials: 3,
            dropped_probes: 9,
            fewest_per_denial: 2,
            enforcement_points: 1,
            fewest_per_enforcement_point: 9,
            detectable_share: Some(detectable_share(9, 0.0)),
            ..Proof::default()
        };
        assert_eq!(proof.plus(Proof::default()), proof);
        assert_eq!(Proof::default().plus(proof), proof);
        assert!(!Proof::default().requested(Some(0.1)).falls_short);
    }

    #[test]
    fn what_was_asked_for_is_missed_by_more_than_an_estimate_may_change() {
        let falls_short = |fewest| {
            let detectable_share = Some(detectable_share(fewest, 0.0));
            Proof { detectable_share, ..Proof::default() }.requested(Some(0.01)).falls_short
        };
        assert!(!falls_short(probes_for(0.01, 0.0)));
        assert!(falls_short(probes_for(0.01, 0.0) * 9 / 10));
    }

    #[test]
    fn what_both_directions_deny_has_a_point_in_each() {
        let isolated = |direction, names: &[&str]| Reason::Isolated {
            direction,
            policies: names.iter().map(|name| policy(name)).collect(),
        };
        let deny = |reasons| Expectation { decision: Decision::Deny, reasons };
        let nodes = Nodes { from: Some("one".to_owned()), to: Some("two".to_owned()) };

        let (egress, ingress) =
            (isolated(Direction::Egress, &["e"]), isolated(Direction::Ingress, &["a", "b"]));
        assert_eq!(enforcement_points(&deny(vec![egress, ingress.clone()]), &nodes).len(), 2);

        // Two policies that isolate one pod are one point.
        let policies = ["a", "b"].map(policy).into();
        let point = EnforcementPoint { node: nodes.to.clone(), policies, direction: Direction::Ingress };
        assert_eq!(enforcement_points(&deny(vec![ingress]), &nodes), [point].into());
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
