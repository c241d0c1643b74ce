//! Structure of a scenario file. The other modules of `scenario` interpret it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::source::{Located, Node};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ScenarioFile {
    #[expect(dead_code, reason = "looked at before the rest is decoded")]
    api_version: Node,
    #[expect(dead_code, reason = "looked at before the rest is decoded")]
    kind: Node,
    pub(super) metadata: MetadataFile,
    pub(super) topology: Option<TopologyFile>,
    pub(super) probes: Option<Vec<Located<String>>>,
    pub(super) steps: Located<Vec<StepFile>>,
    #[serde(default)]
    pub(super) requires: Vec<Located<String>>,
    pub(super) demonstrates: Option<Located<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct MetadataFile {
    pub(super) name: Located<String>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) spec_rules: Vec<Located<i64>>,
    #[serde(default)]
    pub(super) references: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TopologyFile {
    pub(super) nodes: Option<Located<usize>>,
    pub(super) families: Option<Located<Vec<Located<String>>>>,
    pub(super) namespaces: Option<Vec<NamespaceFile>>,
    pub(super) externals: Vec<ExternalFile>,
    pub(super) node_endpoints: bool,
    pub(super) services_by_name: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamespaceFile {
    pub(super) name: Located<String>,
    pub(super) labels: Option<Located<BTreeMap<String, String>>>,
    #[serde(default)]
    pub(super) pods: Vec<PodFile>,
    #[serde(default)]
    pub(super) services: Vec<ServiceFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct PodFile {
    /// Only for `addPod`. In a topology, pods are listed in their namespace.
    pub(super) namespace: Option<Located<String>>,
    pub(super) name: Located<String>,
    pub(super) labels: Option<Located<BTreeMap<String, String>>>,
    pub(super) node: Option<Located<usize>>,
    #[serde(default)]
    pub(super) ports: Vec<PortFile>,
    #[serde(default)]
    pub(super) host_network: bool,
    pub(super) dns: Option<DnsFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortFile {
    pub(super) name: Option<Located<String>>,
    pub(super) port: Located<i32>,
    pub(super) protocol: Option<Located<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsFile {
    pub(super) port: Option<Located<i32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceFile {
    pub(super) name: Located<String>,
    pub(super) selector: Located<BTreeMap<String, String>>,
    pub(super) ports: Vec<ServicePortFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ServicePortFile {
    pub(super) name: Option<String>,
    pub(super) port: Located<i32>,
    pub(super) target_port: Option<Node>,
    pub(super) protocol: Option<Located<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExternalFile {
    pub(super) name: Located<String>,
    /// One address or a list of them.
    pub(super) ip: Node,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct StepFile {
    pub(super) name: Located<String>,
    #[serde(default)]
    pub(super) description: String,
    pub(super) spec_rules: Option<Vec<Located<i64>>>,
    #[serde(default)]
    pub(super) requires: Vec<Located<String>>,
    #[serde(default)]
    pub(super) keep_open: Vec<Located<KeepOpenFile>>,
    /// Manifests, or names of files with manifests.
    #[serde(default)]
    pub(super) apply: Vec<Node>,
    #[serde(default)]
    pub(super) delete: Vec<Located<DeleteFile>>,
    #[serde(default)]
    pub(super) label: Vec<Located<LabelFile>>,
    #[serde(default)]
    pub(super) remove_pod: Vec<Located<String>>,
    #[serde(default)]
    pub(super) end_pod: Vec<Located<String>>,
    #[serde(default)]
    pub(super) add_pod: Vec<Located<PodFile>>,
    #[serde(default)]
    pub(super) expect: Vec<Located<AssertionFile>>,
    #[serde(default)]
    pub(super) intent: Vec<Located<AssertionFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeepOpenFile {
    /// One pattern or a list of patterns, like `to`.
    pub(super) from: Node,
    pub(super) to: Node,
    pub(super) probe: Located<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteFile {
    pub(super) kind: Located<String>,
    /// Not for cluster-scoped kinds.
    pub(super) namespace: Option<Located<String>>,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelFile {
    /// `namespace/name`
    pub(super) pod: Option<Located<String>>,
    pub(super) namespace: Option<Located<String>>,
    /// `null` removes a label.
    pub(super) labels: Located<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AssertionFile {
    /// One pattern or a list of patterns, like `to`.
    pub(super) from: Node,
    pub(super) to: Node,
    pub(super) allow: Option<Vec<Located<String>>>,
    pub(super) deny: Option<Vec<Located<String>>>,
    pub(super) undefined: Option<Vec<Located<String>>>,
    pub(super) family: Option<Located<String>>,
}
