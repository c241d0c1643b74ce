//! Parses text into documents.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, StructureStyle, Tag};
use serde::de::IgnoredAny;

use super::kubectl;
use super::mapping::{Mapping, cannot_merge};
use super::node::{Key, Location, Node, Value, quote};
use super::relax::relax;
use super::scalar::{resolve, tagged};
use super::syntax::{Dialect, SyntaxError, SyntaxProblem};

/// Maximum number of bytes that aliases may add to one text, in memory. It is far above any honest use. Without a
/// limit, a few lines of nested aliases, or many aliases of one long text, could fill the memory.
const ALIASED_BYTES: usize = 64 << 20;

/// Parses the documents of a text in netproof's own formats. JSON is YAML, too. Empty documents are left out.
///
/// # Errors
/// If the text is not YAML. If a key is repeated or is not a scalar. If a value does not fit its tag, or a tag is not
/// one of YAML's own. If aliases make the text too large.
pub fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    parse_as(text, Dialect::Own)
}

/// Parses the documents of a text.
///
/// # Errors
/// The errors of [`parse`]. In manifests, a tag that is not YAML's own is no error, but text that `kubectl` reads
/// differently is one.
pub fn parse_as(text: &str, dialect: Dialect) -> Result<Vec<Node>, SyntaxError> {
    // Some editors begin a file with a byte order mark. The parser would take it for content.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut documents, mut aliased) = (Vec::new(), 0);
    for Part { at, text, is_json } in parts(text) {
        if dialect == Dialect::Kubectl && !is_json {
            kubectl::check_lines(text, at)?;
        }
        let mut builder = Builder::new(dialect, at, aliased);
        if let Err(failure) = builder.read(text) {
            let relaxed = if is_about_space(&failure.problem) { relax(text) } else { None };
            let Some(relaxed) = relaxed else { return Err(failure) };
            builder = Builder::new(dialect, at, aliased);
            builder.read(&relaxed)?;
        }
        aliased = builder.aliased;
        documents.append(&mut builder.documents);
    }
    Ok(documents)
}

/// Returns whether a text has no document, or only empty ones. Stops at the first document that is not empty.
pub(super) fn is_empty(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Parser::new_from_str(text).all(|event| match event {
        Ok((Event::Scalar(text, ScalarStyle::Plain, _, None), _)) => {
            resolve(&text, Dialect::Kubectl) == Value::Null
        }
        Ok((
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Comment(..),
            _,
        )) => true,
        // Parsing the text will report what is wrong with it.
        Ok(_) | Err(_) => false,
    })
}

/// A part of a text that is parsed separately.
struct Part<'a> {
    /// Where it begins.
    at: Location,
    text: &'a str,
    /// Whether it is JSON. `kubectl` has another parser for JSON.
    is_json: bool,
}

/// Splits a text that begins with several JSON documents: one part for each document, and one for the rest. Returns
/// any other text as one part.
fn parts(text: &str) -> Vec<Part<'_>> {
    let whole = |is_json| vec![Part { at: Location::START, text, is_json }];
    if !text.trim_start().starts_with('{') {
        return whole(false);
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (mut parts, mut rest, mut at) = (Vec::new(), text, Location::START);
    let is_json = loop {
        match stream.next() {
            Some(Ok(_)) => {}
            Some(Err(_)) => break false,
            None => break true,
        }
        let length = stream.byte_offset() - (text.len() - rest.len());
        let Some((part, after)) = rest.split_at_checked(length) else { return whole(false) };
        parts.push(Part { at, text: part, is_json: true });
        (rest, at) = (after, at.after(part));
    };
    if parts.len() < 2 {
        return whole(is_json);
    }
    parts.push(Part { at, text: rest, is_json });
    parts
}

/// Returns whether a problem is about space that YAML 1.2 does not allow, so that [`relax`] may help.
fn is_about_space(problem: &SyntaxProblem) -> bool {
    use ErrorKind::{InvalidQuotedScalarIndent, TabInBlockIndentation, TabInIndentation};
    matches!(
        problem,
        SyntaxProblem::NotYaml(TabInBlockIndentation | TabInIndentation | InvalidQuotedScalarIndent)
    )
}

