//! The objects of a live cluster, to be saved in a file and read again.
//!
//! The file is a `v1 List`, as `kubectl get -o json` prints it, with one object of netproof's own
//! ([`SnapshotInfo`]). The objects of the cluster and those of the file are read in the same way, so a question about
//! the file has the same answer as one about the cluster at that moment.
//!
//! What an object of a live cluster means:
//! * A pod that is being deleted is a pod like any other. Policies apply to it until its containers have ended. Until
//!   then it has its address, and it can send.
//! * A pod without an address is a pod whose addresses are not known. It has not started, but policies already select
//!   it, and it may get an address at any moment.
//! * A pod whose containers have all ended has no network. Its address may belong to another pod already.
//! * Lists of different kinds are read one after the other. A pod may be in a namespace or on a node that was created
//!   in between. Then the labels of the namespace or the addresses of nodes are not known.

mod addresses;
mod keep;
mod redact;

use std::sync::Arc;

use serde_json::Value;

use super::info::SnapshotInfo;
use super::manifests::Snapshot;
use crate::source::{self, Document, Error, Located, Location, from_json};

/// The objects of a live cluster, as its API server wrote them, without the parts that netproof does not read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedObjects {
    /// The notes beside the objects.
    pub info: SnapshotInfo,
    /// The objects, sorted by kind, namespace and name.
    objects: Vec<Value>,
}

impl SavedObjects {
    /// Creates the set of these objects. Each needs `apiVersion` and `kind`.
    pub fn new(info: SnapshotInfo, mut objects: Vec<Value>) -> Self {
        objects.iter_mut().for_each(keep::keep);
        objects.sort_by_cached_key(|object| {
            let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
            let metadata =
                |field: &str| text(object.get("metadata").and_then(|metadata| metadata.get(field)));
            [
                text(object.get("kind")),
                text(object.get("apiVersion")),
                metadata("namespace"),
                metadata("name"),
            ]
        });
        Self { info, objects }
    }

    /// Returns the text of a file with the objects: JSON, with one object on each line.
    ///
    /// # Errors
    /// Never, because all keys are strings.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut lines = vec![serde_json::to_string(&self.info)?];
        for object in &self.objects {
            lines.push(serde_json::to_string(object)?);
        }
        Ok(format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n{}\n]}}\n", lines.join(",\n")))
    }

    /// Returns the objects with other names, labels and addresses, so that policies mean the same. The key must be
    /// secret: who knows it can find out the addresses.
    #[must_use]
    pub fn redacted(&self, key: &[u8]) -> Self {
        redact::redacted(self, key)
    }

    /// Reads the objects. Messages call them by `name`.
    ///
    /// # Errors
    /// If the objects cannot be those of a cluster.
    pub fn read(&self, name: &str) -> Result<Snapshot, Error> {
        Snapshot::read([&self.document(name)], None)
    }

    fn document(&self, name: &str) -> Document {
        // What can be decoded can be encoded.
        let info = serde_json::to_value(&self.info).unwrap_or_default();
        let items = std::iter::once(&info).chain(&self.objects).map(from_json).collect();
        let at = Location::NOWHERE;
        let list = vec![(
            Located { value: "items".to_owned(), at },
            Located { value: source::Value::Sequence(items), at },
        )];
        Document { name: Arc::from(name), node: Located { value: source::Value::Mapping(list), at } }
    }
}

/// Removes everything from an object that netproof does not read.
pub fn strip(object: &mut Value) {
    keep::keep(object);
}
