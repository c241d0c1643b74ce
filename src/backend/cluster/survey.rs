//! What kind of cluster this is: its version, its nodes, who enforces policies in it, and which
//! kinds of policies it has that netproof does not model.

use std::net::IpAddr;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{Node, NodeSystemInfo, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};

use super::cluster_policies::{self, Support};
use super::request::{persistently, say};
use crate::backend::Error;
use crate::snapshot::cluster_policy::GROUP;

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) kubelet: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) is_ready: bool,
    /// Whether it is closed for new pods.
    pub(super) is_cordoned: bool,
    /// Whether only pods that tolerate it may run there. Probe pods tolerate every taint.
    pub(super) is_tainted: bool,
    /// Why no probe pod can run there, whatever it tolerates.
    pub(super) obstacle: Option<String>,
}

/// What was found out about a cluster.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    pub(super) machines: Vec<Machine>,
    /// The network plugin, as far as it can be told.
    pub(super) plugin: Option<String>,
    /// What the verdicts do not know of.
    pub(super) warnings: Vec<String>,
    /// Which kinds of cluster-scoped policies a run can make.
    pub(super) cluster_policies: Support,
}

/// Looks around.
pub(super) async fn survey(client: &Client) -> Result<Survey, Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = persistently(async || nodes.list(&ListParams::default()).await).await;
    let nodes = listed.map_err(|error| Error::failed("list the nodes", say(&error)))?.items;
    let groups = persistently(async || client.list_api_groups().await).await;
    let groups = groups.map_err(|error| Error::failed("list the kinds of objects", say(&error)))?;
    let versions: Vec<(String, String)> = groups
        .groups
        .into_iter()
        .filter_map(|group| {
            let version = group.preferred_version.map(|v| v.version)?;
            Some((group.name, version))
        })
        .collect();
    let system: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    // Only to name the plugin: without it, it stays unknown.
    let pods = persistently(async || system.list_metadata(&ListParams::default()).await).await;
    let pods = pods.map(|list| list.items).unwrap_or_default();
    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    let plugin = find_plugin(&names, nodes.iter().map(|node| &node.metadata), &versions);
    let warnings = join_all(OTHERS.iter().map(|other| look_for(client, other, &versions))).await;
    Ok(Survey {
        machines: nodes.iter().map(machine).collect(),
        plugin: plugin.map(str::to_owned),
        warnings: warnings.into_iter().flatten().collect(),
        cluster_policies: cluster_policies::support(client).await,
    })
}

fn machine(node: &Node) -> Machine {
    let status = node.status.as_ref();
    let spec = node.spec.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    let is_ready = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    Machine {
        name: node.name_any(),
        kubelet: status
            .and_then(|status| status.node_info.as_ref())
            .map(|info| info.kubelet_version.clone())
            .unwrap_or_default(),
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        is_ready: is_ready.into_iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        is_cordoned: spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
        is_tainted: taints.clone().any(|taint| taint.effect != "PreferNoSchedule"),
        obstacle: obstacle(status.and_then(|status| status.node_info.as_ref()), taints),
    }
}

/// Taints of nodes that start no pods at the moment, or none of ours: the kubelet refuses them, or there is
/// no kubelet.
const OBSTACLES: [&str; 8] = [
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/network-unavailable",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/out-of-service",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "virtual-kubelet.io/provider",
];

/// Why no probe pod can run on a node, if none can.
fn obstacle<'a>(
    info: Option<&NodeSystemInfo>,
    taints: impl IntoIterator<Item = &'a Taint>,
) -> Option<String> {
    let system = info.map(|info| info.operating_system.as_str()).filter(|system| !system.is_empty());
    if let Some(other) = system.filter(|system| *system != "linux") {
        return Some(format!("runs {other}, and the probe image is for linux"));
    }
    let mut taints = taints.into_iter();
    let taint = taints.find(|taint| OBSTACLES.contains(&taint.key.as_str()))?;
    Some(format!("has the taint {}", taint.key))
}

