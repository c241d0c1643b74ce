//! Evaluates all flows between two ends at once, for every pair of ends in a cluster.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::{AddressRange, IpFamily};
use super::arena::{Id, Interner};
use super::bounds::{Algebra, Bounds, BoundsId, Truth};
use super::class::ClassId;
use super::ends::{ConnectionsId, FromAnywhere, Group, PairConnections};
use super::engine::{Engine, PodId};
use super::matcher::Selecting;
use super::model::ContainerPort;
use super::port::Connections;
use super::row::{self, Row};
use super::rule::Direction;
use super::rule_peers::View;
use super::unknown::{UnknownFact, UnknownFacts};

/// The policies that select a class. Classes with equal rules depend on the same unknown facts. They also have equal
/// rows, if all or none of them have `hostNetwork`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Rules {
    policies: Vec<Selecting>,
    /// Named ports of the class, if rules resolve port names on it.
    ports: Option<Vec<ContainerPort>>,
}

/// Key of a [`Row`]: the rules of the subject, whether the subject has `hostNetwork`, the direction and the family.
type RowKey = (Id<Rules>, bool, Direction, IpFamily);

/// Connections between every pair of ends in a cluster.
#[derive(Debug)]
pub struct Reach<'a> {
    pub(super) engine: &'a Engine,
    pub(super) algebra: Algebra,
    rows: HashMap<RowKey, Arc<Row>>,
    rules: Interner<Rules>,
    /// Rules of each class, by class, for egress and ingress.
    rules_of: Vec<[Id<Rules>; 2]>,
    /// Rows of each class, by class, direction and family. `None` if no policy selects the class.
    rows_of: Vec<[[Option<Arc<Row>>; 2]; 2]>,
    /// Ports of nodes that lead to Services and pods.
    pub(super) node_ports: Connections,
    /// Cache of bounds for pairs in which an end has `hostNetwork`. The key is: the bounds if that end counts as a
    /// pod, the bounds if it counts as its node, and whether the destination has `hostNetwork`.
    of_hosts: HashMap<(BoundsId, BoundsId, bool), BoundsId>,
    pairs: Interner<PairConnections>,
    /// Cache of pairs without undefined connections, by bounds.
    pair_ids: HashMap<BoundsId, ConnectionsId>,
    /// Cache of pairs with undefined connections, by source and destination.
    undefined_ids: HashMap<(Group, Group), ConnectionsId>,
    /// Cache of the unknown facts on which bounds depend, by the rules of the subject, the direction, the remote end
    /// and the bounds.
    facts: HashMap<(Id<Rules>, Direction, Group, BoundsId), UnknownFacts>,
    /// Cache of what every address outside may send to a group.
    pub(super) from_anywhere: HashMap<Group, Arc<FromAnywhere>>,
    /// Cache of what reaches pods through nodes. Many Services and pods have the same result.
    pub(super) through_nodes: HashMap<Vec<(Group, Connections)>, ConnectionsId>,
}

