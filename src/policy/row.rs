//! Rows: what one subject may exchange with every remote end.

use std::collections::HashMap;

use super::bounds::{Algebra, Bounds, BoundsId, Sum, Sums, Truth};
use super::ends::{Group, PerGroup};
use super::matcher::{RuleRef, Selecting};
use super::ordered::OrderedRule;
use super::rule::Direction;
use super::rule_peers::{HeldByPeers, RulePeers, View};
use super::tier_sets::SetWalk;

/// Bounds of the connections between the subjects of some policies and each group.
pub(super) type Row = PerGroup<BoundsId>;

/// Computes the row of a subject that exactly these policies select. Only for policies outside a union, their match
/// may be uncertain.
pub(super) fn row(view: View<'_>, policies: &[Selecting], algebra: &mut Algebra) -> Row {
    let engine = view.engine;
    let (union, ordered): (Vec<Selecting>, Vec<Selecting>) =
        policies.iter().partition(|each| engine.is_in_union(each.policy));
    let union = (!union.is_empty()).then(|| union_row(view, &union, algebra));
    if ordered.is_empty() {
        return union.unwrap_or_else(|| PerGroup::new(engine, |_| algebra.everything));
    }
    let rules = |each: &Selecting| engine.rules(each.policy, view.direction);
    let with_peers = |rule: RuleRef<'_>| {
        let peers = RulePeers::new(engine, rule.rule.peers.as_deref());
        ((rule.id, rule.index), peers)
    };
    let peers: HashMap<_, _> = ordered.iter().flat_map(rules).map(with_peers).collect();
    PerGroup::new(engine, |group| {
        let of_group = union.as_ref().and_then(|row| row.get(group));
        let walk = SetWalk {
            direction: view.direction,
            rule: |rule: RuleRef<'_>| {
                let held = peers.get(&(rule.id, rule.index))?.hold(view, group);
                (held.any() != Truth::No).then(|| matched(view, rule.rule, held, group))
            },
            union: of_group.map(|id| algebra.bounds.arena()[*id].clone()),
            is_isolated: true,
        };
        let bounds = engine.walk(&walk, policies);
        algebra.bounds.intern(bounds)
    })
}

/// Computes what the rules of a union allow. There may be thousands of rules, so each remote end is compared only with
/// the rules that may match it.
fn union_row(view: View<'_>, policies: &[Selecting], algebra: &mut Algebra) -> Row {
    let View { engine, direction, .. } = view;
    let mut sums = Sums::default();
    let mut row = PerGroup::new(engine, |_| Sum::default());
    for rule in policies.iter().flat_map(|each| engine.rules(each.policy, direction)).map(|rule| rule.rule) {
        let peers = RulePeers::new(engine, rule.peers.as_deref());
        let groups = peers.groups(engine);
        // Most rules have the same ports at every remote end.
        let is_fixed = direction == Direction::Ingress || !rule.ports.have_names();
        let fixed = groups.first().filter(|_| is_fixed).map(|group| {
            [Truth::Perhaps, Truth::Yes].map(|by_selector| {
                let held = HeldByPeers { by_selector, by_block: Truth::No };
                algebra.bounds.intern(matched(view, rule, held, *group))
            })
        });
        for group in groups {
            let held = peers.hold(view, group);
            let added = match (fixed, held.any()) {
                (_, Truth::No) => continue,
                (Some([perhaps, _]), Truth::Perhaps) => perhaps,
                (Some([_, surely]), Truth::Yes) => surely,
                (None, _) => algebra.bounds.intern(matched(view, rule, held, group)),
            };
            if let Some(sum) = row.get_mut(group) {
                *sum = sums.add(*sum, added);
            }
        }
    }
    row.map(|sum| sums.total(sum, algebra))
}

/// Returns the connections between the subject and a group that a rule matches. `held` is whether its peers match.
fn matched(view: View<'_>, rule: &OrderedRule, held: HeldByPeers, group: Group) -> Bounds {
    let ports = view.ports(rule, group);
    // Not every implementation resolves a name on a pod that only a block matches. Ingress rules always resolve a name
    // on the subject.
    let resolved = match view.direction {
        Direction::Egress if rule.blocks_exclude_pods => held.by_selector,
        Direction::Egress | Direction::Ingress => held.any(),
    };
    let names = ports.by_name.union(&ports.by_repeated_name);
    Bounds::of(held.any(), &ports.by_number)
        .union(&Bounds::of(resolved, &ports.by_name))
        .union(&Bounds::of(held.any().min(Truth::Perhaps), &names))
}
