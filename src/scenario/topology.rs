//! The initial cluster of a scenario.

use std::collections::BTreeSet;
use std::net::{AddrParseError, IpAddr};

use super::file::{ExternalFile, NamespaceFile, PodFile, ServiceFile, ServicePortFile, TopologyFile};
use super::reader::Reader;
use crate::policy::{
    Backends, Cluster, ContainerPort, IpFamily, Labels, Namespace, Node as ClusterNode, Pod, Port, Protocol,
    Service, ServicePort, TargetPort,
};
use crate::snapshot::Identity;
use crate::source::{Error, Located, Location, Node, Value, quote};
use crate::world::{DnsServer, External, World};

/// Namespace and name of the DNS Service that netproof adds to a topology.
const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");
const DNS_POD: &str = "dns";
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");
const DNS_PORT: Port = Port::new(53).unwrap();

const DEFAULT_NODES: usize = 2;
const MOST_NODES: usize = 64;
const DEFAULT_NAMESPACES: [&str; 3] = ["x", "y", "z"];
const DEFAULT_PODS: [&str; 3] = ["a", "b", "c"];

/// Returns the standard network: namespaces x, y and z (label `ns`), each with pods a, b and c (label
/// `pod`), on two nodes. With `dns`, it also has a DNS server.
pub fn standard_world(dns: bool) -> World {
    let mut builder = Builder::new(DEFAULT_NODES);
    builder.add_default_namespaces();
    if dns {
        builder.add_dns();
    }
    builder.world
}

/// Reads a topology. `dns` requires a DNS server even if the file describes none. Services by name require
/// one, too.
pub(super) fn read(reader: &Reader, file: TopologyFile, dns: bool) -> Result<World, Error> {
    let nodes = match &file.nodes {
        None => DEFAULT_NODES,
        Some(Located { value, .. }) if (1..=MOST_NODES).contains(value) => *value,
        Some(Located { value, at }) => {
            return Err(
                reader.error(*at, format!("nodes: must be between 1 and {MOST_NODES}, found {value}"))
            );
        }
    };
    let mut builder = Builder::new(nodes);
    builder.world.node_endpoints = file.node_endpoints;
    builder.world.services_by_name = file.services_by_name;
    if let Some(families) = &file.families {
        builder.world.families = reader.families(families)?;
    }
    match file.namespaces {
        None => builder.add_default_namespaces(),
        Some(namespaces) => {
            for namespace in namespaces {
                reader.namespace(namespace, &mut builder)?;
            }
        }
    }
    for external in &file.externals {
        let external = reader.external(external, &builder.world)?;
        builder.world.externals.push(external);
    }
    if (dns || file.services_by_name) && builder.world.dns.is_none() {
        builder.add_dns();
    }
    Ok(builder.world)
}

/// Reads a pod of `addPod`.
pub(super) fn added_pod(reader: &Reader, file: &PodFile, at: Location, world: &World) -> Result<Pod, Error> {
    let Some(namespace) = &file.namespace else {
        return Err(reader.error(at, "addPod: name the pod's namespace"));
    };
    if file.dns.is_some() {
        return Err(reader.error(at, "addPod: the DNS server has to be there from the beginning"));
    }
    let nodes = world.cluster.nodes.len();
    reader.pod(file, &namespace.value, world.cluster.pods.len() % nodes, nodes)
}

/// Builder of a topology.
struct Builder {
    world: World,
    /// Number of pods that have been placed.
    placed: usize,
}

impl Builder {
    fn new(nodes: usize) -> Self {
        let nodes = (0..nodes).map(|index| ClusterNode {
            name: node_name(index),
            addresses: Vec::new(),
            external_addresses: Vec::new(),
        });
        let cluster = Cluster { nodes: nodes.collect(), ..Cluster::default() };
        let world = World { cluster, families: vec![IpFamily::V4], ..World::default() };
        Self { world, placed: 0 }
    }

    /// Returns the node for the next pod that names none. All nodes take turns.
    fn next_node(&mut self) -> usize {
        self.placed += 1;
        (self.placed - 1) % self.world.cluster.nodes.len()
    }

