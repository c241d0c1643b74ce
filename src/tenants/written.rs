//! The tenants as they are written, before they are compared with a cluster.

use super::tenancy::Tenancy;
use crate::policy::Cluster;
use crate::source::{Document, Error, Text};

/// The tenants as a file or as labels describe them.
#[derive(Debug, Clone, Default)]
pub struct Tenants {}

impl Tenants {
    /// Reads the tenants of a file.
    ///
    /// # Errors
    /// The first error, with its place.
    pub fn read(text: &Text) -> Result<Self, Error> {
        text.documents()?.first().map_or_else(|| Ok(Self::default()), Self::from_document)
    }

    /// Reads the tenants of a document.
    ///
    /// # Errors
    /// The first error, with its place.
    pub fn from_document(_document: &Document) -> Result<Self, Error> {
        Ok(Self::default())
    }

    /// Groups namespaces by the value of a label, and asks that nothing from one group reaches another.
    ///
    /// # Errors
    /// If there are not at least two groups.
    pub fn by_label(_cluster: &Cluster, _key: &str) -> Result<Self, Error> {
        Ok(Self::default())
    }

    /// Finds the tenants in a cluster.
    ///
    /// # Errors
    /// If the tenants do not fit the cluster, for example because a selector matches nothing.
    pub fn resolve(&self, _cluster: &Cluster) -> Result<Tenancy, Error> {
        Ok(Tenancy::default())
    }
}

/// Returns the key of the label that marks tenants in this cluster, if it has one of the labels that well-known tools
/// set.
pub fn well_known_key(_cluster: &Cluster) -> Option<String> {
    None
}
