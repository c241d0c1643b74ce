//! Interned sets of the unknown facts on which matches depend.

use super::arena::Interner;
use super::compiled::FactsId;
use super::unknown::{UnknownFact, UnknownFacts};

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
