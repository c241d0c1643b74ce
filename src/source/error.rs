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
            Some(location) if location != Location::NOWHERE => write!(f, "{}:{location}", self.name),
            Some(_) | None => write!(f, "{}", self.name),
        }
    }
}

/// The error that led to another one. It can be cloned, because results keep it.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// An input that cannot be used.
#[derive(Debug, Clone)]
pub struct Error {
    /// Place of the error.
    pub place: Place,
    /// What is wrong, and what to do about it. Complete without the cause.
    pub message: String,
    cause: Option<Cause>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

// `thiserror` would return the `Arc`, and callers could not downcast it to the type of the cause.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}

/// Errors are equal if users see the same.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        (&self.place, &self.message) == (&other.place, &other.message)
    }
}

impl Eq for Error {}

impl Error {
    /// Returns an error at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), cause: None }
    }

    /// Returns an error about a whole input.
    pub fn whole(name: &Arc<str>, message: impl Into<String>) -> Self {
        Self::new(Place { name: Arc::clone(name), location: None }, message)
    }

    /// Returns an error at a location in an input.
    pub fn at(name: &Arc<str>, location: Location, message: impl Into<String>) -> Self {
        Self::new(Place { name: Arc::clone(name), location: Some(location) }, message)
    }

    /// Returns the error with a hint behind the message.
    #[must_use]
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self { message: format!("{}: {hint}", self.message), ..self }
    }

    /// Returns the error with its subject before the message.
    #[must_use]
    pub(crate) fn about(self, subject: impl fmt::Display) -> Self {
        Self { message: format!("{subject}: {}", self.message), ..self }
    }

    /// Returns the error with its cause.
    #[must_use]
    pub fn because(self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Arc::new(cause)), ..self }
    }
}
