//! Names of endpoints, as scenarios and reports write them.

use std::fmt;

/// An endpoint of a scenario, by name.
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
    /// A pod.
    pub fn pod(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Pod { namespace: namespace.into(), name: name.into() }
    }

    /// A Service.
    pub fn service(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Service { namespace: namespace.into(), name: name.into() }
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