/// How a network plugin shows itself.
struct Plugin {
    name: &'static str,
    /// Beginnings of the names of its pods in kube-system.
    pods: &'static [&'static str],
    /// Beginnings of the annotations that it gives nodes.
    annotations: &'static [&'static str],
    /// Groups of its own kinds of objects.
    groups: &'static [&'static str],
}

const fn plugin(
    name: &'static str,
    pods: &'static [&'static str],
    annotations: &'static [&'static str],
    groups: &'static [&'static str],
) -> Plugin {
    Plugin { name, pods, annotations, groups }
}

const PLUGINS: [Plugin; 13] = [
    plugin("Cilium", &["cilium"], &["network.cilium.io/"], &["cilium.io"]),
    plugin("Calico", &["calico-node", "canal"], &["projectcalico.org/"], &["crd.projectcalico.org"]),
    plugin("Antrea", &["antrea-agent"], &["node.antrea.io/"], &["crd.antrea.io"]),
    plugin("OVN-Kubernetes", &["ovnkube"], &["k8s.ovn.org/"], &["k8s.ovn.org"]),
    plugin("Kube-OVN", &["kube-ovn"], &["ovn.kubernetes.io/"], &["kubeovn.io"]),
    plugin("kube-router", &["kube-router"], &["kube-router.io/"], &[]),
    plugin("kindnet", &["kindnet"], &[], &[]),
    plugin("kube-network-policies", &["kube-network-policies"], &[], &[]),
    plugin("Amazon VPC CNI", &["aws-node"], &[], &["networking.k8s.aws"]),
    plugin("Azure NPM", &["azure-npm"], &[], &[]),
    plugin("GKE Dataplane V2", &["anetd"], &[], &[]),
    plugin("Weave Net", &["weave-net"], &[], &[]),
    plugin(
        "Flannel, which enforces nothing by itself",
        &["kube-flannel"],
        &["flannel.alpha.coreos.com/"],
        &[],
    ),
];

fn find_plugin<'a>(
    pods: &[String],
    nodes: impl Iterator<Item = &'a ObjectMeta>,
    versions: &[(String, String)],
) -> Option<&'static str> {
    let annotations: Vec<&String> =
        nodes.flat_map(|node| node.annotations.iter().flatten()).map(|(k, _)| k).collect();
    let begins = |text: &str, beginnings: &[&str]| beginnings.iter().any(|begin| text.starts_with(begin));
    let found = PLUGINS.iter().find(|plugin| {
        pods.iter().any(|pod| begins(pod, plugin.pods))
            || annotations.iter().any(|key| begins(key, plugin.annotations))
            || versions.iter().any(|(group, _)| plugin.groups.contains(&group.as_str()))
    });
    found.map(|plugin| plugin.name)
}

/// A kind of object that decides about packets, of which the policy engine knows nothing.
struct Other {
    group: &'static str,
    /// Which version to ask; `None` is the one that the server prefers.
    version: Option<&'static str>,
    kind: &'static str,
    plural: &'static str,
}

const fn other(group: &'static str, kind: &'static str, plural: &'static str) -> Other {
    Other { group, version: None, kind, plural }
}

/// A kind of which the engine knows the scenarios' own policies only.
const fn of_others(version: &'static str, kind: &'static str, plural: &'static str) -> Other {
    Other { group: GROUP, version: Some(version), kind, plural }
}

