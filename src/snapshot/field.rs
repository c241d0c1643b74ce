//! Paths of values in objects, for messages.

use crate::source::Segment;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path from the object to the field.
    pub path: Vec<Segment>,
    /// What is wrong, and what to do about it.
    pub message: String,
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

    /// Returns a problem with this field.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
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
        Problem { path, message: message.into() }
    }
}
