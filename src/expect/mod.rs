//! The expected matrix: what each pair of workloads, pods or address ranges outside the cluster may exchange
//! according to the policies. No packets are sent.

mod end;
mod exposed;
mod translated;
mod unmatched;

use end::End;
pub use end::Granularity;
use exposed::Exposed;
use translated::{Hop, Sent, Translated};
pub use unmatched::{misspelt, unmatched};

use ipnet::IpNet;

use crate::policy::{
    AddressRange, Connections, ConnectionsId, Direction, Engine, Group, PairConnections, Pod, Protocol, Reach,
};
use crate::snapshot::Snapshot;

/// A row: what `from` may send to `to`. A pair that may exchange nothing has no row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// `namespace/name[Kind]`, `own node`, or an address range.
    pub from: &'a str,
    /// In the same form as `from`.
    pub to: &'a str,
    /// What the policies allow, and what is undefined.
    pub connections: &'a PairConnections,
    /// Id of the connections. Equal connections have equal ids.
    pub id: ConnectionsId,
}

/// Name that rows use for the node on which a pod runs, whichever node that is.
const OWN_NODE: &str = "own node";

/// The expected matrix of a cluster.
#[derive(Debug)]
pub struct Matrix<'a> {
    reach: Reach<'a>,
    pods: Vec<(Option<Group>, &'a Pod)>,
    ends: Vec<End>,
    exposed: Vec<Exposed<'a>>,
    /// Services whose addresses are translated.
    translated: Vec<Translated<'a>>,
    /// Ways to each end through these Services, by the index of the end.
    hops: Vec<Vec<Hop>>,
    external: Vec<(Group, AddressRange)>,
}

impl<'a> Matrix<'a> {
    /// Creates the matrix of a snapshot. The engine must be created from the cluster of the snapshot.
    pub fn new(engine: &'a Engine, snapshot: &Snapshot, granularity: Granularity) -> Self {
        let reach = engine.reach();
        let pods: Vec<_> = engine.pods().map(|(id, pod)| (reach.pod(id), pod)).collect();
        let ends = end::all(&snapshot.workloads, granularity, &pods);
        let translated = translated::all(engine, snapshot, &reach.external());
        let hops = ends.iter().map(|end| translated::hops(&translated, end, &pods)).collect();
        let inside = translated::addresses(engine, snapshot).into_iter().chain(snapshot.ranges.pods.clone());
        let external = outside_of(inside, reach.external());
        Self { reach, pods, ends, exposed: exposed::all(engine), translated, hops, external }
    }

    /// Returns the width of the widest name in a row, in characters.
    pub fn widest_name(&mut self) -> usize {
        let Self { reach, pods, ends, exposed, external, .. } = self;
        let shown = exposed.iter().filter(|service| service.ways(ends, pods).next().is_some());
        let names = ends.iter().map(|end| &end.name).chain(shown.map(|service| &service.name));
        let mut widest = names.map(|name| name.chars().count()).chain([OWN_NODE.len()]).max().unwrap_or(0);
        // Which ranges have rows depends on what they may exchange. Rows between workloads have no ranges.
        for (end, direction) in ends.iter().flat_map(|end| Direction::ALL.map(|direction| (end, direction))) {
            for (range, id) in outside(reach, external, end, direction) {
                if !reach.connections(id).is_empty() {
                    widest = widest.max(range.to_string().len());
                }
            }
        }
        widest
    }

    /// Calls `show` for every row. The rows from workloads or pods come first, in the order of their names: for each
    /// of them to workloads or pods, to its own node, and to addresses outside. Then come the rows from own nodes,
    /// from Services, and from addresses outside.
    ///
    /// # Errors
    /// Returns the first error of `show`.
    pub fn rows<E>(&mut self, mut show: impl FnMut(Row<'_>) -> Result<(), E>) -> Result<(), E> {
        let Self { reach, pods, ends, exposed, translated, hops, external } = self;
        for (i, from) in ends.iter().enumerate() {
            let mut sent = Sent::default();
            for (j, (to, hops)) in ends.iter().zip(hops.iter()).enumerate() {
                if i != j || from.has_several_pods {
                    let id = match hops.as_slice() {
                        [] => reach.between(&from.groups, &to.groups),
                        hops => {
                            let open = sent.open(reach, translated, &from.groups, hops);
                            reach.through_services(&from.groups, &to.groups, &open)
                        }
                    };
                    row(reach, &from.name, &to.name, id, &mut show)?;
                }
            }
            if let Some(id) = reach.own_node(&from.groups, Direction::Egress) {
                row(reach, &from.name, OWN_NODE, id, &mut show)?;
            }
            for (range, id) in outside(reach, external, from, Direction::Egress) {
                row(reach, &from.name, &range.to_string(), id, &mut show)?;
            }
        }
        for to in ends.iter() {
            if let Some(id) = reach.own_node(&to.groups, Direction::Ingress) {
                row(reach, OWN_NODE, &to.name, id, &mut show)?;
            }
        }
        for service in exposed.iter() {
            for way in service.ways(ends, pods) {
                let id = reach.through_nodes(&way.pods);
                row(reach, &service.name, way.to, id, &mut show)?;
            }
        }
        for to in ends.iter() {
            for (range, id) in outside(reach, external, to, Direction::Ingress) {
                row(reach, &range.to_string(), &to.name, id, &mut show)?;
            }
        }
        Ok(())
    }
}

/// Returns the addresses outside the cluster: all addresses without the known addresses of pods and Services.
/// Addresses of nodes count as outside, because a pod may send to any node.
fn outside_of(
    inside: impl Iterator<Item = IpNet>,
    all: Vec<(Group, AddressRange)>,
) -> Vec<(Group, AddressRange)> {
    inside.fold(all, |all, net| {
        let parts = all
            .into_iter()
            .flat_map(|(group, range)| range.without(&net).into_iter().map(move |part| (group, part)));
        parts.collect()
    })
}

/// Returns what a workload may send to the addresses outside (`Egress`) or receive from them (`Ingress`). Adjacent
/// ranges with equal connections are joined.
fn outside(
    reach: &mut Reach<'_>,
    external: &[(Group, AddressRange)],
    end: &End,
    direction: Direction,
) -> Vec<(AddressRange, ConnectionsId)> {
    let mut ranges: Vec<(AddressRange, ConnectionsId)> = Vec::new();
    for (group, range) in external {
        let id = match direction {
            Direction::Egress => reach.between(&end.groups, &[*group]),
            Direction::Ingress => reach.between(&[*group], &end.groups),
        };
        if let Some((last, _)) = ranges.last_mut().filter(|(_, last)| *last == id)
            && let Some(joined) = last.join(*range)
        {
            *last = joined;
        } else {
            ranges.push((*range, id));
        }
    }
    ranges
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

/// Returns the ports of connections by protocol, in the form of the JSON report: `["80", "90-99"]`.
pub fn port_lists(connections: &Connections) -> impl Iterator<Item = (&'static str, Vec<String>)> {
    Protocol::ALL.into_iter().filter_map(|protocol| {
        let ranges: Vec<_> = connections.ports(protocol).map(|ports| ports.to_string()).collect();
        (!ranges.is_empty()).then_some((protocol.name(), ranges))
    })
}
