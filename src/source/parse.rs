//! From text to documents.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::node::{Key, Location, Node, Value, quote};
use super::scalar::resolve;

/// How many nodes aliases may add to one text. Far above any honest use; a few lines of nested
/// aliases could otherwise fill the memory.
const ALIASED_NODES: usize = 1_000_000;

/// The documents of a text that is not YAML, or the first thing in it that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub at: Location,
    /// What.
    pub message: String,
}

/// Parses a stream of YAML documents; JSON is YAML. Empty documents are left out.
///
/// # Errors
/// If the text is not YAML, repeats a key, has a key that is not a string or a tag that is not
/// YAML's own, or grows beyond measure through aliases.
pub fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    // Some editors begin a file with a byte order mark; the parser would take it for content.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| SyntaxError {
            at: location(error.marker()),
            message: format!("not YAML: {}", error.kind()),
        })?;
        builder.event(event, location(&span.start))?;
    }
    Ok(builder.documents)
}

fn location(marker: &Marker) -> Location {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Location { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    aliased: usize,
}

/// A collection that has begun.
struct Open {
    at: Location,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, names: HashSet<String>, key: Option<Key>, merged: Vec<Node> },
}

/// The key that merges another mapping into this one.
const MERGE: &str = "<<";

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Location) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, style, tag.as_deref(), at)?;
                self.complete(Node { value, at }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", at)?;
                self.open.push(Open { at, anchor, content: Content::Sequence(Vec::new()) });
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "map", at)?;
                let content = Content::Mapping {
                    entries: Vec::new(),
                    names: HashSet::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.open.push(Open { at, anchor, content });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { at, anchor, content: Content::Sequence(items) }) => {
                    self.complete(Node { value: Value::Sequence(items), at }, anchor)
                }
                Some(Open { at, anchor, content: Content::Mapping { entries, names, merged, .. } }) => {
                    let entries = merge(entries, names, merged)?;
                    self.complete(Node { value: Value::Mapping(entries), at }, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(SyntaxError { at, message: "an alias inside its own anchor".to_owned() });
                };
                self.aliased += size;
                if self.aliased > ALIASED_NODES {
                    return Err(SyntaxError {
                        at,
                        message: "aliases make this document too large".to_owned(),
                    });
                }
                self.complete(node, 0)
            }
            Event::UnresolvedAlias(name) => {
                Err(SyntaxError { at, message: format!("unknown anchor {}", quote(&name)) })
            }
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::Comment(..) => Ok(()),
            _ => Err(SyntaxError { at, message: "something that YAML 1.2 does not have".to_owned() }),
        }
    }

    /// Puts a finished node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            let size = size(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => {
                if !node.is_null() {
                    self.documents.push(node);
                }
            }
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { entries, names, key, merged }) => match key.take() {
                None => *key = Some(as_key(node)?),
                Some(key) if key.name == MERGE => merged.push(node),
                Some(key) => {
                    if !names.insert(key.name.clone()) {
                        let message = format!("the field {} is there twice", quote(&key.name));
                        return Err(SyntaxError { at: key.at, message });
                    }
                    entries.push((key, node));
                }
            },
        }
        Ok(())
    }
}

fn as_key(node: Node) -> Result<Key, SyntaxError> {
    let Node { value, at } = node;
    match value {
        Value::String(name) => Ok(Key { name, at }),
        // `kubectl` refuses these as keys of labels, too: they would become another string.
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Sequence(_)
        | Value::Mapping(_) => {
            let message = format!("a key must be a string, found {}: quote it", value.describe());
            Err(SyntaxError { at, message })
        }
    }
}

