//! Pools of probes: those of all cells that one enforcement point denies prove together that it does.

use std::collections::HashMap;

use crate::verdict::EnforcementPoint;

/// The cells that each enforcement point denies.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// The pools that each cell is in, by their indices.
    of_cell: Vec<Vec<usize>>,
    /// How many pools there are.
    count: usize,
    /// How many probes have to be dropped in each.
    wanted: u32,
}

impl Pools {
    /// The pools of cells that are denied at these points, each of which wants so many dropped probes.
    pub(super) fn new(points: Vec<Vec<EnforcementPoint>>, wanted: u32) -> Self {
        let mut indices = HashMap::new();
        let of_cell = points.into_iter().map(|points| {
            let index = |point| {
                let next = indices.len();
                *indices.entry(point).or_insert(next)
            };
            points.into_iter().map(index).collect()
        });
        let of_cell = of_cell.collect();
        Self { of_cell, count: indices.len(), wanted }
    }

    fn of(&self, cell: usize) -> &[usize] {
        self.of_cell.get(cell).map(Vec::as_slice).unwrap_or_default()
    }

    /// The probes that pools still want, by cell: a cell may occur several times. `silences` are the dropped
    /// probes of every cell, and `silent` are the cells that may be probed for it.
    pub(super) fn missing(&self, silences: &[u32], silent: &[usize]) -> Vec<usize> {
        let mut dropped = vec![0_u32; self.count];
        let mut members = vec![Vec::new(); self.count];
        for cell in silent {
            for pool in self.of(*cell) {
                if let (Some(dropped), Some(members)) = (dropped.get_mut(*pool), members.get_mut(*pool)) {
                    *dropped += silences.get(*cell).copied().unwrap_or_default();
                    members.push(*cell);
                }
            }
        }
        let mut missing = Vec::new();
        for (pool, members) in members.iter().enumerate() {
            // In turn, so that all cells of a pool are probed about equally often.
            let mut turn = members.iter().cycle();
            while dropped.get(pool).is_some_and(|dropped| *dropped < self.wanted)
                && let Some(cell) = turn.next()
            {
                missing.push(*cell);
                for pool in self.of(*cell) {
                    if let Some(dropped) = dropped.get_mut(*pool) {
                        *dropped += 1;
                    }
                }
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Direction, PolicyName};

    fn point(policy: &str) -> EnforcementPoint {
        let policy = PolicyName::Namespaced { namespace: "x".to_owned(), name: policy.to_owned() };
        EnforcementPoint { node: None, policy, direction: Direction::Ingress }
    }

    #[test]
    fn each_pool_gets_as_many_probes_as_it_wants() {
        let pools = Pools::new(vec![vec![point("a")], vec![point("a"), point("b")], vec![]], 5);
        let missing = pools.missing(&[1, 1, 1], &[0, 1, 2]);
        let of = |cell| missing.iter().filter(|other| **other == cell).count();
        // Pool `a` has 2 and gets 3 in turn; pool `b` has 1, gained one of those, and gets 3 more.
        assert_eq!((of(0), of(1), of(2)), (2, 4, 0));
        assert!(pools.missing(&[3, 5, 0], &[0, 1, 2]).is_empty());
    }

    #[test]
    fn a_pool_without_a_silent_cell_gets_nothing() {
        assert!(Pools::new(vec![vec![point("a")]], 5).missing(&[0], &[]).is_empty());
    }
}