impl Engine {
    /// Computes the connections between every pair of pods and parts of the address space.
    pub fn reach(&self) -> Reach<'_> {
        let mut reach = Reach {
            engine: self,
            algebra: Algebra::new(),
            rows: HashMap::new(),
            rules: Interner::default(),
            rules_of: Vec::new(),
            rows_of: Vec::new(),
            node_ports: self.node_ports().map(|(port, _)| port).collect(),
            of_hosts: HashMap::new(),
            pairs: Interner::default(),
            pair_ids: HashMap::new(),
            undefined_ids: HashMap::new(),
            facts: HashMap::new(),
            from_anywhere: HashMap::new(),
            through_nodes: HashMap::new(),
        };
        for class in self.classes.ids() {
            let rules = Direction::ALL.map(|direction| {
                let policies = self.selecting(class, direction).to_vec();
                reach
                    .rules
                    .intern(Rules { ports: self.resolved_ports(class, direction, &policies), policies })
            });
            reach.rules_of.push(rules);
            let rows = Direction::ALL
                .map(|direction| IpFamily::ALL.map(|family| reach.row(class, direction, family)));
            reach.rows_of.push(rows);
        }
        reach
    }

    /// Returns whether the ends of a group have an address of a family.
    pub(super) fn has_family(&self, group: Group, family: IpFamily) -> Truth {
        match group {
            Group::Pods(class) => self.classes[class].has_family(family),
            Group::External(atom) => Truth::of(self.space.atoms()[atom].family() == family, false),
        }
    }

    /// Returns the named ports of a class, or `None` if no rule of these policies resolves port names on it.
    fn resolved_ports(
        &self,
        class: ClassId,
        direction: Direction,
        policies: &[Selecting],
    ) -> Option<Vec<ContainerPort>> {
        let mut rules = policies.iter().flat_map(|each| self.rules(each.policy, direction));
        let are_resolved = direction == Direction::Ingress && rules.any(|rule| rule.rule.ports.have_names());
        let named = self.classes[class].ports.iter().filter(|port| port.name.is_some());
        are_resolved.then(|| named.cloned().collect())
    }

    /// Returns whether two ends both have an address of a family.
    pub(super) fn common_family(&self, source: Group, destination: Group, family: IpFamily) -> Truth {
        self.has_family(source, family).min(self.has_family(destination, family))
    }
}

impl<'a> Reach<'a> {
    /// Returns the group of a pod.
    pub fn pod(&self, pod: PodId) -> Option<Group> {
        self.engine.class_of(pod).map(Group::Pods)
    }

    /// Returns the parts of the address space as groups of addresses outside the cluster, ascending, IPv4 first.
    /// Together they contain all addresses.
    pub fn external(&self) -> Vec<(Group, AddressRange)> {
        let atoms = self.engine.space.atoms().iter();
        atoms.map(|(id, range)| (Group::External(id), *range)).collect()
    }

