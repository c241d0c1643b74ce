//! Pools of probes: those of all cells that one enforcement point denies prove together that it does.
//!
//! A point that has cells of its own is proved by them alone. One that denies only what the other direction denies, too,
//! is proved by those, as far as packets can: nothing shows which of the two dropped them.

use std::collections::{BTreeSet, HashMap};

use crate::verdict::{EnforcementPoint, probes_for};

/// The cells that each enforcement point denies.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// The points that deny each cell, by their indices: none to two.
    of_cell: Vec<BTreeSet<usize>>,
    /// Whether each point denies a cell that no other does.
    is_alone: Vec<bool>,
    /// The share of leaking connections that has to show at each point.
    leak_share: f64,
}

impl Pools {
    /// The pools of cells that are denied at these points. At each, this share of leaking connections has to show,
    /// above 0 and below 1.
    pub(super) fn new(points: Vec<Vec<EnforcementPoint>>, leak_share: f64) -> Self {
        let mut indices = HashMap::new();
        let mut index = |point| {
            let next = indices.len();
            *indices.entry(point).or_insert(next)
        };
        let of_cell: Vec<BTreeSet<usize>> =
            points.into_iter().map(|points| points.into_iter().map(&mut index).collect()).collect();
        let is_alone = |point| of_cell.iter().any(|points| points.len() == 1 && points.contains(&point));
        let is_alone = (0..indices.len()).map(is_alone).collect();
        Self { of_cell, is_alone, leak_share }
    }

    fn points_of(&self, cell: usize) -> impl Iterator<Item = usize> {
        self.of_cell.get(cell).into_iter().flatten().copied()
    }

    /// The points for which a dropped probe of the cell counts.
    fn proved_by(&self, cell: usize) -> impl Iterator<Item = usize> {
        let is_only = self.of_cell.get(cell).is_some_and(|points| points.len() == 1);
        self.points_of(cell).filter(move |point| is_only || self.is_alone.get(*point) == Some(&false))
    }

    /// The cells that nothing denies but what let these cells pass, themselves included.
    pub(super) fn mates(&self, cells: &BTreeSet<usize>) -> Vec<usize> {
        let open: BTreeSet<usize> = cells.iter().flat_map(|cell| self.points_of(*cell)).collect();
        let is_mate = |points: &BTreeSet<usize>| !points.is_empty() && points.is_subset(&open);
        let mates = self.of_cell.iter().enumerate().filter(|(_, points)| is_mate(points));
        mates.map(|(cell, _)| cell).collect()
    }

    /// The probes that points still want, by cell: a cell may occur several times. `silences` are the dropped
    /// probes of every cell, and `silent` are the cells that may be probed for it. The points of a cell that was
    /// `suspect` want twice as many. The network loses this share of the probes.
    pub(super) fn missing(
        &self,
        silences: &[u32],
        silent: &[usize],
        suspect: &BTreeSet<usize>,
        loss: f64,
    ) -> Vec<usize> {
        let once = probes_for(self.leak_share, loss);
        let suspect: BTreeSet<usize> = suspect.iter().flat_map(|cell| self.points_of(*cell)).collect();
        let mut members = vec![Vec::new(); self.is_alone.len()];
        for cell in silent {
            for point in self.proved_by(*cell) {
                if let Some(members) = members.get_mut(point) {
                    members.push(*cell);
                }
            }
        }
        // A probe that is sent for one point counts for the other, too.
        let mut dropped: Vec<u32> = silences.to_vec();
        let mut missing = Vec::new();
        for (point, members) in members.into_iter().enumerate() {
            let wanted = if suspect.contains(&point) { once.saturating_mul(2) } else { once };
            let seen: u32 = members.iter().filter_map(|cell| dropped.get(*cell)).sum();
            // In turn, so that all cells of a point are probed about equally often.
            for cell in members.iter().cycle().take(wanted.saturating_sub(seen) as usize) {
                if let Some(dropped) = dropped.get_mut(*cell) {
                    *dropped += 1;
                }
                missing.push(*cell);
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Direction, PolicyName};

    /// The share that five probes find.
    const FIVE_PROBES: f64 = 0.46;

    fn point(policy: &str) -> EnforcementPoint {
        let policy = PolicyName::Namespaced { namespace: "x".to_owned(), name: policy.to_owned() };
        EnforcementPoint { node: None, policies: [policy].into(), direction: Direction::Ingress }
    }

    /// Who denies each of four cells: the last is denied by nothing that is proved.
    fn denied_at(points: &[&[&str]]) -> Vec<Vec<EnforcementPoint>> {
        points.iter().map(|points| points.iter().map(|policy| point(policy)).collect()).collect()
    }

    #[test]
    fn each_point_gets_as_many_probes_as_it_wants() {
        let pools = Pools::new(denied_at(&[&["a"], &["a"], &["b"], &[]]), FIVE_PROBES);
        let missing = pools.missing(&[1, 1, 1, 1], &[0, 1, 2, 3], &BTreeSet::new(), 0.0);
        let of = |cell| missing.iter().filter(|other| **other == cell).count();
        // Point `a` has 2 and gets 3 in turn; point `b` has 1.
        assert_eq!((of(0), of(1), of(2), of(3)), (2, 1, 4, 0));
        assert!(pools.missing(&[3, 2, 5, 0], &[0, 1, 2, 3], &BTreeSet::new(), 0.0).is_empty());
        let with_loss = pools.missing(&[3, 2, 5, 0], &[0, 1, 2, 3], &BTreeSet::new(), 0.2);
        assert_eq!(with_loss, [0, 1, 2, 2], "a lost probe shows no leak");
        let suspect = pools.missing(&[3, 2, 5, 0], &[0, 1, 2, 3], &[2].into(), 0.0);
        assert_eq!(suspect, [2; 5], "as many again");
    }

    /// With default deny in both directions nothing is denied by one point alone: such points got two probes for each
    /// cell, however small a share of leaks was asked for, and the run passed.
    #[test]
    fn what_two_points_deny_proves_those_that_deny_nothing_alone() {
        let pools = Pools::new(denied_at(&[&["a", "b"], &["a", "c"], &["c"]]), FIVE_PROBES);
        // `a` wants 3 more, `b` 4, `c` only those of its own.
        let missing = pools.missing(&[1, 1, 5], &[0, 1, 2], &BTreeSet::new(), 0.0);
        assert_eq!(missing, [0, 1, 0, 0, 0], "what `a` gets counts for `b`, too");
        assert!(pools.missing(&[5, 0, 5], &[0, 1, 2], &BTreeSet::new(), 0.0).is_empty());
    }

    #[test]
    fn cells_that_nothing_else_denies_are_mates() {
        let pools = Pools::new(denied_at(&[&["a"], &["b"], &[], &["a"], &["a", "b"]]), FIVE_PROBES);
        assert_eq!(pools.mates(&[3].into()), [0, 3], "the last cell may owe its silence to `b`");
        assert_eq!(pools.mates(&[2].into()), [0; 0]);
        assert_eq!(pools.mates(&[4].into()), [0, 1, 3, 4], "both let it pass");
        assert_eq!(pools.mates(&[0, 1].into()), [0, 1, 3, 4]);
    }

    #[test]
    fn a_point_without_a_silent_cell_gets_nothing() {
        let pools = Pools::new(denied_at(&[&["a"]]), FIVE_PROBES);
        assert!(pools.missing(&[0], &[], &BTreeSet::new(), 0.0).is_empty());
    }
}
