//! Facts that the input does not contain, and what is known about them all the same.

use std::collections::BTreeSet;
use std::fmt;

use super::label::Labels;

/// The gaps in what is known about the labels of a pod or a namespace. The default has none: all labels
/// are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UnknownLabels {
    /// Keys that are present, with values that are not known: a controller chooses them.
    pub values: BTreeSet<String>,
    /// Keys that may be present, with any value.
    pub perhaps: BTreeSet<String>,
    /// Whether keys that are not listed may be present, too.
    pub others: bool,
}

impl UnknownLabels {
    /// Nothing is known but the labels that are listed.
    pub fn others() -> Self {
        Self { others: true, ..Self::default() }
    }

    /// Whether all labels are known.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.perhaps.is_empty() && !self.others
    }
}

/// A fact that the input does not contain and that a flow depends on.
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
    /// The addresses of nodes, which pods with `hostNetwork` have, too.
    NodeAddresses,
    /// The labels of nodes.
    NodeLabels,
    /// The addresses that domain names are resolved to.
    DomainNames,
    /// Whether address blocks see the address of a Service or that of its endpoint: the network plugin decides.
    Translation,
    /// The nodes of pods.
    PodNodes,
    /// Whether a pod with `hostNetwork` counts as a pod or as its node: the network plugin decides.
    HostNetwork,
}

/// The facts that one answer depends on. Never empty where the answer depends on any.
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

/// The labels of an object, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PartialLabels {
    pub(super) known: Labels,
    pub(super) unknown: UnknownLabels,
}

impl PartialLabels {
    /// Only the labels with these keys: what no selector names tells nobody apart.
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
