//! Evaluates all flows between two ends at once, for every pair of ends in a cluster.

use std::sync::Arc;

use super::address::{AddressRange, IpFamily};
use super::arena::Interner;
use super::bounds::{Algebra, Bounds, BoundsId, Truth};
use super::ends::{ConnectionsId, FromAnywhere, Group, PairConnections};
use super::engine::{Engine, PodId};
use super::map::HashMap;
use super::port::Connections;
use super::rows::{Rows, RowsId};
use super::rule::Direction;
use super::unknown::{UnknownFact, UnknownFacts};

/// Greatest count of pairs whose connections are kept. There may be more pairs than fit into memory.
const MOST_KEPT: usize = 4_000_000;

/// Connections between every pair of ends in a cluster.
///
/// Rows are computed when a pair first needs them. Classes with equal policies share their rows.
#[derive(Debug)]
pub struct Reach<'a> {
    pub(super) engine: &'a Engine,
    pub(super) algebra: Algebra,
    rows: Rows<'a>,
    /// Ports of nodes that lead to Services and pods.
    pub(super) node_ports: Connections,
    /// Cache of bounds for pairs in which an end has `hostNetwork`. The key is: the bounds if that end counts as a
    /// pod, the bounds if it counts as its node, and whether the destination has `hostNetwork`.
    of_hosts: HashMap<(BoundsId, BoundsId, bool), BoundsId>,
    pairs: Interner<PairConnections>,
    /// Cache of pairs without undefined connections, by bounds.
    pair_ids: HashMap<BoundsId, ConnectionsId>,
    /// Cache of pairs, by source and destination.
    known: HashMap<(Group, Group), ConnectionsId>,
    /// Cache of the unknown facts on which bounds depend, by the rows of the subject, whether it has an address of each
    /// family, the remote end and the bounds.
    facts: HashMap<(RowsId, [Truth; 2], Group, BoundsId), UnknownFacts>,
    /// Cache of what every address outside may send to a group.
    pub(super) from_anywhere: HashMap<Group, Arc<FromAnywhere>>,
    /// Cache of what reaches pods through nodes. Many Services and pods have the same result.
    pub(super) through_nodes: HashMap<Vec<(Group, Connections)>, ConnectionsId>,
}

impl Engine {
    /// Returns the connections between every pair of pods and parts of the address space.
    pub fn reach(&self) -> Reach<'_> {
        Reach {
            engine: self,
            algebra: Algebra::new(),
            rows: Rows::new(self),
            node_ports: self.node_ports().map(|(port, _)| port).collect(),
            of_hosts: HashMap::default(),
            pairs: Interner::default(),
            pair_ids: HashMap::default(),
            known: HashMap::default(),
            facts: HashMap::default(),
            from_anywhere: HashMap::default(),
            through_nodes: HashMap::default(),
        }
    }

    /// Returns whether the ends of a group have an address of a family.
    pub(super) fn has_family(&self, group: Group, family: IpFamily) -> Truth {
        match group {
            Group::Pods(cohort) => self.class(cohort).has_family(family),
            Group::External(atom) => Truth::of(self.space.atoms()[atom].family() == family, false),
        }
    }

    /// Returns whether two ends both have an address of a family.
    pub(super) fn common_family(&self, source: Group, destination: Group, family: IpFamily) -> Truth {
        self.has_family(source, family).min(self.has_family(destination, family))
    }
}

