//! Writes a first tenants file from what a cluster has.

use std::collections::{BTreeMap, BTreeSet};

use super::label::{group, namespaces, well_known_key};
use super::tenancy::Access;
use crate::policy::{Cluster, Direction, Peers, Ports, Rule};
use crate::source::{Error, to_yaml};

/// First lines of a tenants file.
pub(super) const HEAD: &str = "apiVersion: netproof.dev/v1alpha1\nkind: Tenants\n";

/// A service that tenants usually share, recognized by a label of its pods.
struct Known {
    name: &'static str,
    key: &'static str,
    values: &'static [&'static str],
    /// The other fields of its entry.
    rest: &'static str,
}

const DNS: &str = "  ports: [53/UDP, 53/TCP]\n";

/// Which pods it must reach is not known.
const REACHES_TENANTS: &str =
    "  direction: ToTenants\n  action: ignore  # or allow, if it must reach all pods of all tenants\n";

const APP: &str = "app.kubernetes.io/name";

const KNOWN: [Known; 4] = [
    Known { name: "dns", key: "k8s-app", values: &["kube-dns"], rest: DNS },
    Known { name: "dns", key: APP, values: &["coredns"], rest: DNS },
    Known {
        name: "ingress",
        key: APP,
        values: &[
            "ingress-nginx",
            "traefik",
            "contour",
            "envoy",
            "haproxy-ingress",
            "kubernetes-ingress",
            "kong",
        ],
        rest: REACHES_TENANTS,
    },
    Known {
        name: "observability",
        key: APP,
        values: &["prometheus", "opentelemetry-collector", "alloy", "vmagent"],
        rest: REACHES_TENANTS,
    },
];

/// A shared service that was found: a namespace, an index of [`KNOWN`], and the value of the label.
type Found<'a> = (&'a str, usize, &'a str);

/// Returns a tenants file for a cluster. The tenants are groups of namespaces by the value of the label with this key, by
/// default one that well-known tools set. If there is none, each namespace is a tenant.
///
/// # Errors
/// If no namespace can belong to a tenant.
pub fn first_file(cluster: &Cluster, key: Option<&str>) -> Result<String, Error> {
    let found = shared_services(cluster);
    let shared: BTreeSet<&str> = found.iter().map(|(namespace, _, _)| *namespace).collect();
    let key = key.or_else(|| well_known_key(cluster).ok());
    let mut groups: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for namespace in namespaces(cluster) {
        let name = match key {
            Some(key) => group(namespace, key).filter(|name| !name.is_empty()),
            None => Some(namespace.name.clone()).filter(|name| !shared.contains(name.as_str())),
        };
        if let Some(name) = name {
            groups.entry(name).or_default().insert(&namespace.name);
        }
    }
    if groups.is_empty() {
        let what =
            key.map_or_else(|| "that may be a tenant".to_owned(), |key| format!("with the label {key}"));
        return Err(Error::whole(&"tenants".into(), format!("there is no namespace {what}")));
    }
    let mut file = String::from("# A first tenants file. Read it, and say what you want.\n");
    file += &match key {
        Some(key) => format!("# The tenants are the groups of namespaces by the label {key}.\n"),
        None => "# No label marks tenants, so each namespace is one.\n".to_owned(),
    };
    file += HEAD;
    file += "tenants:\n";
    for (name, namespaces) in &groups {
        file += &tenant(cluster, name, namespaces);
    }
    let owned: BTreeSet<&str> = groups.values().flatten().copied().collect();
    let found: Vec<_> = found.into_iter().filter(|(namespace, _, _)| !owned.contains(namespace)).collect();
    file += &services(&found);
    Ok(file)
}

fn tenant(cluster: &Cluster, name: &str, namespaces: &BTreeSet<&str>) -> String {
    let closed = if namespaces.len() > 1 { Access::AllowSameTenant } else { Access::AllowSameNamespace };
    let is_isolated = |direction| namespaces.iter().all(|namespace| isolates(cluster, namespace, direction));
    let (ingress, egress) = (is_isolated(Direction::Ingress), is_isolated(Direction::Egress));
    let policies = match (ingress, egress) {
        (true, true) => "policies isolate all pods in both directions",
        (true, false) => "policies isolate all pods for ingress",
        (false, true) => "policies isolate all pods for egress, and not for ingress",
        (false, false) => "no policies isolate all pods",
    };
    let egress = if egress { closed } else { Access::AllowAll };
    let list: Vec<_> = namespaces.iter().map(|namespace| scalar(namespace)).collect();
    format!(
        "# {policies}\n- name: {}\n  namespaces: [{}]\n  ingress: {closed}\n  egress: {egress}\n",
        scalar(name),
        list.join(", ")
    )
}

fn allows_everything(rule: &Rule) -> bool {
    rule.peers == Peers::Any && rule.ports == Ports::Any
}

/// Returns whether a NetworkPolicy of the namespace selects all of its pods and isolates them, without a rule that allows
/// everything.
fn isolates(cluster: &Cluster, namespace: &str, direction: Direction) -> bool {
    cluster.policies.iter().any(|policy| {
        let rules = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        let isolates = rules.as_ref().is_some_and(|rules| !rules.iter().any(allows_everything));
        policy.namespace == namespace && policy.subjects.is_everything() && isolates
    })
}

fn shared_services(cluster: &Cluster) -> BTreeSet<Found<'_>> {
    // A pod in the network of its node cannot be named by its labels.
    let pods = cluster.pods.iter().filter(|pod| !pod.ended && !pod.host_network);
    pods.flat_map(|pod| {
        KNOWN.iter().enumerate().filter_map(|(index, known)| {
            let value = pod.labels.get(known.key).filter(|value| known.values.contains(&value.as_str()))?;
            Some((pod.namespace.as_str(), index, value.as_str()))
        })
    })
    .collect()
}

fn services(found: &[Found<'_>]) -> String {
    let mut text = String::from("sharedServices:\n");
    for (namespace, index, value) in found {
        let Some(known) = KNOWN.get(*index) else { continue };
        let has_name =
            |(_, other, _): &&Found<'_>| KNOWN.get(*other).is_some_and(|other| other.name == known.name);
        let name = match found.iter().filter(has_name).count() {
            0 | 1 => known.name.to_owned(),
            _ => format!("{}-{namespace}-{value}", known.name),
        };
        text += &format!(
            "- name: {name}\n  namespaces: {}\n  podSelector: {{matchLabels: {{{}: {value}}}}}\n{}",
            scalar(namespace),
            known.key,
            known.rest
        );
    }
    // An empty list is a valid one.
    let list = if found.is_empty() { "sharedServices: []\n".to_owned() } else { text };
    list + "# If tenants may reach the API server:\n# - {name: api-server, apiServer: true}\n"
}

/// Returns a text as a YAML scalar.
pub(super) fn scalar(text: &str) -> String {
    to_yaml(&serde_json::Value::from(text)).trim_end().to_owned()
}