struct Builder {
    dialect: Dialect,
    /// Where the text begins in its file.
    start: Location,
    documents: Vec<Node>,
    open: Vec<Open>,
    /// The node of each anchor, and its size in bytes.
    anchors: HashMap<usize, (Node, usize)>,
    /// Bytes of all copies so far, in this part of the text and in the parts before it.
    aliased: usize,
}

/// A collection that is not complete yet.
struct Open {
    at: Location,
    anchor: usize,
    /// Whether it is in braces or brackets, or inside a collection that is.
    is_flow: bool,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping(Mapping),
}

impl Builder {
    fn new(dialect: Dialect, start: Location, aliased: usize) -> Self {
        Self { dialect, start, documents: Vec::new(), open: Vec::new(), anchors: HashMap::new(), aliased }
    }

    fn read(&mut self, text: &str) -> Result<(), SyntaxError> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                SyntaxProblem::NotYaml(error.kind().clone()).at(self.location(error.marker()))
            })?;
            let at = self.location(&span.start);
            if let Event::Scalar(scalar, ScalarStyle::Plain, ..) = &event
                && self.dialect == Dialect::Kubectl
                && self.is_in_flow()
            {
                // An omitted value is a scalar without characters. `rest` is then empty.
                let end = span.end.byte_offset().filter(|_| span.end.index() > span.start.index());
                let rest = end.and_then(|end| text.get(end..)).unwrap_or_default();
                kubectl::check_flow_scalar(scalar, rest).map_err(|problem| problem.at(at))?;
            }
            self.event(event, at)?;
        }
        Ok(())
    }

    fn location(&self, marker: &Marker) -> Location {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (line, column) = (number(marker.line()).max(1), number(marker.col()).saturating_add(1));
        let Location { line: first, column: shift } = self.start;
        Location {
            line: line.saturating_add(first - 1),
            column: if line == 1 { column.saturating_add(shift - 1) } else { column },
        }
    }

    fn event(&mut self, event: Event<'_>, at: Location) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_merge = is_merge(&text, style, tag.as_deref());
                let value =
                    scalar(text, style, tag.as_deref(), self.dialect).map_err(|problem| problem.at(at))?;
                self.complete(Node { value, at }, anchor, is_merge)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.begin(at, anchor, style, tag.as_deref(), Content::Sequence(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                self.begin(at, anchor, style, tag.as_deref(), Content::Mapping(Mapping::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { at, anchor, content, .. }) = self.open.pop() else { return Ok(()) };
                let value = match content {
                    Content::Sequence(items) => Value::Sequence(items),
                    Content::Mapping(mapping) => Value::Mapping(mapping.finish()),
                };
                self.complete(Node { value, at }, anchor, false)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(SyntaxProblem::refused("an alias inside its own anchor").at(at));
                };
                count_copy(&mut self.aliased, *size, at)?;
                // `kubectl` refuses an alias of a list after `<<`, too: it merges a list only if the list itself is
                // written there.
                if self.dialect == Dialect::Kubectl
                    && let Some(Open { content: Content::Mapping(mapping), .. }) = self.open.last()
                    && mapping.is_merging()
                    && matches!(node.value, Value::Sequence(_))
                {
                    return Err(cannot_merge(at));
                }
                let node = node.clone();
                self.complete(node, 0, false)
            }
            Event::UnresolvedAlias(name) => {
                Err(SyntaxProblem::refused(format!("unknown anchor {}", quote(&name))).at(at))
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
            _ => Err(SyntaxProblem::refused("something that YAML 1.2 does not have").at(at)),
        }
    }

    fn begin(
        &mut self,
        at: Location,
        anchor: usize,
        style: StructureStyle,
        tag: Option<&Tag>,
        content: Content,
    ) -> Result<(), SyntaxError> {
        let expected = match content {
            Content::Sequence(_) => "seq",
            Content::Mapping(_) => "map",
        };
        if let Some(tag) = tag
            && self.dialect == Dialect::Own
            && !tag.is_yaml_core_schema_tag(expected)
        {
            return Err(unknown_tag(tag).at(at));
        }
        let is_flow = style == StructureStyle::Flow || self.is_in_flow();
        self.open.push(Open { at, anchor, is_flow, content });
        Ok(())
    }

    fn is_in_flow(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_flow)
    }

    /// Adds a complete node to the collection around it, or to the documents. `is_merge` says that the node is the
    /// merge key `<<`.
    fn complete(&mut self, node: Node, anchor: usize, is_merge: bool) -> Result<(), SyntaxError> {
        if anchor != 0 {
            let size = size(&node);
            count_copy(&mut self.aliased, size, node.at)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None if node.is_null() => {}
            None => self.documents.push(node),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping(mapping)) => mapping.push(node, is_merge, self.dialect)?,
        }
        Ok(())
    }
}

