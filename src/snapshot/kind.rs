//! The table of the kinds that netproof reads.

use std::sync::Arc;

use super::workload_kind::WorkloadKind;
use super::{group, plain};
use crate::policy::ClusterPolicyKind;
use crate::source::{Error, Node, misspelt, near, quote};

/// A kind that netproof reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Namespace,
    Node,
    Service,
    NetworkPolicy,
    ClusterPolicy(ClusterPolicyKind),
    Workload(WorkloadKind),
}

impl Kind {
    /// Returns the kind's name in the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterPolicy(kind) => kind.name(),
            Self::Workload(kind) => kind.name(),
        }
    }
}

/// A row of the table.
struct Known {
    kind: Kind,
    api_version: &'static str,
    /// Names that `kubectl get` accepts for the kind. Users write them in manifests by mistake.
    aliases: &'static [&'static str],
}

const fn known(kind: Kind, api_version: &'static str, aliases: &'static [&'static str]) -> Known {
    Known { kind, api_version, aliases }
}

const KNOWN: [Known; 15] = {
    use ClusterPolicyKind::{AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy};
    use Kind::{ClusterPolicy, Workload};
    use WorkloadKind as Work;
    const ALPHA1: &str = "policy.networking.k8s.io/v1alpha1";
    const ALPHA2: &str = "policy.networking.k8s.io/v1alpha2";
    [
        known(Kind::Namespace, "v1", &["namespaces", "ns"]),
        known(Kind::Node, "v1", &["nodes", "no"]),
        known(Workload(Work::Pod), "v1", &["pods", "po"]),
        known(Kind::Service, "v1", &["services", "svc"]),
        known(Workload(Work::ReplicationController), "v1", &["replicationcontrollers", "rc"]),
        known(Workload(Work::Deployment), "apps/v1", &["deployments", "deploy"]),
        known(Workload(Work::StatefulSet), "apps/v1", &["statefulsets", "sts"]),
        known(Workload(Work::DaemonSet), "apps/v1", &["daemonsets", "ds"]),
        known(Workload(Work::ReplicaSet), "apps/v1", &["replicasets", "rs"]),
        known(Workload(Work::Job), "batch/v1", &["jobs"]),
        known(Workload(Work::CronJob), "batch/v1", &["cronjobs", "cj"]),
        known(Kind::NetworkPolicy, "networking.k8s.io/v1", &["networkpolicies", "netpol"]),
        known(ClusterPolicy(AdminNetworkPolicy), ALPHA1, &["adminnetworkpolicies", "anp"]),
        known(ClusterPolicy(BaselineAdminNetworkPolicy), ALPHA1, &["baselineadminnetworkpolicies", "banp"]),
        known(ClusterPolicy(ClusterNetworkPolicy), ALPHA2, &["clusternetworkpolicies", "cnp"]),
    ]
};

/// A `kind` or `apiVersion` that the API server does not accept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistake {
    /// The text cannot be the name of a kind.
    #[error(
        "{} is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter",
        quote(.0)
    )]
    NotKind(String),
    /// The text cannot be an `apiVersion`.
    #[error("{} is not an apiVersion: write it like `v1` or `networking.k8s.io/v1`", quote(.0))]
    NotApiVersion(String),
    /// The kind exists in another group or version.
    #[error("kind {kind} is of {wanted}, found {found}: write `apiVersion: {wanted}`")]
    ApiVersion { kind: &'static str, wanted: &'static str, found: String },
    /// Another name or spelling of a kind. `of` says where the kind is, or is empty.
    #[error("there is no kind {kind}: write `kind: {meant}`{of}")]
    Kind { kind: String, meant: String, of: String },
    /// A kind that its closed group does not have, and that differs in few letters from another kind.
    #[error("there is no kind {kind} in {api_version}: did you mean {meant}?")]
    Misspelt { kind: String, api_version: String, meant: &'static str },
    /// A file of netproof itself.
    #[error("this is not a manifest: `{command}` reads it")]
    Own { command: &'static str },
}

impl Mistake {
    /// Returns the mistake as an error about an object of a file. In a typed list, the wrong value may be that of
    /// the list.
    pub(super) fn within(self, file: &Arc<str>, object: &Node) -> Error {
        let field = match self {
            Self::NotApiVersion(_) | Self::ApiVersion { .. } => "apiVersion",
            Self::NotKind(_) | Self::Kind { .. } | Self::Misspelt { .. } | Self::Own { .. } => "kind",
        };
        let at = object.get(field).map_or(object.at, |field| field.at);
        Error::at(file, at, self.to_string()).because(self)
    }
}

/// netproof's own formats, which users give to the wrong command, and the commands that read them.
const OWN: [(&str, &str); 3] = [
    ("Scenario", "netproof run FILE"),
    ("Profile", "netproof run --profile FILE"),
    ("RunResult", "netproof compare BEFORE AFTER"),
];
const OWN_GROUP: &str = "netproof.dev";

/// Looks up the kind of an object. Returns `None` for a kind that netproof does not read.
///
/// Only the group distinguishes a mistake from another kind of the same name. `v1 NetworkPolicy` does not exist, and
/// `projectcalico.org/v3 NetworkPolicy` is Calico's own. The groups of custom resources are domains.
pub(super) fn look_up(api_version: &str, kind: &str) -> Result<Option<Kind>, Mistake> {
    let group = group::of(api_version);
    if let Some((.., command)) = OWN.iter().find(|(own_kind, _)| group == OWN_GROUP && *own_kind == kind) {
        return Err(Mistake::Own { command });
    }
    if !group::is_own(group) {
        return Ok(None);
    }
    if let Some(known) = KNOWN.iter().find(|known| known.kind.name() == kind) {
        if known.api_version == api_version {
            return Ok(Some(known.kind));
        }
        let (wanted, found) = (known.api_version, api_version.to_owned());
        return Err(Mistake::ApiVersion { kind: known.kind.name(), wanted, found });
    }
    if plain::BUILT_IN.contains(&kind) {
        return Ok(None);
    }
    let is_meant = |known: &&Known| {
        known.kind.name().eq_ignore_ascii_case(kind)
            || known.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(kind))
    };
    if let Some(known) = KNOWN.iter().find(is_meant) {
        let (meant, of) = (known.kind.name().to_owned(), format!(" (of {})", known.api_version));
        return Err(Mistake::Kind { kind: kind.to_owned(), meant, of });
    }
    let names = KNOWN.iter().map(|known| known.kind.name()).chain(plain::BUILT_IN.iter().copied());
    match misspelt(kind, names) {
        Some(meant) if is_closed(group) => {
            Err(Mistake::Misspelt { kind: kind.to_owned(), api_version: api_version.to_owned(), meant })
        }
        Some(_) | None => Ok(None),
    }
}

