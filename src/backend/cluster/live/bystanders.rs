//! Objects of tenants that would treat a twin as one of their own pods.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::twins::Twin;
use crate::snapshot::{Field, selector};

/// Describes the Services that would send their traffic to a twin although it is not ready.
pub(super) fn publishing(services: &[Service], twins: &[Twin<'_>]) -> Vec<String> {
    let refused = services.iter().filter_map(|service| {
        let spec = service.spec.as_ref().filter(|spec| spec.publish_not_ready_addresses == Some(true))?;
        let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
        let selects =
            |twin: &&Twin<'_>| selector.iter().all(|(key, value)| twin.labels.get(key) == Some(value));
        let twin = twins.iter().find(selects)?;
        let name = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
        Some(format!(
            "Service {name} has publishNotReadyAddresses, and selects {}: probe pods would get its traffic: leave out the \
             pods that it selects, or set publishNotReadyAddresses to false",
            twin.pod
        ))
    });
    refused.collect()
}

/// Describes the PodDisruptionBudgets that allow no eviction while a twin exists. Kubernetes looks for the controllers of
/// the pods that such a budget selects, and a ConfigMap is none that it knows.
pub(super) fn stopped_budgets(budgets: &[PodDisruptionBudget], twins: &[Twin<'_>]) -> Vec<String> {
    let stopped = budgets.iter().filter_map(|budget| {
        let spec = budget.spec.as_ref()?;
        if let (None, Some(IntOrString::Int(_))) = (&spec.max_unavailable, &spec.min_available) {
            // A plain count needs no controller.
            return None;
        }
        let selector = selector(spec.selector.as_ref()?, &Field::ROOT).ok()?;
        twins.iter().find(|twin| selector.matches(&twin.labels))?;
        let name = format!("{}/{}", budget.namespace().unwrap_or_default(), budget.name_any());
        Some(format!(
            "PodDisruptionBudget {name} allows no eviction while the check runs: it selects probe pods"
        ))
    });
    stopped.collect()
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::{Labels, Pod};
    use crate::snapshot::Identity;

    fn twin(known: &Pod) -> Twin<'_> {
        let labels = Labels::from([("app".to_owned(), "web".to_owned()), ("a".to_owned(), "b".to_owned())]);
        Twin { pod: Identity::new("x", "web@n"), labels, node: "n", known }
    }

    fn object<K: DeserializeOwned>(spec: &Value) -> K {
        serde_json::from_value(json!({"metadata": {"name": "o", "namespace": "x"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_service_that_publishes_what_is_not_ready_may_not_select_a_twin() {
        let found = |publishes: bool, selector: Value| {
            let spec = json!({"publishNotReadyAddresses": publishes, "selector": selector});
            publishing(&[object(&spec)], &[twin(&Pod::default())])
        };
        let refused = found(true, json!({"app": "web"}));
        assert!(
            refused[0].starts_with("Service x/o has publishNotReadyAddresses, and selects x/web@n"),
            "{refused:?}"
        );
        assert_eq!(found(false, json!({"app": "web"})), [""; 0]);
        assert_eq!(found(true, json!({"app": "db"})), [""; 0]);
        assert_eq!(found(true, json!({})), [""; 0], "without a selector, the endpoints are others");
    }

    #[test]
    fn budgets_that_look_for_controllers_are_named() {
        let found = |limit: Value, app: &str| {
            let mut spec = limit;
            spec["selector"] = json!({"matchLabels": {"app": app}});
            stopped_budgets(&[object(&spec)], &[twin(&Pod::default())]).len()
        };
        assert_eq!(found(json!({"maxUnavailable": 1}), "web"), 1);
        assert_eq!(found(json!({"minAvailable": "50%"}), "web"), 1);
        assert_eq!(found(json!({"minAvailable": 1}), "web"), 0);
        assert_eq!(found(json!({"maxUnavailable": 1}), "db"), 0);
    }
}
