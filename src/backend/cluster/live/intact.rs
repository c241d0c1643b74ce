//! Whether the cluster is as it was when the check began: the objects of others, and the twins.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::objects::{NEVER, readiness_gates};
use crate::backend::Error;
use crate::backend::cluster::cluster_policies;
use crate::backend::cluster::deployment::intact::added_containers;
use crate::backend::cluster::request::{Namespaced, bounded, failed, persistently};
use crate::policy::{LabelSelector, Labels};
use crate::snapshot::Identity;
use crate::world::World;

/// The part of the objects of others that decides about packets, by kind and identity. The namespace of a namespace is its
/// own name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Recorded(BTreeMap<(&'static str, Identity), Value>);

const NAMESPACE: &str = "Namespace";
const POLICY: &str = "NetworkPolicy";
const SERVICE: &str = "Service";

impl Recorded {
    /// Reads the objects in these namespaces, or in all if none are named.
    pub(super) async fn read(client: &Client, namespaces: &[String]) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for (name, labels) in labels(client, namespaces).await? {
            all.insert((NAMESPACE, Identity::new(&name, "")), json!(labels));
        }
        all.extend(specs::<NetworkPolicy>(client, POLICY, namespaces).await?);
        all.extend(specs::<core::Service>(client, SERVICE, namespaces).await?);
        // Without any requirement, a selector matches everything.
        for (kind, policy) in cluster_policies::list_all(client, "").await? {
            all.insert((kind.name(), Identity::new("", &policy.name_any())), spec(&policy));
        }
        Ok(Self(all))
    }

    /// Describes what differs now and may change what happens to packets of a state. `own` are netproof's namespaces, which
    /// are compared with what they were when their pods had started.
    pub(super) fn differences(&self, now: &Self, world: &World, own: &[String]) -> Vec<String> {
        let read = read_keys(world);
        let namespaces: BTreeSet<&str> =
            world.cluster.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
        let with_agents: BTreeSet<&String> =
            world.twins.union(&world.entered).map(|pod| &pod.namespace).collect();
        let services: BTreeSet<Identity> = world.cluster.services.iter().map(Identity::of_service).collect();
        let matters = |(kind, identity): &&(&'static str, Identity)| match *kind {
            SERVICE => services.contains(identity),
            _ if own.contains(&identity.namespace) => false,
            _ => identity.namespace.is_empty() || namespaces.contains(identity.namespace.as_str()),
        };
        // The tenants may select namespaces by any label.
        let is_same = |namespace: &String, before: &Value, now: &Value| {
            let decides = |key: &String| with_agents.contains(namespace) || read.contains(key);
            restricted(before, decides) == restricted(now, decides)
        };
        let keys: BTreeSet<_> = self.0.keys().chain(now.0.keys()).filter(matters).collect();
        let changes = keys.into_iter().filter_map(|key| {
            let (kind, identity) = key;
            let name = if *kind == NAMESPACE { identity.namespace.clone() } else { identity.to_string() };
            let what = match (self.0.get(key), now.0.get(key)) {
                (None, Some(_)) => "was added",
                // No packet of the check comes from there or goes there.
                (Some(_), None) if *kind == NAMESPACE && !with_agents.contains(&identity.namespace) => {
                    return None;
                }
                (Some(_), None) => "was removed",
                (Some(before), Some(now)) if *kind == NAMESPACE => {
                    match is_same(&identity.namespace, before, now) {
                        true => return None,
                        false => "has other labels",
                    }
                }
                (Some(before), Some(now)) if before != now => "was changed",
                (_, _) => return None,
            };
            Some(format!("{kind} {name} {what}"))
        });
        changes.collect()
    }
}

/// Returns the keys of the labels by which policies select namespaces.
fn read_keys(world: &World) -> BTreeSet<String> {
    let policies = world.cluster.all_policies();
    let requirements = policies.namespace_selectors().flat_map(LabelSelector::requirements);
    requirements.map(|requirement| requirement.key().clone()).collect()
}

/// Returns the labels whose keys decide.
fn restricted(labels: &Value, decides: impl Fn(&String) -> bool) -> BTreeMap<&String, &Value> {
    labels.as_object().into_iter().flatten().filter(|(key, _)| decides(key)).collect()
}

async fn labels(client: &Client, namespaces: &[String]) -> Result<Vec<(String, Labels)>, Error> {
    let api: Api<core::Namespace> = Api::all(client.clone());
    let found = match namespaces {
        [] => {
            let listed = persistently(async || api.list_metadata(&ListParams::default()).await).await;
            listed.map_err(failed("list namespaces".to_owned()))?.items
        }
        names => {
            let found = names.iter().map(async |name| {
                let found = persistently(async || api.get_metadata_opt(name).await).await;
                found.map_err(failed(format!("read namespace {name}")))
            });
            bounded(found).await?.into_iter().flatten().collect()
        }
    };
    Ok(found.iter().map(|namespace| (namespace.name_any(), namespace.labels().clone())).collect())
}

