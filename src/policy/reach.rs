//! All flows between two ends at once, for every pair of a cluster.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::{AddressRange, AtomId, IpFamily};
use super::arena::{Arena, Id, Interner};
use super::cluster_policy::Tier;
use super::engine::{
    Class, ClassId, ClusterPolicyId, CompiledPeer, CompiledRule, Engine, PeerId, PodId, PolicyId,
};
use super::model::{ContainerPort, Direction};
use super::port::Connections;
use super::rule_ports::{HeldPorts, has_names};
use super::tier_sets::{Held, TierSets};

/// What one end may send to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PairConnections {
    /// What the policies allow.
    pub allowed: Connections,
    /// What the specification leaves to the implementation.
    pub undefined: Connections,
}

impl PairConnections {
    /// Whether nothing is allowed, and nothing left open.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.undefined.is_empty()
    }
}

/// What to take for granted about pods whose addresses are not known, as in manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownAddresses {
    /// Nothing: what an `ipBlock` says about them is undefined, as [`Engine::evaluate`] has it.
    Undefined,
    /// That no `ipBlock` covers them, but `0.0.0.0/0` and `::/0` without holes: the documentation
    /// means `ipBlock` for addresses outside the cluster.
    OutsideBlocks,
}

/// Identifies the [`PairConnections`] of a pair in a [`Reach`]; equal connections have equal ids.
pub type ConnectionsId = Id<PairConnections>;

/// Ends that every policy treats alike: pods of one class, or a part of the address space outside
/// the cluster. On which nodes the pods run is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group(GroupKind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum GroupKind {
    Pods(ClassId),
    External(AtomId),
}

/// What is allowed for certain, and what may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Bounds {
    certain: Connections,
    // INVARIANT: holds all of `certain`.
    possible: Connections,
}

type BoundsId = Id<Bounds>;

impl Bounds {
    fn certain(connections: Connections) -> Self {
        Self { possible: connections.clone(), certain: connections }
    }

    fn possible(connections: Connections) -> Self {
        Self { certain: Connections::default(), possible: connections }
    }

    /// What a rule allows on `ports` to an end that it holds so surely.
    fn of(held: Option<Held>, ports: &Connections) -> Self {
        match held {
            Some(Held::Surely) => Self::certain(ports.clone()),
            Some(Held::Perhaps) => Self::possible(ports.clone()),
            None => Self::default(),
        }
    }

    fn union(&self, other: &Self) -> Self {
        Self { certain: self.certain.union(&other.certain), possible: self.possible.union(&other.possible) }
    }

    fn intersection(&self, other: &Self) -> Self {
        Self {
            certain: self.certain.intersection(&other.certain),
            possible: self.possible.intersection(&other.possible),
        }
    }

    /// What is allowed if a tier comes before this.
    fn after(&self, tier: &TierSets) -> Self {
        let going_on = tier.going_on();
        let denied = tier.denied.union(&going_on.difference(&self.certain));
        Self {
            certain: Connections::all().difference(&denied),
            possible: tier.accepted.union(&going_on.intersection(&self.possible)),
        }
    }
}

/// Interned bounds, with every operation on a pair of them done once.
#[derive(Debug)]
struct Algebra {
    bounds: Interner<Bounds>,
    unions: HashMap<(BoundsId, BoundsId), BoundsId>,
    intersections: HashMap<(BoundsId, BoundsId), BoundsId>,
    nothing: BoundsId,
    everything: BoundsId,
}

impl Algebra {
    fn new() -> Self {
        let mut bounds = Interner::default();
        let nothing = bounds.intern(Bounds::default());
        let everything = bounds.intern(Bounds::certain(Connections::all()));
        Self { bounds, unions: HashMap::new(), intersections: HashMap::new(), nothing, everything }
    }

