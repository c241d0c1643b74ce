//! Structure of a tenants file. [`read`](super::read) interprets it.

use serde::Deserialize;

use crate::source::{Located, Node};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TenantsFile {
    #[expect(dead_code, reason = "looked at before the rest is decoded")]
    api_version: Node,
    #[expect(dead_code, reason = "looked at before the rest is decoded")]
    kind: Node,
    #[expect(dead_code, reason = "only people read it")]
    metadata: Option<MetadataFile>,
    pub(super) tenants: Located<Vec<TenantFile>>,
    #[serde(default)]
    pub(super) shared_services: Vec<Located<SharedServiceFile>>,
    #[serde(default)]
    pub(super) zones: Vec<ZoneFile>,
    #[serde(default)]
    pub(super) flows: Vec<Located<FlowFile>>,
    #[serde(default)]
    pub(super) outside: Vec<OutsideFile>,
    /// `false`, or a mapping.
    pub(super) standing: Option<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetadataFile {
    #[expect(dead_code, reason = "only people read it")]
    name: Option<String>,
    #[expect(dead_code, reason = "only people read it")]
    description: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TenantFile {
    pub(super) name: Located<String>,
    /// Each entry is a name, or a [`NamespaceFile`].
    pub(super) namespaces: Option<Located<Vec<Node>>>,
    pub(super) namespace_selector: Option<Node>,
    pub(super) ingress: Option<Located<String>>,
    pub(super) egress: Option<Located<String>>,
    pub(super) mode: Option<Located<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamespaceFile {
    pub(super) name: Located<String>,
    #[serde(default)]
    pub(super) shared: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SharedServiceFile {
    pub(super) name: Located<String>,
    pub(super) namespaces: Option<Node>,
    pub(super) namespace_selector: Option<Node>,
    pub(super) pod_selector: Option<Node>,
    pub(super) addresses: Option<Node>,
    #[serde(default)]
    pub(super) api_server: bool,
    pub(super) ports: Option<Located<Vec<Node>>>,
    pub(super) direction: Option<Located<String>>,
    pub(super) action: Option<Located<String>>,
    /// One name or a list of names.
    pub(super) tenants: Option<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ZoneFile {
    pub(super) name: Located<String>,
    pub(super) namespaces: Option<Node>,
    pub(super) namespace_selector: Option<Node>,
    pub(super) pod_selector: Option<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FlowFile {
    pub(super) from: Located<EndFile>,
    pub(super) to: Located<EndFile>,
    #[serde(default)]
    pub(super) same_tenant: bool,
    pub(super) action: Located<String>,
    pub(super) ports: Option<Located<Vec<Node>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndFile {
    /// One name or a list of names, like `zone`.
    pub(super) tenant: Option<Node>,
    pub(super) zone: Option<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutsideFile {
    pub(super) name: Located<String>,
    /// One address or range, or a list of them.
    pub(super) addresses: Node,
    pub(super) ports: Option<Located<Vec<Node>>>,
    pub(super) action: Located<String>,
    /// One name or a list of names.
    pub(super) tenants: Option<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct StandingFile {
    pub(super) metadata: bool,
    pub(super) kubelets: bool,
    pub(super) etcd: bool,
    pub(super) api_server: bool,
    pub(super) node_ports: bool,
}

impl Default for StandingFile {
    fn default() -> Self {
        Self { metadata: true, kubelets: true, etcd: true, api_server: true, node_ports: true }
    }
}
