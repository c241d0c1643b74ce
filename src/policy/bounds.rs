//! What policies allow as a lower and an upper bound, and operations on many of them.

use std::collections::HashMap;

use super::arena::{Id, Interner};
use super::class::HasFamily;
use super::port::Connections;
use super::rule_peers::Held;
use super::tier_sets::TierSets;

/// What is allowed for certain, and what may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Bounds {
    pub(super) certain: Connections,
    // INVARIANT: holds all of `certain`.
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

    /// What a rule allows on `ports` to an end that it holds so surely.
    pub(super) fn of(held: Option<Held>, ports: &Connections) -> Self {
        match held {
            Some(Held::Surely) => Self::certain(ports.clone()),
            Some(Held::Perhaps) => Self::possible(ports.clone()),
            None => Self::default(),
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

    /// The same, with some connections left open.
    pub(super) fn leaving_open(&self, connections: &Connections) -> Self {
        Self { certain: self.certain.difference(connections), possible: self.possible.union(connections) }
    }

    /// What is allowed if it is not known which of two states is the real one.
    pub(super) fn either(&self, other: &Self) -> Self {
        Self {
            certain: self.certain.intersection(&other.certain),
            possible: self.possible.union(&other.possible),
        }
    }

    /// What is allowed if a tier comes before this.
    pub(super) fn after(&self, tier: &TierSets) -> Self {
        let going_on = tier.going_on();
        let denied = tier.denied.union(&going_on.difference(&self.certain));
        Self {
            certain: Connections::all().difference(&denied),
            possible: tier.accepted.union(&going_on.intersection(&self.possible)),
        }
    }
}

/// A sum of bounds that has not been computed yet: an index into [`Sums`]. The default is the empty sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Sum(Option<u32>);

/// Sums of many bounds. Adding a summand only notes it: computing each intermediate union of thousands of rules
/// would take time and memory that grow with the square of their number.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Each sum, as a shorter one and the last summand.
    parts: Vec<(Sum, BoundsId)>,
    known: HashMap<(Sum, BoundsId), Sum>,
    totals: HashMap<Sum, BoundsId>,
}

impl Sums {
    /// The sum with one more summand.
    pub(super) fn add(&mut self, sum: Sum, summand: BoundsId) -> Sum {
        if self.last(sum).is_some_and(|(_, last)| last == summand) {
            return sum;
        }
        *self.known.entry((sum, summand)).or_insert_with(|| {
            self.parts.push((sum, summand));
            // INVARIANT: memory ends before 2^32 sums.
            Sum(u32::try_from(self.parts.len() - 1).ok())
        })
    }

    fn last(&self, sum: Sum) -> Option<(Sum, BoundsId)> {
        self.parts.get(sum.0? as usize).copied()
    }

    /// The union of all summands.
    pub(super) fn total(&mut self, sum: Sum, algebra: &mut Algebra) -> BoundsId {
        if let Some(total) = self.totals.get(&sum) {
            return *total;
        }
        let mut summands = Vec::new();
        let mut rest = sum;
        while let Some((shorter, last)) = self.last(rest) {
            summands.push(last);
            rest = shorter;
        }
        summands.sort_unstable();
        summands.dedup();
        let bounds = |id: &BoundsId| &algebra.bounds.arena()[*id];
        let certain = Connections::union_of(&summands.iter().map(|id| &bounds(id).certain));
        let possible = Connections::union_of(&summands.iter().map(|id| &bounds(id).possible));
        let total = algebra.bounds.intern(Bounds { certain, possible });
        self.totals.insert(sum, total);
        total
    }
}

/// Interned bounds, with every operation on a pair of them done once.
#[derive(Debug)]
pub(super) struct Algebra {
    pub(super) bounds: Interner<Bounds>,
    unions: HashMap<(BoundsId, BoundsId), BoundsId>,
    intersections: HashMap<(BoundsId, BoundsId), BoundsId>,
    alternatives: HashMap<(BoundsId, BoundsId), BoundsId>,
    pub(super) nothing: BoundsId,
    pub(super) everything: BoundsId,
}

impl Algebra {
    pub(super) fn new() -> Self {
        let mut bounds = Interner::default();
        let nothing = bounds.intern(Bounds::default());
        let everything = bounds.intern(Bounds::certain(Connections::all()));
        let (unions, intersections, alternatives) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { bounds, unions, intersections, alternatives, nothing, everything }
    }

    pub(super) fn union(&mut self, a: BoundsId, b: BoundsId) -> BoundsId {
        if a == b || b == self.nothing || a == self.everything {
            return a;
        }
        if a == self.nothing || b == self.everything {
            return b;
        }
        let Self { bounds, unions, .. } = self;
        *unions.entry((a, b)).or_insert_with(|| {
            let united = bounds.arena()[a].union(&bounds.arena()[b]);
            bounds.intern(united)
        })
    }

    pub(super) fn intersection(&mut self, a: BoundsId, b: BoundsId) -> BoundsId {
        if a == b || a == self.nothing || b == self.everything {
            return a;
        }
        if b == self.nothing || a == self.everything {
            return b;
        }
        let Self { bounds, intersections, .. } = self;
        *intersections.entry((a, b)).or_insert_with(|| {
            let common = bounds.arena()[a].intersection(&bounds.arena()[b]);
            bounds.intern(common)
        })
    }

    /// What is allowed if it is not known which of two states is the real one.
    pub(super) fn either(&mut self, a: BoundsId, b: BoundsId) -> BoundsId {
        if a == b {
            return a;
        }
        let Self { bounds, alternatives, .. } = self;
        *alternatives.entry((a, b)).or_insert_with(|| {
            let either = bounds.arena()[a].either(&bounds.arena()[b]);
            bounds.intern(either)
        })
    }

    /// What is allowed over any of the families that two ends have in common, of what is allowed over each.
    ///
    /// A family that they only may have in common adds nothing that is certain. If that is so of all families,
    /// each may be the only one: pods and nodes of one cluster reach each other over at least one.
    pub(super) fn over_families(&mut self, families: [Option<(HasFamily, BoundsId)>; 2]) -> BoundsId {
        let (mut sure, mut perhaps) = (None, None);
        for (has, bounds) in families.into_iter().flatten() {
            match has {
                HasFamily::No => {}
                HasFamily::Perhaps => perhaps = Some(perhaps.map_or(bounds, |all| self.either(all, bounds))),
                HasFamily::Yes => sure = Some(sure.map_or(bounds, |all| self.union(all, bounds))),
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