    fn union(&mut self, a: BoundsId, b: BoundsId) -> BoundsId {
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

    fn intersection(&mut self, a: BoundsId, b: BoundsId) -> BoundsId {
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
}

/// What the subjects of some policies may exchange with each class and each part of the address
/// space.
#[derive(Debug)]
struct Row {
    classes: Vec<BoundsId>,
    atoms: Vec<BoundsId>,
}

/// Rows are equal for all classes that the same policies select, unless names of ports have to be
/// resolved in the subject.
type RowKey = (Vec<PolicyId>, Vec<ClusterPolicyId>, Option<Vec<ContainerPort>>, bool, Direction, IpFamily);

/// What every pair of ends in a cluster may exchange.
#[derive(Debug)]
pub struct Reach<'a> {
    engine: &'a Engine,
    unknown: UnknownAddresses,
    algebra: Algebra,
    rows: HashMap<RowKey, Arc<Row>>,
    /// By class and family; `None` where no policy selects the class.
    egress: Vec<[Option<Arc<Row>>; 2]>,
    ingress: Vec<[Option<Arc<Row>>; 2]>,
    pairs: Arena<PairConnections>,
    pair_ids: HashMap<BoundsId, ConnectionsId>,
}

impl Engine {
    /// What every pair of pods and parts of the address space may exchange.
    pub fn reach(&self, unknown: UnknownAddresses) -> Reach<'_> {
        let mut reach = Reach {
            engine: self,
            unknown,
            algebra: Algebra::new(),
            rows: HashMap::new(),
            egress: Vec::new(),
            ingress: Vec::new(),
            pairs: Arena::default(),
            pair_ids: HashMap::new(),
        };
        for class in self.classes.ids() {
            let egress = IpFamily::ALL.map(|family| reach.row(class, Direction::Egress, family));
            let ingress = IpFamily::ALL.map(|family| reach.row(class, Direction::Ingress, family));
            reach.egress.push(egress);
            reach.ingress.push(ingress);
        }
        reach
    }
}