/// Returns the specs of the objects of a kind. An object of a newer version may have fields that netproof does not know.
async fn specs<K: Namespaced>(
    client: &Client,
    kind: &'static str,
    namespaces: &[String],
) -> Result<Vec<((&'static str, Identity), Value)>, Error> {
    let resource = ApiResource::erase::<K>(&());
    let apis: Vec<Api<DynamicObject>> = match namespaces {
        [] => vec![Api::all_with(client.clone(), &resource)],
        names => names.iter().map(|name| Api::namespaced_with(client.clone(), name, &resource)).collect(),
    };
    let lists = bounded(apis.into_iter().map(async |api| {
        let listed = persistently(async || api.list(&ListParams::default()).await).await;
        Ok::<_, Error>(listed.map_err(failed(format!("list objects of kind {kind}")))?.items)
    }));
    let found = lists.await?.into_iter().flatten().map(|object| {
        let identity = Identity::new(&object.namespace().unwrap_or_default(), &object.name_any());
        ((kind, identity), spec(&object))
    });
    Ok(found.collect())
}

fn spec(object: &DynamicObject) -> Value {
    object.data.get("spec").cloned().unwrap_or_default()
}

/// Describes what makes a pod something else than the twin that was sent, with what to do. `None` if it is one.
/// `owner` is the name of its controller, if it has one.
pub(super) fn objection(pod: &core::Pod, owner: Option<&str>) -> Option<String> {
    let advice = "exempt pods with the label app.kubernetes.io/managed-by=netproof from what did it";
    altered(pod, owner).map(|altered| format!("{altered}: {advice}"))
}

fn altered(pod: &core::Pod, owner: Option<&str>) -> Option<String> {
    let what = format!("pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    // A load balancer's gate makes its controller send traffic to the pod before it is ready.
    if let Some(other) = readiness_gates(pod).find(|gate| *gate != NEVER) {
        return Some(format!("{what} was given the readiness gate {other}"));
    }
    if readiness_gates(pod).next().is_none() {
        return Some(format!("{what} has lost its readiness gate, so it may get traffic"));
    }
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return Some(format!("{what} is ready, so it may get traffic"));
    }
    let mut owners = pod.owner_references().iter().filter(|reference| reference.controller == Some(true));
    if owners.next().map(|reference| reference.name.as_str()) != owner {
        return Some(format!("{what} has another controller"));
    }
    added_containers(&what, pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::mocked::state_after;

    fn recorded(objects: &[(&'static str, &str, &str, Value)]) -> Recorded {
        let objects = objects.iter().cloned();
        Recorded(
            objects.map(|(kind, space, name, part)| ((kind, Identity::new(space, name)), part)).collect(),
        )
    }

    /// Only what decides about packets between the state's endpoints matters.
    #[test]
    fn every_change_that_matters_is_named_and_no_other() {
        let mut world = state_after(
            "topology: {namespaces: [{name: x, pods: [{name: a, labels: {app: a}}],
              services: [{name: web, selector: {app: a}, ports: [{port: 80}]}]},
              {name: y, pods: [{name: b}]}, {name: own, pods: [{name: c}]}]}\nsteps: [{name: s}]",
            &[],
        );
        world.twins.insert(Identity::new("x", "a"));
        let before = [
            (NAMESPACE, "y", "", json!({"team": "red"})),
            (NAMESPACE, "own", "", json!({})),
            (NAMESPACE, "x", "", json!({"team": "red"})),
            (NAMESPACE, "elsewhere", "", json!({})),
            (POLICY, "x", "kept", json!({"podSelector": {}})),
            (POLICY, "x", "changed", json!({"podSelector": {}})),
            (POLICY, "x", "removed", json!({})),
            (POLICY, "elsewhere", "removed", json!({})),
            (SERVICE, "x", "web", json!({"ports": [1]})),
            (SERVICE, "x", "other", json!({"ports": [1]})),
        ];
        let after = [
            // No policy reads it, and no tenant is here.
            (NAMESPACE, "y", "", json!({"team": "blue"})),
            // netproof has taken it over.
            (NAMESPACE, "own", "", json!({"netproof.dev/run": "r"})),
            (NAMESPACE, "x", "", json!({"team": "blue"})),
            (POLICY, "x", "kept", json!({"podSelector": {}})),
            (POLICY, "x", "changed", json!({"podSelector": {"matchLabels": {"a": "b"}}})),
            (POLICY, "x", "added", json!({})),
            (SERVICE, "x", "web", json!({"ports": [2]})),
            ("AdminNetworkPolicy", "", "all", json!({})),
        ];
        let (before, after, own) = (recorded(&before), recorded(&after), ["own".to_owned()]);
        assert_eq!(before.differences(&before, &world, &own), [""; 0]);
        insta::assert_snapshot!(before.differences(&after, &world, &own).join("\n"), @"
        AdminNetworkPolicy all was added
        Namespace x has other labels
        NetworkPolicy x/added was added
        NetworkPolicy x/changed was changed
        NetworkPolicy x/removed was removed
        Service x/web was changed
        ");
    }

    #[test]
    fn a_label_matters_where_a_policy_reads_it() {
        let mut world = state_after(
            "topology: {namespaces: [{name: x, pods: [{name: a}]}, {name: y, pods: [{name: b}]}]}
steps:
- name: s
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]}
",
            &[],
        );
        world.twins.insert(Identity::new("x", "a"));
        let with = |labels| recorded(&[(NAMESPACE, "y", "", labels)]);
        let differences = |labels| with(json!({"team": "red"})).differences(&with(labels), &world, &[]);
        assert_eq!(differences(json!({"team": "red", "project": "p"})), [""; 0]);
        assert_eq!(differences(json!({"team": "blue"})), ["Namespace y has other labels"]);
    }

    #[test]
    fn a_twin_that_is_ready_or_has_a_new_controller_is_none_any_more() {
        let pod = |ready: &str, owner: &str| {
            let pod = json!({
                "metadata": {"name": "p", "namespace": "x", "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": "1", "controller": true}]},
                "spec": {"containers": [{"name": "agent"}], "readinessGates": [{"conditionType": NEVER}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            altered(&serde_json::from_value(pod).unwrap(), Some("netproof-r"))
        };
        assert_eq!(pod("False", "netproof-r"), None);
        assert_eq!(pod("True", "netproof-r").unwrap(), "pod x/p is ready, so it may get traffic");
        assert_eq!(pod("False", "web").unwrap(), "pod x/p has another controller");
    }
}
