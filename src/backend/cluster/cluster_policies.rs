//! Cluster-scoped policies on a cluster: which kinds it has, and how a run creates and removes its own.
//!
//! These policies belong to no namespace. Their subjects are limited to the run's own namespaces, so that
//! they affect no other pods. They carry the run's label, so that they can be removed after the run.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::json;

use super::access;
use super::names::Names;
use super::objects::{Maker, RUN};
use super::request::{failed, is_there_already, persistently, say, status_code, unless_missing};
use crate::backend::Error;
use crate::policy::{ClusterPolicyKind, ClusterPolicyName, NAMESPACE_NAME_LABEL};
use crate::snapshot::WrittenClusterPolicy;
use crate::snapshot::cluster_policy::GROUP;

/// The kinds that a run can use, and the reasons why it cannot use others.
pub(super) type Support = BTreeMap<ClusterPolicyKind, Result<(), String>>;

/// Verbs that a run needs.
const VERBS: [&str; 5] = ["create", "delete", "get", "list", "update"];

/// Returns the API version that netproof uses for a kind, and the plural of the kind.
fn api_of(kind: ClusterPolicyKind) -> (&'static str, &'static str) {
    match kind {
        ClusterPolicyKind::AdminNetworkPolicy => ("v1alpha1", "adminnetworkpolicies"),
        ClusterPolicyKind::BaselineAdminNetworkPolicy => ("v1alpha1", "baselineadminnetworkpolicies"),
        ClusterPolicyKind::ClusterNetworkPolicy => ("v1alpha2", "clusternetworkpolicies"),
    }
}

pub(super) fn resource(kind: ClusterPolicyKind) -> ApiResource {
    let (version, plural) = api_of(kind);
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, version, kind.name()), plural)
}

pub(super) fn api(client: &Client, kind: ClusterPolicyKind) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(kind))
}

/// Returns the permissions that a run needs for a kind.
pub(super) fn rule(kind: ClusterPolicyKind) -> access::Rule {
    let (_, plural) = api_of(kind);
    access::rule(GROUP, plural, &VERBS)
}

/// Returns which kinds are installed and may be used.
pub(super) async fn support(client: &Client) -> Support {
    join_all(ClusterPolicyKind::ALL.map(async |kind| (kind, is_usable(client, kind).await)))
        .await
        .into_iter()
        .collect()
}

async fn is_usable(client: &Client, kind: ClusterPolicyKind) -> Result<(), String> {
    let (version, plural) = api_of(kind);
    let served = format!("{GROUP}/{version}");
    let resources = match persistently(async || client.list_api_group_resources(&served).await).await {
        Ok(resources) => resources.resources,
        Err(error) if status_code(&error) == Some(404) => Vec::new(),
        Err(error) => {
            return Err(format!("it cannot be told whether the cluster has {kind}: {}", say(&error)));
        }
    };
    if !resources.iter().any(|resource| resource.name == plural) {
        return Err(format!("the cluster has no {kind}: its definition of {served} is not installed"));
    }
    let missing = access::missing(client, None, &[rule(kind)]).await.map_err(|error| error.to_string())?;
    let verbs: Vec<_> = missing.iter().flat_map(|(_, verbs)| verbs).copied().collect();
    if verbs.is_empty() {
        return Ok(());
    }
    Err(format!("this user may not {} {plural} ({GROUP})", verbs.join(", ")))
}

impl Names {
    /// Returns the policy's name on the cluster. Its name in the scenario could belong to a policy of another
    /// user.
    pub(super) fn cluster_policy(&self, name: &ClusterPolicyName) -> String {
        match name.kind {
            ClusterPolicyKind::AdminNetworkPolicy | ClusterPolicyKind::ClusterNetworkPolicy => {
                self.of_cluster(&name.name)
            }
            // There is only one object of this kind, and its name is fixed.
            ClusterPolicyKind::BaselineAdminNetworkPolicy => name.name.clone(),
        }
    }
}

