//! Enforcers that do not enforce, as far as that can be seen in the API.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use kube::Client;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::super::request::status_code;
use super::list::{self, Content};
use crate::snapshot::{NotEnforced, Unseen};

/// What was found out about enforcers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Enforcement {
    pub(super) not_enforced: Vec<NotEnforced>,
    /// Configuration that could not be read.
    pub(super) unseen: Vec<Unseen>,
}

const CILIUM: &str = "Cilium";
const CILIUM_GROUP: &str = "cilium.io";
const CILIUM_CONFIG: &str = "cilium-config";

/// Namespaces where Cilium is usually installed.
const CILIUM_NAMESPACES: [&str; 2] = ["kube-system", "cilium"];

/// Keys of Cilium's configuration, with the values under which NetworkPolicies are not enforced, and what they mean.
/// <https://docs.cilium.io/en/stable/security/policy-creation/>
const CILIUM_MODES: [(&str, &str, &str); 3] = [
    ("policy-audit-mode", "true", "is in audit mode: it logs what policies would deny, and lets it pass"),
    ("enable-policy", "never", "enforces no policies"),
    ("enable-k8s-networkpolicy", "false", "does not read NetworkPolicies"),
];

/// Looks for enforcers that do not enforce.
///
/// Cilium has such a mode for all pods (its ConfigMap) and for some nodes (`CiliumNodeConfig`). The mode of a single
/// endpoint is not in the API.
pub(super) async fn find(client: &Client, groups: &[APIGroup], plugin: Option<&str>) -> Enforcement {
    let mut found = Enforcement::default();
    let group = groups.iter().find(|group| group.name == CILIUM_GROUP);
    if group.is_none() && plugin != Some(CILIUM) {
        return found;
    }
    cilium_config(client, &mut found).await;
    if let Some(group) = group {
        cilium_node_configs(client, group, &mut found).await;
    }
    found
}

async fn cilium_config(client: &Client, found: &mut Enforcement) {
    let config_map =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "ConfigMap"), "configmaps");
    let mut missing = String::new();
    for namespace in CILIUM_NAMESPACES {
        match list::get(client, &config_map, Some(namespace), CILIUM_CONFIG).await {
            Ok(object) => {
                let source = format!("ConfigMap {namespace}/{CILIUM_CONFIG}");
                found.not_enforced.extend(cilium_modes(object.get("data"), &source));
                return;
            }
            Err(error) => {
                // That it is not in one namespace is known. Whether it is in the other one may not be.
                if missing.is_empty() || status_code(&error) != Some(404) {
                    missing = list::reason(&error);
                }
            }
        }
    }
    found.unseen.push(unseen(&format!("ConfigMap kube-system/{CILIUM_CONFIG}"), missing));
}

async fn cilium_node_configs(client: &Client, group: &APIGroup, found: &mut Enforcement) {
    let kind = "CiliumNodeConfig";
    let mut failure = None;
    for version in ["v2", "v2alpha1"] {
        if !group.versions.iter().any(|served| served.version == version) {
            continue;
        }
        let of_kind = GroupVersionKind::gvk(CILIUM_GROUP, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&of_kind, "ciliumnodeconfigs");
        match list::list(client, &resource, None, Content::Whole).await {
            Ok(objects) => {
                for object in objects {
                    let text = |field| object.get("metadata")?.get(field)?.as_str();
                    let (namespace, name) = (text("namespace"), text("name"));
                    let source =
                        format!("{kind} {}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
                    let defaults = object.get("spec").and_then(|spec| spec.get("defaults"));
                    found.not_enforced.extend(cilium_modes(defaults, &source));
                }
                return;
            }
            Err(error) if status_code(&error) == Some(404) => {}
            Err(error) => failure = Some(list::reason(&error)),
        }
    }
    if let Some(why) = failure {
        found.unseen.push(unseen("CiliumNodeConfig.cilium.io", why));
    }
}

/// Returns the settings in a part of Cilium's configuration under which it does not enforce.
fn cilium_modes(settings: Option<&Value>, source: &str) -> Vec<NotEnforced> {
    let set = |key: &str| settings?.get(key)?.as_str().map(str::to_lowercase);
    let mode = |(key, value, why): &(&str, &str, &str)| {
        (set(key)? == *value).then(|| NotEnforced {
            what: CILIUM.to_owned(),
            why: (*why).to_owned(),
            source: format!("`{key}: {value}` in {source}"),
            is_everything: true,
        })
    };
    CILIUM_MODES.iter().filter_map(mode).collect()
}

fn unseen(kind: &str, why: String) -> Unseen {
    Unseen {
        kind: kind.to_owned(),
        namespace: None,
        outside: Vec::new(),
        effect: "whether Cilium enforces policies, or only logs what they would deny, is not known"
            .to_owned(),
        why,
        is_needed: false,
    }
}
