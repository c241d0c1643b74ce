//! The shapes of `policy.networking.k8s.io/v1alpha1`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::{EgressPeer, IngressPeer, NamespacedPod, Subject};

#[derive(Deserialize)]
pub(in crate::snapshot) struct AdminNetworkPolicySpec {
    pub(super) priority: i32,
    pub(super) subject: Subject,
    pub(super) ingress: Option<Vec<IngressRule>>,
    pub(super) egress: Option<Vec<EgressRule<EgressPeer>>>,
}

#[derive(Deserialize)]
pub(in crate::snapshot) struct BaselineAdminNetworkPolicySpec {
    pub(super) subject: Subject,
    pub(super) ingress: Option<Vec<IngressRule>>,
    pub(super) egress: Option<Vec<EgressRule<BaselineEgressPeer>>>,
}

/// `AdminNetworkPolicyIngressRule`, `BaselineAdminNetworkPolicyIngressRule`
#[derive(Deserialize)]
pub(super) struct IngressRule {
    pub(super) name: Option<String>,
    pub(super) action: String,
    pub(super) from: Vec<IngressPeer>,
    pub(super) ports: Option<Vec<PolicyPort>>,
}

/// `AdminNetworkPolicyEgressRule`, `BaselineAdminNetworkPolicyEgressRule`
#[derive(Deserialize)]
pub(super) struct EgressRule<P> {
    pub(super) name: Option<String>,
    pub(super) action: String,
    pub(super) to: Vec<P>,
    pub(super) ports: Option<Vec<PolicyPort>>,
}

/// `BaselineAdminNetworkPolicyEgressPeer`: exactly one field. It has no domain names.
#[derive(Clone, Deserialize)]
pub(super) struct BaselineEgressPeer {
    pub(super) namespaces: Option<LabelSelector>,
    pub(super) pods: Option<NamespacedPod>,
    pub(super) nodes: Option<LabelSelector>,
    pub(super) networks: Option<Vec<String>>,
}

/// `AdminNetworkPolicyPort`: exactly one field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyPort {
    pub(super) port_number: Option<Port>,
    pub(super) named_port: Option<String>,
    pub(super) port_range: Option<PortRange>,
}

#[derive(Deserialize)]
pub(super) struct Port {
    /// TCP if omitted.
    pub(super) protocol: Option<String>,
    pub(super) port: i32,
}

#[derive(Deserialize)]
pub(super) struct PortRange {
    /// TCP if omitted.
    pub(super) protocol: Option<String>,
    pub(super) start: i32,
    pub(super) end: i32,
}