impl Maker {
    /// Returns the policy as it was written, limited to these namespaces of the run. `namespaces` are names
    /// on the cluster.
    pub(super) fn cluster_policy(
        &self,
        written: &WrittenClusterPolicy,
        names: &Names,
        namespaces: &[String],
    ) -> Result<DynamicObject, Error> {
        let name = &written.policy.name;
        let mut object = (*written.object).clone();
        let one_of = |key: &str, values: Vec<String>| LabelSelectorRequirement {
            key: key.to_owned(),
            operator: "In".to_owned(),
            values: Some(values),
        };
        let renamed = |selector: &mut LabelSelector| names.rewrite_selector(selector);
        let limited = |subject: &mut LabelSelector| {
            renamed(subject);
            subject.match_expressions.get_or_insert_default().extend([
                one_of(RUN, vec![self.run.clone()]),
                // The policy must not affect other scenarios of the run either.
                one_of(NAMESPACE_NAME_LABEL, namespaces.to_vec()),
            ]);
        };
        object
            .rewrite_namespaces(limited, renamed)
            .map_err(|error| Error::failed(format!("write {name}"), error.to_string()))?;
        let labels = self.labels(&object.metadata.labels.unwrap_or_default());
        let mut made = DynamicObject::new(&names.cluster_policy(name), &resource(name.kind));
        made.metadata = ObjectMeta { labels: Some(labels), ..made.metadata };
        Ok(made.data(json!({ "spec": object.spec })))
    }
}

/// Result of creating or replacing a policy.
pub(super) enum Made {
    /// The API server has the policy.
    Done,
    /// A policy of this name exists and does not belong to the run.
    SomebodyElses,
}

/// Creates a policy, or replaces the run's earlier version of it.
pub(super) async fn set(
    client: &Client,
    kind: ClusterPolicyKind,
    object: &DynamicObject,
    run: &str,
) -> Result<Made, Error> {
    let policies = api(client, kind);
    let name = object.name_any();
    let doing = || format!("apply {kind} {name}");
    match persistently(async || policies.create(&PostParams::default(), object).await).await {
        Ok(_) => return Ok(Made::Done),
        Err(error) if is_there_already(&error) => {}
        Err(error) => return Err(failed(doing())(error)),
    }
    // If the object changes between these two requests, the API server refuses the second one with a
    // conflict, and both are repeated.
    let replaced = persistently(async || {
        let found = policies.get(&name).await?;
        if found.labels().get(RUN).is_none_or(|of| of != run) {
            return Ok(Made::SomebodyElses);
        }
        let mut object = object.clone();
        object.metadata.resource_version = found.metadata.resource_version;
        policies.replace(&name, &PostParams::default(), &object).await.map(|_| Made::Done)
    });
    replaced.await.map_err(failed(doing()))
}

/// Deletes a policy if it belongs to this run.
pub(super) async fn delete(
    client: &Client,
    kind: ClusterPolicyKind,
    name: &str,
    run: &str,
) -> Result<(), Error> {
    let policies = api(client, kind);
    let deleted = persistently(async || match policies.get_opt(name).await? {
        Some(found) if found.labels().get(RUN).is_some_and(|of| of == run) => {
            unless_missing(policies.delete(name, &only(&found)).await)
        }
        Some(_) | None => Ok(()),
    });
    deleted.await.map_err(failed(format!("delete {kind} {name}")))
}

/// Lists the policies that match a label selector.
///
/// Skips kinds that the cluster does not have, and kinds that this user is not allowed to list.
pub(super) async fn list_all(
    client: &Client,
    selector: &str,
) -> Result<Vec<(ClusterPolicyKind, DynamicObject)>, Error> {
    let mut found = Vec::new();
    for kind in ClusterPolicyKind::ALL {
        let policies = api(client, kind);
        let parameters = ListParams::default().labels(selector);
        match persistently(async || policies.list(&parameters).await).await {
            Ok(list) => found.extend(list.items.into_iter().map(|object| (kind, object))),
            Err(error) if matches!(status_code(&error), Some(403 | 404)) => {}
            Err(error) => return Err(failed(format!("list objects of kind {kind}"))(error)),
        }
    }
    Ok(found)
}

/// Deletes the policies that [`list_all`] finds. Returns their kinds and names.
pub(super) async fn delete_all(client: &Client, selector: &str) -> Result<Vec<String>, Error> {
    let mut deleted = Vec::new();
    for (kind, object) in list_all(client, selector).await? {
        let name = object.name_any();
        let run = object.labels().get(RUN).cloned().unwrap_or_default();
        delete(client, kind, &name, &run).await?;
        deleted.push(format!("{kind} {name}"));
    }
    Ok(deleted)
}

/// Returns parameters that delete this object only, not a newer one with the same name.
fn only(object: &DynamicObject) -> DeleteParams {
    let preconditions = Preconditions { uid: object.metadata.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}
