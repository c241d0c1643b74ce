//! Evaluates all policies of one end for all flows between two ends at once. The results are sets of connections.

use super::bounds::Bounds;
use super::matched::{RuleRef, Selecting};
use super::port::Connections;
use super::rule::{Action, Direction};
use super::walk::{Outcome, Walk};

/// Connections that policies may accept, deny, or pass to the next tier. A connection in several of these sets is
/// undecided.
#[derive(Debug, Default)]
pub(super) struct TierSets {
    accepted: Connections,
    denied: Connections,
    passed: Connections,
    /// Connections for which it is possible that no rule matches.
    unmatched: Connections,
}

impl TierSets {
    /// Creates the sets of one rule, given the connections that it matches.
    fn of(action: Action, matched: Bounds) -> Self {
        let Bounds { certain, possible } = matched;
        let mut sets = Self { unmatched: Connections::all().difference(&certain), ..Self::default() };
        match action {
            Action::Accept => sets.accepted = possible,
            Action::Deny => sets.denied = possible,
            Action::Pass => sets.passed = possible,
        }
        sets
    }
}

impl Outcome for TierSets {
    fn unmatched() -> Self {
        Self { unmatched: Connections::all(), ..Self::default() }
    }

    fn then(self, next: impl FnOnce() -> Self) -> Self {
        if self.unmatched.is_empty() {
            return self;
        }
        let next = next();
        let reached = |set: &Connections| self.unmatched.intersection(set);
        Self {
            accepted: self.accepted.union(&reached(&next.accepted)),
            denied: self.denied.union(&reached(&next.denied)),
            passed: self.passed.union(&reached(&next.passed)),
            unmatched: reached(&next.unmatched),
        }
    }

    fn any_of(outcomes: impl Iterator<Item = Self>) -> Self {
        let either = |any: Self, outcome: Self| Self {
            accepted: any.accepted.union(&outcome.accepted),
            denied: any.denied.union(&outcome.denied),
            passed: any.passed.union(&outcome.passed),
            unmatched: any.unmatched.intersection(&outcome.unmatched),
        };
        outcomes.reduce(either).unwrap_or_else(Self::unmatched)
    }
}

/// All flows between a subject and one remote end. `rule` returns the connections that a rule matches, or `None` if
/// it matches none.
pub(super) struct SetWalk<F: Fn(RuleRef<'_>) -> Option<Bounds>> {
    pub(super) direction: Direction,
    pub(super) rule: F,
    /// What the policies of a union allow, if they select the subject. `None` if none of them does.
    pub(super) union: Option<Bounds>,
    /// Whether some policy of a union selects the subject for certain.
    pub(super) is_isolated: bool,
}

impl<F: Fn(RuleRef<'_>) -> Option<Bounds>> Walk for SetWalk<F> {
    type Outcome = TierSets;
    type Answer = Bounds;

    fn direction(&self) -> Direction {
        self.direction
    }

    fn rule(&self, rule: RuleRef<'_>) -> TierSets {
        let matched = (self.rule)(rule);
        matched.map_or_else(TierSets::unmatched, |matched| TierSets::of(rule.rule.action, matched))
    }

    /// If the policy does not select the subject, none of its rules matches.
    fn uncertain(&self, _policy: &Selecting, outcome: TierSets) -> TierSets {
        TierSets { unmatched: Connections::all(), ..outcome }
    }

    fn open(&self) -> Bounds {
        Bounds::certain(Connections::all())
    }

    fn conclude(&self, tier: TierSets, later: impl FnOnce() -> Bounds) -> Bounds {
        let later = later();
        let going_on = tier.passed.union(&tier.unmatched);
        let denied = tier.denied.union(&going_on.difference(&later.certain));
        Bounds {
            certain: Connections::all().difference(&denied),
            possible: tier.accepted.union(&going_on.intersection(&later.possible)),
        }
    }

    fn union(&self, _policies: &[Selecting], later: impl Fn() -> Bounds) -> Bounds {
        match &self.union {
            Some(union) if self.is_isolated => union.clone(),
            Some(union) => union.either(&later()),
            None => later(),
        }
    }
}
