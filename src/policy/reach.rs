//! All flows between two ends at once, for every pair of a cluster.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::{AddressRange, AtomId, IpFamily};
use super::arena::{Arena, Id};
use super::bounds::{Algebra, Bounds, BoundsId};
use super::class::{ClassId, Membership};
use super::compiled::{ClusterPolicyId, PolicyId};
use super::engine::{Engine, PodId};
use super::model::{ContainerPort, Direction};
use super::port::Connections;
use super::row::{Row, RowBuilder, Tiers, View};
use super::rule_peers::{Hosts, UnknownAddresses};
use super::rule_ports::has_names;

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
    /// The ports by which Services are reached at the addresses of nodes.
    node_ports: Connections,
    /// What becomes of bounds where an end has `hostNetwork`, by whether the destination has.
    of_hosts: HashMap<(BoundsId, bool), BoundsId>,
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
            node_ports: node_ports(self),
            of_hosts: HashMap::new(),
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
            GroupKind::Pods(class) => self.engine.classes[class].membership(family) != Membership::NoAddress,
            GroupKind::External(atom) => self.engine.space.atoms()[atom].family() == family,
        }
    }

    fn in_family(&mut self, source: Group, destination: Group, family: IpFamily) -> BoundsId {
        let everything = self.algebra.everything;
        let egress = look_up(&self.egress, source, destination, family);
        let ingress = look_up(&self.ingress, destination, source, family);
        let bounds = self.algebra.intersection(egress.unwrap_or(everything), ingress.unwrap_or(everything));
        if !self.is_host(source) && !self.is_host(destination) {
            return bounds;
        }
        // What is denied to it as a pod may be open to it as a node, at the latest on the other pod's own node.
        // It has its node's address, where Services may have ports.
        let is_destination = self.is_host(destination);
        let Self { algebra, node_ports, of_hosts, .. } = self;
        *of_hosts.entry((bounds, is_destination)).or_insert_with(|| {
            let undecided = Bounds::possible(Connections::all());
            let mut open = algebra.bounds.arena()[bounds].union(&undecided);
            if is_destination {
                open = open.leaving_open(node_ports);
            }
            algebra.bounds.intern(open)
        })
    }

    fn is_host(&self, group: Group) -> bool {
        match group.0 {
            GroupKind::Pods(class) => self.engine.classes[class].host_network,
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
        let view = View { engine, family, unknown: self.unknown, hosts: Hosts::beside(class) };
        let mut builder = RowBuilder::new(view, &mut self.algebra);
        for id in isolating {
            for rule in engine.policies[*id].rules(direction) {
                match direction {
                    Direction::Ingress => builder.add_ingress_rule(rule, &class.ports),
                    Direction::Egress => builder.add_egress_rule(rule),
                }
            }
        }
        let of_rules = builder.row();
        let has_baseline = isolating.is_empty();
        let mut row = if has_baseline { Row::open(engine, &self.algebra) } else { of_rules };
        if !tiers.is_empty() {
            let tiers = Tiers { policies: &tiers, direction, subject: &class.ports, has_baseline };
            row.add_tiers(view, &mut self.algebra, &tiers);
        }
        let row = Arc::new(row);
        self.rows.insert(key, Arc::clone(&row));
        Some(row)
    }
}

fn node_ports(engine: &Engine) -> Connections {
    engine.services.iter().flat_map(|(_, service)| service.node_ports()).collect()
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
