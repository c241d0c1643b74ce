//! What is common to all parts of the parser: its dialects and its errors.

use granit_parser::ErrorKind;

use super::node::{Location, quote};

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

/// Why a text cannot be read. The variants are in the order of their causes: YAML itself, then `kubectl`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxProblem {
    /// The parser of YAML refuses the text.
    #[error("not YAML: {0}")]
    NotYaml(ErrorKind),
    /// An event of the parser that YAML 1.2 does not have.
    #[error("something that YAML 1.2 does not have")]
    Unsupported,
    /// An alias that would contain itself.
    #[error("an alias inside its own anchor")]
    AliasInItself,
    /// An alias of an anchor that does not exist.
    #[error("unknown anchor {}", quote(.0))]
    UnknownAnchor(String),
    /// Aliases that would fill the memory.
    #[error("aliases make this document too large")]
    TooLarge,
    /// A tag that is not one of YAML's own.
    #[error("unknown tag {}", quote(.0))]
    UnknownTag(String),
    /// A scalar that does not fit its tag.
    #[error("{} is no {tag}", quote(text))]
    NotOfTag {
        /// The scalar.
        text: String,
        /// The name of the tag.
        tag: String,
    },
    /// Infinity or NaN in a manifest. Objects are sent as JSON, which has neither.
    #[error("{} is no number that an object may have", quote(.0))]
    NotFinite(String),
    /// A key that is written twice in one mapping.
    #[error("the field {} is there twice", quote(.0))]
    Repeated(String),
    /// A key that is not a scalar. The text describes it.
    #[error("a key must be a string, found {0}: quote it")]
    NotKey(String),
    /// A value after `<<` that is not a mapping.
    #[error("`<<` merges a mapping or a list of them")]
    CannotMerge,
    /// A character that ends a line only in YAML 1.1.
    #[error(
        "kubectl ends the line here, at the invisible character U+{code:04X}: write a line feed, or `{escape}` in double quotes"
    )]
    LineEnd {
        /// The character.
        code: u32,
        /// Its escape in double quotes.
        escape: &'static str,
    },
    /// Text behind `---`.
    #[error("kubectl allows nothing but a comment behind `---`: write it on the next line")]
    BehindSeparator,
    /// A document after a line that ends with a carriage return alone.
    #[error(
        "kubectl ignores this document, because the line before it has no line feed: end all lines with line feeds"
    )]
    NoLineFeed,
    /// Content after `...`.
    #[error("kubectl ignores what follows `...`: write `---` on a line of its own before it")]
    AfterEnd,
    /// A directive, such as `%YAML 1.2`.
    #[error("kubectl reads no directives: remove this line")]
    Directive,
    /// An unquoted scalar in a flow collection that libyaml refuses.
    #[error("kubectl does not read {} in braces or brackets, because it {why}: quote it", quote(text))]
    FlowScalar {
        /// The scalar.
        text: String,
        /// What it does, such as "begins with `:`".
        why: &'static str,
    },
    /// A scalar in a flow collection whose colon libyaml reads as part of it.
    #[error("kubectl takes the colon behind {} for a part of it: write a space behind the colon", quote(.0))]
    ColonBehind(String),
}

impl SyntaxProblem {
    /// Returns the error with this problem.
    pub(super) fn at(self, at: Location) -> SyntaxError {
        SyntaxError { at, problem: self }
    }
}
