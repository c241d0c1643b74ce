//! Names of endpoints in scenarios and reports.

use std::fmt;

use super::pattern::EndpointPattern;
use crate::source::quote;

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

    /// Reads a name in the form in which it is displayed.
    ///
    /// # Errors
    /// If the text has none of the valid forms, or matches several endpoints.
    pub fn parse(text: &str) -> Result<Self, String> {
        let several = || format!("{} stands for several endpoints", quote(text));
        let one = |part: String| if part.contains('*') { Err(several()) } else { Ok(part) };
        match EndpointPattern::parse(text)? {
            EndpointPattern::Any => Err(several()),
            EndpointPattern::Pod(namespace, name) => Ok(Self::pod(one(namespace)?, one(name)?)),
            EndpointPattern::Service(namespace, name) => Ok(Self::service(one(namespace)?, one(name)?)),
            EndpointPattern::Node(name) => one(name).map(Self::Node),
            EndpointPattern::External(name) => one(name).map(Self::External),
        }
    }

    /// Returns the name of a Service.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for text in ["x/a", "service:x/web", "node:node-1", "external:internet"] {
            assert_eq!(EndpointName::parse(text).unwrap().to_string(), text);
        }
        for text in ["*", "x/*", "service:*/web", "node:*", "a", ""] {
            assert!(EndpointName::parse(text).is_err(), "{text}");
        }
    }
}
