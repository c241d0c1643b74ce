//! What intents about Services and nodes need to know of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::policy::{Backends, Cluster, Pod, Port, Protocol, Selection, Service, ServicePort, TargetPort};
use crate::snapshot::Identity;

/// The parts of a cluster on which intents about Services and nodes depend.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    services: BTreeMap<Identity, KnownService>,
    nodes: BTreeMap<String, Vec<IpAddr>>,
    node_of: BTreeMap<IpAddr, String>,
    /// Addresses and ports on which API servers listen, and the virtual address of their Service.
    api_servers: BTreeSet<(IpAddr, Port)>,
}

#[derive(Debug, Clone)]
struct KnownService {
    service: Service,
    /// Pods to which the Service leads. Of pods that differ in nothing that matters, there is one.
    pods: Vec<Pod>,
}

/// Where a port of a Service leads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Backend<'a> {
    Pod(&'a Pod, Port),
    Address(IpAddr, Port),
}

impl Facts {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let mut by_namespace: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        for pod in cluster.pods.iter().filter(|pod| !pod.ended) {
            by_namespace.entry(&pod.namespace).or_default().push(pod);
        }
        let known = |service: &Service| {
            let pods = by_namespace.get(service.namespace.as_str()).into_iter().flatten();
            let mut backends: Vec<Pod> = Vec::new();
            for pod in pods.filter(|pod| service.backends.select(pod) != Selection::NotSelected) {
                let is_same = |other: &Pod| {
                    (&other.labels, &other.ports, other.host_network)
                        == (&pod.labels, &pod.ports, pod.host_network)
                        && (!pod.host_network || other.node == pod.node)
                };
                if !backends.iter().any(is_same) {
                    backends.push((*pod).clone());
                }
            }
            (Identity::of_service(service), KnownService { service: service.clone(), pods: backends })
        };
        let services: BTreeMap<_, _> = cluster.services.iter().map(known).collect();
        let api_servers = services.get(&Identity::api_server()).map(|known| endpoints(&known.service));
        let addresses = |node: &crate::policy::Node| [&*node.addresses, &*node.external_addresses].concat();
        let node_of = cluster
            .nodes
            .iter()
            .flat_map(|node| addresses(node).into_iter().map(|address| (address, node.name.clone())));
        Self {
            services,
            api_servers: api_servers.unwrap_or_default(),
            nodes: cluster.nodes.iter().map(|node| (node.name.clone(), addresses(node))).collect(),
            node_of: node_of.collect(),
        }
    }

    /// Returns where a port of a Service leads. Empty if the Service is not known, or leads nowhere.
    pub(super) fn backends(&self, service: &Identity, port: Port, protocol: Protocol) -> Vec<Backend<'_>> {
        let Some(KnownService { service, pods }) = self.services.get(service) else { return Vec::new() };
        let is_it = |own: &&ServicePort| own.port == port && own.protocol == protocol;
        service.ports.iter().find(is_it).map(|port| leads_to(service, pods, port)).unwrap_or_default()
    }

    /// Returns where a port of a node leads, if it is the node port of a Service.
    pub(super) fn behind_node_port(&self, port: Port, protocol: Protocol) -> Option<Vec<Backend<'_>>> {
        self.services.values().find_map(|KnownService { service, pods }| {
            let is_it = |own: &&ServicePort| own.node_port == Some(port) && own.protocol == protocol;
            service.ports.iter().find(is_it).map(|port| leads_to(service, pods, port))
        })
    }

    /// Returns all known node ports.
    pub(super) fn node_ports(&self) -> impl Iterator<Item = (Protocol, Port)> {
        let ports = self.services.values().flat_map(|known| &known.service.ports);
        ports.filter_map(|port| Some((port.protocol, port.node_port?)))
    }

    /// Returns the addresses of a node.
    pub(super) fn addresses(&self, node: &str) -> &[IpAddr] {
        self.nodes.get(node).map_or(&[], Vec::as_slice)
    }

    /// Returns the node that has an address.
    pub(super) fn node_of(&self, address: IpAddr) -> Option<&str> {
        self.node_of.get(&address).map(String::as_str)
    }

    /// Returns the addresses of nodes and API servers, about which the intent says something of their own.
    pub(super) fn special_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.node_of.keys().copied().chain(self.api_servers.iter().map(|(address, _)| *address))
    }

    /// Returns whether an API server listens there.
    pub(super) fn is_api_server(&self, address: IpAddr, port: Port, protocol: Protocol) -> bool {
        protocol == Protocol::Tcp && self.api_servers.contains(&(address, port))
    }
}

fn leads_to<'a>(service: &'a Service, pods: &'a [Pod], port: &ServicePort) -> Vec<Backend<'a>> {
    match (&service.backends, &port.target) {
        (Backends::Selected(_), target) => {
            let pod = |pod: &'a Pod| Some(Backend::Pod(pod, target.resolve(pod, port.protocol)?));
            pods.iter().filter_map(pod).collect()
        }
        (Backends::Addresses(addresses), TargetPort::Number(number)) => {
            addresses.iter().map(|address| Backend::Address(*address, *number)).collect()
        }
        (Backends::Addresses(_), TargetPort::Name(_)) | (Backends::Unknown, _) => Vec::new(),
    }
}

/// Returns the addresses and ports of the API servers, and those of their Service.
fn endpoints(service: &Service) -> BTreeSet<(IpAddr, Port)> {
    let ports = service.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    ports
        .flat_map(|port| {
            let own = service.addresses.iter().map(|address| (*address, port.port));
            let behind = leads_to(service, &[], port).into_iter().filter_map(|backend| match backend {
                Backend::Address(address, port) => Some((address, port)),
                Backend::Pod(..) => None,
            });
            own.chain(behind).collect::<Vec<_>>()
        })
        .collect()
}
