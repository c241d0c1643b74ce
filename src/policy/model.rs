//! The policy model: the parts of a cluster that network policies can refer to.
//!
//! These are netproof's own types. [`snapshot`](crate::snapshot) converts Kubernetes objects to them once, and
//! applies every default of the API.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::address::{IpBlock, IpFamily};
use super::cluster_policy::ClusterPolicy;
use super::label::{LabelSelector, Labels, Requirement, Selection};
use super::port::{Port, PortRange, Protocol};
use super::unknown::UnknownLabels;

/// The state of a cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// All namespaces, each with its `kubernetes.io/metadata.name` label.
    pub namespaces: Vec<Namespace>,
    /// All known nodes.
    pub nodes: Vec<Node>,
    /// Ranges that contain all addresses of all nodes. Empty if no ranges are known.
    pub node_ranges: Vec<IpNet>,
    /// All pods, including those that have ended.
    pub pods: Vec<Pod>,
    /// All Services.
    pub services: Vec<Service>,
    /// All NetworkPolicies in force.
    pub policies: Vec<NetworkPolicy>,
    /// All cluster-scoped policies in force.
    pub cluster_policies: Vec<ClusterPolicy>,
}

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
        first_of(&self.addresses, family)
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
        first_of(&self.addresses, family)
    }
}

fn first_of(addresses: &[IpAddr], family: IpFamily) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| IpFamily::of(*address) == family)
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Service type that makes a Service reachable from outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exposure {
    /// `type: NodePort`
    NodePort,
    /// `type: LoadBalancer`
    LoadBalancer,
}

impl Exposure {
    /// Returns the value of `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
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
        first_of(&self.addresses, family)
    }
}

/// Endpoints of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backends {
    /// The pods of the Service's namespace that have all these labels (`spec.selector`).
    Selected(Labels),
    /// Known addresses, of a Service without a selector.
    Addresses(Vec<IpAddr>),
    /// Unknown endpoints: no selector and no known endpoints, or an external name.
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

/// A NetworkPolicy (`networking.k8s.io/v1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `spec.podSelector`: the pods of the policy's namespace that it isolates.
    pub subjects: LabelSelector,
    /// Ingress rules, or `None` if the policy does not isolate its subjects for ingress. `policyTypes` is already
    /// applied.
    pub ingress: Option<Vec<Rule>>,
    /// Egress rules, or `None` if the policy does not isolate its subjects for egress.
    pub egress: Option<Vec<Rule>>,
}

impl NetworkPolicy {
    /// Returns whether a pod is a subject, by its known labels. Does not check whether the pod has ended, or uses its
    /// node's network.
    pub fn selects(&self, pod: &Pod) -> bool {
        self.namespace == pod.namespace && self.subjects.matches(&pod.labels)
    }

    /// Returns all peers of the policy's rules.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Peer> {
        [&self.ingress, &self.egress].into_iter().flatten().flatten().flat_map(|rule| match &rule.peers {
            Peers::Any => &[],
            Peers::Only(peers) => peers.as_slice(),
        })
    }

    /// Returns the selectors by which the policy and its peers select pods.
    pub fn pod_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        let peers = self.peers().filter_map(|peer| match peer {
            Peer::Pods { pods, .. } => Some(pods),
            Peer::IpBlock(_) => None,
        });
        std::iter::once(&self.subjects).chain(peers)
    }

    /// Returns the ports of all rules.
    pub fn ports(&self) -> impl Iterator<Item = &Ports> {
        [&self.ingress, &self.egress].into_iter().flatten().flatten().map(|rule| &rule.ports)
    }

    /// Returns the rules for a direction, or `None` if the policy does not isolate its subjects for it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// Direction of traffic, from the point of view of a policy's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Traffic that a pod sends.
    Egress,
    /// Traffic that a pod receives.
    Ingress,
}

impl Direction {
    /// Both directions, in the order in which a packet passes them.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    /// Returns `egress` or `ingress`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule. It allows any of its peers on any of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `from` or `to`
    pub peers: Peers,
    /// `ports`
    pub ports: Ports,
}

/// Peers that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Everything inside and outside the cluster: the list is missing or empty.
    Any,
    /// Any of these peers.
    Only(Vec<Peer>),
}

/// One entry of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Pods, by `namespaceSelector` and `podSelector` together.
    Pods {
        /// Namespaces of the pods.
        namespaces: NamespaceScope,
        /// Selector for the pods of those namespaces.
        pods: LabelSelector,
    },
    /// Addresses.
    IpBlock(IpBlock),
}

/// Namespaces in which a peer selects pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamespaceScope {
    /// The policy's own namespace: `namespaceSelector` is missing.
    Own,
    /// Namespaces that the selector matches.
    Selected(LabelSelector),
}

/// Ports that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Every port of every protocol: the list is missing or empty.
    Any,
    /// Any of these ports.
    Only(Vec<PortMatch>),
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMatch {
    /// `protocol`, TCP by default.
    pub protocol: Protocol,
    /// `port` and `endPort`
    pub ports: PortSpec,
}

/// Ports of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortSpec {
    /// Every port of the protocol: `port` is missing.
    Any,
    /// One port, or the range up to `endPort`.
    Range(PortRange),
    /// The container port of this name, in the receiving pod.
    Named(String),
}
