//! What netproof notes beside the objects of a live cluster: which objects it could not see, and what the network
//! plugin does not enforce.

use serde::{Deserialize, Serialize};

use crate::source::{DecodeError, Node, decode};

/// The kind of the object that a saved snapshot has beside those of the cluster.
const KIND: &str = "SnapshotInfo";
const API_VERSION: &str = "netproof.dev/v1alpha1";

/// The notes of a saved snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotInfo {
    api_version: String,
    kind: String,
    /// Name of the cluster, as the kubeconfig calls it. `None` if it was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Version of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Name of the network plugin. `None` if it was not recognized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_plugin: Option<String>,
    /// Objects that could not be seen.
    #[serde(default)]
    pub unseen: Vec<Unseen>,
    /// Enforcers that do not enforce. Policies that are only staged are objects of the snapshot.
    #[serde(default)]
    pub not_enforced: Vec<NotEnforced>,
    /// Whether names and addresses were replaced.
    #[serde(default)]
    pub redacted: bool,
}

impl Default for SnapshotInfo {
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            cluster: None,
            server: None,
            network_plugin: None,
            unseen: Vec::new(),
            not_enforced: Vec::new(),
            redacted: false,
        }
    }
}

impl SnapshotInfo {
    /// Returns the notes about a cluster with this name and version.
    pub fn of_cluster(name: String, server: String) -> Self {
        Self { cluster: Some(name), server: Some(server), ..Self::default() }
    }

    /// Returns whether an object has this kind.
    pub(super) fn is(node: &Node) -> bool {
        let has = |field: &str, value: &str| node.get(field).and_then(Node::as_str) == Some(value);
        has("kind", KIND) && has("apiVersion", API_VERSION)
    }

    /// Reads the object.
    pub(super) fn read(node: &Node) -> Result<Self, DecodeError> {
        decode(node)
    }
}

/// Objects of a kind that the cluster may have, and that netproof could not see. Facts about them stay unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unseen {
    /// `Kind`, or `Kind.group` outside the core group.
    pub kind: String,
    /// The namespace of the objects; `None` if they are anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The namespaces that were seen. The objects are in other namespaces, or anywhere if the list is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// What this means for the answer.
    pub effect: String,
    /// Why they could not be seen. Empty if that was removed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Whether the answer about what was seen may be wrong without them. The user must accept that by name.
    #[serde(default)]
    pub is_needed: bool,
}

/// Writes `Kind.group in namespace x: effect (why)`.
impl std::fmt::Display for Unseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        match (&self.namespace, self.outside.as_slice()) {
            (Some(namespace), _) => write!(f, " in namespace {namespace}")?,
            (None, []) => {}
            (None, [one]) => write!(f, " outside namespace {one}")?,
            (None, several) => write!(f, " outside the namespaces {}", several.join(", "))?,
        }
        write!(f, ": {}", self.effect)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

/// Something that looks as if it was enforced, and is not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotEnforced {
    /// The program, or the kind of policies with their number.
    pub what: String,
    /// What this means.
    pub why: String,
    /// Where it is set. Empty if there is no such place, or if its name was removed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Whether the program enforces no NetworkPolicy at all, on some nodes or on all. Otherwise, only these policies
    /// are not in force.
    pub is_everything: bool,
}

/// Writes `what: why (source)`.
impl std::fmt::Display for NotEnforced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " ({})", self.source) }
    }
}
