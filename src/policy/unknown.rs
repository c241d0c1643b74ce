//! Unknown facts: facts that the input does not contain, or contains only in part.

use std::collections::BTreeSet;
use std::fmt;

use super::arena::{Id, Interner};

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

pub(super) type FactsId = Id<UnknownFacts>;

/// Interned sets of unknown facts. The id fields are sets that do not depend on the cluster.
#[derive(Debug)]
pub(super) struct Facts {
    sets: Interner<UnknownFacts>,
    pub(super) pod_addresses: FactsId,
    pub(super) node_addresses: FactsId,
    pub(super) node_labels: FactsId,
    pub(super) domain_names: FactsId,
}

impl Default for Facts {
    fn default() -> Self {
        let mut sets = Interner::default();
        let mut one = |fact| sets.intern(UnknownFacts::from([fact]));
        Self {
            pod_addresses: one(UnknownFact::PodAddresses),
            node_addresses: one(UnknownFact::NodeAddresses),
            node_labels: one(UnknownFact::NodeLabels),
            domain_names: one(UnknownFact::DomainNames),
            sets,
        }
    }
}

impl Facts {
    pub(super) fn intern(&mut self, facts: UnknownFacts) -> FactsId {
        self.sets.intern(facts)
    }

    pub(super) fn get(&self, id: FactsId) -> &UnknownFacts {
        &self.sets.arena()[id]
    }
}
