//! The policy engine: what NetworkPolicies and cluster-scoped policies say about a flow, and why.
//!
//! The engine is pure: no I/O, no clock, no Kubernetes types. [`Engine::new`] compiles a [`Cluster`].
//! [`Engine::evaluate`] evaluates one flow, with every reason. [`Engine::reach`] evaluates all flows of all pairs.

mod address;
mod arena;
mod assumptions;
mod bounds;
mod class;
mod cluster;
mod cluster_policy;
mod compiled;
mod coverage;
mod ends;
mod engine;
mod evaluate;
mod expectation;
mod flow;
mod label;
mod matcher;
mod model;
mod name;
mod network_policy;
mod node_addresses;
mod node_paths;
mod ordered;
mod pairs;
mod port;
mod reach;
mod reading;
mod row;
mod rule;
mod rule_match;
mod rule_peers;
mod rule_ports;
mod service;
mod tier_sets;
mod tiers;
mod undefined;
mod unknown;
mod walk;

pub use address::{AddressRange, IpBlock, IpFamily};
pub use arena::Id;
pub use cluster::Cluster;
pub use cluster_policy::{
    ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, ClusterRule, PodSelector, Tier,
};
pub use ends::Group;
pub use engine::{Engine, NodeId, PodId, ServiceId};
pub use expectation::{Decision, Expectation, Reason};
pub use flow::{Destination, Endpoint, Flow};
pub use label::{LabelSelector, Labels, Requirement, Selection, UnknownLabels};
pub use model::{
    Backends, ContainerPort, Exposure, NAMESPACE_NAME_LABEL, Namespace, Node, Pod, Service, ServicePort,
    TargetPort,
};
pub use name::{PolicyName, RuleName};
pub use network_policy::{NamespaceScope, NetworkPolicy, Peer, Peers, Rule};
pub use pairs::{ConnectionsId, PairConnections};
pub use port::{Connections, Port, PortRange, PortSet, Protocol};
pub use reach::Reach;
pub use rule::{Action, Direction, PortMatch, PortSpec, Ports};
pub use undefined::UndefinedCause;
pub use unknown::{UnknownFact, UnknownFacts};
