//! The permissions that runs and cleanups need, and the check whether the user has them.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use super::places::Places;
use super::request::{bounded, persistently, say};
use super::settings::{Control, Settings};
use crate::backend::Error;

/// Verbs on a resource, in one namespace or in all namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    group: &'static str,
    /// The resource, with its subresource if there is one.
    resource: &'static str,
    verbs: &'static [&'static str],
}

pub(super) const fn rule(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
) -> Rule {
    Rule { group, resource, verbs }
}

const NODES: Rule = rule("", "nodes", &["list"]);
const PODS: Rule =
    rule("", "pods", &["create", "delete", "deletecollection", "get", "list", "patch", "watch"]);
const EVENTS: Rule = rule("", "events", &["list"]);
/// ConfigMaps with the agent. A run that creates its own namespaces deletes them with the namespaces.
const CONFIG_MAPS: Rule = rule("", "configmaps", &["create"]);
const CONFIG_MAPS_IN_PREPARED: Rule = rule("", "configmaps", &["create", "delete", "list"]);
const ENDPOINTS: Rule = rule("discovery.k8s.io", "endpointslices", &["list"]);
const CONFIG_MAPS_OF_TENANTS: Rule = rule("", "configmaps", &["create", "delete", "get", "list"]);
const POLICIES: Rule = rule("networking.k8s.io", "networkpolicies", &["create", "delete", "list", "update"]);

/// Permissions of a run that creates its own namespaces.
const ALWAYS: [Rule; 6] = [
    rule("", "namespaces", &["create", "delete", "get", "list", "patch"]),
    NODES,
    PODS,
    rule("", "services", &["create", "delete", "patch"]),
    EVENTS,
    POLICIES,
];

/// Cluster-wide permissions of a run in prepared namespaces.
const PREPARED: [Rule; 1] = [NODES];

/// Permissions of a run in each prepared namespace.
const IN_PREPARED: [Rule; 5] = [
    // A Namespace object counts as part of its own namespace, so a Role in that namespace can grant this.
    rule("", "namespaces", &["get", "patch"]),
    PODS,
    rule("", "services", &["create", "delete", "list", "patch"]),
    EVENTS,
    POLICIES,
];

/// Cluster-wide permissions of a check that may use all namespaces.
const EVERYWHERE: [Rule; 5] = [
    rule("", "namespaces", &["list"]),
    rule("", "pods", &["list", "watch"]),
    rule("", "services", &["list"]),
    ENDPOINTS,
    rule("networking.k8s.io", "networkpolicies", &["list"]),
];

/// Permissions of a check in each namespace that it may use, if it may not use all.
const IN_VISIBLE: [Rule; 5] = [
    // A Namespace object counts as part of its own namespace, so a Role in that namespace can grant this.
    rule("", "namespaces", &["get"]),
    rule("", "pods", &["list", "watch"]),
    rule("", "services", &["list"]),
    ENDPOINTS,
    rule("networking.k8s.io", "networkpolicies", &["list"]),
];

/// Cluster-wide permissions of a check that creates the namespace of its canaries.
const CANARIES: [Rule; 5] = [
    rule("", "namespaces", &["create", "delete", "get", "list"]),
    PODS,
    EVENTS,
    CONFIG_MAPS,
    rule("networking.k8s.io", "networkpolicies", &["list"]),
];

/// Permissions of a check in a prepared namespace for its canaries. The end of the check looks for objects of each kind
/// that a run may have created there.
const IN_CANARIES: [Rule; 6] = [
    rule("", "namespaces", &["get", "patch"]),
    PODS,
    EVENTS,
    CONFIG_MAPS_IN_PREPARED,
    rule("", "services", &["delete", "list"]),
    rule("networking.k8s.io", "networkpolicies", &["delete", "list"]),
];

/// Permissions of a check in each namespace that gets probe pods.
const IN_TENANTS: [Rule; 10] = [
    rule("", "namespaces", &["get"]),
    rule("", "pods", &["create", "delete", "get", "list", "patch", "watch"]),
    CONFIG_MAPS_OF_TENANTS,
    rule("", "services", &["list"]),
    ENDPOINTS,
    EVENTS,
    rule("", "limitranges", &["list"]),
    rule("", "resourcequotas", &["list"]),
    rule("policy", "poddisruptionbudgets", &["list"]),
    rule("networking.k8s.io", "networkpolicies", &["list"]),
];