/// Adds the entries of merged mappings that are not there yet.
fn merge(
    mut entries: Vec<(Key, Node)>,
    mut names: HashSet<String>,
    merged: Vec<Node>,
) -> Result<Vec<(Key, Node)>, SyntaxError> {
    let mut pending = merged;
    pending.reverse();
    while let Some(Node { value, at }) = pending.pop() {
        match value {
            Value::Mapping(more) => {
                entries.extend(more.into_iter().filter(|(key, _)| names.insert(key.name.clone())));
            }
            Value::Sequence(items) if items.iter().all(|item| matches!(item.value, Value::Mapping(_))) => {
                pending.extend(items.into_iter().rev());
            }
            Value::Sequence(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::String(_) => {
                return Err(SyntaxError {
                    at,
                    message: "`<<` merges a mapping or a list of them".to_owned(),
                });
            }
        }
    }
    Ok(entries)
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: Location,
) -> Result<Value, SyntaxError> {
    let suffix = match tag {
        Some(tag) if tag.is_yaml_core_schema() => Some(tag.suffix()),
        // `!` alone asks for the plain, unresolved text.
        Some(tag) if tag.handle().is_empty() && tag.suffix() == "!" => Some("str"),
        Some(tag) => return Err(unknown_tag(tag, at)),
        None => None,
    };
    match (suffix, style) {
        (Some("str"), _) => Ok(Value::String(text.into_owned())),
        (Some(_), _) | (None, ScalarStyle::Plain) => Ok(resolve(&text)),
        (
            None,
            ScalarStyle::SingleQuoted
            | ScalarStyle::DoubleQuoted
            | ScalarStyle::Literal
            | ScalarStyle::Folded,
        ) => Ok(Value::String(text.into_owned())),
    }
}

fn collection_tag(tag: Option<&Tag>, expected: &str, at: Location) -> Result<(), SyntaxError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix() == expected) => Err(unknown_tag(tag, at)),
        Some(_) | None => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, at: Location) -> SyntaxError {
    SyntaxError {
        at,
        message: format!("unknown tag {}", quote(&format!("{}{}", tag.handle(), tag.suffix()))),
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Node {
        parse(text).unwrap().remove(0)
    }

    fn message(text: &str) -> String {
        let error = parse(text).unwrap_err();
        format!("{}: {}", error.at, error.message)
    }

    #[test]
    fn every_node_knows_its_line_and_column() {
        let node = one("a:\n  b:\n  - 1\n  - c: x\n");
        let b = node.get("a").unwrap().get("b").unwrap();
        assert_eq!(b.items()[0].at, Location { line: 3, column: 5 });
        assert_eq!(b.items()[1].get("c").unwrap().at, Location { line: 4, column: 8 });
    }

    #[test]
    fn documents_are_separated_and_empty_ones_left_out() {
        assert_eq!(parse("---\na: 1\n---\n# nothing\n---\nb: 2\n").unwrap().len(), 2);
        assert_eq!(parse("").unwrap().len(), 0);
        assert_eq!(parse("\u{feff}a: 1\n").unwrap().len(), 1);
    }

    #[test]
    fn json_is_read_like_yaml() {
        let node = one(r#"{"a": [1, "2", null, true]}"#);
        let items: Vec<_> = node.get("a").unwrap().items().iter().map(|item| item.value.clone()).collect();
        assert_eq!(items, [Value::Integer(1), Value::String("2".into()), Value::Null, Value::Bool(true)]);
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let node = one("base: &b {a: 1, c: 2}\nuse: {<<: *b, c: 3}\n");
        let used = node.get("use").unwrap();
        assert_eq!(used.get("a").unwrap().value, Value::Integer(1));
        assert_eq!(used.get("c").unwrap().value, Value::Integer(3));
    }

    #[test]
    fn what_could_be_misread_is_an_error() {
        assert_eq!(message("a: 1\na: 2\n"), "2:1: the field `a` is there twice");
        assert_eq!(message("yes: 1\n"), "1:1: a key must be a string, found the boolean `true`: quote it");
        assert_eq!(message("a: !secret x\n"), "1:12: unknown tag `!secret`");
    }

    #[test]
    fn nested_aliases_cannot_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let previous = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
        }
        assert!(message(&text).ends_with("aliases make this document too large"), "{}", message(&text));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn no_yaml_like_text_makes_it_panic(text in "([a-z&*!<>|?:,\\[\\]{}'\"#%@ \n\t-]|\\.\\.\\.|: |- ){0,80}") {
            let _ = parse(&text);
        }
    }
}
