//! ResourceQuotas: whether the probe pods of a check fit.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceQuota, ScopedResourceSelectorRequirement};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::amount::Amount;
use super::limits::Needs;

/// What a check creates in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Count of probe pods.
    pub(super) pods: usize,
    /// Count of ConfigMaps.
    pub(super) config_maps: usize,
    /// Requests and limits of each pod.
    pub(super) needs: Needs,
    /// The priority class of the pods.
    pub(super) priority_class: Option<String>,
}

/// Compute resources that each pod must name if a quota limits them.
const MUST_BE_NAMED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Describes the resources of quotas that have too little room, with numbers.
pub(super) fn refusals(demand: &Demand, quotas: &[ResourceQuota]) -> Vec<String> {
    let refused = quotas.iter().filter_map(|quota| {
        let mut needed = BTreeMap::new();
        let is_scoped = is_scoped(quota);
        if !is_scoped {
            needed.extend(count("configmaps", demand.config_maps));
        }
        let limits_pods = applies(quota, demand);
        if limits_pods {
            needed.extend(of_pods(demand));
        }
        let status = quota.status.as_ref();
        let hard = status.and_then(|status| status.hard.as_ref());
        let hard = hard.or_else(|| quota.spec.as_ref()?.hard.as_ref())?;
        let used = status.and_then(|status| status.used.clone()).unwrap_or_default();
        let short: Vec<String> = hard
            .iter()
            .filter_map(|(name, hard)| {
                let most = Amount::parse(&hard.0)?;
                let Some(needed) = needed.get(name) else {
                    let is_missing = limits_pods && MUST_BE_NAMED.contains(&name.as_str());
                    return is_missing.then(|| format!("{name}: every pod must set it"));
                };
                let used_now = used_of(&used, name);
                (used_now + *needed > most)
                    .then(|| format!("{name}: {needed} needed, {used_now} used, {most} allowed"))
            })
            .collect();
        let name = format!("ResourceQuota {}/{}", quota.namespace().unwrap_or_default(), quota.name_any());
        (!short.is_empty()).then(|| {
            format!(
                "{name} has no room for {} probe pods: {}: raise it, or need less with --pod-requests and --pod-limits",
                demand.pods,
                short.join("; ")
            )
        })
    });
    refused.collect()
}

fn used_of(used: &BTreeMap<String, Quantity>, name: &str) -> Amount {
    used.get(name).and_then(|amount| Amount::parse(&amount.0)).unwrap_or_default()
}

/// Returns the count of objects of a kind, under both names that a quota may use.
fn count(kind: &str, count: usize) -> [(String, Amount); 2] {
    let amount = Amount::count(count);
    [(kind.to_owned(), amount), (format!("count/{kind}"), amount)]
}

/// Returns what the pods need, under all names that a quota may use.
fn of_pods(demand: &Demand) -> BTreeMap<String, Amount> {
    let mut all: BTreeMap<String, Amount> = count("pods", demand.pods).into();
    for (name, amount) in &demand.needs.requests {
        let amount = amount.times(demand.pods);
        all.insert(format!("requests.{name}"), amount);
        all.insert(name.clone(), amount);
    }
    for (name, amount) in &demand.needs.limits {
        all.insert(format!("limits.{name}"), amount.times(demand.pods));
    }
    all
}

fn is_scoped(quota: &ResourceQuota) -> bool {
    let spec = quota.spec.as_ref();
    let scopes = spec.and_then(|spec| spec.scopes.as_ref()).is_some_and(|scopes| !scopes.is_empty());
    scopes || requirements(quota).next().is_some()
}

fn requirements(quota: &ResourceQuota) -> impl Iterator<Item = &ScopedResourceSelectorRequirement> {
    let selector = quota.spec.as_ref().and_then(|spec| spec.scope_selector.as_ref());
    selector.into_iter().flat_map(|selector| selector.match_expressions.iter().flatten())
}

