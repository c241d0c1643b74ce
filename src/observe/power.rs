//! Pools of probes. If the same points deny several cells, the probes of all these cells together prove the
//! denial.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::verdict::{EnforcementPoint, pools, probes_for};

/// The points that deny each cell.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// Indices of the points, at most one per direction. Empty for cells that are not denied.
    of_cell: Vec<BTreeSet<usize>>,
    /// The share of leaking connections that has to show.
    leak_share: f64,
}

impl Pools {
    /// Returns the pools of cells that these points deny. In each pool, this share of leaking connections has
    /// to show. It is above 0 and below 1.
    pub(super) fn new(points: Vec<BTreeSet<EnforcementPoint>>, leak_share: f64) -> Self {
        let mut indices = HashMap::new();
        let mut index = |point| {
            let next = indices.len();
            *indices.entry(point).or_insert(next)
        };
        let of_cell = points.into_iter().map(|points| points.into_iter().map(&mut index).collect());
        Self { of_cell: of_cell.collect(), leak_share }
    }

    fn points_of(&self, cell: usize) -> impl Iterator<Item = usize> {
        self.of_cell.get(cell).into_iter().flatten().copied()
    }

    /// Returns the cells that are denied only by points that let one of these cells pass, including these
    /// cells.
    pub(super) fn mates(&self, cells: &BTreeSet<usize>) -> Vec<usize> {
        let open: BTreeSet<usize> = cells.iter().flat_map(|cell| self.points_of(*cell)).collect();
        let is_mate = |points: &BTreeSet<usize>| !points.is_empty() && points.is_subset(&open);
        let mates = self.of_cell.iter().enumerate().filter(|(_, points)| is_mate(points));
        mates.map(|(cell, _)| cell).collect()
    }

    /// Returns the cells to probe so that every pool gets enough probes, at most `most`. A cell may occur
    /// several times. `silences` are the dropped probes of every cell, and `silent` are the cells that may be
    /// probed. The pools of a point that denies a `suspect` cell need twice as many probes. `loss` is the
    /// share of probes that the network loses.
    pub(super) fn missing(
        &self,
        silences: &[u32],
        silent: &[usize],
        suspect: &BTreeSet<usize>,
        loss: f64,
        most: usize,
    ) -> Vec<usize> {
        let once = probes_for(self.leak_share, loss);
        let suspect: BTreeSet<usize> = suspect.iter().flat_map(|cell| self.points_of(*cell)).collect();
        let denied_at: Vec<_> =
            silent.iter().map(|cell| self.of_cell.get(*cell).cloned().unwrap_or_default()).collect();
        let mut members = BTreeMap::<&BTreeSet<usize>, Vec<usize>>::new();
        for (cell, pool) in silent.iter().zip(pools(&denied_at)) {
            if let Some(pool) = pool {
                members.entry(pool).or_default().push(*cell);
            }
        }
        let missing = members.into_iter().map(|(pool, members)| {
            let wanted = if pool.is_disjoint(&suspect) { once } else { once.saturating_mul(2) };
            let dropped: u32 = members.iter().filter_map(|cell| silences.get(*cell)).sum();
            let left = wanted.saturating_sub(dropped) as usize;
            // In turn, so that all cells of a pool are probed about equally often.
            members.into_iter().cycle().take(left)
        });
        in_turn(missing.collect(), most)
    }
}

/// Returns the first items of several iterators in turn, so that none has to wait until another ends.
fn in_turn<I: Iterator>(mut iterators: Vec<I>, most: usize) -> Vec<I::Item> {
    let mut items = Vec::new();
    while items.len() < most && !iterators.is_empty() {
        iterators.retain_mut(|iterator| iterator.next().map(|item| items.push(item)).is_some());
    }
    items.truncate(most);
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::settle_networks::point;
    use crate::policy::Direction;

    /// The share of leaks that five probes find.
    const FIVE_PROBES: f64 = 0.46;

    fn denied_at(points: &[&[&str]]) -> Vec<BTreeSet<EnforcementPoint>> {
        let point = |policy: &&str| point(policy, Direction::Ingress);
        points.iter().map(|points| points.iter().map(point).collect()).collect()
    }

    /// Returns what is missing if no cell is suspect.
    fn missing(points: &[&[&str]], silences: &[u32], silent: &[usize], loss: f64) -> Vec<usize> {
        let pools = Pools::new(denied_at(points), FIVE_PROBES);
        let mut missing = pools.missing(silences, silent, &BTreeSet::new(), loss, usize::MAX);
        missing.sort_unstable();
        missing
    }

    const PLAIN: [&[&str]; 4] = [&["a"], &["a"], &["b"], &[]];

    #[test]
    fn each_point_gets_as_many_probes_as_it_wants() {
        // Point `a` has 2 probes and gets 3 in turn. Point `b` has 1.
        assert_eq!(missing(&PLAIN, &[1, 1, 1, 1], &[0, 1, 2, 3], 0.0), [0, 0, 1, 2, 2, 2, 2]);
        assert_eq!(missing(&PLAIN, &[3, 2, 5, 0], &[0, 1, 2, 3], 0.0), [0; 0]);
        let with_loss = missing(&PLAIN, &[3, 2, 5, 0], &[0, 1, 2, 3], 0.2);
        assert_eq!(with_loss, [0, 1, 2, 2], "a lost probe shows no leak");
        let pools = Pools::new(denied_at(&PLAIN), FIVE_PROBES);
        let suspect = pools.missing(&[3, 2, 5, 0], &[0, 1, 2, 3], &[2].into(), 0.0, usize::MAX);
        assert_eq!(suspect, [2; 5], "as many again");
    }

    /// Regression: with default deny in both directions, no cell is denied by one point alone. Each cell got
    /// two probes, however small the requested share of leaks was, and the run passed.
    #[test]
    fn what_two_points_deny_is_proved_of_both_together() {
        let both: [&[&str]; 3] = [&["a", "b"], &["a", "b"], &["a", "c"]];
        assert_eq!(missing(&both, &[1, 1, 4], &[0, 1, 2], 0.0), [0, 0, 1, 2], "each pair by its own cells");
        let one_alone: [&[&str]; 3] = [&["a", "b"], &["a", "c"], &["c"]];
        assert_eq!(missing(&one_alone, &[3, 1, 5], &[0, 1, 2], 0.0), [0, 0], "nothing gets past `c`");
        // A cell that cannot be probed proves nothing of `c`.
        assert_eq!(missing(&one_alone, &[3, 3, 0], &[0, 1], 0.0), [0, 0, 1, 1]);
    }

    /// Regression: one point that needed thousands of probes kept all others waiting.
    #[test]
    fn points_are_served_in_turn() {
        let pools = Pools::new(denied_at(&PLAIN), 0.001);
        assert_eq!(pools.missing(&[0; 4], &[0, 1, 2], &BTreeSet::new(), 0.0, 4), [0, 2, 1, 2]);
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
        assert_eq!(missing(&[&["a"]], &[0], &[], 0.0), [0; 0]);
    }
}