    fn add_default_namespaces(&mut self) {
        for namespace in DEFAULT_NAMESPACES {
            let labels = [("ns".to_owned(), namespace.to_owned())].into();
            self.world.cluster.namespaces.push(Namespace::new(namespace, labels));
            for name in DEFAULT_PODS {
                let node = self.next_node();
                let labels = [("pod".to_owned(), name.to_owned())].into();
                self.world.cluster.pods.push(plain_pod(namespace, name, labels, node));
            }
        }
    }

    fn has_namespace(&self, name: &str) -> bool {
        self.world.cluster.namespaces.iter().any(|namespace| namespace.name == name)
    }

    /// Adds a DNS server with the usual names and labels.
    fn add_dns(&mut self) {
        let (namespace, _) = DNS_SERVICE;
        if !self.has_namespace(namespace) {
            self.world.cluster.namespaces.push(Namespace::new(namespace, Labels::new()));
        }
        let (key, value) = DNS_LABEL;
        let node = self.next_node();
        let pod = plain_pod(namespace, DNS_POD, [(key.to_owned(), value.to_owned())].into(), node);
        self.serve_dns(&pod, DNS_PORT);
        self.world.cluster.pods.push(pod);
    }

    /// Makes a pod the DNS server, behind the usual Service.
    fn serve_dns(&mut self, pod: &Pod, port: Port) {
        let (_, service) = DNS_SERVICE;
        let service = Identity::new(&pod.namespace, service);
        let ports = [Protocol::Udp, Protocol::Tcp].map(|protocol| ServicePort {
            name: Some(format!("dns-{}", protocol.name().to_lowercase())),
            protocol,
            port: DNS_PORT,
            target: TargetPort::Number(port),
            node_port: None,
        });
        self.world.cluster.services.push(Service {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            addresses: Vec::new(),
            ports: ports.into(),
            backends: Backends::Selected(pod.labels.clone()),
            exposure: None,
            headless: false,
            only_local: false,
            chooses_node_ports: false,
        });
        let pod = Identity::of_pod(pod);
        self.world.dns = Some(DnsServer { pod, port, service });
    }
}

fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

fn plain_pod(namespace: &str, name: &str, labels: Labels, node: usize) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels,
        node: Some(node_name(node)),
        ..Pod::default()
    }
}

impl Reader {
    fn families(&self, families: &Located<Vec<Located<String>>>) -> Result<Vec<IpFamily>, Error> {
        let mut read = Vec::new();
        for located in &families.value {
            let family = self.family(located, "families")?;
            if read.contains(&family) {
                return Err(self.error(located.at, format!("families: {family} is there twice")));
            }
            read.push(family);
        }
        if read.is_empty() {
            return Err(self.error(families.at, "families: the list is empty"));
        }
        Ok(read)
    }

    fn namespace(&self, file: NamespaceFile, builder: &mut Builder) -> Result<(), Error> {
        let NamespaceFile { name, labels, pods, services } = file;
        self.dns_label(&name)?;
        if builder.has_namespace(&name.value) {
            return Err(self.error(name.at, format!("the namespace {} is there twice", quote(&name.value))));
        }
        let labels = self.labels(labels)?.unwrap_or_default();
        builder.world.cluster.namespaces.push(Namespace::new(name.value.clone(), labels));

        let nodes = builder.world.cluster.nodes.len();
        let mut names = BTreeSet::new();
        for file in &pods {
            if let Some(namespace) = &file.namespace {
                return Err(self.error(namespace.at, "a pod of the topology stands in its namespace already"));
            }
            if !names.insert(&file.name.value) {
                let message =
                    format!("the pod {} is there twice in namespace {}", quote(&file.name.value), name.value);
                return Err(self.error(file.name.at, message));
            }
            let default_node = builder.next_node();
            let pod = self.pod(file, &name.value, default_node, nodes)?;
            if let Some(dns) = &file.dns {
                if builder.world.dns.is_some() {
                    return Err(
                        self.error(file.name.at, "a cluster has one DNS server: another pod is it already")
                    );
                }
                if pod.labels.is_empty() {
                    return Err(self
                        .error(file.name.at, "the DNS server needs a label, by which its Service finds it"));
                }
                let port = dns.port.as_ref().map(|port| self.port(port)).transpose()?;
                builder.serve_dns(&pod, port.unwrap_or(DNS_PORT));
            }
            builder.world.cluster.pods.push(pod);
        }
        for file in &services {
            let service = self.service(file, &name.value)?;
            let twice = |other: &Service| other.namespace == name.value && other.name == service.name;
            if builder.world.cluster.services.iter().any(twice) {
                return Err(
                    self.error(file.name.at, format!("the Service {} is there twice", quote(&service.name)))
                );
            }
            builder.world.cluster.services.push(service);
        }
        Ok(())
    }

