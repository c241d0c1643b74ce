//! A document as a tree. Every part knows its location.

use std::collections::HashMap;
use std::fmt;

/// A line and column of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Location {
    /// The beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The location of a value that was not read from a text. Messages do not show it.
    pub const NOWHERE: Self = Self { line: 0, column: 0 };

    /// Returns the location at the end of a text that begins here.
    pub(super) fn after(self, text: &str) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let last = number(text.rsplit('\n').next().unwrap_or_default().chars().count());
        match number(text.matches('\n').count()) {
            0 => Self { column: self.column.saturating_add(last), ..self },
            lines => Self { line: self.line.saturating_add(lines), column: last.saturating_add(1) },
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and its location in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Location of its first character.
    pub at: Location,
}

/// A part of a document.
pub type Node = Located<Value>;

/// A key of a mapping.
pub type Key = Located<String>;

/// The value of a [`Node`], with the types of JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `false`, and the other words for them in YAML 1.1.
    Bool(bool),
    /// A signed 64-bit integer.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order of the text. Keys are unique.
    Mapping(Vec<(Key, Node)>),
}

/// One step of a path into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A field of a mapping.
    Field(String),
    /// An index of a list, from 0.
    Index(usize),
}

impl Node {
    /// Returns the value of a field, if this is a mapping that has it.
    pub fn get(&self, field: &str) -> Option<&Node> {
        self.entries().iter().find(|(key, _)| key.value == field).map(|(_, node)| node)
    }

    /// Returns the string, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = &self.value { Some(text) } else { None }
    }

    /// Returns the keys and values of a mapping; empty if this is not a mapping.
    pub fn entries(&self) -> &[(Key, Node)] {
        if let Value::Mapping(entries) = &self.value { entries } else { &[] }
    }

    /// Returns the elements of a list; empty if this is not a list.
    pub fn items(&self) -> &[Node] {
        if let Value::Sequence(items) = &self.value { items } else { &[] }
    }

    /// Returns whether this is `null`.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Returns whether another node has the same content. Locations and the order of fields do not count.
    pub fn has_same_content(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::Sequence(items), Value::Sequence(others)) => {
                items.len() == others.len()
                    && items.iter().zip(others).all(|(item, other)| item.has_same_content(other))
            }
            (Value::Mapping(entries), Value::Mapping(others)) => {
                let others: HashMap<_, _> = others.iter().map(|(key, node)| (&key.value, node)).collect();
                let is_same = |(key, node): &(Key, Node)| {
                    others.get(&key.value).is_some_and(|other| node.has_same_content(other))
                };
                entries.len() == others.len() && entries.iter().all(is_same)
            }
            (value, other) => value == other,
        }
    }

    /// Returns the location of the part at `path`. If it does not exist, returns that of the innermost part of the
    /// path that exists.
    pub fn locate(&self, path: &[Segment]) -> Location {
        let mut node = self;
        for segment in path {
            let next = match segment {
                Segment::Field(field) => node.get(field),
                Segment::Index(index) => node.items().get(*index),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.at
    }
}

impl Value {
    /// Describes the value in words, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => format!("the boolean `{value}`"),
            Self::Integer(value) => format!("the number `{value}`"),
            Self::Float(value) => format!("the number `{value}`"),
            Self::String(text) => format!("the string {}", quote(text)),
            Self::Sequence(_) => "a list".to_owned(),
            Self::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// Returns a text in backticks, shortened so that it fits on a line.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(LONGEST).is_some() { "…" } else { "" };
    format!("`{shown}{rest}`")
}

/// Formats a path, as in `spec.ingress[0].ports`.
pub(crate) fn path_to_string(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Field(field) if text.is_empty() => text.push_str(field),
            Segment::Field(field) => {
                text.push('.');
                text.push_str(field);
            }
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}
