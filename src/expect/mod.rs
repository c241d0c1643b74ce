//! The expected matrix: what every pair of workloads or pods, and of address ranges outside the
//! cluster, may exchange according to the policies. No packets.

mod unmatched;

pub use unmatched::unmatched;

use crate::policy::{
    AddressRange, ClusterPeer, Connections, ConnectionsId, Engine, Group, PairConnections, Peer, Peers,
    Reach, UnknownAddresses,
};
use crate::snapshot::{Snapshot, Workload, WorkloadKind};

/// What stands in the rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// Workloads: a Deployment is one, however many pods it has. The connections of two workloads
    /// are those of any of their pods.
    Workloads,
    /// Pods, those that a workload's template makes included.
    Pods,
}

/// One row: what `from` may send to `to`. Pairs that may exchange nothing have none.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// `namespace/name[Kind]`, or an address range.
    pub from: &'a str,
    /// As `from`.
    pub to: &'a str,
    /// What the policies allow, and what the specification leaves open.
    pub connections: &'a PairConnections,
    /// Equal connections have equal ids.
    pub id: ConnectionsId,
}

/// The expected matrix of a cluster.
#[derive(Debug)]
pub struct Matrix<'a> {
    reach: Reach<'a>,
    ends: Vec<End>,
    external: Vec<(Group, AddressRange)>,
}

/// A workload or a pod.
#[derive(Debug)]
struct End {
    name: String,
    /// The groups of its pods, each once.
    groups: Vec<Group>,
}

impl<'a> Matrix<'a> {
    /// The matrix of a snapshot. The engine has to be made from its cluster.
    pub fn new(engine: &'a Engine, snapshot: &Snapshot, granularity: Granularity) -> Self {
        let reach = engine.reach(UnknownAddresses::OutsideBlocks);
        let by_position: Vec<Option<Group>> = engine.pods().map(|(id, _)| reach.pod(id)).collect();
        let group = |pod: usize| by_position.get(pod).copied().flatten();
        let mut ends = Vec::new();
        for workload in &snapshot.workloads {
            match granularity {
                Granularity::Workloads => {
                    let mut groups = Vec::new();
                    for group in workload.pods.iter().filter_map(|pod| group(*pod)) {
                        if !groups.contains(&group) {
                            groups.push(group);
                        }
                    }
                    ends.push(End { name: name_of(workload), groups });
                }
                Granularity::Pods => {
                    let pods = pods_of(workload, snapshot);
                    ends.extend(
                        pods.into_iter()
                            .map(|(name, pod)| End { name, groups: group(pod).into_iter().collect() }),
                    );
                }
            }
        }
        let external = reach.external();
        Self { reach, ends, external }
    }

    /// How wide the widest name in a row is, in characters.
    pub fn widest_name(&mut self) -> usize {
        let mut widest = 0;
        // Ranges depend on what they may exchange; those of the pairs of workloads do not matter.
        let Self { reach, ends, external } = self;
        for end in ends.iter() {
            widest = widest.max(end.name.chars().count());
            for (_, range, id) in outside(reach, external, end) {
                let connections = reach.connections(id);
                if !connections.is_empty() {
                    widest = widest.max(range.to_string().len());
                }
            }
        }
        widest
    }

