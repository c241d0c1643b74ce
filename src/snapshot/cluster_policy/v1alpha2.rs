//! The shapes of `policy.networking.k8s.io/v1alpha2`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{EgressPeer, IngressPeer, Subject};

/// `ClusterNetworkPolicy`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicy {
    /// `policy.networking.k8s.io/v1alpha2`
    pub api_version: Option<String>,
    /// `ClusterNetworkPolicy`
    pub kind: Option<String>,
    /// Its name and labels.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: ClusterNetworkPolicySpec,
}

/// `ClusterNetworkPolicySpec`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterNetworkPolicySpec {
    /// `Admin` or `Baseline`.
    pub tier: String,
    /// 0 to 1000; the lowest comes first.
    pub priority: i32,
    /// Whom it is about.
    pub subject: Subject,
    /// What they receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<IngressRule>>,
    /// What they send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
}

/// `ClusterNetworkPolicyIngressRule`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IngressRule {
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Accept`, `Deny` or `Pass`.
    pub action: String,
    /// Who sends.
    pub from: Vec<IngressPeer>,
    /// On which ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<PolicyProtocol>>,
}

/// `ClusterNetworkPolicyEgressRule`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EgressRule {
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Accept`, `Deny` or `Pass`.
    pub action: String,
    /// To whom.
    pub to: Vec<EgressPeer>,
    /// On which ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<PolicyProtocol>>,
}

/// `ClusterNetworkPolicyProtocol`: exactly one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyProtocol {
    /// TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Destination>,
    /// UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<Destination>,
    /// SCTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sctp: Option<Destination>,
    /// The container port of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_named_port: Option<String>,
}

/// `ClusterNetworkPolicyProtocolTCP` and its like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<Port>,
}

/// `Port`: exactly one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// One port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<i32>,
    /// Ports from `start` to `end`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<PortRange>,
}

/// `PortRange`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub start: i32,
    /// The last; above the first.
    pub end: i32,
}