/// What a check reads of running pods whose networks it enters.
const RUNNING_PODS: Rule = rule("", "pods", &["get"]);

/// Permissions of a cleanup in each prepared namespace.
const CLEANUP_IN_PREPARED: [Rule; 5] = [
    rule("", "namespaces", &["get", "patch"]),
    rule("", "pods", &["deletecollection", "list"]),
    rule("", "services", &["delete", "list"]),
    rule("", "configmaps", &["delete", "list"]),
    rule("networking.k8s.io", "networkpolicies", &["delete", "list"]),
];

/// Permissions of a cleanup in each namespace of a tenant.
const CLEANUP_IN_TENANTS: [Rule; 2] =
    [rule("", "configmaps", &["delete", "list"]), rule("", "pods", &["list"])];

/// Permissions of a cleanup that does not name prepared namespaces.
const CLEANUP: [Rule; 3] = [
    rule("", "namespaces", &["delete", "list"]),
    rule("", "pods", &["deletecollection", "list"]),
    rule("networking.k8s.io", "networkpolicies", &["list"]),
];

// Older API servers check `get`, newer ones `create`.
const PORT_FORWARD: Rule = rule("", "pods/portforward", &["create", "get"]);
const EXEC: Rule = rule("", "pods/exec", &["create", "get"]);
const SECRETS: Rule = rule("", "secrets", &["create", "get"]);

/// Returns the permission to reach agents.
fn control(settings: &Settings) -> Rule {
    match settings.control {
        Control::PortForward => PORT_FORWARD,
        Control::Exec => EXEC,
    }
}

/// Returns rules, and the permission to reach agents.
fn with_control(rules: &[Rule], settings: &Settings) -> Vec<Rule> {
    [rules, &[control(settings)]].concat()
}

/// Checks that the user has all permissions for a run.
pub(super) async fn check_run(client: &Client, settings: &Settings) -> Result<(), Error> {
    let control = control(settings);
    if !settings.prepared_namespaces.is_empty() {
        check(client, None, &PREPARED).await?;
        let config_maps = settings.image.is_none().then_some(CONFIG_MAPS_IN_PREPARED);
        let rules: Vec<Rule> = IN_PREPARED.into_iter().chain(config_maps).chain([control]).collect();
        let checks = settings.prepared_namespaces.iter().map(|name| check(client, Some(name), &rules));
        return bounded(checks).await.map(drop);
    }
    let config_maps = settings.image.is_none().then_some(CONFIG_MAPS);
    let mut rules: Vec<Rule> = ALWAYS.into_iter().chain(config_maps).chain([control]).collect();
    if settings.image_pull_secret.is_some() {
        rules.push(SECRETS);
    }
    check(client, None, &rules).await
}

/// Checks that the user has the permissions that every check of a live cluster needs. `namespaces` are the only ones that
/// it may use, or empty if it may use all.
pub(super) async fn check_live(
    client: &Client,
    settings: &Settings,
    namespaces: &[String],
) -> Result<(), Error> {
    if let Some(canaries) = settings.prepared_namespaces.first() {
        check(client, Some(canaries), &with_control(&IN_CANARIES, settings)).await?;
    }
    check(client, None, &of_cluster(settings, namespaces.is_empty())).await?;
    bounded(namespaces.iter().map(|namespace| check(client, Some(namespace), &IN_VISIBLE))).await.map(drop)
}

/// Returns the cluster-wide permissions of a check. `has_all` is whether it may list objects in all namespaces.
fn of_cluster(settings: &Settings, has_all: bool) -> Vec<Rule> {
    let mut rules = vec![NODES];
    if has_all {
        rules.extend(EVERYWHERE);
    }
    if settings.prepared_namespaces.is_empty() {
        let own = with_control(&CANARIES, settings);
        let new: Vec<Rule> = own.into_iter().filter(|rule| !rules.contains(rule)).collect();
        rules.extend(new);
    }
    rules
}

