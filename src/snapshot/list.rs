//! Lists of objects: `v1 List`, and the typed lists that the API server sends.

use std::sync::Arc;

use super::kind::Mistake;
use super::{group, kind};
use crate::source::{Error, Key, Node, Value, near};

/// A list of objects.
pub(super) struct List<'a, 'k> {
    pub(super) items: &'a [Node],
    /// The kind of items that name none; `None` in a `v1 List`, whose items all name one.
    pub(super) kind: Option<&'k str>,
}

const LIST: &str = "List";
const ITEMS: &str = "items";

/// Returns the list, if an object is one.
///
/// A list without `items` is refused. Otherwise, the objects below a misspelt `Items:` would silently be skipped.
pub(super) fn of<'a, 'k>(
    file: &Arc<str>,
    node: &'a Node,
    api_version: &str,
    kind: &'k str,
) -> Result<Option<List<'a, 'k>>, Error> {
    let error = |at, message: String| Error::at(file, at, message);
    let group = group::of(api_version);
    let items = node.get(ITEMS);
    let Some(item_kind) = kind.strip_suffix(LIST) else {
        return match wrong_case(kind) {
            Some(meant) if group::is_own(group) => {
                let mistake = Mistake::Kind { kind: kind.to_owned(), meant, of: String::new() };
                Err(mistake.within(file, node))
            }
            Some(_) | None => refuse_items(file, node).map(|()| None),
        };
    };
    if !item_kind.is_empty() {
        kind::look_up(api_version, item_kind).map_err(|mistake| mistake.within(file, node))?;
    }
    let Some(items) = items else {
        let misspelt = find_key(node, |name| !near(&name.to_lowercase(), [ITEMS]).is_empty());
        // A custom resource may be called `AllowList` and not be a list.
        if !group::is_own(group) && misspelt.is_none() {
            return Ok(None);
        }
        let found = misspelt.map(|key| format!(", only `{}`", key.value)).unwrap_or_default();
        let at = misspelt.map_or(node.at, |key| key.at);
        return Err(error(at, format!("a list needs `{ITEMS}`{found}: write `{ITEMS}:`")));
    };
    // `kubectl` ignores the case of field names, and uses the last one.
    if let Some(key) = find_key(node, |name| name != ITEMS && name.eq_ignore_ascii_case(ITEMS)) {
        let message = format!("`{}` is there beside `{ITEMS}`: leave one of them out", key.value);
        return Err(error(key.at, message));
    }
    let items = match &items.value {
        Value::Sequence(items) => items.as_slice(),
        // Go writes `null` for an empty list.
        Value::Null => &[],
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::String(_) | Value::Mapping(_) => {
            let message = format!("{ITEMS}: expected a list, found {}", items.value.describe());
            return Err(error(items.at, message));
        }
    };
    Ok(Some(List { items, kind: Some(item_kind).filter(|kind| !kind.is_empty()) }))
}

/// Refuses `items` in an object whose kind is not a list. `kubectl` treats every such object as a list, and applies
/// only its items (`detectList` of k8s.io/apimachinery, which ignores the case of the field).
fn refuse_items(file: &Arc<str>, node: &Node) -> Result<(), Error> {
    find_key(node, |name| name.eq_ignore_ascii_case(ITEMS)).map_or(Ok(()), |key| {
        let message = format!(
            "kubectl takes an object with `{}` for a list and applies only what is in it: write `kind: List`, or remove the field",
            key.value
        );
        Err(Error::at(file, key.at, message))
    })
}

fn find_key(node: &Node, is_it: impl Fn(&str) -> bool) -> Option<&Key> {
    node.entries().iter().map(|(key, _)| key).find(|key| is_it(&key.value))
}

/// Returns the correct form of `list`, `Lists` or `podlist`.
fn wrong_case(kind: &str) -> Option<String> {
    let kind = kind.strip_suffix('s').unwrap_or(kind);
    let start = kind.len().checked_sub(LIST.len())?;
    let (item_kind, ending) = kind.split_at_checked(start)?;
    ending.eq_ignore_ascii_case(LIST).then(|| format!("{item_kind}{LIST}"))
}
