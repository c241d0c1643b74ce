//! The expected matrix.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{Outcome, Unmodelled, names, texts};
use crate::expect::{Matrix, Row, port_lists};
use crate::policy::{Connections, PairConnections, UnknownFact};
use crate::snapshot::{Identity, Unshown};

/// The expected matrix of a cluster. Its pairs are computed while they are written, because a large
/// cluster has millions of them.
#[derive(Debug)]
pub struct ExpectationDocument<'a> {
    pub warnings: Vec<String>,
    pub unmodelled: Vec<Unmodelled>,
    pub unshown: Vec<UnshownServices>,
    matrix: Matrix<'a>,
}

/// Services that do something which no pair shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnshownServices {
    pub services: Vec<String>,
    pub why: String,
}

/// The connections that one end of a pair may open to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectedTraffic {
    pub connections: Ports,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undefined: Option<Ports>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumptions: Option<Vec<Assumption>>,
    /// `connections` as a text. `None` if nothing is allowed.
    #[serde(skip)]
    pub allowed_text: Option<String>,
    /// `undefined` as a text.
    #[serde(skip)]
    pub undefined_text: Option<String>,
}

/// A fact that is not in the input, as a text, and how the user can add it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Assumption {
    pub text: String,
    #[serde(skip)]
    pub how_to_add: &'static str,
}

/// `"all"`, or ports by protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Ports {
    All(AllPorts),
    Of(BTreeMap<String, Vec<String>>),
}

names! {
    /// All ports of all protocols.
    AllPorts {
        All = "all",
    }
}

impl<'a> ExpectationDocument<'a> {
    /// Creates the document of a matrix, with what its reader must know besides its pairs.
    pub fn new(
        warnings: Vec<String>,
        unmodelled: Vec<Unmodelled>,
        unshown: Vec<UnshownServices>,
        matrix: Matrix<'a>,
    ) -> Self {
        Self { warnings, unmodelled, unshown, matrix }
    }

    /// Returns the outcome: objects that are not modelled leave the matrix incomplete.
    pub fn outcome(&self) -> Outcome {
        let is_complete = self.unmodelled.iter().all(|kind| kind.is_accepted);
        if is_complete { Outcome::Pass } else { Outcome::Inconclusive }
    }

    /// Returns the width of the widest name of an end, in characters.
    pub fn widest_name(&mut self) -> usize {
        self.matrix.widest_name()
    }

    /// Calls `show` for each pair, with both ends and the text that `write` returned for the traffic. Equal
    /// traffic is written once.
    ///
    /// # Errors
    /// Returns the first error of `write` or `show`.
    pub fn pairs<E>(
        &mut self,
        mut write: impl FnMut(&ExpectedTraffic) -> Result<String, E>,
        mut show: impl FnMut(&str, &str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut written = HashMap::new();
        self.matrix.rows(|Row { from, to, connections, id }| {
            let text = match written.entry(id) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(write(&connections.into())?),
            };
            show(from, to, text)
        })
    }
}

impl UnshownServices {
    /// Returns the Services of a snapshot, by the reason why no pair shows what they do.
    pub fn all(unshown: &BTreeMap<Unshown, Vec<Identity>>) -> Vec<Self> {
        let each = unshown.iter().map(|(why, of)| Self { services: texts(of), why: why.to_string() });
        each.collect()
    }
}

impl From<&PairConnections> for ExpectedTraffic {
    fn from(PairConnections { allowed, undefined, assumptions }: &PairConnections) -> Self {
        let is_defined = undefined.is_empty();
        Self {
            connections: allowed.into(),
            undefined: (!is_defined).then(|| undefined.into()),
            assumptions: (!is_defined).then(|| assumptions.iter().map(Assumption::from).collect()),
            allowed_text: (!allowed.is_empty()).then(|| allowed.to_string()),
            undefined_text: (!is_defined).then(|| undefined.to_string()),
        }
    }
}

impl From<&UnknownFact> for Assumption {
    fn from(fact: &UnknownFact) -> Self {
        let how_to_add = match fact {
            UnknownFact::NamespaceLabels { .. } => ": add its Namespace object",
            UnknownFact::PodLabel { .. } => ": a controller sets it; add the pods of a running cluster",
            UnknownFact::PodAddresses => ": give --pod-cidr, or add the pods of a running cluster",
            UnknownFact::NodeAddresses => ": give --node-cidr, or add the Node objects",
            UnknownFact::NodeLabels
            | UnknownFact::DomainNames
            | UnknownFact::Translation
            | UnknownFact::HostNetwork => "",
            UnknownFact::PodNodes => ": add the pods of a running cluster",
        };
        Self { text: fact.to_string(), how_to_add }
    }
}

impl From<&Connections> for Ports {
    fn from(connections: &Connections) -> Self {
        if connections.is_all() {
            return Self::All(AllPorts::All);
        }
        Self::Of(port_lists(connections).map(|(protocol, ports)| (protocol.to_owned(), ports)).collect())
    }
}
