//! Objects of a live cluster that cannot be read or seen.

use std::collections::BTreeMap;

use super::identity::metadata;
use super::info::Unseen;
use super::other::Unmodelled;
use super::{group, is_namespace};
use crate::source::{Error, Node, quote};

/// Maximum number of objects in a message.
const MOST_NAMED: usize = 5;

/// The objects that could not be read.
///
/// Every such object is one without which the answer may be wrong: a policy decides about packets, the connections of
/// a pod are missing, a Service has addresses that are translated. So each kind is reported as one that is not
/// modelled. The labels of a namespace and the addresses of nodes are facts that can stay unknown besides.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// Names and reasons, by `Kind` or `Kind.group`.
    kinds: BTreeMap<String, Vec<String>>,
    namespaces: Vec<String>,
}

impl Unread {
    /// Adds an object, and the reason why it cannot be read.
    pub(super) fn add(&mut self, node: &Node, error: &Error) {
        let text = |field| node.get(field).and_then(Node::as_str).unwrap_or_default();
        let kind = match text("kind") {
            "" => "objects without a kind".to_owned(),
            kind => group::full_name(text("apiVersion"), kind),
        };
        let name = match (metadata(node, "namespace"), metadata(node, "name")) {
            (Some(namespace), Some(name)) => quote(&format!("{namespace}/{name}")),
            (None, Some(name)) => quote(name),
            (_, None) => "without a name".to_owned(),
        };
        if kind == "Namespace" {
            let name = metadata(node, "name").filter(|name| is_namespace(name));
            self.namespaces.extend(name.map(str::to_owned));
        }
        self.kinds.entry(kind).or_default().push(format!("{name} ({})", error.message));
    }

    /// Returns the kinds with objects that could not be read.
    pub(super) fn unmodelled(&self) -> impl Iterator<Item = Unmodelled> {
        self.kinds.iter().map(|(kind, objects)| {
            let mut named: Vec<String> = objects.iter().take(MOST_NAMED).cloned().collect();
            if objects.len() > MOST_NAMED {
                named.push(format!("{} more", objects.len() - MOST_NAMED));
            }
            let why = format!("cannot be read: {}", named.join(", "));
            Unmodelled { kind: kind.clone(), count: Some(objects.len()), why, is_accepted: false }
        })
    }

    /// Returns the namespaces among them. Only their names are known.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &String> {
        self.namespaces.iter()
    }

    /// Returns whether nodes are among them.
    pub(super) fn has_nodes(&self) -> bool {
        self.kinds.contains_key("Node")
    }
}

/// Returns the unseen objects that the answer needs, by kind.
pub(super) fn unseen_kinds(unseen: &[Unseen]) -> Vec<Unmodelled> {
    let mut kinds: Vec<Unmodelled> = Vec::new();
    for Unseen { kind, namespace, effect, why, .. } in unseen.iter().filter(|unseen| unseen.is_needed) {
        let place = namespace.as_ref().map(|name| format!(" (namespace {name})")).unwrap_or_default();
        let why = if why.is_empty() { format!("{effect}{place}") } else { format!("{effect}{place}: {why}") };
        match kinds.iter_mut().find(|other| other.kind == *kind) {
            Some(other) => other.why = format!("{}; {why}", other.why),
            None => {
                kinds.push(Unmodelled { kind: kind.clone(), count: None, why, is_accepted: false });
            }
        }
    }
    kinds
}
