//! The structure of a profile file.

use serde::Deserialize;

use crate::source::{Located, Node};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ProfileFile {
    #[expect(dead_code, reason = "looked at before the rest is decoded")]
    api_version: Node,
    #[expect(dead_code, reason = "looked at before the rest is decoded")]
    kind: Node,
    pub(super) metadata: MetadataFile,
    pub(super) deviations: Located<Vec<Located<DeviationFile>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetadataFile {
    pub(super) name: Located<String>,
    pub(super) description: Located<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviationFile {
    pub(super) reason: Located<String>,
    /// One reference, or a list.
    pub(super) references: Node,
    pub(super) cells: Located<CellsFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CellsFile {
    pub(super) quirk: Option<Located<String>>,
    /// One pattern, or a list. The other fields of type `Node` have the same form.
    pub(super) scenarios: Option<Node>,
    pub(super) steps: Option<Node>,
    pub(super) from: Option<Node>,
    pub(super) to: Option<Node>,
    pub(super) probes: Option<Node>,
    pub(super) policies: Option<Node>,
    pub(super) direction: Option<Located<String>>,
    pub(super) family: Option<Located<String>>,
    pub(super) expected: Option<Located<String>>,
}
