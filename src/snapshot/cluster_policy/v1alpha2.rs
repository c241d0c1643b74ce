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
    /// Its content.
    pub spec: ClusterNetworkPolicySpec,
}

/// `ClusterNetworkPolicySpec`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterNetworkPolicySpec {
    /// `Admin` or `Baseline`.
    pub tier: String,
    /// 0 to 1000. The lowest number comes first.
    pub priority: i32,
    /// The pods that it applies to.
    pub subject: Subject,
    /// Rules for packets to these pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<IngressRule>>,
    /// Rules for packets from these pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
}

/// `ClusterNetworkPolicyIngressRule`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IngressRule {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Accept`, `Deny` or `Pass`.
    pub action: String,
    /// The sources.
    pub from: Vec<IngressPeer>,
    /// The ports; all if omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<PolicyProtocol>>,
}

/// `ClusterNetworkPolicyEgressRule`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EgressRule {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Accept`, `Deny` or `Pass`.
    pub action: String,
    /// The destinations.
    pub to: Vec<EgressPeer>,
    /// The ports; all if omitted.
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

/// `ClusterNetworkPolicyProtocolTCP`, and the same for UDP and SCTP.
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
    /// The first port.
    pub start: i32,
    /// The last port; greater than the first.
    pub end: i32,
}
