//! Writes YAML for people: a value that fits on one line is written on one line.

use serde_json::{Map, Value};

use super::node::Value as Read;
use super::parse::parse;

/// Maximum width of a line, in characters.
const WIDTH: usize = 120;
/// Depth from which a collection that contains collections may be written on one line.
const OPEN: usize = 2;
/// Fields that come first, in this order. All others follow, sorted by name.
const ORDER: [&str; 32] = [
    "apiVersion",
    "kind",
    "pod",
    "name",
    "namespace",
    "metadata",
    "description",
    "tags",
    "specRules",
    "topology",
    "nodes",
    "families",
    "nodeEndpoints",
    "labels",
    "node",
    "hostNetwork",
    "dns",
    "selector",
    "podSelector",
    "policyTypes",
    "ingress",
    "egress",
    "namespaces",
    "pods",
    "services",
    "externals",
    "probes",
    "from",
    "to",
    "namespaceSelector",
    "key",
    "operator",
];

/// Returns a value as a YAML document.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(fields) = value
        && !fields.is_empty()
    {
        mapping(fields, 0, 0, &mut text);
    } else if let Value::Array(items) = value
        && !items.is_empty()
    {
        sequence(items, 0, 0, &mut text);
    } else {
        text = flow(value) + "\n";
    }
    text
}

fn ordered(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let place = |field: &str| ORDER.iter().position(|other| *other == field).unwrap_or(ORDER.len());
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(field, _)| (place(field), (*field).clone()));
    fields
}

fn mapping(fields: &Map<String, Value>, indent: usize, depth: usize, text: &mut String) {
    for (i, (field, value)) in ordered(fields).into_iter().enumerate() {
        // The first field follows the dash of its list item, or begins a line.
        if i > 0 || text.is_empty() || text.ends_with('\n') {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&scalar(field));
        text.push(':');
        below(value, indent, depth + 1, text);
    }
}

fn sequence(items: &[Value], indent: usize, depth: usize, text: &mut String) {
    for item in items {
        text.push_str(&" ".repeat(indent));
        text.push_str("- ");
        if let Value::Object(fields) = item
            && !fields.is_empty()
            && !fits(item, indent + 2, depth + 1)
        {
            mapping(fields, indent + 2, depth + 1, text);
        } else {
            text.push_str(&flow(item));
            text.push('\n');
        }
    }
}

/// Writes the value of a field after its colon.
fn below(value: &Value, indent: usize, depth: usize, text: &mut String) {
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count();
    if let Value::Object(fields) = value
        && !fields.is_empty()
        && !fits(value, column, depth)
    {
        text.push('\n');
        mapping(fields, indent + 2, depth, text);
    } else if let Value::Array(items) = value
        && !items.is_empty()
        && !fits(value, column, depth)
    {
        text.push('\n');
        sequence(items, indent, depth, text);
    } else if let Value::String(words) = value
        && column + words.chars().count() > WIDTH
        && can_be_folded(words)
    {
        folded(words, indent + 2, text);
    } else {
        text.push(' ');
        text.push_str(&flow(value));
        text.push('\n');
    }
}

/// Returns whether a list or mapping is written on one line that already has `column` characters.
fn fits(value: &Value, column: usize, depth: usize) -> bool {
    let is_list_of_more =
        value.as_array().is_some_and(|items| items.len() > 1 && items.iter().any(Value::is_object));
    let fields = value.as_object().into_iter().flat_map(Map::values);
    let mut within = value.as_array().into_iter().flatten().chain(fields);
    let holds_more = within.any(|value| value.is_object() || value.is_array());
    !is_list_of_more && (depth >= OPEN || !holds_more) && column + 1 + flow(value).chars().count() <= WIDTH
}

fn flow(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => scalar(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = ordered(fields)
                .into_iter()
                .map(|(field, value)| format!("{}: {}", scalar(field), flow(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Returns a string as YAML. It has quotes, unless YAML reads the bare text as the same string.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-' | '_' | ' ');
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_itself = || {
        let read = parse(text).ok().and_then(|nodes| nodes.into_iter().next());
        read.is_some_and(|node| matches!(node.value, Read::String(read) if read == text))
    };
    if begins_well && text.chars().all(is_plain) && is_itself() {
        return text.to_owned();
    }
    // Every JSON string is a YAML string.
    Value::String(text.to_owned()).to_string()
}

fn can_be_folded(text: &str) -> bool {
    !text.contains('\n') && !text.contains("  ") && text.trim() == text && text.contains(' ')
}

fn folded(words: &str, indent: usize, text: &mut String) {
    text.push_str(" >-\n");
    let mut line = String::new();
    let mut end = |line: &mut String| {
        text.push_str(&" ".repeat(indent));
        text.push_str(line);
        text.push('\n');
        line.clear();
    };
    for word in words.split(' ') {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            end(&mut line);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    end(&mut line);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assert_is_read_back(value: &Value) {
        let (yaml, json) = (to_yaml(value), value.to_string());
        let (read, expected) = (parse(&yaml).unwrap(), parse(&json).unwrap());
        assert_eq!(read.len(), expected.len(), "{yaml}");
        assert!(read.iter().zip(&expected).all(|(read, expected)| read.has_same_content(expected)), "{yaml}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "80/TCP",
            "*",
            "::/0",
            "true",
            "null",
            "10",
            "1e3",
            "",
            " a",
            "a ",
            "a: b",
            "x/a, y",
            "0x1f",
            "~",
            "é",
            "- a",
            "no",
            "a #b",
            "203.0.113.10",
        ] {
            assert_is_read_back(&json!({ "key": text, "list": [text], "in": [{ "a": { text: text } }] }));
        }
        assert_is_read_back(&json!({ "text": "word ".repeat(60).trim(), "empty": {}, "none": [] }));
        assert_is_read_back(&json!([[1, 2], { "a": [] }]));
        assert_is_read_back(&json!("text"));
    }

    #[test]
    fn what_fits_on_a_line_stands_on_one() {
        let value = json!({
            "steps": [{ "expect": [{ "to": "*", "from": "*", "deny": ["all"] }, { "to": "self", "from": "*", "allow": ["all"] }], "name": "deny", "apply": [
                { "kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": { "name": "p", "namespace": "x" },
                    "spec": { "podSelector": {}, "ingress": [{ "from": [{ "namespaceSelector": { "matchLabels": { "team": "red" } } }] }] } },
            ] }],
            "metadata": { "name": "n" },
        });
        insta::assert_snapshot!(to_yaml(&value), @r#"
        metadata: {name: n}
        steps:
        - name: deny
          apply:
          - apiVersion: networking.k8s.io/v1
            kind: NetworkPolicy
            metadata: {name: p, namespace: x}
            spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]}
          expect:
          - {from: "*", to: "*", deny: [all]}
          - {from: "*", to: self, allow: [all]}
        "#);
    }
}
