//! Checks that all of netproof's own formats share.

use std::sync::Arc;

use super::error::Error;
use super::files::Document;
use super::node::{Located, Node, Value};

/// Checks the kind and version of a document. This happens before its fields are decoded, because the fields of
/// another kind would only be reported as unknown.
///
/// # Errors
/// If the document has another kind or version.
pub fn expect_kind(document: &Document, api_version: &str, kind: &str) -> Result<(), Error> {
    let Document { name, node } = document;
    // A kind in the plural needs another noun.
    let file = if kind.ends_with('s') { " file" } else { "" };
    let what = format!("{}{file}", kind.to_lowercase());
    if !matches!(node.value, Value::Mapping(_)) {
        let message = format!("expected a {what}, found {}", node.value.describe());
        return Err(Error::at(name, node.at, message));
    }
    for (field, expected) in [("kind", kind), ("apiVersion", api_version)] {
        let Some(found) = node.get(field) else {
            let message = format!("not a {what}: it has no {field}; write `{field}: {expected}`");
            return Err(Error::at(name, node.at, message));
        };
        if found.as_str() != Some(expected) {
            let message = format!("{field}: expected `{expected}`, found {}", found.value.describe());
            return Err(Error::at(name, found.at, message));
        }
    }
    Ok(())
}

/// Returns the value of a field that is a string or a list of at least one string.
///
/// # Errors
/// If the value is anything else.
pub fn strings(name: &Arc<str>, node: &Node, field: &str) -> Result<Vec<Located<String>>, Error> {
    let one = |node: &Node| match node.as_str() {
        Some(text) => Ok(Located { value: text.to_owned(), at: node.at }),
        None => {
            let message = format!("{field}: expected a string, found {}", node.value.describe());
            Err(Error::at(name, node.at, message))
        }
    };
    let Value::Sequence(items) = &node.value else { return one(node).map(|one| vec![one]) };
    if items.is_empty() {
        return Err(Error::at(name, node.at, format!("{field}: the list is empty")));
    }
    items.iter().map(one).collect()
}