/// Counts a copy before it is made.
fn count_copy(aliased: &mut usize, size: usize, at: Location) -> Result<(), SyntaxError> {
    *aliased = aliased.saturating_add(size);
    if *aliased > ALIASED_BYTES {
        return Err(SyntaxProblem::refused("aliases make this document too large").at(at));
    }
    Ok(())
}

/// Returns whether a scalar is the merge key `<<`, and not an ordinary string. The merge key is not quoted (`isMerge`
/// of go.yaml.in/yaml/v2).
fn is_merge(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    let is_implicit = match tag {
        None => style == ScalarStyle::Plain,
        Some(tag) => is_bare(tag),
    };
    text == "<<" && is_implicit
}

/// Returns whether a tag is `!` alone.
fn is_bare(tag: &Tag) -> bool {
    tag.handle().is_empty() && tag.suffix() == "!"
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    dialect: Dialect,
) -> Result<Value, SyntaxProblem> {
    let Some(tag) = tag else {
        if style != ScalarStyle::Plain {
            return Ok(Value::String(text.into_owned()));
        }
        let value = resolve(&text, dialect);
        // Objects are sent as JSON, which has no infinity and no NaN.
        if dialect == Dialect::Kubectl && matches!(value, Value::Float(value) if !value.is_finite()) {
            let message = format!("{} is no number that an object may have", quote(&text));
            return Err(SyntaxProblem::refused(message));
        }
        return Ok(value);
    };
    match tag.suffix_in_namespace(YAML_TAGS).as_deref() {
        Some(name) => tagged(text, name, dialect).unwrap_or_else(|| Err(unknown_tag(tag))),
        // `!` alone requests the plain text, without resolving it.
        None if is_bare(tag) || dialect == Dialect::Kubectl => Ok(Value::String(text.into_owned())),
        None => Err(unknown_tag(tag)),
    }
}

/// Namespace of YAML's own tags.
const YAML_TAGS: &str = "tag:yaml.org,2002:";

fn unknown_tag(tag: &Tag) -> SyntaxProblem {
    let name = format!("{}{}", tag.handle(), tag.suffix());
    SyntaxProblem::refused(format!("unknown tag {}", quote(&name)))
}

