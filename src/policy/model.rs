//! What the engine evaluates: a cluster reduced to what NetworkPolicy can see of it.
//!
//! These are netproof's own types. Kubernetes objects are converted to them once, in
//! [`snapshot`](crate::snapshot), with every default of the API already applied.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

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
    /// All nodes that are known.
    pub nodes: Vec<Node>,
    /// Ranges that hold all addresses of all nodes; empty if these are not known.
    pub node_ranges: Vec<IpNet>,
    /// All pods, also those that have ended.
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
    /// What is not known about its labels.
    pub unknown_labels: UnknownLabels,
}

/// The label that the API server sets on every namespace, to its name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Namespace {
    /// A namespace with these labels and the one that the API server sets.
    pub fn new(name: impl Into<String>, mut labels: Labels) -> Self {
        let name = name.into();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.clone());
        Self { name, labels, unknown_labels: UnknownLabels::default() }
    }

    /// A namespace that other objects mention: of its labels only the one that the API server sets is known.
    pub fn mentioned(name: impl Into<String>) -> Self {
        Self { unknown_labels: UnknownLabels::others(), ..Self::new(name, Labels::new()) }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`
    pub name: String,
    /// Those of `status.addresses` with type `InternalIP`; empty where they are not known.
    pub addresses: Vec<IpAddr>,
    /// Those with type `ExternalIP`. Of many clouds the node itself does not have them: they are translated on the
    /// way. No pod with `hostNetwork` has them for certain.
    pub external_addresses: Vec<IpAddr>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `metadata.labels`, as far as they are known.
    pub labels: Labels,
    /// What is not known about its labels.
    pub unknown_labels: UnknownLabels,
    /// `status.podIPs`; empty where they are not known, as in manifests.
    pub addresses: Vec<IpAddr>,
    /// Where `addresses` is empty: the ranges that hold all addresses that the pod can have. Empty if they
    /// can be any.
    pub address_ranges: Vec<IpNet>,
    /// The container ports of all containers that can serve, in order.
    pub ports: Vec<ContainerPort>,
    /// `hostPort` of its containers: ports of its node that lead to the pod. Empty with `hostNetwork`.
    pub host_ports: Vec<(Protocol, Port)>,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// `spec.nodeName`, where it is known.
    pub node: Option<String>,
    /// Whether `status.phase` is `Succeeded` or `Failed`: such a pod has no network any more, and
    /// its address may belong to another one.
    pub ended: bool,
}

impl Pod {
    /// The pod's first address of a family.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        first_of(&self.addresses, family)
    }

    /// The number that a named port has in this pod: `None` if no container of the pod names such
    /// a port of that protocol. The first container that does decides where a Service names the port.
    pub fn named_port(&self, name: &str, protocol: Protocol) -> Option<Port> {
        named_ports(&self.ports, name, protocol).next()
    }
}

impl Node {
    /// The node's first address of a family.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        first_of(&self.addresses, family)
    }
}

fn first_of(addresses: &[IpAddr], family: IpFamily) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| IpFamily::of(*address) == family)
}

/// The numbers that containers give to a name, in their order. Several containers may use one name.
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
    /// `spec.clusterIPs`; empty for a headless Service and where they are not known.
    pub addresses: Vec<IpAddr>,
    /// `spec.ports`
    pub ports: Vec<ServicePort>,
    /// Where the Service leads.
    pub backends: Backends,
    /// How it is reached from outside the cluster, through nodes that may put their address in place of the
    /// client's.
    pub exposure: Option<Exposure>,
    /// `spec.clusterIP: None`: its name stands for the addresses of its endpoints. Nothing is translated, neither
    /// addresses nor ports.
    pub headless: bool,
    /// `spec.internalTrafficPolicy: Local`: the Service leads only to endpoints on the sender's node.
    pub only_local: bool,
    /// Whether the API server gives a `nodePort` to each port that names none, as for a `LoadBalancer`.
    pub chooses_node_ports: bool,
}

/// How a Service is reached from outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exposure {
    /// `type: NodePort`
    NodePort,
    /// `type: LoadBalancer`
    LoadBalancer,
}

impl Exposure {
    /// The value of `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The range from which the API server chooses a `nodePort`, unless `--service-node-port-range` says otherwise.
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

impl Service {
    /// The ports of nodes that may lead to the Service.
    pub fn node_ports(&self) -> impl Iterator<Item = (Protocol, PortRange)> {
        let (first, last) = NODE_PORTS;
        let any = PortRange::new(Port::new(first).unwrap_or(Port::MIN), Port::new(last).unwrap_or(Port::MAX));
        self.ports.iter().filter_map(move |port| {
            let known = port.node_port.map(PortRange::single);
            Some((port.protocol, known.or(any.filter(|_| self.chooses_node_ports))?))
        })
    }

    /// The Service's virtual address of a family.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        first_of(&self.addresses, family)
    }
}

