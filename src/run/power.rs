//! Pools of probes: those of all cells that one enforcement point denies prove together that it does.

use std::collections::HashMap;

use crate::verdict::EnforcementPoint;

/// The cells that each enforcement point denies.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// The pool that each cell is in, by its index; `None` where more than one point would drop its probes.
    of_cell: Vec<Option<usize>>,
    /// How many pools there are.
    count: usize,
    /// How many probes have to be dropped in each.
    wanted: u32,
}

impl Pools {
    /// The pools of cells that are denied at these points, each of which wants so many dropped probes.
    pub(super) fn new(points: Vec<Option<EnforcementPoint>>, wanted: u32) -> Self {
        let mut indices = HashMap::new();
        let mut index = |point| {
            let next = indices.len();
            *indices.entry(point).or_insert(next)
        };
        let of_cell = points.into_iter().map(|point| point.map(&mut index)).collect();
        Self { of_cell, count: indices.len(), wanted }
    }

    fn of(&self, cell: usize) -> Option<usize> {
        self.of_cell.get(cell).copied().flatten()
    }

    /// The probes that pools still want, by cell: a cell may occur several times. `silences` are the dropped
    /// probes of every cell, and `silent` are the cells that may be probed for it.
    pub(super) fn missing(&self, silences: &[u32], silent: &[usize]) -> Vec<usize> {
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
        for (dropped, members) in dropped.into_iter().zip(members) {
            // In turn, so that all cells of a pool are probed about equally often.
            let wanted = self.wanted.saturating_sub(dropped) as usize;
            missing.extend(members.iter().cycle().take(wanted));
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
        EnforcementPoint { node: None, policies: [policy].into(), direction: Direction::Ingress }
    }

    #[test]
    fn each_pool_gets_as_many_probes_as_it_wants() {
        let pools = Pools::new(vec![Some(point("a")), Some(point("a")), Some(point("b")), None], 5);
        let missing = pools.missing(&[1, 1, 1, 1], &[0, 1, 2, 3]);
        let of = |cell| missing.iter().filter(|other| **other == cell).count();
        // Pool `a` has 2 and gets 3 in turn; pool `b` has 1.
        assert_eq!((of(0), of(1), of(2), of(3)), (2, 1, 4, 0));
        assert!(pools.missing(&[3, 2, 5, 0], &[0, 1, 2, 3]).is_empty());
    }

    #[test]
    fn a_pool_without_a_silent_cell_gets_nothing() {
        assert!(Pools::new(vec![Some(point("a"))], 5).missing(&[0], &[]).is_empty());
    }
}
