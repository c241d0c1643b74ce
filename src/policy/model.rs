//! The objects of a cluster that network policies refer to: namespaces, nodes, pods and Services.
//!
//! These are netproof's own types. [`snapshot`](crate::snapshot) converts Kubernetes objects to them once, and
//! applies every default of the API.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address::IpFamily;
use super::label::{LabelSelector, Labels, Requirement, Selection, UnknownLabels};
use super::port::{Port, PortRange, Protocol};

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`
    pub name: String,
    /// `metadata.labels`, with `kubernetes.io/metadata.name`.
    pub labels: Labels,
    /// Unknown labels.
    pub unknown_labels: UnknownLabels,
}

/// Label that the API server sets on every namespace. Its value is the namespace's name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Namespace {
    /// Creates a namespace with these labels and the label that the API server sets.
    pub fn new(name: impl Into<String>, mut labels: Labels) -> Self {
        let name = name.into();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.clone());
        Self { name, labels, unknown_labels: UnknownLabels::default() }
    }

    /// Creates a namespace that is known only because other objects name it. Its only known label is the one that the
    /// API server sets.
    pub fn mentioned(name: impl Into<String>) -> Self {
        Self { unknown_labels: UnknownLabels::others(), ..Self::new(name, Labels::new()) }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`
    pub name: String,
    /// `status.addresses` of type `InternalIP`. Empty if they are not known.
    pub addresses: Vec<IpAddr>,
    /// `status.addresses` of type `ExternalIP`. In many clouds, the node itself does not have these addresses: they
    /// are translated on the way. So it is not certain that a pod with `hostNetwork` has them.
    pub external_addresses: Vec<IpAddr>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `metadata.labels`, as far as known.
    pub labels: Labels,
    /// Unknown labels.
    pub unknown_labels: UnknownLabels,
    /// `status.podIPs`. Empty if they are not known, as in manifests.
    pub addresses: Vec<IpAddr>,
    /// If `addresses` is empty: the ranges that contain all addresses that the pod can have. Empty if the pod can
    /// have any address.
    pub address_ranges: Vec<IpNet>,
    /// Container ports of all containers that can serve, in order.
    pub ports: Vec<ContainerPort>,
    /// `hostPort` of the pod's containers: ports of its node that lead to the pod. Empty with `hostNetwork`.
    pub host_ports: Vec<(Protocol, Port)>,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// `spec.nodeName`, if known.
    pub node: Option<String>,
    /// Whether `status.phase` is `Succeeded` or `Failed`. Such a pod has no network any more, and its address may
    /// belong to another pod.
    pub ended: bool,
}

impl Pod {
    /// Returns the pod's first address of a family.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        family.first_of(&self.addresses)
    }

    /// Returns the number of a named port in this pod, or `None` if no container defines the name for the protocol.
    /// If several containers define it, this is the number of the first one, which a Service's `targetPort` stands
    /// for.
    pub fn named_port(&self, name: &str, protocol: Protocol) -> Option<Port> {
        named_ports(&self.ports, name, protocol).next()
    }
}

impl Node {
    /// Returns the node's first address of a family.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        family.first_of(&self.addresses)
    }

    /// Returns whether the node is known to have no address of a family.
    pub(super) fn lacks(&self, family: IpFamily) -> bool {
        !self.addresses.is_empty() && self.address(family).is_none()
    }
}

