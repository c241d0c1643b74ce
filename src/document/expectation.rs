//! The expected matrix.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ApiVersion, ExpectationKind, names, texts};
use crate::expect::port_lists;
use crate::policy::{Connections, PairConnections};
use crate::snapshot::Unmodelled;

/// What the policies of a cluster promise. A report writes it row by row, because a large cluster has
/// millions of pairs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectationDocument {
    pub api_version: ApiVersion,
    pub kind: ExpectationKind,
    pub warnings: Vec<String>,
    pub unmodelled: Vec<Unmodelled>,
    pub unshown: Vec<UnshownServices>,
    pub pairs: Vec<ExpectedPair>,
}

/// Services that do something which no pair shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnshownServices {
    pub services: Vec<String>,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedPair {
    pub from: String,
    pub to: String,
    #[serde(flatten)]
    pub traffic: ExpectedTraffic,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedTraffic {
    pub connections: Ports,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undefined: Option<Ports>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumptions: Option<Vec<String>>,
}

/// `"all"`, or ports by protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl From<&PairConnections> for ExpectedTraffic {
    fn from(PairConnections { allowed, undefined, assumptions }: &PairConnections) -> Self {
        let is_defined = undefined.is_empty();
        Self {
            connections: allowed.into(),
            undefined: (!is_defined).then(|| undefined.into()),
            assumptions: (!is_defined).then(|| texts(assumptions)),
        }
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
