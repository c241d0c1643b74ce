//! The state of a cluster, as far as it matters for network policies.

use ipnet::IpNet;

use super::cluster_policy::ClusterPolicy;
use super::model::{Namespace, Node, Pod, Service};
use super::network_policy::NetworkPolicy;

/// The state of a cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
