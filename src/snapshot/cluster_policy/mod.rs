//! `policy.networking.k8s.io` → [`policy::ClusterPolicy`](crate::policy::ClusterPolicy).
//!
//! The three kinds express the same in different forms. [`v1alpha1`] and [`v1alpha2`] have the forms. `convert` has
//! their meaning.

mod convert;
pub mod v1alpha1;
pub mod v1alpha2;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

pub(super) use convert::convert;

/// The API group of cluster-scoped policies.
pub const GROUP: &str = "policy.networking.k8s.io";

/// A cluster-scoped policy as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum ClusterPolicyObject {
    /// `v1alpha1 AdminNetworkPolicy`
    AdminNetworkPolicy(v1alpha1::AdminNetworkPolicy),
    /// `v1alpha1 BaselineAdminNetworkPolicy`
    BaselineAdminNetworkPolicy(v1alpha1::BaselineAdminNetworkPolicy),
    /// `v1alpha2 ClusterNetworkPolicy`
    ClusterNetworkPolicy(v1alpha2::ClusterNetworkPolicy),
}

impl ClusterPolicyObject {
    /// Returns `metadata`.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::AdminNetworkPolicy(object) => &object.metadata,
            Self::BaselineAdminNetworkPolicy(object) => &object.metadata,
            Self::ClusterNetworkPolicy(object) => &object.metadata,
        }
    }

    /// Returns `spec` as JSON, or `None` if it cannot be serialized. An object that was read always can be.
    pub fn spec(&self) -> Option<serde_json::Value> {
        match self {
            Self::AdminNetworkPolicy(object) => serde_json::to_value(&object.spec),
            Self::BaselineAdminNetworkPolicy(object) => serde_json::to_value(&object.spec),
            Self::ClusterNetworkPolicy(object) => serde_json::to_value(&object.spec),
        }
        .ok()
    }

    /// Returns `spec.subject`.
    pub fn subject_mut(&mut self) -> &mut Subject {
        match self {
            Self::AdminNetworkPolicy(object) => &mut object.spec.subject,
            Self::BaselineAdminNetworkPolicy(object) => &mut object.spec.subject,
            Self::ClusterNetworkPolicy(object) => &mut object.spec.subject,
        }
    }

    /// Returns the namespace selectors in `from` and `to`.
    pub fn peer_namespaces_mut(&mut self) -> Vec<&mut LabelSelector> {
        match self {
            Self::AdminNetworkPolicy(v1alpha1::AdminNetworkPolicy { spec, .. }) => {
                let ingress = spec.ingress.iter_mut().flatten().flat_map(|rule| &mut rule.from);
                let egress = spec.egress.iter_mut().flatten().flat_map(|rule| &mut rule.to);
                let ingress = ingress.filter_map(IngressPeer::namespaces_mut);
                ingress.chain(egress.filter_map(EgressPeer::namespaces_mut)).collect()
            }
            Self::BaselineAdminNetworkPolicy(v1alpha1::BaselineAdminNetworkPolicy { spec, .. }) => {
                let ingress = spec.ingress.iter_mut().flatten().flat_map(|rule| &mut rule.from);
                let egress = spec.egress.iter_mut().flatten().flat_map(|rule| &mut rule.to);
                let ingress = ingress.filter_map(IngressPeer::namespaces_mut);
                ingress.chain(egress.filter_map(v1alpha1::BaselineEgressPeer::namespaces_mut)).collect()
            }
            Self::ClusterNetworkPolicy(v1alpha2::ClusterNetworkPolicy { spec, .. }) => {
                let ingress = spec.ingress.iter_mut().flatten().flat_map(|rule| &mut rule.from);
                let egress = spec.egress.iter_mut().flatten().flat_map(|rule| &mut rule.to);
                let ingress = ingress.filter_map(IngressPeer::namespaces_mut);
                ingress.chain(egress.filter_map(EgressPeer::namespaces_mut)).collect()
            }
        }
    }
}

/// `AdminNetworkPolicySubject`, `ClusterNetworkPolicySubject`: exactly one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// All pods of these namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// Pods of some namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPod>,
}

/// `NamespacedPod`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedPod {
    /// The namespaces. In `v1alpha2` it may be omitted, which means all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// The pods.
    pub pod_selector: LabelSelector,
}

/// An entry of `from`. It selects pods as a subject does.
pub type IngressPeer = Subject;

/// An entry of `to`: exactly one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressPeer {
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
    /// Names of domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_names: Option<Vec<String>>,
}

impl Subject {
    /// Returns the namespace selector. If it is omitted, adds one that selects all namespaces. Returns `None` if the
    /// subject has no field. An object that was read always has one.
    pub fn namespaces_mut(&mut self) -> Option<&mut LabelSelector> {
        either(self.namespaces.as_mut(), self.pods.as_mut())
    }
}

impl EgressPeer {
    fn namespaces_mut(&mut self) -> Option<&mut LabelSelector> {
        either(self.namespaces.as_mut(), self.pods.as_mut())
    }
}

fn either<'a>(
    namespaces: Option<&'a mut LabelSelector>,
    pods: Option<&'a mut NamespacedPod>,
) -> Option<&'a mut LabelSelector> {
    let of_pods = pods.map(|pods| pods.namespace_selector.get_or_insert_with(LabelSelector::default));
    namespaces.or(of_pods)
}
