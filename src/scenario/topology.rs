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
    let mut world = empty_world(DEFAULT_NODES);
    add_default_namespaces(&mut world);
    if dns {
        add_dns(&mut world);
    }
    world
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
    let mut world = empty_world(nodes);
    world.node_endpoints = file.node_endpoints;
    world.services_by_name = file.services_by_name;
    if let Some(families) = &file.families {
        world.families = reader.families(families)?;
    }
    match file.namespaces {
        None => add_default_namespaces(&mut world),
        Some(namespaces) => {
            for namespace in namespaces {
                reader.namespace(namespace, &mut world)?;
            }
        }
    }
    for external in &file.externals {
        let external = reader.external(external, &world)?;
        world.externals.push(external);
    }
    if (dns || file.services_by_name) && world.dns.is_none() {
        add_dns(&mut world);
    }
    Ok(world)
}

/// Reads a pod of `addPod`.
pub(super) fn added_pod(reader: &Reader, file: &PodFile, at: Location, world: &World) -> Result<Pod, Error> {
    let Some(namespace) = &file.namespace else {
        return Err(reader.error(at, "addPod: name the pod's namespace"));
    };
    if file.dns.is_some() {
        return Err(reader.error(at, "addPod: the DNS server has to be there from the beginning"));
    }
    reader.pod(file, &namespace.value, world)
}

fn empty_world(nodes: usize) -> World {
    let nodes = (0..nodes).map(|index| ClusterNode {
        name: node_name(index),
        addresses: Vec::new(),
        external_addresses: Vec::new(),
    });
    let cluster = Cluster { nodes: nodes.collect(), ..Cluster::default() };
    World { cluster, families: vec![IpFamily::V4], ..World::default() }
}

fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

fn add_default_namespaces(world: &mut World) {
    for namespace in DEFAULT_NAMESPACES {
        let labels = [("ns".to_owned(), namespace.to_owned())].into();
        world.cluster.namespaces.push(Namespace::new(namespace, labels));
        for name in DEFAULT_PODS {
            let pod = plain_pod(namespace, name, ("pod", name), world);
            world.cluster.pods.push(pod);
        }
    }
}

fn has_namespace(world: &World, name: &str) -> bool {
    world.cluster.namespaces.iter().any(|namespace| namespace.name == name)
}

/// Returns a pod with one label, on the next node.
fn plain_pod(namespace: &str, name: &str, (key, value): (&str, &str), world: &World) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: [(key.to_owned(), value.to_owned())].into(),
        node: Some(node_name(next_node(world))),
        ..Pod::default()
    }
}

/// Returns the index of the node for the next pod that names none. All nodes take turns.
fn next_node(world: &World) -> usize {
    world.cluster.pods.len() % world.cluster.nodes.len()
}

/// Adds a DNS server with the usual names and labels.
fn add_dns(world: &mut World) {
    let (namespace, _) = DNS_SERVICE;
    if !has_namespace(world, namespace) {
        world.cluster.namespaces.push(Namespace::new(namespace, Labels::new()));
    }
    let pod = plain_pod(namespace, DNS_POD, DNS_LABEL, world);
    serve_dns(&pod, DNS_PORT, world);
    world.cluster.pods.push(pod);
}

/// Makes a pod the DNS server, behind the usual Service.
fn serve_dns(pod: &Pod, port: Port, world: &mut World) {
    let ports = [Protocol::Udp, Protocol::Tcp].map(|protocol| ServicePort {
        name: Some(format!("dns-{}", protocol.name().to_lowercase())),
        protocol,
        port: DNS_PORT,
        target: TargetPort::Number(port),
        node_port: None,
    });
    let (_, name) = DNS_SERVICE;
    let service = Service {
        namespace: pod.namespace.clone(),
        name: name.to_owned(),
        ports: ports.into(),
        backends: Backends::Selected(pod.labels.clone()),
        ..Service::default()
    };
    let (pod, identity) = (Identity::of_pod(pod), Identity::of_service(&service));
    world.dns = Some(DnsServer { pod, port, service: identity });
    world.cluster.services.push(service);
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

    fn namespace(&self, file: NamespaceFile, world: &mut World) -> Result<(), Error> {
        let NamespaceFile { name: Located { value: name, at }, labels, pods, services } = file;
        self.dns_label(&name, at)?;
        if has_namespace(world, &name) {
            return Err(self.twice(at, "namespace", &name));
        }
        let labels = self.labels(labels)?;
        world.cluster.namespaces.push(Namespace::new(name.clone(), labels));
        for file in &pods {
            let Located { value: pod_name, at } = &file.name;
            if let Some(namespace) = &file.namespace {
                return Err(self.error(namespace.at, "a pod of the topology stands in its namespace already"));
            }
            if world.pod(&name, pod_name).is_some() {
                let message = format!("the pod {} is there twice in namespace {name}", quote(pod_name));
                return Err(self.error(*at, message));
            }
            let pod = self.pod(file, &name, world)?;
            if let Some(dns) = &file.dns {
                if world.dns.is_some() {
                    let message = "a cluster has one DNS server: another pod is it already";
                    return Err(self.error(*at, message));
                }
                if pod.labels.is_empty() {
                    let message = "the DNS server needs a label, by which its Service finds it";
                    return Err(self.error(*at, message));
                }
                let port = dns.port.as_ref().map(|port| self.port(port)).transpose()?;
                serve_dns(&pod, port.unwrap_or(DNS_PORT), world);
            }
            world.cluster.pods.push(pod);
        }
        for file in &services {
            let service = self.service(file, &name)?;
            if world.service(&name, &service.name).is_some() {
                return Err(self.twice(file.name.at, "Service", &service.name));
            }
            world.cluster.services.push(service);
        }
        Ok(())
    }

    fn pod(&self, file: &PodFile, namespace: &str, world: &World) -> Result<Pod, Error> {
        self.subdomain(&file.name)?;
        let nodes = world.cluster.nodes.len();
        let node = match &file.node {
            None => next_node(world),
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
        Ok(Pod {
            namespace: namespace.to_owned(),
            name: file.name.value.clone(),
            labels: self.labels(file.labels.clone())?,
            node: Some(node_name(node)),
            ports,
            host_network: file.host_network,
            ..Pod::default()
        })
    }

    fn service(&self, file: &ServiceFile, namespace: &str) -> Result<Service, Error> {
        self.dns_label(&file.name.value, file.name.at)?;
        let selector = self.labels(Some(file.selector.clone()))?;
        if selector.is_empty() {
            let message = "selector: a Service of a scenario needs at least one label";
            return Err(self.error(file.selector.at, message));
        }
        Ok(Service {
            namespace: namespace.to_owned(),
            name: file.name.value.clone(),
            ports: file.ports.iter().map(|port| self.service_port(port)).collect::<Result<_, _>>()?,
            backends: Backends::Selected(selector),
            ..Service::default()
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
        let Located { value: name, at } = &file.name;
        self.dns_label(name, *at)?;
        if world.externals.iter().any(|other| other.name == *name) {
            return Err(self.twice(*at, "external", name));
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
        Ok(External { name: name.clone(), addresses })
    }
}
