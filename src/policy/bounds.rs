//! Lower and upper bounds of what policies allow, and operations on many bounds.

use super::arena::{Id, Interner};
use super::map::HashMap;
use super::port::Connections;

/// Whether something is the case, if facts may be unknown. `min` is "and", `max` is "or".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) enum Truth {
    #[default]
    No,
    Perhaps,
    Yes,
}

impl Truth {
    pub(super) fn of(surely: bool, perhaps: bool) -> Self {
        match (surely, perhaps) {
            (true, _) => Self::Yes,
            (false, true) => Self::Perhaps,
            (false, false) => Self::No,
        }
    }
}

/// The connections that are allowed for certain, and those that may be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Bounds {
    pub(super) certain: Connections,
    // INVARIANT: contains all of `certain`.
    pub(super) possible: Connections,
}

pub(super) type BoundsId = Id<Bounds>;

impl Bounds {
    pub(super) fn certain(connections: Connections) -> Self {
        Self { possible: connections.clone(), certain: connections }
    }

    pub(super) fn possible(connections: Connections) -> Self {
        Self { certain: Connections::default(), possible: connections }
    }

    /// Returns what a rule allows on `ports`. `held` is whether the rule matches the remote end.
    pub(super) fn of(held: Truth, ports: &Connections) -> Self {
        match held {
            Truth::Yes => Self::certain(ports.clone()),
            Truth::Perhaps => Self::possible(ports.clone()),
            Truth::No => Self::default(),
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self { certain: self.certain.union(&other.certain), possible: self.possible.union(&other.possible) }
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        Self {
            certain: self.certain.intersection(&other.certain),
            possible: self.possible.intersection(&other.possible),
        }
    }

    /// Returns the bounds with these connections undefined.
    pub(super) fn leaving_open(&self, connections: &Connections) -> Self {
        Self { certain: self.certain.difference(connections), possible: self.possible.union(connections) }
    }

    /// Returns what is allowed if either of two states may be the real one.
    pub(super) fn either(&self, other: &Self) -> Self {
        Self {
            certain: self.certain.intersection(&other.certain),
            possible: self.possible.union(&other.possible),
        }
    }
}

/// Interned bounds, and the cached results of operations on pairs of them.
#[derive(Debug)]
pub(super) struct Algebra {
    pub(super) bounds: Interner<Bounds>,
    results: HashMap<(Operation, BoundsId, BoundsId), BoundsId>,
    /// Cache of unions of more than two bounds, by their ids, ascending.
    totals: HashMap<Vec<BoundsId>, BoundsId>,
    pub(super) nothing: BoundsId,
    pub(super) everything: BoundsId,
}

/// An operation on a pair of bounds. All of them return the bounds that are combined with themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Union,
    Intersection,
    Either,
}

impl Algebra {
    pub(super) fn new() -> Self {
        let mut bounds = Interner::default();
        let nothing = bounds.intern(Bounds::default());
        let everything = bounds.intern(Bounds::certain(Connections::all()));
        Self { bounds, results: HashMap::default(), totals: HashMap::default(), nothing, everything }
    }

    pub(super) fn union(&mut self, a: BoundsId, b: BoundsId) -> BoundsId {
        if b == self.nothing || a == self.everything {
            return a;
        }
        if a == self.nothing || b == self.everything {
            return b;
        }
        self.combine(Operation::Union, a, b)
    }

    /// Returns the union of many bounds. With thousands of rules, computing every intermediate union would take time and
    /// memory that grow with the square of the count of rules.
    pub(super) fn total(&mut self, mut all: Vec<BoundsId>) -> BoundsId {
        all.retain(|id| *id != self.nothing);
        all.sort_unstable();
        all.dedup();
        match all.as_slice() {
            [] => return self.nothing,
            [only] => return *only,
            [a, b] => return self.union(*a, *b),
            many if many.contains(&self.everything) => return self.everything,
            _ => {}
        }
        if let Some(total) = self.totals.get(&all) {
            return *total;
        }
        let bounds = |id: &BoundsId| &self.bounds.arena()[*id];
        let certain = Connections::union_of(all.iter().map(|id| &bounds(id).certain));
        let possible = Connections::union_of(all.iter().map(|id| &bounds(id).possible));
        let total = self.bounds.intern(Bounds { certain, possible });
        self.totals.insert(all, total);
        total
    }

    pub(super) fn intersection(&mut self, a: BoundsId, b: BoundsId) -> BoundsId {
        if a == self.nothing || b == self.everything {
            return a;
        }
        if b == self.nothing || a == self.everything {
            return b;
        }
        self.combine(Operation::Intersection, a, b)
    }

    /// Returns what is allowed if either of two states may be the real one.
    pub(super) fn either(&mut self, a: BoundsId, b: BoundsId) -> BoundsId {
        self.combine(Operation::Either, a, b)
    }

    fn combine(&mut self, operation: Operation, a: BoundsId, b: BoundsId) -> BoundsId {
        if a == b {
            return a;
        }
        let Self { bounds, results, .. } = self;
        // All operations are commutative.
        let (a, b) = (a.min(b), a.max(b));
        *results.entry((operation, a, b)).or_insert_with(|| {
            let (a, b) = (&bounds.arena()[a], &bounds.arena()[b]);
            let combined = match operation {
                Operation::Union => a.union(b),
                Operation::Intersection => a.intersection(b),
                Operation::Either => a.either(b),
            };
            bounds.intern(combined)
        })
    }

    /// Returns what is allowed over any family that two ends have in common, given what is allowed over each family.
    ///
    /// If it is uncertain whether the ends have a family in common, that family adds nothing that is certain. If all
    /// families are uncertain, each of them may be the only one: pods and nodes of a cluster have at least one family
    /// in common.
    pub(super) fn over_families(&mut self, families: [Option<(Truth, BoundsId)>; 2]) -> BoundsId {
        let (mut sure, mut perhaps) = (None, None);
        for (has, bounds) in families.into_iter().flatten() {
            match has {
                Truth::No => {}
                Truth::Perhaps => perhaps = Some(perhaps.map_or(bounds, |all| self.either(all, bounds))),
                Truth::Yes => sure = Some(sure.map_or(bounds, |all| self.union(all, bounds))),
            }
        }
        match (sure, perhaps) {
            (None, None) => self.nothing,
            (Some(only), None) | (None, Some(only)) => only,
            (Some(sure), Some(perhaps)) => {
                let both = self.union(sure, perhaps);
                self.either(sure, both)
            }
        }
    }
}
