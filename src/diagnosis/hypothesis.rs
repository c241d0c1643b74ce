//! What may be wrong: a deviation of the catalogue, or a node that enforces nothing.

use crate::deviation::{CompileFault, DatapathFault, Deviation, Effect, RouteQuirk};

/// Something that may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Hypothesis {
    /// A deviation of the catalogue.
    Known(&'static Deviation),
    /// Nothing is enforced on the node of this name.
    OpenNode(String),
}

/// How much a hypothesis claims. If several explain the same cells, the one that claims least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Breadth {
    /// One field or one situation.
    Rule,
    /// Some packets, whatever the policies say.
    Packets,
    /// Everything at one node, or in one direction.
    Half,
    /// Everything.
    All,
}

impl Hypothesis {
    /// Returns the hypotheses to try on a network with these nodes. A deviation that shows only by chance predicts no
    /// cell, so it is not one of them.
    pub(super) fn all(nodes: impl IntoIterator<Item = String>) -> Vec<Self> {
        let known = Deviation::all().filter(|deviation| deviation.is_predictable()).map(Self::Known);
        known.chain(nodes.into_iter().map(Self::OpenNode)).collect()
    }

    /// Returns the deviation of the catalogue.
    pub(super) fn deviation(&self) -> Option<&'static Deviation> {
        match self {
            Self::Known(deviation) => Some(deviation),
            Self::OpenNode(_) => None,
        }
    }

    /// Returns how much it claims.
    pub(super) fn breadth(&self) -> Breadth {
        let Some(deviation) = self.deviation() else { return Breadth::Half };
        match deviation.effect {
            Effect::Packets(DatapathFault::NoEnforcement) => Breadth::All,
            Effect::Packets(DatapathFault::Ignores(_)) => Breadth::Half,
            Effect::Packets(_) => Breadth::Packets,
            Effect::Meaning(_)
            | Effect::WrittenMeaning(_)
            | Effect::Changes(_)
            | Effect::Rules(_)
            | Effect::Route(_) => Breadth::Rule,
        }
    }
}

/// Hypotheses that are all true, by the part of enforcement that they change.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// Deviations in what the enforcers know, in the order in which they are applied.
    pub(super) knowledge: Vec<&'static Deviation>,
    pub(super) compile: Vec<CompileFault>,
    pub(super) datapath: Vec<DatapathFault>,
    pub(super) routes: Vec<&'static Deviation>,
    pub(super) open_nodes: Vec<String>,
}

impl Parts {
    pub(super) fn new(hypotheses: &[Hypothesis]) -> Self {
        let mut parts = Self::default();
        for hypothesis in hypotheses {
            match hypothesis {
                Hypothesis::OpenNode(node) => parts.open_nodes.push(node.clone()),
                Hypothesis::Known(deviation) => match deviation.effect {
                    Effect::Meaning(_) | Effect::WrittenMeaning(_) | Effect::Changes(_) => {
                        parts.knowledge.push(deviation);
                    }
                    Effect::Rules(fault) => parts.compile.push(fault),
                    Effect::Packets(fault) => parts.datapath.push(fault),
                    Effect::Route(_) => parts.routes.push(deviation),
                },
            }
        }
        // What was written is read before its meaning is changed. Changes are followed last.
        parts.knowledge.sort_by_key(|deviation| match deviation.effect {
            Effect::WrittenMeaning(_) => 0,
            Effect::Changes(_) => 2,
            Effect::Meaning(_) | Effect::Rules(_) | Effect::Packets(_) | Effect::Route(_) => 1,
        });
        parts
    }

    /// Returns whether only what the enforcers know is changed.
    pub(super) fn is_knowledge(&self) -> bool {
        self.compile.is_empty()
            && self.datapath.is_empty()
            && self.routes.is_empty()
            && self.open_nodes.is_empty()
    }

    /// Returns whether packets are only let pass, so that everything that is allowed is delivered.
    pub(super) fn only_open(&self) -> bool {
        self.knowledge.is_empty()
            && self.compile.is_empty()
            && self.routes.is_empty()
            && self.datapath.iter().all(|fault| fault.passing().is_some())
    }

    pub(super) fn has_route(&self, quirk: RouteQuirk) -> bool {
        self.routes.iter().any(|deviation| deviation.route() == Some(quirk))
    }

    pub(super) fn has_packets(&self, fault: DatapathFault) -> bool {
        self.datapath.contains(&fault)
    }
}
