//! Errors of names and changes of the network under test.

use crate::source::{self, quote};

/// A text that is not the name of what it should name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub(super) String);

impl ParseError {
    /// Returns the error about a text. `problem` follows the text in the message.
    pub(crate) fn new(text: &str, problem: &str) -> Self {
        Self(format!("{} {problem}", quote(text)))
    }
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
    /// The change cannot be applied, or a name stands for no address. The message says why.
    #[error("{0}")]
    Refused(String),
    /// A policy cannot be resolved.
    #[error(transparent)]
    Policy(#[from] source::Error),
    /// A name of an address is not the name of an endpoint.
    #[error(transparent)]
    Name(#[from] ParseError),
}