    /// Returns what any end of `sources` may send to any *other* end of `destinations`, over all families that both
    /// have. A connection that depends on which families they have is undefined.
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
            let families =
                IpFamily::ALL.map(|family| match self.engine.common_family(source, destination, family) {
                    Truth::No => None,
                    has @ (Truth::Perhaps | Truth::Yes) => {
                        Some((has, self.in_family(source, destination, family)))
                    }
                });
            let bounds = self.algebra.over_families(families);
            united = self.algebra.union(united, bounds);
        }
        self.pair(united, sources, destinations)
    }

    /// Returns the id of the connections with these bounds. Connections that are possible but not certain depend on
    /// `assumptions`.
    pub(super) fn push(&mut self, bounds: Bounds, assumptions: UnknownFacts) -> ConnectionsId {
        let undefined = bounds.possible.difference(&bounds.certain);
        let assumptions = if undefined.is_empty() { UnknownFacts::new() } else { assumptions };
        self.pairs.intern(PairConnections { allowed: bounds.certain, undefined, assumptions })
    }

    fn pair(&mut self, id: BoundsId, sources: &[Group], destinations: &[Group]) -> ConnectionsId {
        if let Some(pair) = self.pair_ids.get(&id) {
            return *pair;
        }
        let Bounds { certain, possible } = &self.algebra.bounds.arena()[id];
        let (allowed, undefined) = (certain.clone(), possible.difference(certain));
        if undefined.is_empty() {
            let decided = PairConnections { allowed, undefined, assumptions: UnknownFacts::new() };
            let pair = self.pairs.intern(decided);
            self.pair_ids.insert(id, pair);
            return pair;
        }
        let pairs = pairs_of(sources, destinations);
        let assumptions = pairs
            .flat_map(|(source, destination)| self.assumptions(source, destination, id, &undefined))
            .collect();
        let pair = self.pairs.intern(PairConnections { allowed, undefined, assumptions });
        if let ([source], [destination]) = (sources, destinations) {
            self.undefined_ids.insert((*source, *destination), pair);
        }
        pair
    }

    /// Returns the unknown facts that may decide which of the `undefined` connections of some bounds are allowed.
    fn assumptions(
        &mut self,
        source: Group,
        destination: Group,
        bounds: BoundsId,
        undefined: &Connections,
    ) -> UnknownFacts {
        let mut all = UnknownFacts::new();
        for direction in Direction::ALL {
            let (subject, remote) = match direction {
                Direction::Egress => (source, destination),
                Direction::Ingress => (destination, source),
            };
            let Group::Pods(subject) = subject else { continue };
            let Some(rules) = self.rules_id(subject, direction) else { continue };
            let engine = self.engine;
            let facts = self.facts.entry((rules, direction, remote, bounds));
            let facts = facts.or_insert_with(|| engine.assumptions(subject, direction, remote, undefined));
            all.extend(facts.iter().cloned());
        }
        if self.is_host(source) || self.is_host(destination) {
            all.insert(UnknownFact::HostNetwork);
            if self.share_node(source, destination) == Truth::Perhaps {
                all.insert(UnknownFact::PodNodes);
            }
        }
        all
    }

    fn share_node(&self, source: Group, destination: Group) -> Truth {
        let classes = source.class().zip(destination.class());
        classes.map_or(Truth::No, |(source, destination)| self.engine.share_node(source, destination))
    }

    fn rules_id(&self, class: ClassId, direction: Direction) -> Option<Id<Rules>> {
        self.rules_of.get(class.index()).map(|rules| direction.pick(*rules))
    }

    /// Returns the connections with this id.
    pub fn connections(&self, id: ConnectionsId) -> &PairConnections {
        &self.pairs.arena()[id]
    }

    fn in_family(&mut self, source: Group, destination: Group, family: IpFamily) -> BoundsId {
        let everything = self.algebra.everything;
        let egress = self.look_up(source, Direction::Egress, destination, family);
        let ingress = self.look_up(destination, Direction::Ingress, source, family);
        let mut bounds =
            self.algebra.intersection(egress.unwrap_or(everything), ingress.unwrap_or(everything));
        if self.is_at_node(destination) {
            let Self { algebra, node_ports, .. } = self;
            let open = algebra.bounds.arena()[bounds].leaving_open(node_ports);
            bounds = algebra.bounds.intern(open);
        }
        // If a pod with `hostNetwork` counts as its node, no policy selects it. So a connection that is denied to it
        // as a pod may be allowed. The policies of the other pod apply in both readings, except if it runs on that
        // node. The row of the other pod already considers both readings of the remote end (`Hosts::Either`).
        let as_node = match (self.is_host(source), self.is_host(destination)) {
            (false, false) => return bounds,
            (true, true) => everything,
            _ if self.share_node(source, destination) != Truth::No => everything,
            (true, false) => ingress.unwrap_or(everything),
            (false, true) => egress.unwrap_or(everything),
        };
        // A pod with `hostNetwork` has its node's address, where Services may have node ports.
        let is_destination = self.is_host(destination);
        let Self { algebra, node_ports, of_hosts, .. } = self;
        *of_hosts.entry((bounds, as_node, is_destination)).or_insert_with(|| {
            let undecided = Bounds::possible(algebra.bounds.arena()[as_node].possible.clone());
            let mut open = algebra.bounds.arena()[bounds].union(&undecided);
            if is_destination {
                open = open.leaving_open(node_ports);
            }
            algebra.bounds.intern(open)
        })
    }

    /// Returns whether a group is a part of the address space with addresses of nodes. There, ports may lead to
    /// Services and pods.
    fn is_at_node(&self, group: Group) -> bool {
        match group {
            Group::Pods(_) => false,
            Group::External(atom) => self.engine.node_addresses.touch(atom),
        }
    }

    /// Returns the connections of two ends, directly and through Services. `open` are the connections to the
    /// destinations that the sources may open by sending to a Service's address.
    ///
    /// Policies may be applied before the Service's address is translated. So a connection of `open` that the sources
    /// may not send to the destinations directly is undefined, if the destinations may receive it.
    pub fn through_services(
        &mut self,
        sources: &[Group],
        destinations: &[Group],
        open: &Connections,
    ) -> ConnectionsId {
        let direct = self.between(sources, destinations);
        let PairConnections { allowed, undefined, mut assumptions } = self.connections(direct).clone();
        let possible = allowed.union(&undefined);
        let more = open.difference(&possible).intersection(&self.received(sources, destinations));
        if more.is_empty() {
            return direct;
        }
        assumptions.insert(UnknownFact::Translation);
        if destinations.iter().any(|destination| self.is_host(*destination)) {
            assumptions.insert(UnknownFact::HostNetwork);
        }
        self.push(Bounds { certain: allowed, possible: possible.union(&more) }, assumptions)
    }

    /// Returns what the policies of the destinations may allow from the sources.
    fn received(&self, sources: &[Group], destinations: &[Group]) -> Connections {
        let mut all = Connections::default();
        for (source, destination) in pairs_of(sources, destinations) {
            for family in IpFamily::ALL {
                if self.engine.common_family(source, destination, family) == Truth::No {
                    continue;
                }
                match self.look_up(destination, Direction::Ingress, source, family) {
                    // If the destination counts as its node, no policy selects it.
                    _ if self.is_host(destination) => return Connections::all(),
                    None => return Connections::all(),
                    Some(bounds) => all = all.union(&self.algebra.bounds.arena()[bounds].possible),
                }
            }
        }
        all
    }

    fn is_host(&self, group: Group) -> bool {
        group.class().is_some_and(|class| self.engine.classes[class].host_network)
    }

    /// Returns the row of a class, or `None` if no policy selects it.
    fn row(&mut self, subject: ClassId, direction: Direction, family: IpFamily) -> Option<Arc<Row>> {
        let engine = self.engine;
        let rules = self.rules_id(subject, direction)?;
        let policies = engine.selecting(subject, direction);
        if policies.is_empty() {
            return None;
        }
        let key = (rules, engine.classes[subject].host_network, direction, family);
        if let Some(row) = self.rows.get(&key) {
            return Some(Arc::clone(row));
        }
        // There may be as many alternatives as policies, so they are merged once for all classes with the same rules.
        let mut alternatives = engine.alternatives(policies);
        let row = self.row_of(alternatives.next()?, subject, direction, family);
        let row = alternatives.fold(row, |row, policies| {
            let other = self.row_of(policies, subject, direction, family);
            Arc::new(row.zip(&other, |a, b| self.algebra.either(*a, *b)))
        });
        self.rows.insert(key, Arc::clone(&row));
        Some(row)
    }

    /// Returns the row of a subject that exactly these policies select.
    fn row_of(
        &mut self,
        policies: Vec<Selecting>,
        subject: ClassId,
        direction: Direction,
        family: IpFamily,
    ) -> Arc<Row> {
        let engine = self.engine;
        let class = &engine.classes[subject];
        let ports = engine.resolved_ports(subject, direction, &policies);
        let rules = self.rules.intern(Rules { policies, ports });
        let view = View { engine, subject: class, direction, family };
        let Self { rules: all, rows, algebra, .. } = self;
        let row = rows.entry((rules, class.host_network, direction, family));
        Arc::clone(row.or_insert_with(|| Arc::new(row::row(view, &all.arena()[rules].policies, algebra))))
    }

    /// Returns what a subject and a remote end may exchange, or `None` if no policy selects the subject.
    fn look_up(
        &self,
        subject: Group,
        direction: Direction,
        remote: Group,
        family: IpFamily,
    ) -> Option<BoundsId> {
        let rows = self.rows_of.get(subject.class()?.index())?.each_ref();
        let row = family.pick(direction.pick(rows).each_ref()).as_ref()?;
        row.get(remote).copied()
    }
}