const OTHERS: [Other; 17] = [
    of_others("v1alpha1", "AdminNetworkPolicy", "adminnetworkpolicies"),
    of_others("v1alpha1", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
    of_others("v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies"),
    other("cilium.io", "CiliumNetworkPolicy", "ciliumnetworkpolicies"),
    other("cilium.io", "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies"),
    other("crd.projectcalico.org", "NetworkPolicy", "networkpolicies"),
    other("crd.projectcalico.org", "GlobalNetworkPolicy", "globalnetworkpolicies"),
    other("projectcalico.org", "NetworkPolicy", "networkpolicies"),
    other("projectcalico.org", "GlobalNetworkPolicy", "globalnetworkpolicies"),
    other("crd.antrea.io", "NetworkPolicy", "networkpolicies"),
    other("crd.antrea.io", "ClusterNetworkPolicy", "clusternetworkpolicies"),
    other("k8s.ovn.org", "EgressFirewall", "egressfirewalls"),
    other("k8s.ovn.org", "AdminPolicyBasedExternalRoute", "adminpolicybasedexternalroutes"),
    other("networking.gke.io", "FQDNNetworkPolicy", "fqdnnetworkpolicies"),
    other("security.istio.io", "AuthorizationPolicy", "authorizationpolicies"),
    other("policy.linkerd.io", "AuthorizationPolicy", "authorizationpolicies"),
    other("crd.nsx.vmware.com", "SecurityPolicy", "securitypolicies"),
];

/// A warning if the cluster has such objects, or may have them.
async fn look_for(client: &Client, other: &Other, versions: &[(String, String)]) -> Option<String> {
    let Other { group, version, kind, plural } = other;
    let (_, preferred) = versions.iter().find(|(name, _)| name == group)?;
    let version = version.unwrap_or(preferred);
    let version_of_group = format!("{group}/{version}");
    let resources =
        persistently(async || client.list_api_group_resources(&version_of_group).await).await.ok()?;
    resources.resources.iter().find(|resource| resource.name == *plural)?;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let knowledge = match other.version {
        Some(_) => "knows those of its scenarios only",
        None => "does not model them",
    };
    let meaning = format!("netproof {knowledge}: where they decide, a leak or blocked cell is theirs");
    match persistently(async || objects.list_metadata(&ListParams::default()).await).await {
        Ok(list) if list.items.is_empty() => None,
        Ok(list) => Some(format!("{} of kind {kind} ({group}) are in force: {meaning}", list.items.len())),
        Err(_) => {
            Some(format!("objects of kind {kind} ({group}) may be in force, and cannot be listed: {meaning}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_start_no_pods_are_told_from_nodes_that_need_a_toleration() {
        let taint =
            |key: &str| Taint { key: key.to_owned(), effect: "NoSchedule".into(), ..Taint::default() };
        let info =
            |system: &str| NodeSystemInfo { operating_system: system.into(), ..NodeSystemInfo::default() };
        let of = |system: &str, key: &str| obstacle(Some(&info(system)), &[taint(key)]);
        assert_eq!(of("linux", "node-role.kubernetes.io/control-plane"), None);
        assert_eq!(of("linux", "dedicated"), None);
        assert_eq!(of("", "nvidia.com/gpu"), None, "unknown");
        assert!(of("windows", "dedicated").unwrap().contains("runs windows"));
        assert!(of("linux", "node.kubernetes.io/disk-pressure").unwrap().contains("disk-pressure"));
    }

    #[test]
    fn plugins_are_told_apart() {
        let told = |pods: &[&str], annotations: &[&str], groups: &[&str]| {
            let pods: Vec<String> = pods.iter().map(|pod| (*pod).to_owned()).collect();
            let annotations = annotations.iter().map(|key| ((*key).to_owned(), String::new())).collect();
            let node = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
            let groups: Vec<_> = groups.iter().map(|group| ((*group).to_owned(), "v1".to_owned())).collect();
            find_plugin(&pods, [&node].into_iter(), &groups)
        };
        assert_eq!(told(&["kindnet-x7k2"], &[], &[]), Some("kindnet"));
        assert_eq!(told(&[], &["projectcalico.org/IPv4Address"], &[]), Some("Calico"));
        assert_eq!(told(&["coredns-1"], &[], &["cilium.io"]), Some("Cilium"));
        assert_eq!(told(&["coredns-1"], &["node.alpha.kubernetes.io/ttl"], &["apps"]), None);
    }
}