/// Returns the size of a node in memory, in bytes.
fn size(node: &Node) -> usize {
    let within = match &node.value {
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => {
            entries.iter().map(|(key, node)| size_of::<Key>() + key.value.len() + size(node)).sum()
        }
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => 0,
    };
    size_of::<Node>() + within
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Node {
        parse(text).unwrap().remove(0)
    }

    fn message(text: &str) -> String {
        parse(text).unwrap_err().to_string()
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
    fn a_text_without_content_is_empty() {
        for text in ["", "# a\n", "\u{feff}---\n--- # a\n---\n", "null\n---\n~\n", "# a\n...\n", "---\n\"a\n"]
        {
            assert_eq!(is_empty(text), parse(text).is_ok(), "{text}");
        }
        for text in ["a: 1\n", "---\n---\n- a\n", "''\n", "{}", "!!null\n", "%YAML 1.1\n"] {
            assert!(!is_empty(text), "{text}");
        }
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

    /// Regression: `kubectl` applies `<<` at its position, so a merged label replaced a written one. netproof showed
    /// the written one.
    #[test]
    fn in_manifests_a_merge_overwrites_what_is_written_before_it() {
        let base = "base: &b {a: base}\nmore: &c {a: more, d: more}\n";
        for (text, a, d) in [
            ("{a: own, <<: *b}", "base", None),
            ("{<<: *b, a: own}", "own", None),
            ("{<<: *b, a: own, <<: {a: third}}", "third", None),
            ("{<<: *b, <<: *c}", "more", Some("more")),
            ("{d: own, <<: [*b, *c]}", "base", Some("more")),
            ("{<<: {<<: *b, a: inner}, d: own}", "inner", Some("own")),
        ] {
            let node = manifest(&format!("{base}use: {text}\n"));
            let found = ["a", "d"].map(|key| node.get("use").unwrap().get(key).and_then(Node::as_str));
            assert_eq!(found, [Some(a), d], "{text}");
        }
        // In netproof's own formats, a written key wins, then the first merged one.
        let node = one(&format!("{base}use: {{a: own, <<: *b, <<: *c}}\n"));
        let found = ["a", "d"].map(|key| node.get("use").unwrap().get(key).and_then(Node::as_str));
        assert_eq!(found, [Some("own"), Some("more")]);
        for text in ["a: &a [{b: c}]\nd: {<<: *a}\n", "<<: [[{a: b}]]\n", "a: 1\n<<: {a: 2}\na: 3\n"] {
            assert!(parse_as(text, Dialect::Kubectl).is_err(), "{text}");
        }
    }

    /// A quoted `"<<"` is an ordinary key. If it were merged, a label without effect would become part of a selector.
    #[test]
    fn a_quoted_merge_key_is_an_ordinary_key() {
        for text in ["\"<<\": {a: b}\n", "'<<': {a: b}\n", "{\"<<\": {\"a\": \"b\"}}", "!!str <<: {a: b}\n"] {
            for dialect in [Dialect::Own, Dialect::Kubectl] {
                let node = parse_as(text, dialect).unwrap().remove(0);
                assert!(node.get("a").is_none(), "{text}");
                assert!(node.get("<<").unwrap().get("a").is_some(), "{text}");
            }
        }
        assert!(manifest("! \"<<\": {a: b}\n").get("a").is_some());
    }

    #[test]
    fn what_could_be_misread_is_an_error() {
        assert_eq!(message("a: 1\na: 2\n"), "2:1: the field `a` is there twice");
        assert_eq!(message("~: 1\n"), "1:1: a key must be a string, found nothing: quote it");
        assert_eq!(message("? [a]\n: 1\n"), "1:3: a key must be a string, found a list: quote it");
        assert_eq!(message("yes: 1\non: 2\n"), "2:1: the field `true` is there twice");
        assert_eq!(message("a: !!int b\n"), "1:10: `b` is no int");
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

    #[test]
    fn many_aliases_of_one_long_text_cannot_fill_the_memory() {
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), vec!["*a"; 3000].join(", "));
        assert_eq!(message(&text).split_once(": ").unwrap().1, "aliases make this document too large");
        // The copies that are kept for anchors count, too.
        let text = format!("{}{}{}", "&a [".repeat(200), "x, ".repeat(200_000), "]".repeat(200));
        assert!(message(&text).ends_with("aliases make this document too large"), "{}", message(&text));
    }

    fn manifest(text: &str) -> Node {
        parse_as(text, Dialect::Kubectl).unwrap().remove(0)
    }

    #[test]
    fn a_quoted_scalar_need_not_be_indented() {
        let node = manifest("a:\n  b: \"one\ntwo\n\n  three\"\n  c: 'x\n\ty'\n  d: 1\n");
        let a = node.get("a").unwrap();
        assert_eq!(a.get("b").unwrap().as_str(), Some("one two\nthree"));
        assert_eq!(a.get("c").unwrap().as_str(), Some("x y"));
        assert_eq!(a.get("d").unwrap().at, Location { line: 8, column: 6 });
        assert!(parse_as("a:\n  b: \"one\n---\ntwo\"\n", Dialect::Kubectl).is_err());
    }

    #[test]
    fn lines_of_flow_collections_may_begin_with_tabs_and_those_of_blocks_may_not() {
        let node = manifest("a:\n- b: {\n\t\"c\": [1,\n\t2]\n\t}\n");
        let c = node.get("a").unwrap().items()[0].get("b").unwrap().get("c").unwrap();
        assert_eq!(c.items()[1], Node { value: Value::Integer(2), at: Location { line: 4, column: 2 } });
        assert_eq!(manifest("{\n\t\"a\": 1\n}\n").get("a").unwrap().value, Value::Integer(1));
        let error = parse_as("a: [1]\nb:\n\tc: 1\n", Dialect::Kubectl).unwrap_err();
        assert_eq!(error.at.line, 3);
    }

    #[test]
    fn json_documents_may_follow_each_other() {
        let text = "{\n\t\"a\": 1}{\"b\": 2}\n {\"c\":\n 3}\n";
        let nodes = parse_as(text, Dialect::Kubectl).unwrap();
        let found: Vec<_> =
            nodes.iter().zip(["a", "b", "c"]).map(|(node, key)| node.get(key).unwrap().at).collect();
        let places = [(2, 7), (2, 15), (4, 2)].map(|(line, column)| Location { line, column });
        assert_eq!(found, places);
        assert_eq!(nodes.len(), 3);
        let error = parse_as("{\"a\": 1}\n{\"b\": 2}\n{\"c\": \n", Dialect::Kubectl).unwrap_err();
        assert!(error.at.line >= 3, "{error:?}");
        // YAML that only begins like JSON is one document.
        assert_eq!(parse_as("{a: 1}\n", Dialect::Kubectl).unwrap().len(), 1);
        assert_eq!(parse_as("{\"a\": 1}\n---\nb: 2\n", Dialect::Kubectl).unwrap().len(), 2);
    }

    #[test]
    fn keys_that_are_no_strings_are_read_as_kubectl_writes_them() {
        let node = manifest("1: a\n0x10: b\nyes: c\n1.5: d\n1e10: e\n0.00001: f\n");
        let Value::Mapping(entries) = &node.value else { panic!("{}", node.value.describe()) };
        let names: Vec<_> = entries.iter().map(|(key, _)| key.value.as_str()).collect();
        assert_eq!(names, ["1", "16", "true", "1.5", "1e+10", "1e-05"]);
    }

    #[test]
    fn tags_mean_what_kubectl_takes_them_for() {
        let node = manifest("a: !!binary aGVsbG8=\nb: !!str 1\nc: !!float 1\nd: !secret 1\ne: !x {f: 1}\n");
        assert_eq!(node.get("a").unwrap().as_str(), Some("hello"));
        assert_eq!(node.get("b").unwrap().as_str(), Some("1"));
        assert_eq!(node.get("c").unwrap().value, Value::Float(1.0));
        assert_eq!(node.get("d").unwrap().as_str(), Some("1"));
        assert!(node.get("e").unwrap().get("f").is_some());
        for text in ["a: .nan\n", "a: -.inf\n", "a: !!binary '*'\n", "a: !!int x\n", "a: !!bool 1\n"] {
            assert!(parse_as(text, Dialect::Kubectl).is_err(), "{text}");
        }
    }

    #[test]
    fn single_letters_are_booleans_for_kubectl_and_names_for_netproof() {
        assert_eq!(manifest("a: y\n").get("a").unwrap().value, Value::Bool(true));
        assert_eq!(manifest("a: N\n").get("a").unwrap().value, Value::Bool(false));
        assert_eq!(one("a: y\n").get("a").unwrap().as_str(), Some("y"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = parse(&text);
            let _ = parse_as(&text, Dialect::Kubectl);
            let _ = relax(&text);
            let _ = is_empty(&text);
        }

        #[test]
        fn no_yaml_like_text_makes_it_panic(text in "([a-z&*!<>|?:,\\[\\]{}'\"#%@ \n\t\r-]|\\.\\.\\.|: |- ){0,80}") {
            let _ = parse(&text);
            let _ = parse_as(&text, Dialect::Kubectl);
        }
    }
}
