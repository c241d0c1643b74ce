//! The entries of a mapping, and the mappings that `<<` merges into it.
//!
//! Merging is not part of YAML 1.2. netproof's own formats follow the proposal for YAML 1.1
//! (<https://yaml.org/type/merge.html>): a key that is written in the mapping itself wins, then the first merged
//! mapping that has the key. `kubectl` sets the merged keys at the position of `<<` (`decoder.merge` of
//! go.yaml.in/yaml/v2). So of two equal keys the last one wins, whether it is merged or written.

use std::collections::{HashMap, hash_map};

use super::node::{Key, Location, Node, Value, quote};
use super::syntax::{Dialect, SyntaxError, SyntaxProblem};

type Entry = (Key, Node);

/// A mapping that is not complete yet.
#[derive(Default)]
pub(super) struct Mapping {
    /// The key that the next node is the value of; `None` if the next node is a key.
    pending: Option<Pending>,
    entries: Vec<Entry>,
    by_name: HashMap<String, Position>,
    /// Mappings to merge when this one is complete. Only used in netproof's own formats.
    merged: Vec<Vec<Entry>>,
}

enum Pending {
    Key(Key),
    Merge,
}

struct Position {
    index: usize,
    /// Whether the key is written in the mapping itself, not merged.
    is_written: bool,
}

impl Mapping {
    /// Adds the next key or value. `is_merge` distinguishes the key `<<` from an ordinary string.
    ///
    /// # Errors
    /// If a node cannot be a key, a written key occurs twice, or the value of `<<` cannot be merged.
    pub(super) fn push(&mut self, node: Node, is_merge: bool, dialect: Dialect) -> Result<(), SyntaxError> {
        match self.pending.take() {
            None if is_merge => self.pending = Some(Pending::Merge),
            None => self.pending = Some(Pending::Key(as_key(node)?)),
            Some(Pending::Key(key)) => self.set((key, node), true)?,
            Some(Pending::Merge) => {
                let mut mappings = mappings_of(node)?;
                match dialect {
                    Dialect::Own => self.merged.append(&mut mappings),
                    // The first mapping of a list wins, so it is set last.
                    Dialect::Kubectl => {
                        mappings.into_iter().rev().flatten().try_for_each(|entry| self.set(entry, false))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns whether the next node is the value of `<<`.
    pub(super) fn is_merging(&self) -> bool {
        matches!(self.pending, Some(Pending::Merge))
    }

    /// Returns all entries, each name once.
    pub(super) fn finish(mut self) -> Vec<Entry> {
        for entry in self.merged.into_iter().flatten() {
            let position = Position { index: self.entries.len(), is_written: false };
            if let hash_map::Entry::Vacant(vacant) = self.by_name.entry(entry.0.value.clone()) {
                vacant.insert(position);
                self.entries.push(entry);
            }
        }
        self.entries
    }

    /// Adds an entry, or replaces the one with the same name.
    fn set(&mut self, entry: Entry, is_written: bool) -> Result<(), SyntaxError> {
        let (key, _) = &entry;
        let next = Position { index: self.entries.len(), is_written: false };
        let position = self.by_name.entry(key.value.clone()).or_insert(next);
        if is_written && position.is_written {
            let message = format!("the field {} is there twice", quote(&key.value));
            return Err(SyntaxProblem::refused(message).at(key.at));
        }
        position.is_written |= is_written;
        match self.entries.get_mut(position.index) {
            Some(there) => *there = entry,
            None => self.entries.push(entry),
        }
        Ok(())
    }
}

/// Returns the mappings in the value of `<<`.
fn mappings_of(node: Node) -> Result<Vec<Vec<Entry>>, SyntaxError> {
    let at = node.at;
    let items = if let Value::Sequence(items) = node.value { items } else { vec![node] };
    let entries = |item: Node| {
        let Value::Mapping(entries) = item.value else { return Err(cannot_merge(at)) };
        Ok(entries)
    };
    items.into_iter().map(entries).collect()
}

/// Returns the error for a value after `<<` that is not a mapping.
pub(super) fn cannot_merge(at: Location) -> SyntaxError {
    SyntaxProblem::refused("`<<` merges a mapping or a list of them").at(at)
}

/// Converts a scalar to a key, as `kubectl` does.
fn as_key(node: Node) -> Result<Key, SyntaxError> {
    let Node { value, at } = node;
    let name = match value {
        Value::String(name) => name,
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => float_key(value),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => {
            let message = format!("a key must be a string, found {}: quote it", value.describe());
            return Err(SyntaxProblem::refused(message).at(at));
        }
    };
    Ok(Key { value: name, at })
}

/// Formats a number as Go's `FormatFloat(value, 'g', -1, 32)` does.
fn float_key(value: f64) -> String {
    let value = value as f32;
    let with_exponent = format!("{value:e}");
    match with_exponent
        .split_once('e')
        .and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)))
    {
        Some((digits, exponent)) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        Some(_) | None => value.to_string(),
    }
}
