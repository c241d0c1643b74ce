//! The dialects and the errors of the parser.

use std::borrow::Cow;

use granit_parser::ErrorKind;

use super::node::Location;

/// The kind of YAML that a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// netproof's own formats: single letters are strings, and a tag that is not one of YAML's own is an error.
    Own,
    /// Manifests, as `kubectl` reads them: `y` and `n` are booleans, and tags that are not YAML's own have no
    /// meaning.
    Kubectl,
}

/// The first error in a text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct SyntaxError {
    /// Location of the error.
    pub at: Location,
    /// What is wrong.
    #[source]
    pub problem: SyntaxProblem,
}

/// The reason why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxProblem {
    /// The parser of YAML refuses the text.
    #[error("not YAML: {0}")]
    NotYaml(ErrorKind),
    /// netproof refuses the text, because it could be misread or has no meaning. The field is the message.
    #[error("{0}")]
    Refused(Cow<'static, str>),
}

impl SyntaxProblem {
    pub(super) fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(message.into())
    }

    /// Returns the error with this problem.
    pub(super) fn at(self, at: Location) -> SyntaxError {
        SyntaxError { at, problem: self }
    }
}