/// Where a Service leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backends {
    /// To the pods of its namespace that carry all these labels (`spec.selector`).
    Selected(Labels),
    /// To these addresses: a Service without a selector whose endpoints are known.
    Addresses(Vec<IpAddr>),
    /// It cannot be told: no selector and no known endpoints, or an external name.
    Unknown,
}

impl Backends {
    /// What selects them among the pods of the Service's namespace; `None` if nothing does.
    pub fn selector(&self) -> Option<LabelSelector> {
        let has =
            |(key, value): (&String, &String)| Requirement::In(key.clone(), BTreeSet::from([value.clone()]));
        match self {
            Self::Selected(labels) if !labels.is_empty() => Some(labels.iter().map(has).collect()),
            Self::Selected(_) | Self::Addresses(_) | Self::Unknown => None,
        }
    }

    /// Whether they are pods with these labels, in the namespace of the Service.
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
    /// `targetPort`, by default the same as `port`.
    pub target: TargetPort,
    /// `nodePort`, where the Service has one.
    pub node_port: Option<Port>,
}

/// The port of a pod that a Service's port leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// This port.
    Number(Port),
    /// The container port of this name, which may have another number in every pod.
    Name(String),
}

impl TargetPort {
    /// The port's number in a pod; `None` if the pod names no such port.
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
    /// `spec.podSelector`: the pods of its namespace that the policy isolates.
    pub subjects: LabelSelector,
    /// The ingress rules, or `None` if the policy does not isolate its subjects for ingress.
    /// `policyTypes` has been applied already.
    pub ingress: Option<Vec<Rule>>,
    /// The egress rules, or `None` if the policy does not isolate its subjects for egress.
    pub egress: Option<Vec<Rule>>,
}

impl NetworkPolicy {
    /// Whether a pod is one of its subjects, by the labels that are known. That it has ended, or uses its node's
    /// network, is not looked at.
    pub fn selects(&self, pod: &Pod) -> bool {
        self.namespace == pod.namespace && self.subjects.matches(&pod.labels)
    }

    /// All peers of its rules.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Peer> {
        [&self.ingress, &self.egress].into_iter().flatten().flatten().flat_map(|rule| match &rule.peers {
            Peers::Any => &[],
            Peers::Only(peers) => peers.as_slice(),
        })
    }

    /// The selectors by which it and its peers select pods.
    pub fn pod_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        let peers = self.peers().filter_map(|peer| match peer {
            Peer::Pods { pods, .. } => Some(pods),
            Peer::IpBlock(_) => None,
        });
        std::iter::once(&self.subjects).chain(peers)
    }

    /// The ports of all its rules.
    pub fn ports(&self) -> impl Iterator<Item = &Ports> {
        [&self.ingress, &self.egress].into_iter().flatten().flatten().map(|rule| &rule.ports)
    }

    /// The rules for a direction; `None` if the policy does not isolate its subjects for it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// Ingress or egress, seen from a policy's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Traffic that a pod sends.
    Egress,
    /// Traffic that a pod receives.
    Ingress,
}

impl Direction {
    /// Both directions, in the order in which a packet meets them.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    /// `egress` or `ingress`.
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

/// A rule: any of its peers, on any of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `from` or `to`
    pub peers: Peers,
    /// `ports`
    pub ports: Ports,
}

/// Whom a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Everybody, inside and outside the cluster: the list is missing or empty.
    Any,
    /// Any of these.
    Only(Vec<Peer>),
}

/// One entry of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Pods, by `namespaceSelector` and `podSelector` together.
    Pods {
        /// The namespaces in which pods are looked for.
        namespaces: NamespaceScope,
        /// The pods of those namespaces.
        pods: LabelSelector,
    },
    /// Addresses.
    IpBlock(IpBlock),
}

/// The namespaces in which a peer looks for pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamespaceScope {
    /// The policy's own: `namespaceSelector` is missing.
    Own,
    /// Those that the selector matches.
    Selected(LabelSelector),
}

/// On which ports a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// On every port of every protocol: the list is missing or empty.
    Any,
    /// On any of these.
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

/// The ports of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortSpec {
    /// Every port of the protocol: `port` is missing.
    Any,
    /// One port, or those up to `endPort`.
    Range(PortRange),
    /// The container port of this name, in the pod that receives.
    Named(String),
}