    /// Calls `show` for every row: those from workloads in the order of their names, first to
    /// other workloads and then to addresses outside; last those from addresses outside.
    ///
    /// # Errors
    /// The first error of `show`.
    pub fn rows<E>(&mut self, mut show: impl FnMut(Row<'_>) -> Result<(), E>) -> Result<(), E> {
        let Self { reach, ends, external } = self;
        for (i, from) in ends.iter().enumerate() {
            for (j, to) in ends.iter().enumerate() {
                if i != j {
                    let id = between(reach, &from.groups, &to.groups);
                    row(reach, &from.name, &to.name, id, &mut show)?;
                }
            }
            for (way, range, id) in outside(reach, external, from) {
                if way == Way::Out {
                    row(reach, &from.name, &range.to_string(), id, &mut show)?;
                }
            }
        }
        for to in ends.iter() {
            for (way, range, id) in outside(reach, external, to) {
                if way == Way::In {
                    row(reach, &range.to_string(), &to.name, id, &mut show)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a workload sends to an address outside, or receives from it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

/// What a workload may exchange with the addresses outside, in either way.
fn outside(
    reach: &mut Reach<'_>,
    external: &[(Group, AddressRange)],
    end: &End,
) -> Vec<(Way, AddressRange, ConnectionsId)> {
    let mut found = Vec::new();
    for way in [Way::Out, Way::In] {
        let ranges = ranges(reach, external, |reach, outside| match way {
            Way::Out => between(reach, &end.groups, &[outside]),
            Way::In => between(reach, &[outside], &end.groups),
        });
        found.extend(ranges.into_iter().map(|(range, id)| (way, range, id)));
    }
    found
}

fn row<E>(
    reach: &Reach<'_>,
    from: &str,
    to: &str,
    id: ConnectionsId,
    show: &mut impl FnMut(Row<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let connections = reach.connections(id);
    if connections.is_empty() {
        return Ok(());
    }
    show(Row { from, to, connections, id })
}

/// What any pod of one end may send to any pod of the other.
fn between(reach: &mut Reach<'_>, from: &[Group], to: &[Group]) -> ConnectionsId {
    let mut pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
    let Some((source, destination)) = pairs.next() else { return reach.nothing() };
    let first = reach.between(source, destination);
    pairs.fold(first, |united, (source, destination)| {
        let next = reach.between(source, destination);
        reach.unite(united, next)
    })
}

/// The address ranges outside, joined where they may exchange the same.
fn ranges(
    reach: &mut Reach<'_>,
    external: &[(Group, AddressRange)],
    between: impl Fn(&mut Reach<'_>, Group) -> ConnectionsId,
) -> Vec<(AddressRange, ConnectionsId)> {
    let mut ranges: Vec<(AddressRange, ConnectionsId)> = Vec::new();
    for (group, range) in external {
        let id = between(reach, *group);
        let joined = ranges.last().filter(|(_, last)| *last == id).and_then(|(last, _)| last.join(*range));
        match (joined, ranges.last_mut()) {
            (Some(joined), Some((last, _))) => *last = joined,
            (Some(_) | None, _) => ranges.push((*range, id)),
        }
    }
    ranges
}

/// Whether an `ipBlock` or network of the snapshot's policies has to be compared with a pod whose address is
/// not known, and so was taken not to cover it.
pub fn assumes_addresses(snapshot: &Snapshot) -> bool {
    let is_unknown =
        |pod: &usize| snapshot.cluster.pods.get(*pod).is_some_and(|pod| pod.addresses.is_empty());
    let rules = snapshot
        .cluster
        .policies
        .iter()
        .flat_map(|policy| policy.ingress.iter().chain(&policy.egress).flatten());
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[],
        Peers::Only(peers) => peers.as_slice(),
    });
    let blocks = peers.filter_map(|peer| match peer {
        Peer::IpBlock(block) => Some(block),
        Peer::Pods { .. } => None,
    });
    let cluster_rules = snapshot
        .cluster
        .cluster_policies
        .iter()
        .flat_map(|policy| policy.ingress.iter().chain(&policy.egress));
    let networks = cluster_rules.flat_map(|rule| &rule.peers).filter_map(|peer| match peer {
        ClusterPeer::Network(block) => Some(block),
        ClusterPeer::Pods(_) | ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) => None,
    });
    let has_block = blocks.chain(networks).any(|block| !block.is_whole_family());
    has_block && snapshot.workloads.iter().flat_map(|workload| &workload.pods).any(is_unknown)
}

fn name_of(workload: &Workload) -> String {
    format!("{}[{}]", workload.identity, workload.kind)
}

/// The names of a workload's pods and their positions. Those that its template makes are numbered.
fn pods_of(workload: &Workload, snapshot: &Snapshot) -> Vec<(String, usize)> {
    let pod = WorkloadKind::Pod;
    match (workload.replicas, workload.pods.first()) {
        (Some(replicas), Some(template)) => {
            let name = |number| format!("{}-{number}[{pod}]", workload.identity);
            (0..replicas).map(|number| (name(number), *template)).collect()
        }
        (Some(_) | None, _) => {
            let found = workload.pods.iter().filter_map(|at| Some((snapshot.cluster.pods.get(*at)?, *at)));
            found.map(|(p, at)| (format!("{}/{}[{pod}]", p.namespace, p.name), at)).collect()
        }
    }
}

/// The ports of connections by protocol, as the JSON report writes them: `["80", "90-99"]`.
pub fn port_lists(connections: &Connections) -> impl Iterator<Item = (&'static str, Vec<String>)> {
    use crate::policy::Protocol;
    Protocol::ALL.into_iter().filter_map(|protocol| {
        let ports = connections.ports(protocol);
        let ranges = ports.ranges().iter().map(ToString::to_string).collect();
        (!ports.is_empty()).then_some((protocol.name(), ranges))
    })
}