fn pairs_of<'a>(
    sources: &'a [Group],
    destinations: &'a [Group],
) -> impl Iterator<Item = (Group, Group)> + use<'a> {
    sources.iter().flat_map(|source| destinations.iter().map(|destination| (*source, *destination)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{
        Cluster, LabelSelector, NetworkPolicy, Pod, Port, PortRange, Protocol, Requirement, UnknownLabels,
    };
    use super::*;

    const COUNT: u16 = 20;
    const HASH: &str = "pod-template-hash";

    /// Returns a cluster with pods that differ in their ports, and with policies that each may select all pods.
    fn cluster() -> Cluster {
        let port = |i: u16| Port::new(i + 1).unwrap();
        let pod = |i: u16| Pod {
            namespace: "x".to_owned(),
            name: i.to_string(),
            unknown_labels: UnknownLabels {
                values: BTreeSet::from([HASH.to_owned()]),
                ..UnknownLabels::default()
            },
            ports: vec![ContainerPort { name: None, port: port(i), protocol: Protocol::Tcp }],
            ..Pod::default()
        };
        let policy = |i: u16| NetworkPolicy {
            namespace: "x".to_owned(),
            name: i.to_string(),
            subjects: LabelSelector::from_iter([Requirement::In(
                HASH.to_owned(),
                BTreeSet::from([i.to_string()]),
            )]),
            ingress: Some(Vec::new()),
            egress: None,
        };
        Cluster {
            pods: (0..COUNT).map(pod).collect(),
            policies: (0..COUNT).map(policy).collect(),
            ..Cluster::default()
        }
    }

    /// Regression test: rows and facts were computed for each class, or for each pair of classes, with all policies.
    #[test]
    fn classes_that_the_same_policies_select_share_rows_and_facts() {
        let engine = Engine::new(cluster());
        let mut reach = engine.reach();
        let groups: Vec<_> = engine.pods().map(|(id, _)| reach.pod(id).unwrap()).collect();
        assert_eq!(groups.iter().collect::<std::collections::HashSet<_>>().len(), usize::from(COUNT));
        // One row for all policies, one for none of them, and one for each of them.
        assert_eq!(reach.rows.len(), IpFamily::ALL.len() * (2 + usize::from(COUNT)));
        for source in &groups {
            for destination in &groups {
                let id = reach.between(&[*source], &[*destination]);
                let found = reach.connections(id);
                assert!(found.allowed.is_empty() && found.undefined.is_all());
                let fact = UnknownFact::PodLabel { key: HASH.to_owned() };
                assert_eq!(found.assumptions, UnknownFacts::from([fact]));
            }
        }
        // One for each remote end in each direction.
        assert_eq!(reach.facts.len(), 2 * groups.len());
    }

    /// Regression test: all parts of the address space were evaluated for each Service and pod.
    #[test]
    fn what_every_address_may_send_is_asked_once_for_all_services() {
        let engine = Engine::new(cluster());
        let mut reach = engine.reach();
        let pod = reach.pod(engine.pods().next().unwrap().0).unwrap();
        let through = |port| -> Connections {
            [(Protocol::Tcp, PortRange::single(Port::new(port).unwrap()))].into_iter().collect()
        };
        for port in 1..=COUNT {
            let id = reach.through_nodes(&[(pod, through(port))]);
            assert_eq!(reach.connections(id).undefined, through(port));
            assert_eq!(reach.connections(id).assumptions.len(), 1);
        }
        assert_eq!(reach.from_anywhere.len(), 1);
        assert_eq!(reach.through_nodes.len(), usize::from(COUNT));
        let again = reach.through_nodes(&[(pod, through(1))]);
        assert_eq!(reach.connections(again).undefined, through(1));
        assert_eq!(reach.through_nodes.len(), usize::from(COUNT));
    }
}
