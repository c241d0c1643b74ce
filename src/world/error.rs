//! Errors of names and changes of the network under test.

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
    /// The change breaks a rule of the API server, or a name stands for no address.
    #[error("{0}")]
    Refused(String),
    /// A policy cannot be resolved.
    #[error(transparent)]
    Policy(#[from] source::Error),
    /// A name of an address is not the name of an endpoint.
    #[error(transparent)]
    Name(#[from] ParseError),
}
