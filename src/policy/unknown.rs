//! Unknown facts: facts that the input does not contain, or contains only in part.

use std::collections::BTreeSet;
use std::fmt;

use super::label::Labels;

/// Unknown labels of a pod or a namespace. By default, all labels are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UnknownLabels {
    /// Keys that are present, with unknown values that a controller chooses.
    pub values: BTreeSet<String>,
    /// Keys that may be present, with any value.
    pub perhaps: BTreeSet<String>,
    /// Whether any other keys may be present, too.
    pub others: bool,
}

impl UnknownLabels {
    /// Creates the value for an object of which only the listed labels are known.
    pub fn others() -> Self {
        Self { others: true, ..Self::default() }
    }

    /// Returns whether all labels are known.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.perhaps.is_empty() && !self.others
    }
}

/// An unknown fact on which a flow depends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnknownFact {
    /// The labels of a namespace.
    NamespaceLabels {
        /// Its name.
        namespace: String,
    },
    /// A label of pods, by its key.
    PodLabel {
        /// The label's key.
        key: String,
    },
    /// The addresses of pods in the pod network.
    PodAddresses,
    /// The addresses of nodes. Pods with `hostNetwork` have them, too.
    NodeAddresses,
    /// The labels of nodes.
    NodeLabels,
    /// The addresses of domain names.
    DomainNames,
    /// Whether an `ipBlock` is compared with the address of a Service or of its endpoint. The network plugin decides
    /// that.
    Translation,
    /// The nodes on which pods run.
    PodNodes,
    /// Whether a pod with `hostNetwork` counts as a pod or as its node. The network plugin decides that.
    HostNetwork,
}

/// Unknown facts on which one answer depends. Empty only if it depends on none.
pub type UnknownFacts = BTreeSet<UnknownFact>;

impl fmt::Display for UnknownFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamespaceLabels { namespace } => {
                write!(f, "the labels of namespace {namespace} are not in the input")
            }
            Self::PodLabel { key } => write!(f, "the pods' label {key} has a value that is not in the input"),
            Self::PodAddresses => f.write_str("the addresses of pods are not in the input"),
            Self::PodNodes => f.write_str("the nodes of pods are not in the input"),
            Self::HostNetwork => {
                f.write_str("network plugins take a pod with hostNetwork for a pod, or for its node")
            }
            Self::NodeAddresses => f.write_str("the addresses of nodes are not in the input"),
            Self::NodeLabels => f.write_str("the labels of nodes are not in the input"),
            Self::DomainNames => f.write_str("the addresses of domain names are not in the input"),
            Self::Translation => f.write_str(
                "network plugins compare an ipBlock with a Service's address, or with its endpoint's",
            ),
        }
    }
}

/// Labels of an object, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PartialLabels {
    pub(super) known: Labels,
    pub(super) unknown: UnknownLabels,
}

impl PartialLabels {
    /// Returns only the labels with these keys. Labels that no selector names cannot distinguish objects.
    pub(super) fn restricted(labels: &Labels, unknown: &UnknownLabels, keys: &BTreeSet<String>) -> Self {
        let known = labels.iter().filter(|(key, _)| keys.contains(*key));
        Self {
            known: known.map(|(key, value)| (key.clone(), value.clone())).collect(),
            unknown: UnknownLabels {
                values: unknown.values.intersection(keys).cloned().collect(),
                perhaps: unknown.perhaps.intersection(keys).cloned().collect(),
                others: unknown.others,
            },
        }
    }
}
