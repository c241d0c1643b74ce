//! The order in which policies decide: tiers, kinds, priorities and rules.
//!
//! The order follows the API documentation of `policy.networking.k8s.io`. It is the same for one flow and for all
//! flows between two ends. So the walk is written once, and a [`Walk`] says what it collects.

use super::engine::Engine;
use super::matched::{Matched, RuleRef, Selecting};
use super::ordered::PolicyTier;
use super::rule::Direction;

/// The possible results of a set of rules for some traffic.
pub(super) trait Outcome: Sized {
    /// Creates the outcome in which no rule matches.
    fn unmatched() -> Self;

    /// Returns the outcome of these rules, followed by the next ones where it is possible that none of these matches.
    fn then(self, next: impl FnOnce() -> Self) -> Self;

    /// Combines the outcomes of rules that have no specified order. Any of the rules that match may decide.
    fn any_of(outcomes: impl Iterator<Item = Self>) -> Self;
}

/// An evaluation of the policies that select one subject, for one direction.
pub(super) trait Walk {
    type Outcome: Outcome;
    type Answer;

    fn direction(&self) -> Direction;

    /// Returns what a rule does.
    fn rule(&self, rule: RuleRef<'_>) -> Self::Outcome;

    /// Returns the outcome of a policy that only may select the subject, given its outcome if it does.
    fn uncertain(&self, policy: &Selecting, outcome: Self::Outcome) -> Self::Outcome;

    /// Returns the answer if no policy decides.
    fn open(&self) -> Self::Answer;

    /// Returns the answer of a tier. `later` returns the answer of the tiers after it.
    fn conclude(&self, tier: Self::Outcome, later: impl FnOnce() -> Self::Answer) -> Self::Answer;

    /// Returns the answer of a tier whose policies are a union. `policies` is not empty.
    fn union(&self, policies: &[Selecting], later: impl Fn() -> Self::Answer) -> Self::Answer;
}

impl Engine {
    /// Evaluates policies in their order.
    pub(super) fn walk<W: Walk>(&self, walk: &W, policies: &[Selecting]) -> W::Answer {
        self.walk_tiers(walk, policies, &PolicyTier::ALL)
    }

    fn walk_tiers<W: Walk>(&self, walk: &W, policies: &[Selecting], tiers: &[PolicyTier]) -> W::Answer {
        let Some((tier, later)) = tiers.split_first() else { return walk.open() };
        let of_tier = self.of_tier(policies, *tier);
        let later = || self.walk_tiers(walk, policies, later);
        if of_tier.is_empty() {
            return later();
        }
        match tier.is_union() {
            true => walk.union(of_tier, later),
            false => walk.conclude(self.first_match(walk, of_tier), later),
        }
    }

    /// Returns the policies of one tier. All policies must be in their order.
    fn of_tier<'p>(&self, policies: &'p [Selecting], tier: PolicyTier) -> &'p [Selecting] {
        let of_policy = |each: &Selecting| self.policies[each.policy].tier;
        let begin = policies.partition_point(|each| of_policy(each) < tier);
        let end = policies.partition_point(|each| of_policy(each) <= tier);
        policies.get(begin..end).unwrap_or_default()
    }

    /// Evaluates the policies of one tier. The specification does not order policies of different kinds, and it does
    /// not order policies of one kind with equal priority.
    fn first_match<W: Walk>(&self, walk: &W, policies: &[Selecting]) -> W::Outcome {
        let policy = |each: &Selecting| &self.policies[each.policy];
        let kinds = policies.chunk_by(|a, b| policy(a).kind() == policy(b).kind());
        W::Outcome::any_of(kinds.map(|of_kind| {
            let priorities = of_kind.chunk_by(|a, b| policy(a).priority == policy(b).priority);
            priorities.fold(W::Outcome::unmatched(), |before, equals| {
                before.then(|| W::Outcome::any_of(equals.iter().map(|each| self.walk_rules(walk, each))))
            })
        }))
    }

    fn walk_rules<W: Walk>(&self, walk: &W, policy: &Selecting) -> W::Outcome {
        let rules = self.rules(policy.policy, walk.direction());
        let outcome = rules.fold(W::Outcome::unmatched(), |before, rule| before.then(|| walk.rule(rule)));
        match policy.how {
            Matched::Surely => outcome,
            Matched::Perhaps(_) => walk.uncertain(policy, outcome),
        }
    }
}
