//! The kinds that the snapshot converts.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;

use super::super::access;

/// A kind that the snapshot converts.
pub(super) struct ReadKind {
    group: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) is_namespaced: bool,
    /// What it means if objects in the named namespaces, or in the cluster, could not be seen.
    pub(super) effect: &'static str,
    /// Whether the answer about the named namespaces may be wrong without them.
    pub(super) is_needed: bool,
    /// What it means if only objects in other namespaces could not be seen.
    pub(super) elsewhere: &'static str,
}

/// The kinds that every cluster has.
pub(super) const KINDS: [ReadKind; 6] = [
    ReadKind {
        group: "",
        kind: "Namespace",
        plural: "namespaces",
        is_namespaced: false,
        effect: "the labels of namespaces are not known",
        is_needed: false,
        elsewhere: "",
    },
    ReadKind {
        group: "",
        kind: "Node",
        plural: "nodes",
        is_namespaced: false,
        effect: "the addresses of nodes are not known",
        is_needed: false,
        elsewhere: "",
    },
    ReadKind {
        group: "",
        kind: "Pod",
        plural: "pods",
        is_namespaced: true,
        effect: "the pods and their connections are not known",
        is_needed: true,
        elsewhere: "nothing is said about these pods, and their addresses count as outside the cluster",
    },
    ReadKind {
        group: "",
        kind: "Service",
        plural: "services",
        is_namespaced: true,
        effect: "addresses that lead to pods are not known",
        is_needed: true,
        elsewhere: "their addresses count as outside the cluster",
    },
    ReadKind {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        is_namespaced: true,
        effect: "the endpoints of Services are not known",
        is_needed: false,
        elsewhere: "the endpoints of these Services are not known",
    },
    ReadKind {
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        is_namespaced: true,
        effect: "policies that decide about packets are not known",
        is_needed: true,
        elsewhere: "they decide only about pods that were not seen either",
    },
];

impl ReadKind {
    pub(super) fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, "v1", self.kind), self.plural)
    }

    pub(super) fn rule(&self) -> access::Rule {
        access::rule(self.group, self.plural, &["list"])
    }
}

/// Returns `Kind`, or `Kind.group` outside the core group.
pub(super) fn full_kind(resource: &ApiResource) -> String {
    match resource.group.as_str() {
        "" => resource.kind.clone(),
        group => format!("{}.{group}", resource.kind),
    }
}
