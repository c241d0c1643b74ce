//! Rows: what one subject may exchange with every remote end, computed from its rules and tiers.

use std::collections::HashMap;

use super::address::IpFamily;
use super::bounds::{Algebra, Bounds, BoundsId, Sum, Sums};
use super::class::Class;
use super::cluster_policy::Tier;
use super::compiled::{ClusterPolicyId, CompiledRule};
use super::engine::{Engine, TierPolicy};
use super::model::{ContainerPort, Direction};
use super::port::Connections;
use super::rule_peers::{Held, HeldByPeers, Hosts, RulePeers};
use super::rule_ports::{HeldPorts, has_names};

/// What the subjects of a set of policies may exchange with each class and each part of the address space.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) classes: Vec<BoundsId>,
    pub(super) atoms: Vec<BoundsId>,
}

/// Context of a row: the family, and how remote pods with `hostNetwork` count.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) engine: &'a Engine,
    pub(super) family: IpFamily,
    pub(super) hosts: Hosts,
}

/// Builder that combines the rules of one subject into a row.
pub(super) struct RowBuilder<'a, 'b> {
    view: View<'a>,
    algebra: &'b mut Algebra,
    sums: Sums,
    classes: Vec<Sum>,
    atoms: Vec<Sum>,
}

impl<'a, 'b> RowBuilder<'a, 'b> {
    pub(super) fn new(view: View<'a>, algebra: &'b mut Algebra) -> Self {
        let classes = vec![Sum::default(); view.engine.classes.len()];
        let atoms = vec![Sum::default(); view.engine.space.atoms().len()];
        Self { view, algebra, sums: Sums::default(), classes, atoms }
    }

    pub(super) fn add_ingress_rule(&mut self, rule: &CompiledRule, subject: &[ContainerPort]) {
        let ports = HeldPorts::of(&rule.ports, subject);
        self.add_on_ports(rule, &ports.surely(), &ports.by_repeated_name);
    }

    pub(super) fn add_egress_rule(&mut self, rule: &CompiledRule) {
        if !has_names(&rule.ports) {
            let ports = HeldPorts::of(&rule.ports, &[]).by_number;
            return self.add_on_ports(rule, &ports, &Connections::default());
        }
        let hosts = self.view.hosts;
        // The bounds rarely differ between remote ends, so the last value is cached.
        let mut last: Option<(Bounds, BoundsId)> = None;
        self.add(rule, |algebra, remote, held| {
            held.any()?;
            let ports = received_by(remote, hosts, rule);
            let bounds = Bounds::of(held.by_selector, &ports.surely())
                .union(&Bounds::of(held.any().and(Some(Held::Perhaps)), &ports.by_repeated_name))
                .union(&Bounds::of(held.by_block, &ports.by_number))
                // Not every implementation resolves a name on a pod that only a block matches.
                .union(&Bounds::of(held.by_block.and(Some(Held::Perhaps)), &ports.by_name));
            match &last {
                Some((same, id)) if *same == bounds => Some(*id),
                Some(_) | None => {
                    let id = algebra.bounds.intern(bounds.clone());
                    last = Some((bounds, id));
                    Some(id)
                }
            }
        });
    }

    /// Adds a rule that has the same ports for every remote end. The ports in `perhaps` do not match for certain.
    fn add_on_ports(&mut self, rule: &CompiledRule, ports: &Connections, perhaps: &Connections) {
        let possible = Bounds::possible(perhaps.clone());
        let mut intern = |held| self.algebra.bounds.intern(Bounds::of(Some(held), ports).union(&possible));
        let (surely, perhaps) = (intern(Held::Surely), intern(Held::Perhaps));
        self.add(rule, |_, _, held| match held.any()? {
            Held::Surely => Some(surely),
            Held::Perhaps => Some(perhaps),
        });
    }

    /// Adds what a rule allows between the subject and each remote end. `bounds` returns that for a class, or for a
    /// part of the address space (`None`), given whether the rule's peers match it.
    fn add(
        &mut self,
        rule: &CompiledRule,
        mut bounds: impl FnMut(&mut Algebra, Option<&Class>, HeldByPeers) -> Option<BoundsId>,
    ) {
        let engine = self.view.engine;
        let peers = RulePeers::new(engine, rule.peers.as_deref());
        for (entry, (id, class)) in self.classes.iter_mut().zip(engine.classes.iter()) {
            if let Some(added) = bounds(self.algebra, Some(class), peers.hold(self.view, id)) {
                *entry = self.sums.add(*entry, added);
            }
        }
        for atom in peers.atoms(engine) {
            let Some(entry) = self.atoms.get_mut(atom.index()) else { continue };
            if let Some(added) = bounds(self.algebra, None, peers.hold_outside(engine, atom)) {
                *entry = self.sums.add(*entry, added);
            }
        }
    }

