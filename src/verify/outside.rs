//! Destinations that are no pods: addresses outside the cluster, ports of nodes, and the API server.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address::{UNUSED, families_with, next};
use super::ports::{PortOf, unnamed};
use super::question::{Ends, Question};
use crate::policy::{Cluster, IpFamily, Pod, Port, PortRange, Protocol, Service};
use crate::snapshot::Identity;
use crate::tenants::{Party, Target, Tenancy};
use crate::world::{EndpointName, External};

/// Ports that are probed at an address if the tenants name none.
const USUAL: [u16; 2] = [80, 443];

/// The destinations that are no pods.
pub(super) struct Outside {
    destinations: Vec<Destination>,
}

/// An address outside the cluster, a node, or the Service of the API server.
struct Destination {
    name: EndpointName,
    /// `None` for a node or a Service, whose addresses the world has.
    address: Option<IpAddr>,
    families: Vec<IpFamily>,
    ports: Vec<PortOf>,
}

impl Outside {
    pub(super) fn new(cluster: &Cluster, tenancy: &Tenancy) -> Self {
        let targets = tenancy.targets();
        let mut destinations: Vec<Destination> = Vec::new();
        let nets: Vec<IpNet> = targets.iter().flat_map(|target| &target.addresses).copied().collect();
        for destination in targets.iter().flat_map(|target| addresses(target, &nets)) {
            // An address is one endpoint, however many targets name it.
            match destinations.iter_mut().find(|known| known.address == destination.address) {
                Some(known) => known.ports.extend(destination.ports),
                None => destinations.push(destination),
            }
        }
        for destination in &mut destinations {
            destination.ports.sort_unstable();
            destination.ports.dedup();
        }
        let ports: Vec<PortOf> = tenancy.node_ports().into_iter().collect();
        if !ports.is_empty() {
            destinations.extend(cluster.nodes.iter().map(|node| Destination {
                name: EndpointName::Node(node.name.clone()),
                address: None,
                families: families_with(|family| node.address(family).is_some()),
                ports: ports.clone(),
            }));
        }
        destinations.extend(cluster.services.iter().filter_map(api_server));
        Self { destinations }
    }

    /// Returns the addresses as endpoints of a world.
    pub(super) fn externals(&self) -> Vec<External> {
        let external = |destination: &Destination| match &destination.name {
            EndpointName::External(name) => {
                Some(External { name: name.clone(), addresses: destination.address.into_iter().collect() })
            }
            EndpointName::Node(_) | EndpointName::Pod { .. } | EndpointName::Service { .. } => None,
        };
        self.destinations.iter().filter_map(external).collect()
    }

    /// Returns the destinations that have no address of these families, with their ports.
    pub(super) fn without_families(
        &self,
        families: &[IpFamily],
    ) -> impl Iterator<Item = (&EndpointName, Party<'_>, &[PortOf])> {
        let without =
            self.destinations.iter().filter(move |it| !it.families.iter().any(|own| families.contains(own)));
        without.filter_map(|it| Some((&it.name, it.party()?, it.ports.as_slice())))
    }

    /// Returns the questions about connections from these pods, which have addresses of these families. Only TCP tells
    /// whether somebody accepts a connection.
    pub(super) fn questions<'a>(
        &self,
        pods: impl Iterator<Item = &'a Pod>,
        tenancy: &Tenancy,
        of_pods: &[IpFamily],
    ) -> Vec<Question> {
        let mut questions = Vec::new();
        for pod in pods {
            for destination in &self.destinations {
                let Some(to) = destination.party() else { continue };
                let ends = Ends::new(tenancy, pod, destination.name.clone(), None);
                for at in destination.ports.iter().filter(|(protocol, _)| *protocol == Protocol::Tcp) {
                    let Some(intent) = tenancy.intent(Party::of_pod(pod), to, at.1, at.0) else { continue };
                    let families = destination.families.iter().filter(|family| of_pods.contains(family));
                    questions.extend(ends.questions(*at, families, Some(intent)));
                }
            }
        }
        questions
    }
}

impl Destination {
    fn party(&self) -> Option<Party<'_>> {
        match (&self.name, self.address) {
            (EndpointName::Node(node), _) => Some(Party::Node(Some(node))),
            (EndpointName::Service { namespace, name }, _) => Some(Party::Service { namespace, name }),
            (EndpointName::External(_) | EndpointName::Pod { .. }, address) => address.map(Party::Address),
        }
    }
}

/// Returns the destination that a Service is, if it is the one of the API server.
fn api_server(service: &Service) -> Option<Destination> {
    (Identity::of_service(service) == Identity::api_server()).then(|| Destination {
        name: EndpointName::of_service(service),
        address: None,
        families: families_with(|family| service.address(family).is_some()),
        ports: service.ports.iter().map(|port| (port.protocol, port.port)).collect(),
    })
}

/// Returns one destination for each range of addresses. `nets` are the ranges of all targets.
fn addresses(target: &Target, nets: &[IpNet]) -> Vec<Destination> {
    let ports: Vec<PortOf> = match target.ports.is_empty() {
        true => {
            let usual = USUAL.into_iter().filter_map(|port| Some((Protocol::Tcp, Port::new(port)?)));
            usual.chain(unnamed()).collect()
        }
        false => target
            .ports
            .iter()
            .flat_map(|(protocol, range)| ends(*range).map(|port| (*protocol, port)))
            .collect(),
    };
    let destination = |range: &IpNet| {
        let address = representative(range, nets);
        let name = match target.addresses.as_slice() {
            [_] => target.name.clone(),
            [] | [_, ..] => format!("{} {address}", target.name),
        };
        Destination {
            name: EndpointName::External(name),
            address: Some(address),
            families: vec![IpFamily::of(address)],
            ports: ports.clone(),
        }
    };
    let usable = target.addresses.iter().filter(|range| is_usable(representative(range, nets)));
    usable.map(destination).collect()
}

/// Returns the address that stands for a range: if possible, one that is in no narrower range, and one that is reserved for
/// documentation.
fn representative(range: &IpNet, nets: &[IpNet]) -> IpAddr {
    let narrower = || nets.iter().filter(|net| range.contains(*net) && *net != range);
    let behind = narrower().filter_map(|net| next(net.broadcast()));
    let candidates = UNUSED.into_iter().chain(range.hosts().next()).chain(behind);
    let mut own = candidates.filter(|address| range.contains(address));
    let first = own.clone().next().unwrap_or_else(|| range.addr());
    own.find(|address| !narrower().any(|net| net.contains(address))).unwrap_or(first)
}

/// Returns whether packets can be sent to an address over a network.
fn is_usable(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_loopback() || address.is_multicast() || address.is_unspecified() || is_broadcast)
}

/// Returns the lowest and the highest port of a range.
fn ends(range: PortRange) -> impl Iterator<Item = Port> {
    let last = Some(range.last()).filter(|last| *last != range.first());
    std::iter::once(range.first()).chain(last)
}
