//! The objects of a cluster, and the questions about connections between them. The letters and spec rules are
//! those of `evaluate.rs`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;

/// The state of a cluster. A node is its name and its addresses.
#[derive(Debug)]
pub struct Objects {
    /// The namespaces. A namespace that only other objects name exists, too.
    pub namespaces: Vec<Namespace>,
    /// The nodes.
    pub nodes: Vec<(String, Vec<IpAddr>)>,
    /// The pods, with their status.
    pub pods: Vec<Pod>,
    /// The Services.
    pub services: Vec<Service>,
    /// The policies in force.
    pub policies: Vec<NetworkPolicy>,
    /// The cluster-scoped policies, as JSON, because the only types for them are those under test.
    pub cluster_policies: Vec<Value>,
}

/// One end of a connection: an index into the pods or the nodes, or an address outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A pod, by its index in the list.
    Pod(usize),
    /// A node, by its index in the list.
    Node(usize),
    /// An address outside.
    External(IpAddr),
}

/// Target of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An end itself.
    End(End),
    /// A Service, by its index in the list.
    Service(usize),
}

/// What the specification says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It must be delivered.
    Allow,
    /// It must not be delivered.
    Deny,
    /// The specification leaves it to the implementation, or a fact is not known.
    Undefined,
}

/// A question: may the source open this connection?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The end that opens the connection.
    pub source: End,
    /// The target.
    pub target: Target,
    /// Whether the connection uses IPv6. If not, it uses IPv4.
    pub ipv6: bool,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: &'static str,
    /// The target's port. For a Service, this is the Service's own port.
    pub port: u16,
}

/// A connection after the translation of a Service, if there is one (spec rule 19).
pub(super) struct Flow<'a> {
    pub(super) world: &'a Objects,
    pub(super) source: End,
    pub(super) target: End,
    pub(super) ipv6: bool,
    pub(super) protocol: &'a str,
    pub(super) port: u16,
    /// The Service's own port and address, if the connection goes through a Service.
    pub(super) service: Option<(u16, Option<IpAddr>)>,
    pub(super) reading: Reading,
}

/// m: one reading of every point that the specification leaves to the implementation, for a whole connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// Spec rule 26: pods with hostNetwork are treated as pods, and not as their nodes.
    pub(super) hosts_are_pods: bool,
    /// Spec rule 20: blocks are compared with a Service's address, and not with the backend's.
    pub(super) blocks_see_services: bool,
    /// Spec rule 18: a port name is resolved on a pod that only a block matches.
    pub(super) blocks_resolve_names: bool,
    /// Spec rule 28: a connection of a pod to itself through a Service is filtered.
    pub(super) filters_hairpins: bool,
    /// Spec rule 27: cluster-scoped policies can deny packets from a pod to its own node.
    pub(super) denies_own_node: bool,
}

pub(super) fn is_to_itself(flow: &Flow) -> bool {
    matches!(flow.source, End::Pod(_)) && flow.source == flow.target
}