impl<'a> Reach<'a> {
    /// Returns the group of a pod.
    pub fn pod(&self, pod: PodId) -> Option<Group> {
        self.engine.cohort_of(pod).map(Group::Pods)
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
        if let Some(id) = single.and_then(|pair| self.known.get(&pair)) {
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
        let id = self.pair(united, sources, destinations);
        if let Some(pair) = single {
            if self.known.len() >= MOST_KEPT {
                self.known.clear();
            }
            self.known.insert(pair, id);
        }
        id
    }

    /// Computes the rows of all classes. Otherwise, a row is computed when a pair first needs it.
    pub fn complete(&mut self) {
        let classes: Vec<_> = self.engine.classes.iter().map(|(id, _)| id).collect();
        for (class, direction) in classes.into_iter().flat_map(|class| Direction::ALL.map(|to| (class, to))) {
            self.rows.of(class, direction, &mut self.algebra);
        }
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
        self.pairs.intern(PairConnections { allowed, undefined, assumptions })
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
            let Group::Pods(cohort) = subject else { continue };
            let class = self.engine.class_id(cohort);
            let Some(rows) = self.rows.of(class, direction, &mut self.algebra) else { continue };
            let engine = self.engine;
            let families = IpFamily::ALL.map(|family| engine.has_family(subject, family));
            let facts = self.facts.entry((rows, families, remote, bounds));
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
        let cohorts = source.cohort().zip(destination.cohort());
        cohorts.map_or(Truth::No, |(source, destination)| self.engine.share_node(source, destination))
    }

    /// Returns the connections with this id.
    pub fn connections(&self, id: ConnectionsId) -> &PairConnections {
        &self.pairs.arena()[id]
    }

    fn in_family(&mut self, source: Group, destination: Group, family: IpFamily) -> BoundsId {
        let everything = self.algebra.everything;
        let Self { rows, algebra, .. } = self;
        let egress = rows.look_up(source, Direction::Egress, destination, family, algebra);
        let ingress = rows.look_up(destination, Direction::Ingress, source, family, algebra);
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
    fn received(&mut self, sources: &[Group], destinations: &[Group]) -> Connections {
        let mut all = Connections::default();
        for (source, destination) in pairs_of(sources, destinations) {
            for family in IpFamily::ALL {
                if self.engine.common_family(source, destination, family) == Truth::No {
                    continue;
                }
                let Self { rows, algebra, .. } = self;
                match rows.look_up(destination, Direction::Ingress, source, family, algebra) {
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
        group.cohort().is_some_and(|cohort| self.engine.class(cohort).host_network)
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
        Cluster, LabelSelector, Labels, NamespaceScope, NetworkPolicy, Peer, Peers, Pod, Port, PortRange,
        Ports, Protocol, Requirement, Rule, UnknownLabels,
    };
    use super::*;

    const COUNT: u16 = 20;
    const HASH: &str = "pod-template-hash";

    /// Returns a cluster with pods that differ in a label that peers read, and with policies that each may select all
    /// pods.
    fn cluster() -> Cluster {
        let app = |i: u16| ("app".to_owned(), i.to_string());
        let pod = |i: u16| Pod {
            namespace: "x".to_owned(),
            name: i.to_string(),
            labels: Labels::from([app(i)]),
            unknown_labels: UnknownLabels {
                values: BTreeSet::from([HASH.to_owned()]),
                ..UnknownLabels::default()
            },
            ..Pod::default()
        };
        let selector = |key: &str, value: String| {
            LabelSelector::from_iter([Requirement::In(key.to_owned(), BTreeSet::from([value]))])
        };
        let rule = |i: u16| {
            let pods = selector("app", i.to_string());
            Rule {
                peers: Peers::Only(vec![Peer::Pods { namespaces: NamespaceScope::Own, pods }]),
                ports: Ports::Any,
            }
        };
        // It selects no pod, but reads the label.
        let reader = NetworkPolicy {
            namespace: "x".to_owned(),
            name: "reader".to_owned(),
            subjects: selector("app", "none".to_owned()),
            ingress: Some((0..COUNT).map(rule).collect()),
            egress: None,
        };
        let policy = |i: u16| NetworkPolicy {
            namespace: "x".to_owned(),
            name: i.to_string(),
            subjects: selector(HASH, i.to_string()),
            ingress: Some(Vec::new()),
            egress: None,
        };
        Cluster {
            pods: (0..COUNT).map(pod).collect(),
            policies: (0..COUNT).map(policy).chain([reader]).collect(),
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
        for source in &groups {
            for destination in &groups {
                let id = reach.between(&[*source], &[*destination]);
                let found = reach.connections(id);
                assert!(found.allowed.is_empty() && found.undefined.is_all());
                let fact = UnknownFact::PodLabel { key: HASH.to_owned() };
                assert_eq!(found.assumptions, UnknownFacts::from([fact]));
            }
        }
        // One for none of the policies, and one for each of them.
        assert_eq!(reach.rows.count(), 1 + usize::from(COUNT));
        // One for each remote end. No policy is about egress.
        assert_eq!(reach.facts.len(), groups.len());
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
