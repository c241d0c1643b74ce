//! Paths of values in objects, for messages.

use std::fmt;
use std::sync::Arc;

use crate::source::{Cause, Error, Node, Segment, path_to_string};

/// A field of an object. It knows its parent, so that a message can name the whole path.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    parent: Option<&'a Field<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
}

/// What is wrong with a field of an object.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Path from the object to the field.
    pub path: Vec<Segment>,
    /// What is wrong, and what to do about it. Complete without the cause.
    pub message: String,
    /// The error that led to the problem.
    pub cause: Option<Cause>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}

impl Problem {
    /// Returns the problem as an error about a file that contains the object.
    pub(super) fn within(self, file: &Arc<str>, object: &Node) -> Error {
        Error::at(file, object.locate(&self.path), self.with_path()).because(self)
    }

    /// Returns the message after the path of the field.
    pub(super) fn with_path(&self) -> String {
        format!("{}: {}", path_to_string(&self.path), self.message)
    }
}

impl<'a> Field<'a> {
    /// The whole object.
    pub const ROOT: Field<'static> = Field { parent: None, step: Step::Root };

    /// Returns a field of this value.
    pub fn field(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    /// Returns an element of this list. The index starts at 0.
    pub fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// Converts the elements of this list. `convert` gets each element with its field.
    pub(super) fn each<T, U>(
        &self,
        list: impl IntoIterator<Item = T>,
        convert: impl Fn(T, &Field<'_>) -> Result<U, Problem>,
    ) -> Result<Vec<U>, Problem> {
        list.into_iter().enumerate().map(|(i, item)| convert(item, &self.index(i))).collect()
    }

    /// Returns a problem with this field.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { path: self.path(), message: message.into(), cause: None }
    }

    /// Returns the path from the object to this field.
    pub(super) fn path(&self) -> Vec<Segment> {
        let mut path = Vec::new();
        let mut field = Some(self);
        while let Some(Field { parent, step }) = field {
            match step {
                Step::Root => {}
                Step::Field(name) => path.push(Segment::Field((*name).to_owned())),
                Step::Index(index) => path.push(Segment::Index(*index)),
            }
            field = *parent;
        }
        path.reverse();
        path
    }
}