/// Checks a `kind`, because reports print it as it is. The API server requires a DNS label, in any case.
pub(super) fn check_kind(kind: &str) -> Result<(), Mistake> {
    let is_kind = is_label(kind) && kind.starts_with(|c: char| c.is_ascii_alphabetic());
    if is_kind { Ok(()) } else { Err(Mistake::NotKind(kind.to_owned())) }
}

/// Checks an `apiVersion`: `version`, or `group/version`.
pub(super) fn check_api_version(api_version: &str) -> Result<(), Mistake> {
    let is_name = |name: &str| name.len() <= 253 && name.split('.').all(is_label);
    let is_api_version = api_version.split('/').count() <= 2 && api_version.split('/').all(is_name);
    if is_api_version { Ok(()) } else { Err(Mistake::NotApiVersion(api_version.to_owned())) }
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Returns the kind of workloads with this name, and its `apiVersion`.
pub(super) fn workload(name: &str) -> Option<(WorkloadKind, &'static str)> {
    KNOWN.iter().find_map(|known| match known.kind {
        Kind::Workload(kind) => (kind.name() == name).then_some((kind, known.api_version)),
        Kind::Namespace | Kind::Node | Kind::Service | Kind::NetworkPolicy | Kind::ClusterPolicy(_) => None,
    })
}

/// Returns the kinds that netproof reads and whose names are similar.
pub(super) fn similar(kind: &str) -> Vec<&'static str> {
    near(kind, KNOWN.iter().map(|known| known.kind.name()))
}

