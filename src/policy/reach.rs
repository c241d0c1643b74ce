//! All flows between two ends at once, for every pair of a cluster.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::{AddressRange, AtomId, IpFamily};
use super::arena::{Id, Interner};
use super::bounds::{Algebra, Bounds, BoundsId};
use super::class::{ClassId, Membership};
use super::compiled::PolicyId;
use super::engine::{Engine, PodId, TierPolicy};
use super::model::{ContainerPort, Direction};
use super::port::{Connections, PortRange, PortSet};
use super::row::{Row, RowBuilder};
use super::rule_ports::has_names;
use super::unknown::UnknownFacts;

/// What one end may send to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PairConnections {
    /// What the policies allow.
    pub allowed: Connections,
    /// What the specification leaves to the implementation, and what depends on facts that are not known.
    pub undefined: Connections,
    /// The facts that are not known and on which `undefined` depends.
    pub assumptions: UnknownFacts,
}

impl PairConnections {
    /// Whether nothing is allowed, and nothing left open.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.undefined.is_empty()
    }
}

/// Identifies the [`PairConnections`] of a pair in a [`Reach`]; equal connections have equal ids.
pub type ConnectionsId = Id<PairConnections>;

/// Ends that every policy treats alike: pods of one class, or a part of the address space outside
/// the cluster. On which nodes the pods run is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group(pub(super) GroupKind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum GroupKind {
    Pods(ClassId),
    External(AtomId),
}

/// Rows are equal for all classes that the same policies select, unless names of ports have to be
/// resolved in the subject.
type RowKey = (Vec<PolicyId>, Vec<TierPolicy>, Option<Vec<ContainerPort>>, bool, Direction, IpFamily);

/// What every pair of ends in a cluster may exchange.
#[derive(Debug)]
pub struct Reach<'a> {
    engine: &'a Engine,
    algebra: Algebra,
    rows: HashMap<RowKey, Arc<Row>>,
    /// By class and family; `None` where no policy selects the class.
    egress: Vec<[Option<Arc<Row>>; 2]>,
    ingress: Vec<[Option<Arc<Row>>; 2]>,
    /// The ports by which Services are reached at the addresses of nodes.
    node_ports: Connections,
    /// What becomes of bounds at the address of a node.
    of_nodes: HashMap<BoundsId, BoundsId>,
    pairs: Interner<PairConnections>,
    /// The pairs that depend on nothing that is not known.
    pair_ids: HashMap<BoundsId, ConnectionsId>,
    /// The pairs of groups that have something undefined, by what that depends on.
    undefined_ids: HashMap<(Group, Group), ConnectionsId>,
}

