//! Errors of names and changes of the network under test.

use super::endpoint::EndpointName;
use crate::policy::{ClusterPolicyName, NAMESPACE_NAME_LABEL, Port, Protocol};
use crate::snapshot::Identity;
use crate::source::{self, quote};

/// A text that is not the name of what it should name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text is no pattern of endpoints.
    #[error(
        "{} is not an endpoint: write NAMESPACE/POD, service:NAMESPACE/NAME, node:NAME, external:NAME or *",
        quote(.0)
    )]
    Endpoint(String),
    /// The text is a pattern, and a single endpoint is needed.
    #[error("{} stands for several endpoints", quote(.0))]
    SeveralEndpoints(String),
    /// The text is no probe. `expected` lists the valid forms.
    #[error("{} is not a probe: {expected}", quote(text))]
    Probe {
        /// The text.
        text: String,
        /// The valid forms.
        expected: &'static str,
    },
    /// The text is no port number.
    #[error("{} is not a port: it must be between 1 and 65535", quote(.0))]
    Port(String),
    /// The text is a range of ports whose last port is smaller than the first.
    #[error("{} ends before it begins", quote(.0))]
    PortRange(String),
    /// The text is no capability. `known` lists the capabilities.
    #[error("`{text}` is not something that can be required: write one of {known}")]
    Capability {
        /// The text.
        text: String,
        /// The names of the capabilities.
        known: String,
    },
}

/// A change that cannot be applied, or a name that stands for no address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The change names something that does not exist.
    #[error("there is no {kind} {name}")]
    Missing {
        /// What is named.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The change names a namespace that does not exist.
    #[error("the topology has no namespace {0}")]
    NoNamespace(String),
    /// The change deletes a cluster-scoped policy that does not exist.
    #[error("there is no {0}")]
    NoClusterPolicy(ClusterPolicyName),
    /// The change sets a label that only the API server sets.
    #[error("the API server does not let anybody change {NAMESPACE_NAME_LABEL}")]
    NamespaceNameLabel,
    /// The change adds a pod that exists.
    #[error("there is a pod {0} already")]
    PodExists(Identity),
    /// The change adds a pod whose name an ended pod still has.
    #[error("there is a pod {0} that has ended: remove it first")]
    EndedPodExists(Identity),
    /// The change ends a pod that has ended.
    #[error("pod {0} has ended already")]
    EndedAlready(Identity),
    /// The change gives a Service a node port of another Service.
    #[error("Service {service}: nodePort {port}/{protocol} is that of Service {other} already")]
    NodePort {
        /// The Service of the change.
        service: Identity,
        /// The node port.
        port: Port,
        /// Its protocol.
        protocol: Protocol,
        /// The Service that has the node port.
        other: Identity,
    },
    /// A policy cannot be resolved.
    #[error(transparent)]
    Policy(#[from] source::Error),
    /// A name of an address is not the name of an endpoint.
    #[error(transparent)]
    Name(#[from] ParseError),
    /// The pod has ended.
    #[error("{0} has ended: its address may be another pod's")]
    HasEnded(EndpointName),
    /// The endpoint does not exist yet, or no longer.
    #[error(
        "there is no {0} when this is applied: an address can be named from the step after its endpoint came"
    )]
    NoEndpoint(EndpointName),
}
