//! The policy engine: what NetworkPolicies and cluster-scoped policies say about a flow, and why.
//!
//! The engine is pure: no I/O, no clock, no Kubernetes types. [`Engine::new`] compiles a [`Cluster`].
//! [`Engine::evaluate`] evaluates one flow, with every reason. [`Engine::reach`] evaluates all flows of all pairs.

mod address;
mod arena;
mod assumptions;
mod bounds;
mod class;
mod cluster_policy;
mod compiled;
mod engine;
mod evaluate;
mod expectation;
mod facts;
mod label;
mod matcher;
mod model;
mod node_addresses;
mod node_paths;
mod pod_match;
mod port;
mod reach;
mod reading;
mod row;
mod rule_peers;
mod rule_ports;
mod rules;
mod service;
mod tier_sets;
mod tiers;
mod undefined;
mod unknown;

pub use address::{AddressRange, IpBlock, IpFamily};
pub use arena::Id;
pub use cluster_policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, ClusterRule, PodSelector, Tier,
};
pub use engine::{Engine, NodeId, PodId, ServiceId};
pub use evaluate::{Destination, Endpoint, Flow};
pub use expectation::{Decision, Expectation, PolicyName, Reason, RuleName, UndefinedCause};
pub use label::{LabelSelector, Labels, Requirement, Selection};
pub use model::{
    Backends, Cluster, ContainerPort, Direction, Exposure, NAMESPACE_NAME_LABEL, Namespace, NamespaceScope,
    NetworkPolicy, Node, Peer, Peers, Pod, PortMatch, PortSpec, Ports, Rule, Service, ServicePort,
    TargetPort,
};
pub use port::{Connections, Port, PortRange, PortSet, Protocol};
pub use reach::{ConnectionsId, Group, PairConnections, Reach};
pub use reading::Interpretation;
pub use undefined::UndefinedKind;
pub use unknown::{UnknownFact, UnknownFacts, UnknownLabels};