impl Engine {
    /// What every pair of pods and parts of the address space may exchange.
    pub fn reach(&self) -> Reach<'_> {
        let mut reach = Reach {
            engine: self,
            algebra: Algebra::new(),
            rows: HashMap::new(),
            egress: Vec::new(),
            ingress: Vec::new(),
            node_ports: node_ports(self),
            of_nodes: HashMap::new(),
            pairs: Interner::default(),
            pair_ids: HashMap::new(),
            undefined_ids: HashMap::new(),
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

impl<'a> Reach<'a> {
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

    /// What any end of the `sources` may send to any *other* end of the `destinations`, over every family
    /// that both have.
    pub fn between(&mut self, sources: &[Group], destinations: &[Group]) -> ConnectionsId {
        let single = match (sources, destinations) {
            ([source], [destination]) => Some((*source, *destination)),
            (_, _) => None,
        };
        if let Some(id) = single.and_then(|pair| self.undefined_ids.get(&pair)) {
            return *id;
        }
        let mut united = self.algebra.nothing;
        for (source, destination) in pairs_of(sources, destinations) {
            for family in IpFamily::ALL {
                if self.has_family(source, family) && self.has_family(destination, family) {
                    let bounds = self.in_family(source, destination, family);
                    united = self.algebra.union(united, bounds);
                }
            }
        }
        self.pair(united, sources, destinations)
    }

    pub(super) fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// The ports by which Services are reached at the addresses of nodes.
    pub(super) fn node_ports(&self) -> &Connections {
        &self.node_ports
    }

    /// The id of what is allowed in these bounds, if what is not certain depends on these facts.
    pub(super) fn push(&mut self, bounds: Bounds, assumptions: UnknownFacts) -> ConnectionsId {
        let undefined = bounds.possible.difference(&bounds.certain);
        let assumptions = if undefined.is_empty() { UnknownFacts::new() } else { assumptions };
        self.pairs.intern(PairConnections { allowed: bounds.certain, undefined, assumptions })
    }

    fn pair(&mut self, id: BoundsId, sources: &[Group], destinations: &[Group]) -> ConnectionsId {
        if let Some(pair) = self.pair_ids.get(&id) {
            return *pair;
        }
        let bounds = self.algebra.bounds.arena()[id].clone();
        let undefined = bounds.possible.difference(&bounds.certain);
        if undefined.is_empty() {
            let pair = self.push(bounds, UnknownFacts::new());
            self.pair_ids.insert(id, pair);
            return pair;
        }
        let pairs = pairs_of(sources, destinations);
        let assumptions = pairs
            .flat_map(|(source, destination)| self.engine.assumptions(source, destination, &undefined))
            .collect();
        let pair = self.push(bounds, assumptions);
        if let ([source], [destination]) = (sources, destinations) {
            self.undefined_ids.insert((*source, *destination), pair);
        }
        pair
    }

    /// The connections that an id stands for.
    pub fn connections(&self, id: ConnectionsId) -> &PairConnections {
        &self.pairs.arena()[id]
    }

    /// Whether ends of a group may have an address of a family.
    pub(super) fn has_family(&self, group: Group, family: IpFamily) -> bool {
        match group.0 {
            GroupKind::Pods(class) => self.engine.classes[class].membership(family) != Membership::NoAddress,
            GroupKind::External(atom) => self.engine.space.atoms()[atom].family() == family,
        }
    }

    fn in_family(&mut self, source: Group, destination: Group, family: IpFamily) -> BoundsId {
        let everything = self.algebra.everything;
        let bounds = if self.is_filtered(source) || self.is_filtered(destination) {
            let egress = look_up(&self.egress, source, destination, family);
            let ingress = look_up(&self.ingress, destination, source, family);
            self.algebra.intersection(egress.unwrap_or(everything), ingress.unwrap_or(everything))
        } else {
            everything
        };
        match destination.0 {
            // It has its node's address.
            GroupKind::Pods(class)
                if self.engine.classes[class].host_network && !self.node_ports.is_empty() =>
            {
                let Self { algebra, node_ports, of_nodes, .. } = self;
                *of_nodes.entry(bounds).or_insert_with(|| {
                    let open = algebra.bounds.arena()[bounds].leaving_open(node_ports);
                    algebra.bounds.intern(open)
                })
            }
            GroupKind::Pods(_) | GroupKind::External(_) => bounds,
        }
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
        let mut alternatives = isolating.alternatives();
        let row = self.row_of(&alternatives.next()?, &tiers, subject, direction, family);
        Some(alternatives.fold(row, |row, policies| {
            let other = self.row_of(&policies, &tiers, subject, direction, family);
            Arc::new(row.either(&other, &mut self.algebra))
        }))
    }

    /// The row of a subject that these policies isolate, in the order of their names.
    fn row_of(
        &mut self,
        isolating: &[PolicyId],
        tiers: &[TierPolicy],
        subject: ClassId,
        direction: Direction,
        family: IpFamily,
    ) -> Arc<Row> {
        let engine = self.engine;
        let class = &engine.classes[subject];
        let of_policies = isolating.iter().flat_map(|id| engine.policies[*id].rules(direction));
        let of_tiers = tiers.iter().flat_map(|policy| engine.cluster_policies[policy.id].rules(direction));
        let names_resolve_here =
            direction == Direction::Ingress && of_policies.chain(of_tiers).any(|rule| has_names(&rule.ports));
        let ports = names_resolve_here.then(|| class.ports.clone());
        let key = (isolating.to_vec(), tiers.to_vec(), ports, class.host_network, direction, family);
        if let Some(row) = self.rows.get(&key) {
            return Arc::clone(row);
        }
        let mut builder = RowBuilder::new(engine, &mut self.algebra, family);
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
            builder.add_tiers(tiers, direction, &class.ports, isolating.is_empty());
        }
        let row = Arc::new(builder.row);
        self.rows.insert(key, Arc::clone(&row));
        row
    }
}

fn pairs_of<'a>(
    sources: &'a [Group],
    destinations: &'a [Group],
) -> impl Iterator<Item = (Group, Group)> + use<'a> {
    sources.iter().flat_map(|source| destinations.iter().map(|destination| (*source, *destination)))
}

fn node_ports(engine: &Engine) -> Connections {
    let ports = engine.services.iter().flat_map(|(_, service)| &service.ports);
    let node_ports = ports.filter_map(|port| Some((port.protocol, PortRange::single(port.node_port?))));
    node_ports.fold(Connections::default(), |all, (protocol, port)| {
        all.union(&Connections::of(protocol, PortSet::from(port)))
    })
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