impl Reach<'_> {
    /// The group of a pod.
    pub fn pod(&self, pod: PodId) -> Option<Group> {
        self.engine.class_of(pod).map(|class| Group(GroupKind::Pods(class)))
    }

    /// The parts of the address space outside the cluster, ascending, IPv4 first: together they
    /// are all addresses.
    pub fn external(&self) -> Vec<(Group, AddressRange)> {
        let atoms = self.engine.space.atoms().iter();
        atoms.map(|(id, range)| (Group(GroupKind::External(id)), *range)).collect()
    }

    /// What any end of `source` may send to any *other* end of `destination`, over every family
    /// that both have.
    pub fn between(&mut self, source: Group, destination: Group) -> ConnectionsId {
        let mut united = self.algebra.nothing;
        for family in IpFamily::ALL {
            if self.has(source, family) && self.has(destination, family) {
                let bounds = self.in_family(source, destination, family);
                united = self.algebra.union(united, bounds);
            }
        }
        self.pair(united)
    }

    /// What is in either of two sets of connections.
    pub fn unite(&mut self, a: ConnectionsId, b: ConnectionsId) -> ConnectionsId {
        if a == b {
            return a;
        }
        let (a, b) = (self.bounds_of(a), self.bounds_of(b));
        let united = self.algebra.union(a, b);
        self.pair(united)
    }

    /// No connections.
    pub fn nothing(&mut self) -> ConnectionsId {
        self.pair(self.algebra.nothing)
    }

    fn pair(&mut self, id: BoundsId) -> ConnectionsId {
        if let Some(pair) = self.pair_ids.get(&id) {
            return *pair;
        }
        let bounds = &self.algebra.bounds.arena()[id];
        let undefined = bounds.possible.difference(&bounds.certain);
        let pair = self.pairs.push(PairConnections { allowed: bounds.certain.clone(), undefined });
        self.pair_ids.insert(id, pair);
        pair
    }

    fn bounds_of(&mut self, pair: ConnectionsId) -> BoundsId {
        let PairConnections { allowed, undefined } = &self.pairs[pair];
        let bounds = Bounds { certain: allowed.clone(), possible: allowed.union(undefined) };
        self.algebra.bounds.intern(bounds)
    }

    /// The connections that an id stands for.
    pub fn connections(&self, id: ConnectionsId) -> &PairConnections {
        &self.pairs[id]
    }

    fn has(&self, group: Group, family: IpFamily) -> bool {
        match group.0 {
            GroupKind::Pods(class) => {
                self.engine.classes[class].membership(family) != super::engine::Membership::NoAddress
            }
            GroupKind::External(atom) => self.engine.space.atoms()[atom].family() == family,
        }
    }

    fn in_family(&mut self, source: Group, destination: Group, family: IpFamily) -> BoundsId {
        if !self.is_filtered(source) && !self.is_filtered(destination) {
            return self.algebra.everything;
        }
        let egress = look_up(&self.egress, source, destination, family);
        let ingress = look_up(&self.ingress, destination, source, family);
        let everything = self.algebra.everything;
        self.algebra.intersection(egress.unwrap_or(everything), ingress.unwrap_or(everything))
    }

    fn is_filtered(&self, group: Group) -> bool {
        match group.0 {
            GroupKind::Pods(class) => !self.engine.classes[class].host_network,
            GroupKind::External(_) => false,
        }
    }

    fn row(&mut self, subject: ClassId, direction: Direction, family: IpFamily) -> Option<Arc<Row>> {
        let engine = self.engine;
        let isolating = engine.isolating(subject, direction);
        let tiers: Vec<_> = engine.cluster_policies(subject, direction).collect();
        if isolating.is_empty() && tiers.is_empty() {
            return None;
        }
        let class = &engine.classes[subject];
        let of_policies = isolating.iter().flat_map(|id| engine.policies[*id].rules(direction));
        let of_tiers = tiers.iter().flat_map(|id| engine.cluster_policies[*id].rules(direction));
        let names_resolve_here =
            direction == Direction::Ingress && of_policies.chain(of_tiers).any(|rule| has_names(&rule.ports));
        let ports = names_resolve_here.then(|| class.ports.clone());
        let key = (isolating.to_vec(), tiers.clone(), ports, class.host_network, direction, family);
        if let Some(row) = self.rows.get(&key) {
            return Some(Arc::clone(row));
        }
        let mut builder = RowBuilder::new(engine, &mut self.algebra, family, self.unknown);
        for id in isolating {
            for rule in engine.policies[*id].rules(direction) {
                match direction {
                    Direction::Ingress => builder.add_ingress_rule(rule, &class.ports),
                    Direction::Egress => builder.add_egress_rule(rule),
                }
            }
        }
        if isolating.is_empty() {
            builder.open();
        } else {
            builder.leave_host_network_open(class.host_network);
        }
        if !tiers.is_empty() {
            builder.add_tiers(&tiers, direction, &class.ports, isolating.is_empty());
        }
        let row = Arc::new(builder.row);
        self.rows.insert(key, Arc::clone(&row));
        Some(row)
    }
}

fn look_up(
    rows: &[[Option<Arc<Row>>; 2]],
    subject: Group,
    remote: Group,
    family: IpFamily,
) -> Option<BoundsId> {
    let GroupKind::Pods(class) = subject.0 else { return None };
    let [v4, v6] = rows.get(class.index())?;
    let row = match family {
        IpFamily::V4 => v4.as_ref()?,
        IpFamily::V6 => v6.as_ref()?,
    };
    match remote.0 {
        GroupKind::Pods(class) => row.classes.get(class.index()).copied(),
        GroupKind::External(atom) => row.atoms.get(atom.index()).copied(),
    }
}

/// Adds up the rules of one subject.
struct RowBuilder<'a, 'b> {
    engine: &'a Engine,
    algebra: &'b mut Algebra,
    family: IpFamily,
    unknown: UnknownAddresses,
    row: Row,
}

impl<'a, 'b> RowBuilder<'a, 'b> {
    fn new(
        engine: &'a Engine,
        algebra: &'b mut Algebra,
        family: IpFamily,
        unknown: UnknownAddresses,
    ) -> Self {
        let nothing = algebra.nothing;
        let row = Row {
            classes: vec![nothing; engine.classes.len()],
            atoms: vec![nothing; engine.space.atoms().len()],
        };
        Self { engine, algebra, family, unknown, row }
    }