/// Checks that the user has the permissions that a check needs in the namespaces that get probe pods.
pub(super) async fn check_tenants(
    client: &Client,
    settings: &Settings,
    namespaces: &[&str],
) -> Result<(), Error> {
    let rules = with_control(&IN_TENANTS, settings);
    // Most users have the permissions in all namespaces or in each, so one question may be enough.
    let in_all = missing(client, None, &rules).await?;
    let rules: Vec<Rule> = in_all.into_iter().map(|(rule, _)| rule).collect();
    if rules.is_empty() {
        return Ok(());
    }
    let mut by_rules: Vec<(Missing, Vec<&str>)> = Vec::new();
    // One namespace after the other, because each needs more than 20 requests at once.
    for namespace in namespaces {
        let missing = missing(client, Some(namespace), &rules).await?;
        match by_rules.iter_mut().find(|(known, _)| *known == missing) {
            _ if missing.is_empty() => {}
            Some((_, namespaces)) => namespaces.push(namespace),
            None => by_rules.push((missing, vec![namespace])),
        }
    }
    let messages = by_rules.iter().map(|(missing, namespaces)| say_missing(namespaces, missing));
    match messages.collect::<Vec<_>>().as_slice() {
        [] => Ok(()),
        messages => Err(Error::Unavailable(messages.join("\n"))),
    }
}

/// Checks that the user has the permissions to enter the networks of running pods in these namespaces. `prepared` is the
/// namespace for the pods that do so. `None` if the check creates it, with the permissions for that of its canaries.
pub(super) async fn check_helpers(
    client: &Client,
    settings: &Settings,
    prepared: Option<&str>,
    tenants: &[&str],
) -> Result<(), Error> {
    if let Some(prepared) = prepared {
        check(client, Some(prepared), &with_control(&IN_CANARIES, settings)).await?;
    }
    let tenants: BTreeSet<&str> = tenants.iter().copied().collect();
    bounded(tenants.into_iter().map(|tenant| check(client, Some(tenant), &[RUNNING_PODS]))).await.map(drop)
}

/// Checks that the user has all permissions for a cleanup.
pub(super) async fn check_cleanup(client: &Client, places: Places<'_>) -> Result<(), Error> {
    let Places { prepared, tenants } = places;
    if places.is_everywhere() {
        return check(client, None, &CLEANUP).await;
    }
    let prepared = prepared.iter().map(|name| (name, &CLEANUP_IN_PREPARED[..]));
    let all = prepared.chain(tenants.iter().map(|name| (name, &CLEANUP_IN_TENANTS[..])));
    bounded(all.map(|(name, rules)| check(client, Some(name), rules))).await.map(drop)
}

/// Returns whether the user may list the ConfigMaps of all namespaces.
pub(super) async fn may_list_config_maps(client: &Client) -> Result<bool, Error> {
    Ok(missing(client, None, &[rule("", "configmaps", &["list"])]).await?.is_empty())
}

pub(super) async fn check(client: &Client, namespace: Option<&str>, rules: &[Rule]) -> Result<(), Error> {
    let missing = missing(client, namespace, rules).await?;
    let namespaces = namespace.as_slice();
    if missing.is_empty() { Ok(()) } else { Err(Error::Unavailable(say_missing(namespaces, &missing))) }
}

