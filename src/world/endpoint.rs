//! Names of endpoints in scenarios and reports.

use std::fmt;

use crate::policy::{Pod, Service};
use crate::snapshot::Identity;

/// The name of a scenario's endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointName {
    /// A pod: `namespace/name`.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A Service's virtual address: `service:namespace/name`.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A node: `node:name`.
    Node(String),
    /// An address outside the cluster: `external:name`.
    External(String),
}

impl EndpointName {
    /// Returns the name of a pod.
    pub fn pod(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Pod { namespace: namespace.into(), name: name.into() }
    }

    /// Returns the name of this pod.
    pub fn of_pod(pod: &Pod) -> Self {
        Self::pod(&pod.namespace, &pod.name)
    }

    /// Returns the name of the pod with this identity.
    pub fn of_identity(pod: &Identity) -> Self {
        Self::pod(&pod.namespace, &pod.name)
    }

    /// Returns the name of this Service.
    pub fn of_service(service: &Service) -> Self {
        Self::service(&service.namespace, &service.name)
    }

    /// Returns the name of a Service.
    pub fn service(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Service { namespace: namespace.into(), name: name.into() }
    }

    /// Returns whether this is the Service through which pods reach the API server.
    pub fn is_api_server(&self) -> bool {
        match self {
            Self::Service { namespace, name } => Identity::new(namespace, name) == Identity::api_server(),
            Self::Pod { .. } | Self::Node(_) | Self::External(_) => false,
        }
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Service { namespace, name } => write!(f, "service:{namespace}/{name}"),
            Self::Node(name) => write!(f, "node:{name}"),
            Self::External(name) => write!(f, "external:{name}"),
        }
    }
}
