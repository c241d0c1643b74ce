//! What one subject may exchange with everybody: its rules and tiers, added up.

use super::address::IpFamily;
use super::bounds::{Algebra, Bounds, BoundsId};
use super::class::Class;
use super::cluster_policy::Tier;
use super::compiled::CompiledRule;
use super::engine::{Engine, TierPolicy};
use super::model::{ContainerPort, Direction};
use super::port::Connections;
use super::rule_peers::{Held, HeldByPeers, held, held_outside};
use super::rule_ports::{HeldPorts, has_names};

/// What the subjects of some policies may exchange with each class and each part of the address
/// space.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) classes: Vec<BoundsId>,
    pub(super) atoms: Vec<BoundsId>,
}

impl Row {
    /// What the subject may exchange if it is not known which of two rows is the real one.
    pub(super) fn either(&self, other: &Self, algebra: &mut Algebra) -> Self {
        let mut merge = |(a, b): (&BoundsId, &BoundsId)| {
            if a == b {
                return *a;
            }
            let bounds = algebra.bounds.arena();
            let either = bounds[*a].either(&bounds[*b]);
            algebra.bounds.intern(either)
        };
        Self {
            classes: self.classes.iter().zip(&other.classes).map(&mut merge).collect(),
            atoms: self.atoms.iter().zip(&other.atoms).map(&mut merge).collect(),
        }
    }
}

/// Adds up the rules of one subject.
pub(super) struct RowBuilder<'a, 'b> {
    engine: &'a Engine,
    algebra: &'b mut Algebra,
    family: IpFamily,
    pub(super) row: Row,
}

impl<'a, 'b> RowBuilder<'a, 'b> {
    pub(super) fn new(engine: &'a Engine, algebra: &'b mut Algebra, family: IpFamily) -> Self {
        let nothing = algebra.nothing;
        let row = Row {
            classes: vec![nothing; engine.classes.len()],
            atoms: vec![nothing; engine.space.atoms().len()],
        };
        Self { engine, algebra, family, row }
    }

    pub(super) fn add_ingress_rule(&mut self, rule: &CompiledRule, subject: &[ContainerPort]) {
        self.add_on_ports(rule, &HeldPorts::of(&rule.ports, subject).all());
    }

    pub(super) fn add_egress_rule(&mut self, rule: &CompiledRule) {
        if !has_names(&rule.ports) {
            return self.add_on_ports(rule, &HeldPorts::of(&rule.ports, &[]).by_number);
        }
        // The bounds rarely differ between remote ends: intern each distinct value once.
        let mut last: Option<(Bounds, BoundsId)> = None;
        self.add(rule, |algebra, remote, held| {
            held.any()?;
            // A pod with hostNetwork may be taken for its node, which has no named ports.
            let receiver = remote.filter(|class| !class.host_network);
            let ports = HeldPorts::of(&rule.ports, receiver.map_or(&[], |class| &class.ports));
            let bounds = Bounds::of(held.by_selector, &ports.all())
                .union(&Bounds::of(held.by_block, &ports.by_number))
                // Not every implementation resolves a name on a pod that only a block holds.
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

    /// Adds a rule that has the same ports for every remote end.
    fn add_on_ports(&mut self, rule: &CompiledRule, ports: &Connections) {
        let mut intern = |held| self.algebra.bounds.intern(Bounds::of(Some(held), ports));
        let (surely, perhaps) = (intern(Held::Surely), intern(Held::Perhaps));
        self.add(rule, |_, _, held| match held.any()? {
            Held::Surely => Some(surely),
            Held::Perhaps => Some(perhaps),
        });
    }

    /// Adds what a rule allows between the subject and each remote end: `bounds` says that of a class,
    /// or of a part of the address space, and of how surely the rule's peers hold it.
    fn add(
        &mut self,
        rule: &CompiledRule,
        mut bounds: impl FnMut(&mut Algebra, Option<&Class>, HeldByPeers) -> Option<BoundsId>,
    ) {
        for (entry, (id, class)) in self.row.classes.iter_mut().zip(self.engine.classes.iter()) {
            let held = held(self.engine, rule.peers.as_deref(), id, self.family);
            if let Some(added) = bounds(self.algebra, Some(class), held) {
                *entry = self.algebra.union(*entry, added);
            }
        }
        for (entry, atom) in self.row.atoms.iter_mut().zip(self.engine.space.atoms().ids()) {
            let held = held_outside(self.engine, rule.peers.as_deref(), atom);
            if let Some(added) = bounds(self.algebra, None, held) {
                *entry = self.algebra.union(*entry, added);
            }
        }
    }

    /// Nothing isolates the subject.
    pub(super) fn open(&mut self) {
        for entry in self.row.classes.iter_mut().chain(&mut self.row.atoms) {
            *entry = self.algebra.everything;
        }
    }

    /// What policies say about pods with `hostNetwork` is undefined, unless they allow.
    pub(super) fn leave_host_network_open(&mut self, host_network: bool) {
        let undecided = self.algebra.bounds.intern(Bounds::possible(Connections::all()));
        for (entry, (_, class)) in self.row.classes.iter_mut().zip(self.engine.classes.iter()) {
            if host_network || class.host_network {
                *entry = self.algebra.union(*entry, undecided);
            }
        }
        if host_network {
            for entry in &mut self.row.atoms {
                *entry = self.algebra.union(*entry, undecided);
            }
        }
    }

    /// Puts the tiers of cluster-scoped policies before and, where no NetworkPolicy isolates the
    /// subject, after what the row says already.
    pub(super) fn add_tiers(
        &mut self,
        policies: &[TierPolicy],
        direction: Direction,
        subject: &[ContainerPort],
        has_baseline: bool,
    ) {
        let Self { engine, algebra, family, row } = self;
        let on_ports = |rule: &CompiledRule, remote: &[ContainerPort]| match direction {
            Direction::Ingress => HeldPorts::of(&rule.ports, subject).all(),
            Direction::Egress => HeldPorts::of(&rule.ports, remote).all(),
        };
        let mut add = |entry: &mut BoundsId,
                       matched: &dyn Fn(&CompiledRule) -> Option<(Held, Connections)>| {
            let tier = |tier| engine.tier_sets(policies, direction, tier, matched);
            let mut bounds = algebra.bounds.arena()[*entry].clone();
            if has_baseline {
                bounds = bounds.after(&tier(Tier::Baseline));
            }
            *entry = algebra.bounds.intern(bounds.after(&tier(Tier::Admin)));
        };
        for (entry, (id, class)) in row.classes.iter_mut().zip(engine.classes.iter()) {
            add(entry, &|rule| {
                let held = held(engine, rule.peers.as_deref(), id, *family).any()?;
                Some((held, on_ports(rule, &class.ports)))
            });
        }
        for (entry, atom) in row.atoms.iter_mut().zip(engine.space.atoms().ids()) {
            add(entry, &|rule| {
                let held = held_outside(engine, rule.peers.as_deref(), atom).any()?;
                Some((held, on_ports(rule, &[])))
            });
        }
    }
}