/// Rules that the user is not fully granted, each with the missing verbs.
type Missing = Vec<(Rule, Vec<&'static str>)>;

/// Returns the rules that the user is not fully granted, each with the missing verbs. Checks one namespace,
/// or all.
pub(super) async fn missing(
    client: &Client,
    namespace: Option<&str>,
    rules: &[Rule],
) -> Result<Missing, Error> {
    let checked = try_join_all(rules.iter().map(async |rule| {
        let allowed = rule.verbs.iter().map(|verb| is_allowed(client, namespace, *rule, verb));
        let verbs = rule.verbs.iter().copied().zip(try_join_all(allowed).await?);
        Ok::<_, kube::Error>((*rule, verbs.filter(|(_, allowed)| !allowed).map(|(verb, _)| verb).collect()))
    }));
    let checked: Vec<(Rule, Vec<&str>)> = checked
        .await
        .map_err(|error| Error::Unavailable(format!("cannot ask what this user may do: {}", say(&error))))?;
    Ok(checked.into_iter().filter(|(_, verbs)| !verbs.is_empty()).collect())
}

async fn is_allowed(
    client: &Client,
    namespace: Option<&str>,
    rule: Rule,
    verb: &str,
) -> Result<bool, kube::Error> {
    let (resource, subresource) = match rule.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (rule.resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(rule.group.to_owned()),
        namespace: namespace.map(str::to_owned),
        // Ask about this one namespace by its name, not about the objects in it.
        name: namespace.filter(|_| resource == "namespaces").map(str::to_owned),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = persistently(async || reviews.create(&PostParams::default(), &review).await).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Permissions that a check needs, as rules in YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Rules of a ClusterRole.
    pub cluster: String,
    /// Rules of Roles, each with the namespaces that need such a Role.
    pub roles: Vec<(BTreeSet<String>, String)>,
}

/// Returns the permissions for a check that adds pods to these namespaces of tenants. `has_all` is whether it may list
/// objects in all namespaces.
pub(super) fn rights_of_check(settings: &Settings, has_all: bool, tenants: BTreeSet<String>) -> Rights {
    let yaml = |rules: &[Rule]| rules.iter().map(|rule| as_yaml(rule, rule.verbs)).collect();
    let prepared: BTreeSet<String> = settings.prepared_namespaces.iter().cloned().collect();
    let roles = [(tenants, &IN_TENANTS[..]), (prepared, &IN_CANARIES)];
    let needed = roles.into_iter().filter(|(namespaces, _)| !namespaces.is_empty());
    Rights {
        cluster: yaml(&of_cluster(settings, has_all)),
        roles: needed.map(|(namespaces, rules)| (namespaces, yaml(&with_control(rules, settings)))).collect(),
    }
}

fn as_yaml(rule: &Rule, verbs: &[&str]) -> String {
    let group = if rule.group.is_empty() { "\"\"" } else { rule.group };
    let verbs = verbs.join(", ");
    format!("- apiGroups: [{group}]\n  resources: [{}]\n  verbs: [{verbs}]\n", rule.resource)
}

/// Returns the rules to add, as YAML. Without namespaces, they are needed in the whole cluster.
fn say_missing(namespaces: &[&str], missing: &[(Rule, Vec<&str>)]) -> String {
    let rules: String = missing.iter().map(|(rule, verbs)| as_yaml(rule, verbs)).collect();
    let role = match namespaces {
        [] => "a ClusterRole of theirs".to_owned(),
        [namespace] => format!("a Role of theirs in namespace {namespace}"),
        namespaces => format!("a Role of theirs in each of the namespaces {}", namespaces.join(", ")),
    };
    format!("this user is not allowed all that is needed: add these rules to {role}:\n{}", rules.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::cluster_policies;
    use super::*;
    use crate::policy::ClusterPolicyKind;

    /// Checks that a role in a manifest grants exactly these rules.
    fn assert_grants(role: &str, rules: &[Rule]) {
        for Rule { group, resource, verbs } in rules {
            let group = if group.is_empty() { "\"\"" } else { group };
            let begin = format!("- apiGroups: [{group}]\n  resources: [{resource}]\n  verbs: [");
            let (_, rest) = role.split_once(&begin).unwrap_or_else(|| panic!("{resource} is missing"));
            let granted: Vec<&str> = rest.split(']').next().unwrap().split(", ").collect();
            assert!(verbs.iter().all(|verb| granted.contains(verb)), "{resource}: {granted:?}");
        }
        let needed = rules.iter().map(|rule| rule.verbs.len()).sum::<usize>();
        let granted: usize =
            role.lines().filter(|l| l.contains("verbs: [")).map(|l| l.split(", ").count()).sum();
        assert_eq!(granted, needed, "more is granted than needed");
    }

    /// Checks that some rules allow everything that others allow.
    fn assert_covers(rules: &[Rule], others: &[Rule]) {
        let is_granted =
            |rule: &Rule, verb| rules.iter().any(|n| n.resource == rule.resource && n.verbs.contains(verb));
        assert!(others.iter().all(|rule| rule.verbs.iter().all(|verb| is_granted(rule, verb))));
    }

    /// The manifest for runs inside a cluster must grant neither more nor less than a run needs.
    #[test]
    fn the_manifest_grants_what_is_needed() {
        let manifest = include_str!("../../../deploy/rbac.yaml");
        let (role, _) = manifest.split_once("kind: ClusterRoleBinding").unwrap();
        let for_cluster = ClusterPolicyKind::ALL.map(cluster_policies::rule);
        let needed: Vec<Rule> =
            ALWAYS.into_iter().chain([CONFIG_MAPS, PORT_FORWARD]).chain(for_cluster).collect();
        assert_grants(role, &needed);
        // A cleanup needs no permissions beyond those of a run.
        assert_covers(&needed, &CLEANUP);
    }

    #[test]
    fn the_manifest_for_prepared_namespaces_grants_what_is_needed_in_them() {
        let manifest = include_str!("../../../deploy/prepared.yaml");
        let (role, rest) = manifest.split_once("---").unwrap();
        let needed: Vec<Rule> =
            IN_PREPARED.into_iter().chain([CONFIG_MAPS_IN_PREPARED, PORT_FORWARD]).collect();
        assert_grants(role, &needed);
        let (for_cluster, _) = rest.split_once("kind: ClusterRoleBinding").unwrap();
        assert_grants(for_cluster, &PREPARED);
        assert_covers(&needed, &CLEANUP_IN_PREPARED);
    }

    #[test]
    fn the_manifest_for_checks_grants_what_is_needed() {
        let manifest = include_str!("../../../deploy/verify.yaml");
        let role = |name: &str| {
            let begin = format!("Role\nmetadata:\n  name: {name}\n");
            let mut parts = manifest.split("---");
            parts.find(|part| part.contains(&begin)).unwrap_or_else(|| panic!("{name} is missing"))
        };
        let needed: Vec<Rule> = EVERYWHERE.into_iter().chain([NODES]).collect();
        assert_grants(role("netproof-verify"), &needed);
        let needed: Vec<Rule> = IN_TENANTS.into_iter().chain([PORT_FORWARD]).collect();
        assert_grants(role("netproof-verify-tenant"), &needed);
        assert_covers(&needed, &CLEANUP_IN_TENANTS);
        let needed: Vec<Rule> = IN_CANARIES.into_iter().chain([PORT_FORWARD]).collect();
        assert_grants(role("netproof-canaries"), &needed);
        assert_covers(&needed, &CLEANUP_IN_PREPARED);
    }

    #[test]
    fn the_manifest_for_networks_of_running_pods_grants_what_is_needed() {
        let manifest = include_str!("../../../deploy/through-nodes.yaml");
        let (_, role) = manifest.split_once("kind: Role\n").unwrap();
        let (role, _) = role.split_once("---").unwrap();
        let needed: Vec<Rule> = IN_CANARIES.into_iter().chain([PORT_FORWARD]).collect();
        assert_grants(role, &needed);
        // The rights in namespaces of tenants are enough to read running pods.
        assert_covers(&IN_TENANTS, &[RUNNING_PODS]);
    }

    #[test]
    fn missing_permissions_can_be_pasted() {
        let missing =
            [(ALWAYS[1], vec!["list"]), (PORT_FORWARD, vec!["create", "get"]), (ALWAYS[5], vec!["update"])];
        insta::assert_snapshot!(say_missing(&[], &missing), @r#"
        this user is not allowed all that is needed: add these rules to a ClusterRole of theirs:
        - apiGroups: [""]
          resources: [nodes]
          verbs: [list]
        - apiGroups: [""]
          resources: [pods/portforward]
          verbs: [create, get]
        - apiGroups: [networking.k8s.io]
          resources: [networkpolicies]
          verbs: [update]
        "#);
    }
}
