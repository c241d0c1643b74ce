//! Tests of the survey, on clusters with kinds of policies that netproof does not model.

use serde_json::{Value, json};

use super::super::survey::survey;
use super::{Answer, client, list, status};

/// Returns the answer with API groups and their versions. The preferred version comes first.
pub(super) fn groups(groups: &[(&str, &[&str])]) -> Answer {
    let group = |(name, versions): &(&str, &[&str])| {
        let version =
            |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
        let versions: Vec<Value> = versions.iter().map(version).collect();
        json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
    };
    let groups: Vec<Value> = groups.iter().map(group).collect();
    (200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

/// Returns the answer with the kinds of one version of a group, given as plural and kind.
pub(super) fn resources(names: &[(&str, &str)]) -> Answer {
    let resource = |(name, kind): &(&str, &str)| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list"]});
    let resources: Vec<Value> = names.iter().map(resource).collect();
    (200, json!({"kind": "APIResourceList", "groupVersion": "g", "resources": resources}))
}

fn objects(count: usize) -> Answer {
    let items: Vec<Value> = (0..count).map(|i| json!({"metadata": {"name": format!("p{i}")}})).collect();
    list(&items)
}

/// netproof always reports policies of kinds that the engine does not know.
#[tokio::test]
async fn other_kinds_of_policies_are_warned_of() {
    let client = client(|_, path| match path {
        "/api/v1/nodes" => list(&[]),
        "/apis" => {
            groups(&[("cilium.io", &["v2"]), ("policy.networking.k8s.io", &["v1alpha1"]), ("apps", &["v1"])])
        }
        "/apis/cilium.io/v2" => resources(&[
            ("ciliumnetworkpolicies", "CiliumNetworkPolicy"),
            ("ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy"),
            ("ciliumendpoints", "CiliumEndpoint"),
        ]),
        "/apis/policy.networking.k8s.io/v1alpha1" => {
            resources(&[("adminnetworkpolicies", "AdminNetworkPolicy")])
        }
        "/apis/policy.networking.k8s.io/v1alpha2" => status(404, "not found"),
        "/apis/cilium.io/v2/ciliumnetworkpolicies" => objects(2),
        "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies" => objects(0),
        _ => status(403, "forbidden"),
    });
    let survey = survey(&client).await.unwrap();
    assert_eq!(survey.plugin.map(|plugin| plugin.name), Some("Cilium"));
    let unmodelled: Vec<_> = survey.foreign.unmodelled.iter().map(ToString::to_string).collect();
    insta::assert_debug_snapshot!(unmodelled, @r#"
    [
        "AdminNetworkPolicy.policy.networking.k8s.io (cannot be listed): decides beside the scenarios' own, which are all that netproof knows of",
        "CiliumNetworkPolicy.cilium.io (2): allows or denies packets by rules that netproof does not model",
    ]
    "#);
    assert_eq!(survey.foreign.warnings, [""; 0]);
}

/// `expect` reports such kinds, too: kinds of an unknown plugin, and kinds that a generator may create in a
/// namespace.
#[tokio::test]
async fn kinds_that_seem_to_decide_are_found_in_groups_that_nobody_knows() {
    let client = client(|_, path| match path {
        "/api/v1/nodes" => list(&[]),
        "/apis" => groups(&[("unheard.of.example", &["v1"]), ("apps", &["v1"])]),
        "/apis/unheard.of.example/v1" => resources(&[
            ("somenetworkpolicies", "SomeNetworkPolicy"),
            ("somenetworkpolicies/status", "SomeNetworkPolicy"),
            ("egressfirewalls", "EgressFirewall"),
            ("widgets", "Widget"),
        ]),
        "/apis/unheard.of.example/v1/somenetworkpolicies" => objects(1),
        "/apis/unheard.of.example/v1/egressfirewalls" => objects(0),
        _ => status(403, "forbidden"),
    });
    let survey = survey(&client).await.unwrap();
    let unmodelled: Vec<_> =
        survey.foreign.unmodelled.iter().map(|kind| (kind.kind.as_str(), kind.count)).collect();
    assert_eq!(unmodelled, [("SomeNetworkPolicy.unheard.of.example", Some(1))]);
    let kinds: Vec<_> = survey.foreign.kinds.iter().map(|kind| kind.kind.as_str()).collect();
    assert_eq!(kinds, ["EgressFirewall", "SomeNetworkPolicy"]);
}

/// The preferred version of a group need not have all of its kinds.
#[tokio::test]
async fn kinds_are_looked_for_in_every_version_of_their_group() {
    let client = client(|_, path| match path {
        "/api/v1/nodes" => list(&[]),
        "/apis" => groups(&[
            ("cilium.io", &["v3", "v2", "v2alpha1"]),
            ("policy.networking.k8s.io", &["v1", "v1beta1"]),
        ]),
        "/apis/cilium.io/v3" => resources(&[("ciliumendpoints", "CiliumEndpoint")]),
        "/apis/cilium.io/v2" | "/apis/cilium.io/v2alpha1" => {
            resources(&[("ciliumnetworkpolicies", "CiliumNetworkPolicy")])
        }
        "/apis/cilium.io/v2/ciliumnetworkpolicies" => objects(3),
        "/apis/policy.networking.k8s.io/v1beta1" => {
            resources(&[("clusternetworkpolicies", "ClusterNetworkPolicy")])
        }
        "/apis/policy.networking.k8s.io/v1beta1/clusternetworkpolicies" => objects(1),
        // Version v1 does not answer, so it may have the kinds that v1beta1 lacks.
        _ => status(403, "forbidden"),
    });
    let survey = survey(&client).await.unwrap();
    let unmodelled: Vec<_> =
        survey.foreign.unmodelled.iter().map(|kind| (kind.kind.as_str(), kind.count)).collect();
    assert_eq!(
        unmodelled,
        [
            ("AdminNetworkPolicy.policy.networking.k8s.io", None),
            ("BaselineAdminNetworkPolicy.policy.networking.k8s.io", None),
            ("ClusterNetworkPolicy.policy.networking.k8s.io", Some(1)),
            ("CiliumNetworkPolicy.cilium.io", Some(3)),
        ]
    );
}