    /// Returns what all added rules together allow.
    pub(super) fn row(self) -> Row {
        let Self { algebra, mut sums, classes, atoms, .. } = self;
        let mut total = |sum: Sum| sums.total(sum, algebra);
        Row {
            classes: classes.into_iter().map(&mut total).collect(),
            atoms: atoms.into_iter().map(&mut total).collect(),
        }
    }
}

/// Returns the ports of a rule on the pods of a class, or outside the cluster (`None`).
fn received_by(remote: Option<&Class>, hosts: Hosts, rule: &CompiledRule) -> HeldPorts {
    let Some(class) = remote else { return HeldPorts::of(&rule.ports, &[]) };
    let ports = HeldPorts::of(&rule.ports, &class.ports);
    if hosts.resolve_names_on(class) { ports } else { ports.on_host() }
}

/// Cluster-scoped policies of a subject.
pub(super) struct Tiers<'a> {
    pub(super) policies: &'a [TierPolicy],
    pub(super) direction: Direction,
    /// Container ports of the subject.
    pub(super) subject: &'a [ContainerPort],
    /// Whether the Baseline tier applies, because no NetworkPolicy isolates the subject.
    pub(super) has_baseline: bool,
}

impl Row {
    /// Creates the row of a subject that no policy isolates.
    pub(super) fn open(engine: &Engine, algebra: &Algebra) -> Self {
        Self {
            classes: vec![algebra.everything; engine.classes.len()],
            atoms: vec![algebra.everything; engine.space.atoms().len()],
        }
    }

    /// Returns the row of a subject for which either of two rows may be the real one.
    pub(super) fn either(&self, other: &Self, algebra: &mut Algebra) -> Self {
        let mut merge = |(a, b): (&BoundsId, &BoundsId)| algebra.either(*a, *b);
        Self {
            classes: self.classes.iter().zip(&other.classes).map(&mut merge).collect(),
            atoms: self.atoms.iter().zip(&other.atoms).map(&mut merge).collect(),
        }
    }

    /// Adds the Admin tier before the row and, if no NetworkPolicy isolates the subject, the Baseline tier after it.
    pub(super) fn add_tiers(&mut self, view: View<'_>, algebra: &mut Algebra, tiers: &Tiers<'_>) {
        let View { engine, .. } = view;
        let Tiers { policies, direction, subject, has_baseline } = *tiers;
        let peers: HashMap<_, _> = policies
            .iter()
            .flat_map(|TierPolicy { id, .. }| {
                let rules = engine.cluster_policies[*id].rules(direction).iter().enumerate();
                rules.map(|(index, rule)| ((*id, index), RulePeers::new(engine, rule.peers.as_deref())))
            })
            .collect();
        let on_ports = |rule: &CompiledRule, remote: Option<&Class>| match direction {
            Direction::Ingress => HeldPorts::of(&rule.ports, subject),
            Direction::Egress => received_by(remote, view.hosts, rule),
        };
        let mut add =
            |entry: &mut BoundsId, hold: &dyn Fn(&RulePeers) -> HeldByPeers, remote: Option<&Class>| {
                let matched = |id: ClusterPolicyId, index: usize, rule: &CompiledRule| {
                    let held = hold(peers.get(&(id, index))?).any()?;
                    Some((held, on_ports(rule, remote)))
                };
                let tier = |tier| engine.tier_sets(policies, direction, tier, matched);
                let mut bounds = algebra.bounds.arena()[*entry].clone();
                if has_baseline {
                    bounds = bounds.after(&tier(Tier::Baseline));
                }
                *entry = algebra.bounds.intern(bounds.after(&tier(Tier::Admin)));
            };
        for (entry, (id, class)) in self.classes.iter_mut().zip(engine.classes.iter()) {
            add(entry, &|peers| peers.hold(view, id), Some(class));
        }
        for (entry, atom) in self.atoms.iter_mut().zip(engine.space.atoms().ids()) {
            add(entry, &|peers| peers.hold_outside(engine, atom), None);
        }
    }
}