    fn add_ingress_rule(&mut self, rule: &CompiledRule, subject: &[ContainerPort]) {
        self.add_on_ports(rule, &HeldPorts::of(&rule.ports, subject).all());
    }

    fn add_egress_rule(&mut self, rule: &CompiledRule) {
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
            let held = held(self.engine, rule.peers.as_deref(), id, self.family, self.unknown);
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
    fn open(&mut self) {
        for entry in self.row.classes.iter_mut().chain(&mut self.row.atoms) {
            *entry = self.algebra.everything;
        }
    }

    /// What policies say about pods with `hostNetwork` is undefined, unless they allow.
    fn leave_host_network_open(&mut self, host_network: bool) {
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
    fn add_tiers(
        &mut self,
        policies: &[ClusterPolicyId],
        direction: Direction,
        subject: &[ContainerPort],
        has_baseline: bool,
    ) {
        let Self { engine, algebra, family, unknown, row } = self;
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
                let held = held(engine, rule.peers.as_deref(), id, *family, *unknown).any()?;
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

/// How surely the peers of a rule hold a remote end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct HeldByPeers {
    /// By anything but a block of addresses, or because the rule names no peers.
    by_selector: Option<Held>,
    by_block: Option<Held>,
}

impl HeldByPeers {
    /// By any of them, `None` being everybody; `how` says it of a peer.
    fn of(engine: &Engine, peers: Option<&[PeerId]>, how: impl Fn(&CompiledPeer) -> Option<Held>) -> Self {
        let Some(peers) = peers else {
            return Self { by_selector: Some(Held::Surely), by_block: None };
        };
        peers.iter().fold(Self::default(), |all, id| {
            let peer = &engine.peers[*id];
            let held = how(peer);
            match peer {
                CompiledPeer::IpBlock(..) => Self { by_block: all.by_block.max(held), ..all },
                CompiledPeer::Pods(_)
                | CompiledPeer::Nodes
                | CompiledPeer::SomeNodes
                | CompiledPeer::DomainNames => Self { by_selector: all.by_selector.max(held), ..all },
            }
        })
    }

    /// By whatever holds it.
    fn any(self) -> Option<Held> {
        self.by_selector.max(self.by_block)
    }
}

/// How surely `peers` hold the pods of a class.
fn held(
    engine: &Engine,
    peers: Option<&[PeerId]>,
    id: ClassId,
    family: IpFamily,
    unknown: UnknownAddresses,
) -> HeldByPeers {
    use super::engine::Membership;
    let class = &engine.classes[id];
    HeldByPeers::of(engine, peers, |peer| match peer {
        CompiledPeer::Pods(classes) => classes.contains(id.index()).then_some(match class.host_network {
            true => Held::Perhaps,
            false => Held::Surely,
        }),
        CompiledPeer::IpBlock(block, atoms) => match class.membership(family) {
            Membership::In(atom) => atoms.contains(atom.index()).then_some(Held::Surely),
            Membership::Unknown if block.family() != family => None,
            Membership::Unknown if block.is_whole_family() => Some(Held::Surely),
            Membership::Unknown => match unknown {
                UnknownAddresses::Undefined => Some(Held::Perhaps),
                UnknownAddresses::OutsideBlocks => None,
            },
            Membership::NoAddress => None,
        },
        // They have the addresses of their nodes.
        CompiledPeer::Nodes => class.host_network.then_some(Held::Surely),
        CompiledPeer::SomeNodes => class.host_network.then_some(Held::Perhaps),
        CompiledPeer::DomainNames => Some(Held::Perhaps),
    })
}

/// How surely `peers` hold a part of the address space outside the cluster.
fn held_outside(engine: &Engine, peers: Option<&[PeerId]>, atom: AtomId) -> HeldByPeers {
    HeldByPeers::of(engine, peers, |peer| match peer {
        CompiledPeer::Pods(_) | CompiledPeer::Nodes | CompiledPeer::SomeNodes => None,
        CompiledPeer::IpBlock(_, atoms) => atoms.contains(atom.index()).then_some(Held::Surely),
        CompiledPeer::DomainNames => Some(Held::Perhaps),
    })
}
