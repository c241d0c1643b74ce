//! Evaluates the tiers of cluster-scoped policies for all flows between two ends at once. The order is the same as
//! for one flow, but the results are sets of connections.

use super::cluster_policy::{Action, Tier};
use super::compiled::{ClusterPolicyId, CompiledRule, Matched};
use super::engine::{Engine, TierPolicy};
use super::model::Direction;
use super::port::Connections;
use super::rule_peers::Held;
use super::rule_ports::HeldPorts;

/// Connections that policies may accept, deny, or pass to the next tier. A connection in several of these sets is
/// undecided.
#[derive(Debug, Default)]
pub(super) struct TierSets {
    pub(super) accepted: Connections,
    pub(super) denied: Connections,
    pub(super) passed: Connections,
    /// Connections for which it is possible that no rule matches.
    pub(super) unmatched: Connections,
}

impl TierSets {
    /// Creates the sets in which no rule matches.
    fn none() -> Self {
        Self { unmatched: Connections::all(), ..Self::default() }
    }

    /// Returns the connections that the policies after these may decide.
    pub(super) fn going_on(&self) -> Connections {
        self.passed.union(&self.unmatched)
    }

    fn add(&mut self, action: Action, connections: &Connections) {
        let set = match action {
            Action::Accept => &mut self.accepted,
            Action::Deny => &mut self.denied,
            Action::Pass => &mut self.passed,
        };
        *set = set.union(connections);
    }

    /// Returns the sets of these policies, followed by the next ones where it is possible that no rule matches.
    fn then(self, next: &Self) -> Self {
        let reached = |set: &Connections| self.unmatched.intersection(set);
        Self {
            accepted: self.accepted.union(&reached(&next.accepted)),
            denied: self.denied.union(&reached(&next.denied)),
            passed: self.passed.union(&reached(&next.passed)),
            unmatched: reached(&next.unmatched),
        }
    }

    /// Combines the sets of policies that have no specified order. Any of their matching rules may decide.
    fn any_of(outcomes: impl Iterator<Item = Self>) -> Self {
        outcomes.fold(Self::none(), |any, outcome| Self {
            accepted: any.accepted.union(&outcome.accepted),
            denied: any.denied.union(&outcome.denied),
            passed: any.passed.union(&outcome.passed),
            unmatched: any.unmatched.intersection(&outcome.unmatched),
        })
    }
}

impl Engine {
    /// Evaluates a tier for the connections between a subject of `policies` and one remote end. `matched` returns
    /// whether and on which ports a rule matches that end.
    pub(super) fn tier_sets(
        &self,
        policies: &[TierPolicy],
        direction: Direction,
        tier: Tier,
        matched: impl Fn(ClusterPolicyId, usize, &CompiledRule) -> Option<(Held, HeldPorts)>,
    ) -> TierSets {
        let policy = |TierPolicy { id, selects }: &TierPolicy| {
            let compiled = &self.cluster_policies[*id];
            let mut sets = TierSets::none();
            let rules = compiled.rules(direction).iter().zip(compiled.policy.rules(direction));
            for (index, (rule, written)) in rules.enumerate() {
                let Some((held, ports)) = matched(*id, index, rule) else { continue };
                sets.add(written.action, &sets.unmatched.intersection(&ports.all()));
                match held {
                    Held::Surely => sets.unmatched = sets.unmatched.difference(&ports.surely()),
                    Held::Perhaps => {}
                }
            }
            match selects {
                Matched::Surely => {}
                // If the policy does not select the subject, none of its rules matches.
                Matched::Perhaps(_) => sets.unmatched = Connections::all(),
            }
            sets
        };
        let kinds = self.in_tier(policies, tier).into_iter().map(|priorities| {
            priorities.iter().fold(TierSets::none(), |before, equals| {
                before.then(&TierSets::any_of(equals.iter().map(policy)))
            })
        });
        TierSets::any_of(kinds)
    }
}