    fn pod(&self, file: &PodFile, namespace: &str, default_node: usize, nodes: usize) -> Result<Pod, Error> {
        self.subdomain(&file.name)?;
        let node = match &file.node {
            None => default_node,
            Some(Located { value, .. }) if (1..=nodes).contains(value) => value - 1,
            Some(Located { value, at }) => {
                return Err(self.error(*at, format!("node: there is no node {value}, only 1 to {nodes}")));
            }
        };
        let mut ports = Vec::new();
        // A pod has one container, and the API server requires that port names are unique in a container.
        let mut names = BTreeSet::new();
        for port in &file.ports {
            if let Some(name) = &port.name {
                self.port_name(name)?;
                if !names.insert(&name.value) {
                    let message = format!(
                        "ports: {} is there twice: each port of a container has its own name",
                        quote(&name.value)
                    );
                    return Err(self.error(name.at, message));
                }
            }
            ports.push(ContainerPort {
                name: port.name.as_ref().map(|name| name.value.clone()),
                port: self.port(&port.port)?,
                protocol: self.protocol(port.protocol.as_ref())?,
            });
        }
        let labels = self.labels(file.labels.clone())?.unwrap_or_default();
        let host_network = file.host_network;
        Ok(Pod { ports, host_network, ..plain_pod(namespace, &file.name.value, labels, node) })
    }

    fn service(&self, file: &ServiceFile, namespace: &str) -> Result<Service, Error> {
        self.dns_label(&file.name)?;
        let selector = self.labels(Some(file.selector.clone()))?.unwrap_or_default();
        if selector.is_empty() {
            return Err(
                self.error(file.selector.at, "selector: a Service of a scenario needs at least one label")
            );
        }
        Ok(Service {
            namespace: namespace.to_owned(),
            name: file.name.value.clone(),
            addresses: Vec::new(),
            ports: file.ports.iter().map(|port| self.service_port(port)).collect::<Result<_, _>>()?,
            backends: Backends::Selected(selector),
            exposure: None,
            headless: false,
            only_local: false,
            chooses_node_ports: false,
        })
    }

    fn service_port(&self, file: &ServicePortFile) -> Result<ServicePort, Error> {
        let port = self.port(&file.port)?;
        let target = match &file.target_port {
            None => TargetPort::Number(port),
            Some(node) => self.target_port(node)?,
        };
        let protocol = self.protocol(file.protocol.as_ref())?;
        Ok(ServicePort { name: file.name.clone(), protocol, port, target, node_port: None })
    }

    fn target_port(&self, node: &Node) -> Result<TargetPort, Error> {
        match &node.value {
            Value::Integer(number) => {
                let value = i32::try_from(*number).unwrap_or(-1);
                self.port(&Located { value, at: node.at }).map(TargetPort::Number)
            }
            Value::String(name) => {
                self.port_name(&Located { value: name.clone(), at: node.at })?;
                Ok(TargetPort::Name(name.clone()))
            }
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::Sequence(_) | Value::Mapping(_) => {
                let message =
                    format!("targetPort: expected a number or a name, found {}", node.value.describe());
                Err(self.error(node.at, message))
            }
        }
    }

    fn external(&self, file: &ExternalFile, world: &World) -> Result<External, Error> {
        self.dns_label(&file.name)?;
        if world.externals.iter().any(|other| other.name == file.name.value) {
            return Err(
                self.error(file.name.at, format!("the external {} is there twice", quote(&file.name.value)))
            );
        }
        let mut addresses: Vec<IpAddr> = Vec::new();
        for Located { value, at } in self.strings(&file.ip, "ip")? {
            let address: IpAddr = value.parse().map_err(|error: AddrParseError| {
                self.error(at, format!("ip: {} is not an IP address", quote(&value))).because(error)
            })?;
            if addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
                return Err(self.error(at, "ip: at most one address of each family"));
            }
            if world.externals.iter().any(|other| other.addresses.contains(&address)) {
                return Err(self.error(at, format!("ip: {address} belongs to another external")));
            }
            addresses.push(address);
        }
        Ok(External { name: file.name.value.clone(), addresses })
    }
}
