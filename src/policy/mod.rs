//! The policy engine: what NetworkPolicies and cluster-scoped policies say about a flow, and why.
//!
//! The engine is pure: no I/O, no clock, no Kubernetes types. [`Engine::new`] compiles a [`Cluster`].
//! [`Engine::evaluate`] evaluates one flow, with every reason. [`Engine::reach`] evaluates all flows of all pairs.
//! [`Live`] follows the changes of a cluster, and says which pairs they concern.

/// Declares an enum whose values have names.
macro_rules! named {
    ($(#[$of_enum:meta])* $visible:vis enum $enum:ident {
        $($(#[$of_value:meta])* $value:ident = $name:literal,)+
    }) => {
        $(#[$of_enum])*
        $visible enum $enum {
            $($(#[$of_value])* $value,)+
        }

        impl $enum {
            /// All values, in the order of their declaration.
            $visible const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// Returns the name that the Kubernetes API, a file or a report uses.
            $visible const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use named;

mod address;
mod arena;
mod assumptions;
mod attach;
mod bounds;
mod changed;
mod class;
mod cluster;
mod cluster_policy;
mod compile;
mod cuts;
mod ends;
mod engine;
mod evaluate;
mod expectation;
mod flow;
mod label;
mod live;
mod map;
mod matched;
mod membership;
mod model;
mod name;
mod network_policy;
mod node_addresses;
mod node_paths;
mod ordered;
mod pods;
mod pool;
mod port;
mod reach;
mod reading;
mod row;
mod rows;
mod rule;
mod rule_match;
mod rule_peers;
mod rule_ports;
mod scopes;
mod selector_index;
mod service;
mod settle;
mod tier_sets;
mod tiers;
mod undefined;
mod unknown;
mod walk;

pub use address::{AddressRange, IpBlock, IpFamily};
pub(crate) use arena::Arena;
pub use arena::Id;
pub use changed::{Changed, Ends};
pub use cluster::Cluster;
pub use cluster_policy::{
    ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, ClusterRule, PodSelector, Tier,
};
pub use ends::{ConnectionsId, Group, PairConnections};
pub use engine::{Engine, NodeId, PodId, ServiceId};
pub use expectation::{Decision, Expectation, Reason};
pub use flow::{Destination, Endpoint, Flow};
pub use label::{LabelSelector, Labels, Requirement, Selection, UnknownLabels};
pub use live::{Change, Live};
pub use model::{
    Backends, ContainerPort, Exposure, NAMESPACE_NAME_LABEL, Namespace, Node, Pod, Service, ServicePort,
    TargetPort,
};
pub use name::{PolicyName, RuleName};
pub use network_policy::{NamespaceScope, NetworkPolicy, Peer, Peers, Rule};
pub(crate) use ordered::{Namespaces, OrderedRule, PeerSpec, PodScope, Policies};
pub use port::{Connections, Port, PortRange, Protocol};
pub use reach::Reach;
pub use rule::{Action, Direction, PortMatch, PortSpec, Ports};
pub use undefined::UndefinedCause;
pub use unknown::{UnknownFact, UnknownFacts};

/// Returns the texts of all items, with a separator between them.
fn joined(items: impl IntoIterator<Item: std::fmt::Display>, separator: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(separator)
}