/// Returns whether only Kubernetes itself may add kinds to a group. An unknown kind in it is then misspelt, or of a
/// newer version.
pub fn is_closed(group: &str) -> bool {
    !group.contains('.') || KNOWN.iter().any(|known| group::of(known.api_version) == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(api_version: &str, kind: &str) -> Mistake {
        look_up(api_version, kind).unwrap_err()
    }

    #[test]
    fn only_names_are_kinds_and_api_versions() {
        for kind in ["Pod", "pods", "NetworkPolicyList", "My-Kind2"] {
            assert_eq!(check_kind(kind), Ok(()), "{kind}");
        }
        for kind in ["", "X\nPASS", "\u{1b}[2JPod", "a.b", "Ünit", "2Pod", "Pod-", "a b", &"a".repeat(64)] {
            assert!(check_kind(kind).is_err(), "{kind}");
        }
        for api_version in ["v1", "V1", "networking.k8s.io/v1", "networking.k8s.io", "a-b.c/v1alpha1"] {
            assert_eq!(check_api_version(api_version), Ok(()), "{api_version}");
        }
        for api_version in
            ["", "/v1", "a/", "a/b/c", "apps/v1\nfake: line", "a..b/v1", "apps /v1", "\u{202e}"]
        {
            assert!(check_api_version(api_version).is_err(), "{api_version}");
        }
        let message = check_kind("X\nY").unwrap_err().to_string();
        assert!(message.starts_with("`X\\nY` is not the name of a kind"), "{message}");
    }

    #[test]
    fn every_known_kind_is_found_and_refused_with_any_other_api_version() {
        for known in &KNOWN {
            let (name, api_version) = (known.kind.name(), known.api_version);
            assert_eq!(look_up(api_version, name), Ok(Some(known.kind)));
            for wrong in
                ["v1", "v2", "V1", "apps/v1", "extensions/v1beta1", "networking/v1", "networking.k8s.io"]
            {
                if wrong != api_version {
                    assert!(matches!(mistake(wrong, name), Mistake::ApiVersion { .. }), "{wrong} {name}");
                }
            }
        }
    }

    #[test]
    fn every_known_kind_is_refused_in_another_case_or_as_a_resource() {
        for known in &KNOWN {
            let name = known.kind.name();
            let wrong = [name.to_lowercase(), name.to_uppercase()];
            for kind in wrong.into_iter().chain(known.aliases.iter().map(|alias| (*alias).to_owned())) {
                assert!(matches!(mistake(known.api_version, &kind), Mistake::Kind { .. }), "{kind}");
            }
        }
        assert_eq!(
            mistake("networking.k8s.io/v1", "NetworkPolicies").to_string(),
            "there is no kind NetworkPolicies: write `kind: NetworkPolicy` (of networking.k8s.io/v1)"
        );
    }

    #[test]
    fn misspelt_kinds_of_closed_groups_are_refused() {
        for (api_version, kind, meant) in [
            ("networking.k8s.io/v1", "NetworkPolice", "NetworkPolicy"),
            ("networking.k8s.io/v1", "Ingres", "Ingress"),
            ("apps/v1", "Deploiment", "Deployment"),
            ("v1", "Namspace", "Namespace"),
            ("batch/v1", "CornJob", "CronJob"),
        ] {
            let message = format!("there is no kind {kind} in {api_version}: did you mean {meant}?");
            assert_eq!(mistake(api_version, kind).to_string(), message);
        }
        // Kinds of newer servers, and of groups that are not closed.
        for (api_version, kind) in [
            ("v1", "Frobnicator"),
            ("v1", "PodTemplate"),
            ("v1", "DeploymentConfig"),
            ("v1", "Template"),
            ("apps/v1", "Rollout"),
            ("x.k8s.io/v1", "Ingres"),
        ] {
            assert_eq!(look_up(api_version, kind), Ok(None), "{api_version} {kind}");
        }
    }

    #[test]
    fn kinds_of_custom_resources_may_have_any_name() {
        for (api_version, kind) in [
            ("projectcalico.org/v3", "NetworkPolicy"),
            ("crd.projectcalico.org/v1", "NetworkPolicy"),
            ("serving.knative.dev/v1", "Service"),
            ("apps.kruise.io/v1beta1", "StatefulSet"),
            ("networking.k8s.aws/v1alpha1", "ClusterNetworkPolicy"),
            ("multicluster.x-k8s.io/v1", "namespaces"),
        ] {
            let (group, _) = api_version.split_once('/').unwrap();
            assert_eq!(look_up(api_version, kind), Ok(None));
            assert_eq!(group::full_name(api_version, kind), format!("{kind}.{group}"));
        }
    }

    #[test]
    fn other_kinds_of_kubernetes_are_no_mistakes() {
        for (api_version, kind, name) in [
            ("v1", "ConfigMap", "ConfigMap"),
            ("networking.k8s.io/v1", "Ingress", "Ingress.networking.k8s.io"),
            ("policy/v1", "PodDisruptionBudget", "PodDisruptionBudget.policy"),
            ("metrics.k8s.io/v1beta1", "PodMetrics", "PodMetrics.metrics.k8s.io"),
        ] {
            assert_eq!(look_up(api_version, kind), Ok(None));
            assert_eq!(group::full_name(api_version, kind), name);
        }
    }
}