/// Returns whether a quota counts the pods of a check. A pod counts if all scopes match it.
fn applies(quota: &ResourceQuota, demand: &Demand) -> bool {
    let scopes = quota.spec.iter().flat_map(|spec| spec.scopes.iter().flatten());
    scopes.map(String::as_str).all(|scope| has_scope(scope, demand))
        && requirements(quota).all(|requirement| matches(requirement, demand))
}

fn has_scope(scope: &str, demand: &Demand) -> bool {
    let Needs { requests, limits } = &demand.needs;
    let is_named = |name: &str| requests.contains_key(name) || limits.contains_key(name);
    let is_best_effort = !is_named("cpu") && !is_named("memory");
    match scope {
        // All pods of ours have a deadline.
        "Terminating" => true,
        "BestEffort" => is_best_effort,
        "NotBestEffort" => !is_best_effort,
        "PriorityClass" => demand.priority_class.is_some(),
        // `NotTerminating`, `CrossNamespacePodAffinity`, and scopes of other objects.
        _ => false,
    }
}

fn matches(requirement: &ScopedResourceSelectorRequirement, demand: &Demand) -> bool {
    let is_class = requirement.scope_name == "PriorityClass";
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_listed = demand.priority_class.as_ref().is_some_and(|class| values.contains(class));
    match requirement.operator.as_str() {
        "In" => is_class && is_listed,
        "NotIn" => is_class && !is_listed,
        "DoesNotExist" => !has_scope(&requirement.scope_name, demand),
        // `Exists`
        _ => has_scope(&requirement.scope_name, demand),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::backend::cluster::settings::Resources;

    fn found(spec: &Value, used: &Value) -> String {
        let needs = Needs::new(&Resources::default(), &[]);
        let demand = Demand { pods: 4, config_maps: 2, needs, priority_class: Some("probes".to_owned()) };
        let hard = spec["hard"].clone();
        let quota = json!({"metadata": {"name": "q", "namespace": "x"}, "spec": spec,
            "status": {"hard": hard, "used": used}});
        refusals(&demand, &[serde_json::from_value(quota).unwrap()]).join("\n")
    }

    #[test]
    fn a_quota_without_room_is_told_with_numbers() {
        let hard = json!({"hard": {"pods": "10", "requests.cpu": "1", "limits.memory": "1Gi", "configmaps": "3",
            "count/pods": "5", "services": "0", "requests.storage": "0"}});
        let used = json!({"pods": "7", "requests.cpu": "990m", "limits.memory": "769Mi", "configmaps": "2",
            "count/pods": "1"});
        insta::assert_snapshot!(found(&hard, &used), @"ResourceQuota x/q has no room for 4 probe pods: configmaps: 2 needed, 2 used, 3 allowed; limits.memory: 256Mi needed, 769Mi used, 1Gi allowed; pods: 4 needed, 7 used, 10 allowed; requests.cpu: 20m needed, 990m used, 1 allowed: raise it, or need less with --pod-requests and --pod-limits");
        let just = json!({"pods": "6", "requests.cpu": "980m", "limits.memory": "768Mi", "configmaps": "1",
            "count/pods": "1"});
        assert_eq!(found(&hard, &just), "");
    }

    #[test]
    fn a_quota_counts_only_what_is_in_its_scope() {
        let scoped = |scope: &str| json!({"hard": {"pods": "0", "configmaps": "0"}, "scopes": [scope]});
        for (scope, counts) in [
            ("Terminating", true),
            ("NotTerminating", false),
            ("BestEffort", false),
            ("NotBestEffort", true),
            ("CrossNamespacePodAffinity", false),
        ] {
            let found = found(&scoped(scope), &json!({}));
            assert_eq!(found.contains("pods: 4 needed"), counts, "{scope}");
            assert!(!found.contains("configmaps"), "a scope is about pods: {found}");
        }
        let selector = |operator: &str, class: &str| {
            let requirement = json!({"scopeName": "PriorityClass", "operator": operator, "values": [class]});
            json!({"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [requirement]}})
        };
        assert_ne!(found(&selector("In", "probes"), &json!({})), "");
        assert_eq!(found(&selector("In", "high"), &json!({})), "");
        assert_ne!(found(&selector("NotIn", "high"), &json!({})), "");
    }
}