/// Returns the numbers of a port name, in the order of the containers. Several containers may define one name.
pub(super) fn named_ports(
    ports: &[ContainerPort],
    name: &str,
    protocol: Protocol,
) -> impl Iterator<Item = Port> {
    let is_it = move |port: &&ContainerPort| port.name.as_deref() == Some(name) && port.protocol == protocol;
    ports.iter().filter(is_it).map(|port| port.port)
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// `name`
    pub name: Option<String>,
    /// `containerPort`
    pub port: Port,
    /// `protocol`, TCP by default.
    pub protocol: Protocol,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `spec.clusterIPs`. Empty for a headless Service, and if they are not known.
    pub addresses: Vec<IpAddr>,
    /// `spec.ports`
    pub ports: Vec<ServicePort>,
    /// Endpoints of the Service.
    pub backends: Backends,
    /// How clients outside the cluster reach the Service: through nodes, which may replace the client's address with
    /// their own.
    pub exposure: Option<Exposure>,
    /// Whether `spec.clusterIP` is `None`. The Service's name then stands for the addresses of its endpoints, and
    /// neither addresses nor ports are translated.
    pub headless: bool,
    /// Whether `spec.internalTrafficPolicy` is `Local`: the Service leads only to endpoints on the sender's node.
    pub only_local: bool,
    /// Whether the API server chooses a `nodePort` for each port that has none, as for a `LoadBalancer`.
    pub chooses_node_ports: bool,
}

named! {
    /// Service type that makes a Service reachable from outside the cluster.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Exposure {
        /// `type: NodePort`
        NodePort = "NodePort",
        /// `type: LoadBalancer`
        LoadBalancer = "LoadBalancer",
    }
}

/// Range from which the API server chooses a `nodePort` by default (`--service-node-port-range`).
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

impl Service {
    /// Returns the ports of nodes that may lead to the Service.
    pub fn node_ports(&self) -> impl Iterator<Item = (Protocol, PortRange)> {
        let (first, last) = NODE_PORTS;
        let any = PortRange::new(Port::new(first).unwrap_or(Port::MIN), Port::new(last).unwrap_or(Port::MAX));
        self.ports.iter().filter_map(move |port| {
            let known = port.node_port.map(PortRange::single);
            Some((port.protocol, known.or(any.filter(|_| self.chooses_node_ports))?))
        })
    }

    /// Returns the Service's virtual address of a family.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        family.first_of(&self.addresses)
    }
}

/// Endpoints of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Backends {
    /// The pods of the Service's namespace that have all these labels (`spec.selector`).
    Selected(Labels),
    /// Known addresses, of a Service without a selector.
    Addresses(Vec<IpAddr>),
    /// Unknown endpoints: no selector and no known endpoints, or an external name.
    #[default]
    Unknown,
}

impl Backends {
    /// Returns the selector for pods of the Service's namespace, or `None` if the Service selects no pods.
    pub fn selector(&self) -> Option<LabelSelector> {
        let has =
            |(key, value): (&String, &String)| Requirement::In(key.clone(), BTreeSet::from([value.clone()]));
        match self {
            Self::Selected(labels) if !labels.is_empty() => Some(labels.iter().map(has).collect()),
            Self::Selected(_) | Self::Addresses(_) | Self::Unknown => None,
        }
    }

    /// Returns whether the Service selects a pod, by the pod's labels. Does not compare their namespaces.
    pub fn select(&self, pod: &Pod) -> Selection {
        let select = |selector: LabelSelector| selector.select(&pod.labels, &pod.unknown_labels);
        self.selector().map_or(Selection::NotSelected, select)
    }
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`
    pub name: Option<String>,
    /// `protocol`, TCP by default.
    pub protocol: Protocol,
    /// `port`
    pub port: Port,
    /// `targetPort`, which defaults to `port`.
    pub target: TargetPort,
    /// `nodePort`, if the Service has one.
    pub node_port: Option<Port>,
}

/// Port of a pod to which a Service's port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// A port number.
    Number(Port),
    /// Name of a container port. Its number may differ from pod to pod.
    Name(String),
}

impl TargetPort {
    /// Returns the port's number in a pod, or `None` if the pod does not define the name.
    pub fn resolve(&self, pod: &Pod, protocol: Protocol) -> Option<Port> {
        match self {
            Self::Number(port) => Some(*port),
            Self::Name(name) => pod.named_port(name, protocol),
        }
    }
}
