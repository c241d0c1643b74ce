//! `policy.networking.k8s.io` → [`policy::ClusterPolicy`](crate::policy::ClusterPolicy).
//!
//! The three kinds express the same in different forms. `v1alpha1` and `v1alpha2` have the forms. `convert` has their
//! meaning.

mod convert;
mod dialect;
mod peers;
mod ports;
mod v1alpha1;
mod v1alpha2;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;
use serde::de::Error;
use serde_json::{Value, json};

use super::field::Problem;
use crate::policy::ClusterPolicy;
use crate::source::{Node, decode};

pub(super) use v1alpha1::{AdminNetworkPolicySpec, BaselineAdminNetworkPolicySpec};
pub(super) use v1alpha2::ClusterNetworkPolicySpec;

/// The API group of cluster-scoped policies.
pub const GROUP: &str = "policy.networking.k8s.io";

/// A manifest of one of the kinds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest<S> {
    #[expect(dead_code, reason = "the kind was looked up before, and has this version")]
    api_version: Option<String>,
    #[expect(dead_code, reason = "the kind was looked up before")]
    kind: Option<String>,
    pub(super) metadata: ObjectMeta,
    pub(super) spec: S,
}

/// The `spec` of one of the kinds.
pub(super) trait Spec {
    /// Converts the policy of this name.
    fn convert(&self, name: Option<&str>) -> Result<ClusterPolicy, Problem>;
}

/// A cluster-scoped policy as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterPolicyObject {
    /// `metadata`
    pub metadata: ObjectMeta,
    /// `spec`, without the fields that have no value.
    pub spec: Value,
}

impl ClusterPolicyObject {
    /// Returns the object that a node contains.
    pub(super) fn new(metadata: ObjectMeta, node: &Node) -> Self {
        // Everything can be decoded as JSON.
        let mut spec = node.get("spec").and_then(|spec| decode(spec).ok()).unwrap_or_default();
        remove_nulls(&mut spec);
        Self { metadata, spec }
    }

    /// Replaces the namespace selectors of the subject, and those in `from` and `to`. An omitted selector is passed as
    /// one that selects all namespaces.
    ///
    /// # Errors
    /// If a selector has another form, or if the subject has none: the policy would be in force for all pods of the
    /// cluster. An object that was read has the right form.
    pub fn rewrite_namespaces(
        &mut self,
        subject: impl FnOnce(&mut LabelSelector),
        peer: impl Fn(&mut LabelSelector),
    ) -> serde_json::Result<()> {
        for (list, peers) in [("ingress", "from"), ("egress", "to")] {
            let rules = self.spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            let peers = rules.filter_map(|rule| rule.get_mut(peers)?.as_array_mut());
            peers.flatten().try_for_each(|selected| rewrite(selected, &peer).map(drop))?;
        }
        let is_rewritten =
            self.spec.get_mut("subject").map(|selected| rewrite(selected, subject)).transpose()?;
        if is_rewritten == Some(true) {
            Ok(())
        } else {
            Err(Error::custom("its subject selects no namespaces"))
        }
    }
}

/// Replaces the namespace selector of a subject or peer, if it selects pods. Other peers stay. Returns whether there
/// was something to replace.
fn rewrite(selected: &mut Value, change: impl FnOnce(&mut LabelSelector)) -> serde_json::Result<bool> {
    let (parent, field) = match selected.get_mut("pods") {
        Some(pods) => (pods, "namespaceSelector"),
        None => (selected, "namespaces"),
    };
    let mut selector: LabelSelector = match (parent.get_mut(field), field) {
        (Some(selector), _) => serde_json::from_value(selector.take())?,
        (None, "namespaceSelector") => LabelSelector::default(),
        (None, _) => return Ok(false),
    };
    change(&mut selector);
    let replaced = parent.as_object_mut().map(|parent| parent.insert(field.to_owned(), json!(selector)));
    Ok(replaced.is_some())
}

/// Removes all fields without a value. They count as left out.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `AdminNetworkPolicySubject`, `ClusterNetworkPolicySubject`: exactly one field.
#[derive(Deserialize)]
struct Subject {
    /// All pods of these namespaces.
    namespaces: Option<LabelSelector>,
    /// Pods of some namespaces.
    pods: Option<NamespacedPod>,
}

/// `NamespacedPod`
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamespacedPod {
    /// The namespaces. In `v1alpha2` it may be omitted, which means all namespaces.
    namespace_selector: Option<LabelSelector>,
    pod_selector: LabelSelector,
}

/// An entry of `from`. It selects pods as a subject does.
type IngressPeer = Subject;

/// An entry of `to`: exactly one field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EgressPeer {
    /// All pods of these namespaces.
    namespaces: Option<LabelSelector>,
    /// Pods of some namespaces.
    pods: Option<NamespacedPod>,
    /// Nodes, by label.
    nodes: Option<LabelSelector>,
    /// Address ranges.
    networks: Option<Vec<String>>,
    domain_names: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a cluster, the subject limits a policy to the namespaces of a run.
    #[test]
    fn a_policy_whose_subject_cannot_be_limited_is_refused() {
        let limit = |spec: Value| {
            let mut policy = ClusterPolicyObject { metadata: ObjectMeta::default(), spec };
            let refused = policy.rewrite_namespaces(|_| {}, |_| {}).err();
            refused.map(|error| error.to_string())
        };
        for selected in [json!({"namespaces": {}}), json!({"pods": {"podSelector": {}}})] {
            assert_eq!(limit(json!({"subject": selected})), None);
        }
        for spec in
            [Value::Null, json!({"priority": 1}), json!({"subject": {}}), json!({"subject": {"pods": 1}})]
        {
            assert_eq!(limit(spec).as_deref(), Some("its subject selects no namespaces"));
        }
    }
}
