//! The shapes of `policy.networking.k8s.io/v1alpha2`.

use serde::Deserialize;

use super::{EgressPeer, IngressPeer, Subject};

#[derive(Deserialize)]
pub(in crate::snapshot) struct ClusterNetworkPolicySpec {
    pub(super) tier: String,
    pub(super) priority: i32,
    pub(super) subject: Subject,
    pub(super) ingress: Option<Vec<IngressRule>>,
    pub(super) egress: Option<Vec<EgressRule>>,
}

/// `ClusterNetworkPolicyIngressRule`
#[derive(Deserialize)]
pub(super) struct IngressRule {
    pub(super) name: Option<String>,
    pub(super) action: String,
    pub(super) from: Vec<IngressPeer>,
    pub(super) protocols: Option<Vec<PolicyProtocol>>,
}

/// `ClusterNetworkPolicyEgressRule`
#[derive(Deserialize)]
pub(super) struct EgressRule {
    pub(super) name: Option<String>,
    pub(super) action: String,
    pub(super) to: Vec<EgressPeer>,
    pub(super) protocols: Option<Vec<PolicyProtocol>>,
}

/// `ClusterNetworkPolicyProtocol`: exactly one field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyProtocol {
    pub(super) tcp: Option<Destination>,
    pub(super) udp: Option<Destination>,
    pub(super) sctp: Option<Destination>,
    pub(super) destination_named_port: Option<String>,
}

/// `ClusterNetworkPolicyProtocolTCP`, and the same for UDP and SCTP.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Destination {
    pub(super) destination_port: Option<Port>,
}

/// `Port`: exactly one field.
#[derive(Deserialize)]
pub(super) struct Port {
    pub(super) number: Option<i32>,
    pub(super) range: Option<PortRange>,
}

#[derive(Deserialize)]
pub(super) struct PortRange {
    pub(super) start: i32,
    /// The last port. It must be above the first.
    pub(super) end: i32,
}
