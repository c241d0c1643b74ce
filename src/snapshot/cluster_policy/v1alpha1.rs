//! The shapes of `policy.networking.k8s.io/v1alpha1`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

use super::{EgressPeer, IngressPeer, NamespacedPod, Subject, either};

/// `AdminNetworkPolicy`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminNetworkPolicy {
    /// `policy.networking.k8s.io/v1alpha1`
    pub api_version: Option<String>,
    /// `AdminNetworkPolicy`
    pub kind: Option<String>,
    /// Its name and labels.
    pub metadata: ObjectMeta,
    /// Its content.
    pub spec: AdminNetworkPolicySpec,
}

/// `AdminNetworkPolicySpec`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdminNetworkPolicySpec {
    /// 0 to 1000. The lowest number comes first.
    pub priority: i32,
    /// The pods that it applies to.
    pub subject: Subject,
    /// Rules for packets to these pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<IngressRule>>,
    /// Rules for packets from these pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule<EgressPeer>>>,
}

/// `BaselineAdminNetworkPolicy`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BaselineAdminNetworkPolicy {
    /// `policy.networking.k8s.io/v1alpha1`
    pub api_version: Option<String>,
    /// `BaselineAdminNetworkPolicy`
    pub kind: Option<String>,
    /// Its labels. Its name is always `default`.
    pub metadata: ObjectMeta,
    /// Its content.
    pub spec: BaselineAdminNetworkPolicySpec,
}

/// `BaselineAdminNetworkPolicySpec`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineAdminNetworkPolicySpec {
    /// The pods that it applies to.
    pub subject: Subject,
    /// Rules for packets to these pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<IngressRule>>,
    /// Rules for packets from these pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule<BaselineEgressPeer>>>,
}

/// `AdminNetworkPolicyIngressRule`, `BaselineAdminNetworkPolicyIngressRule`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IngressRule {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Allow`, `Deny` or `Pass`. The baseline has no `Pass`.
    pub action: String,
    /// The sources.
    pub from: Vec<IngressPeer>,
    /// The ports; all if omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PolicyPort>>,
}

/// `AdminNetworkPolicyEgressRule`, `BaselineAdminNetworkPolicyEgressRule`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EgressRule<P> {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Allow`, `Deny` or `Pass`. The baseline has no `Pass`.
    pub action: String,
    /// The destinations.
    pub to: Vec<P>,
    /// The ports; all if omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PolicyPort>>,
}

/// `BaselineAdminNetworkPolicyEgressPeer`: exactly one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineEgressPeer {
    /// All pods of these namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// Pods of some namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPod>,
    /// Nodes, by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<LabelSelector>,
    /// Address ranges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
}

impl BaselineEgressPeer {
    pub(super) fn namespaces_mut(&mut self) -> Option<&mut LabelSelector> {
        either(self.namespaces.as_mut(), self.pods.as_mut())
    }
}

/// `AdminNetworkPolicyPort`: exactly one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPort {
    /// One port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_number: Option<Port>,
    /// The container port of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named_port: Option<String>,
    /// Ports from `start` to `end`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range: Option<PortRange>,
}

/// `Port`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// TCP if omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// 1 to 65535.
    pub port: i32,
}

/// `PortRange`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortRange {
    /// TCP if omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The first port.
    pub start: i32,
    /// The last port.
    pub end: i32,
}
