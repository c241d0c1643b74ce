//! Pools of probes: those of all cells that one enforcement point denies prove together that it does.

use std::collections::{BTreeSet, HashMap};

use crate::verdict::{EnforcementPoint, probes_for};

/// The cells that each enforcement point denies.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// The pool that each cell is in, by its index; `None` where more than one point would drop its probes.
    of_cell: Vec<Option<usize>>,
    /// How many pools there are.
    count: usize,
    /// The share of leaking connections that has to show in each.
    leak_share: f64,
}

impl Pools {
    /// The pools of cells that are denied at these points. In each, this share of leaking connections has to show,
    /// above 0 and below 1.
    pub(super) fn new(points: Vec<Option<EnforcementPoint>>, leak_share: f64) -> Self {
        let mut indices = HashMap::new();
        let mut index = |point| {
            let next = indices.len();
            *indices.entry(point).or_insert(next)
        };
        let of_cell = points.into_iter().map(|point| point.map(&mut index)).collect();
        Self { of_cell, count: indices.len(), leak_share }
    }

    fn of(&self, cell: usize) -> Option<usize> {
        self.of_cell.get(cell).copied().flatten()
    }

    /// The cells of the pools that these cells are in, themselves included.
    pub(super) fn mates(&self, cells: &BTreeSet<usize>) -> Vec<usize> {
        let pools: BTreeSet<usize> = cells.iter().filter_map(|cell| self.of(*cell)).collect();
        let is_mate = |pool: &Option<usize>| pool.is_some_and(|pool| pools.contains(&pool));
        let mates = self.of_cell.iter().enumerate().filter(|(_, pool)| is_mate(pool));
        mates.map(|(cell, _)| cell).collect()
    }

    /// The probes that pools still want, by cell: a cell may occur several times. `silences` are the dropped
    /// probes of every cell, and `silent` are the cells that may be probed for it. Pools of a cell that was `suspect`
    /// want twice as many. The network loses this share of the probes.
    pub(super) fn missing(
        &self,
        silences: &[u32],
        silent: &[usize],
        suspect: &BTreeSet<usize>,
        loss: f64,
    ) -> Vec<usize> {
        let once = probes_for(self.leak_share, loss);
        let suspect: BTreeSet<usize> = suspect.iter().filter_map(|cell| self.of(*cell)).collect();
        let mut dropped = vec![0_u32; self.count];
        let mut members = vec![Vec::new(); self.count];
        for cell in silent {
            let Some(pool) = self.of(*cell) else { continue };
            if let (Some(dropped), Some(members)) = (dropped.get_mut(pool), members.get_mut(pool)) {
                *dropped += silences.get(*cell).copied().unwrap_or_default();
                members.push(*cell);
            }
        }
        let mut missing = Vec::new();
        for (pool, (dropped, members)) in dropped.into_iter().zip(members).enumerate() {
            let wanted = if suspect.contains(&pool) { once.saturating_mul(2) } else { once };
            // In turn, so that all cells of a pool are probed about equally often.
            let wanted = wanted.saturating_sub(dropped) as usize;
            missing.extend(members.iter().cycle().take(wanted));
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

    #[test]
    fn each_pool_gets_as_many_probes_as_it_wants() {
        let pools = Pools::new(vec![Some(point("a")), Some(point("a")), Some(point("b")), None], FIVE_PROBES);
        let missing = pools.missing(&[1, 1, 1, 1], &[0, 1, 2, 3], &BTreeSet::new(), 0.0);
        let of = |cell| missing.iter().filter(|other| **other == cell).count();
        // Pool `a` has 2 and gets 3 in turn; pool `b` has 1.
        assert_eq!((of(0), of(1), of(2), of(3)), (2, 1, 4, 0));
        assert!(pools.missing(&[3, 2, 5, 0], &[0, 1, 2, 3], &BTreeSet::new(), 0.0).is_empty());
        let with_loss = pools.missing(&[3, 2, 5, 0], &[0, 1, 2, 3], &BTreeSet::new(), 0.2);
        assert_eq!(with_loss, [0, 1, 2, 2], "a lost probe shows no leak");
        let suspect = pools.missing(&[3, 2, 5, 0], &[0, 1, 2, 3], &[2].into(), 0.0);
        assert_eq!(suspect, [2; 5], "as many again");
    }

    #[test]
    fn cells_that_one_point_denies_are_mates() {
        let pools = Pools::new(vec![Some(point("a")), Some(point("b")), None, Some(point("a"))], FIVE_PROBES);
        assert_eq!(pools.mates(&[3].into()), [0, 3]);
        assert_eq!(pools.mates(&[2].into()), [0; 0]);
    }

    #[test]
    fn a_pool_without_a_silent_cell_gets_nothing() {
        assert!(
            Pools::new(vec![Some(point("a"))], FIVE_PROBES)
                .missing(&[0], &[], &BTreeSet::new(), 0.0)
                .is_empty()
        );
    }
}
