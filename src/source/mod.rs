//! Reads YAML and JSON strictly, so that nothing can be misread.
//!
//! Text becomes a tree of [`Node`]s that know their line and column. [`decode`] turns a tree into a value. A field
//! that the type does not know is an error, because a misspelt field of a policy would select everything.

mod built;
mod decode;
mod error;
mod files;
mod json;
mod kubectl;
mod located;
mod mapping;
mod near;
mod node;
mod parse;
mod relax;
mod scalar;
mod shape;
mod syntax;
mod wildcard;
mod write;

pub use built::refuse_unbuilt;
pub use decode::{DecodeError, UnknownField, decode, decode_live};
pub use error::{Cause, Error, Place};
pub use files::{Document, STDIN, Text, read, read_file};
pub use json::from_json;
pub use near::{did_you_mean, misspelt, near, near_within};
pub use node::{Key, Located, Location, Node, Segment, Value};
pub(crate) use node::{path_to_string, quote};
pub use parse::{parse, parse_as};
pub use shape::{expect_kind, strings};
pub use syntax::{Dialect, SyntaxError, SyntaxProblem};
pub use wildcard::wildcard;
pub use write::to_yaml;
