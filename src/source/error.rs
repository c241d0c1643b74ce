//! Errors in the user's input, with file, line and column.

use std::fmt;
use std::sync::Arc;

use super::node::Location;

/// A place in an input (a file, a folder or standard input), usually with line and column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of the input, as the user wrote it.
    pub name: Arc<str>,
    /// Line and column; `None` if the error is about the whole input.
    pub location: Option<Location>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location {
            Some(location) => write!(f, "{}:{location}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// An input that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Error {
    /// Place of the error.
    pub place: Place,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl Error {
    /// Returns an error about a whole input.
    pub fn whole(name: &Arc<str>, message: impl Into<String>) -> Self {
        Self { place: Place { name: Arc::clone(name), location: None }, message: message.into() }
    }

    /// Returns an error at a location in an input.
    pub fn at(name: &Arc<str>, location: Location, message: impl Into<String>) -> Self {
        Self { place: Place { name: Arc::clone(name), location: Some(location) }, message: message.into() }
    }
}
