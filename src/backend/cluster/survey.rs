//! Survey of a cluster: its nodes, its network plugin, and the kinds of policies that it has and netproof
//! does not model.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{self as core, ContainerImage, Node, NodeSystemInfo, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, ObjectMeta};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::cluster_policies::{self, Support};
use super::foreign::{self, Foreign};
use super::request::{persistently, say};
use super::site::Taint;
use crate::backend::Error;
use crate::policy::Labels;

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SurveyedNode {
    pub(super) name: String,
    pub(super) kubelet: String,
    /// The architecture, as Kubernetes names it.
    pub(super) architecture: String,
    pub(super) addresses: Vec<IpAddr>,
    /// Images that the node has. An image with several names occurs several times.
    pub(super) images: Vec<NodeImage>,
    pub(super) is_ready: bool,
    /// Whether the node is closed for new pods.
    pub(super) is_cordoned: bool,
    pub(super) labels: Labels,
    /// Taints that keep pods without a toleration away.
    pub(super) taints: Vec<Taint>,
    /// Why no probe pod can run there, even with tolerations. `None` if one can.
    pub(super) obstacle: Option<String>,
}

/// An image on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeImage {
    pub(super) name: String,
    /// Size in bytes.
    pub(super) size: i64,
}

#[cfg(test)]
impl SurveyedNode {
    /// Returns a node on which probe pods can run.
    pub(super) fn ready(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kubelet: String::new(),
            architecture: "amd64".to_owned(),
            addresses: Vec::new(),
            images: Vec::new(),
            is_ready: true,
            is_cordoned: false,
            labels: Labels::new(),
            taints: Vec::new(),
            obstacle: None,
        }
    }
}

/// Result of a survey.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) nodes: Vec<SurveyedNode>,
    /// Name of the network plugin, if it is recognized.
    pub(super) plugin: Option<String>,
    /// Policies and other objects that the policy engine does not model.
    pub(super) foreign: Foreign,
    /// The kinds of cluster-scoped policies that a run can create.
    pub(super) cluster_policies: Support,
}

/// Surveys a cluster.
pub(super) async fn survey(client: &Client) -> Result<Survey, Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = persistently(async || nodes.list(&ListParams::default()).await).await;
    let nodes = listed.map_err(|error| Error::failed("list the nodes", say(&error)))?.items;
    let groups = persistently(async || client.list_api_groups().await).await;
    let groups = groups.map_err(|error| Error::failed("list the kinds of objects", say(&error)))?.groups;
    let system: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    // The pods are needed only to recognize the plugin. Without them, it may remain unknown.
    let pods = persistently(async || system.list_metadata(&ListParams::default()).await).await;
    let pods = pods.map(|list| list.items).unwrap_or_default();
    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    let plugin = find_plugin(&names, nodes.iter().map(|node| &node.metadata), &groups);
    Ok(Survey {
        nodes: nodes.iter().map(node).collect(),
        plugin: plugin.map(str::to_owned),
        foreign: foreign::look(client, &groups).await?,
        cluster_policies: cluster_policies::support(client).await,
    })
}

fn node(node: &Node) -> SurveyedNode {
    let status = node.status.as_ref();
    let spec = node.spec.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    let images = status.and_then(|status| status.images.as_ref()).into_iter().flatten();
    let info = status.and_then(|status| status.node_info.as_ref());
    let is_ready = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    SurveyedNode {
        name: node.name_any(),
        kubelet: info.map(|info| info.kubelet_version.clone()).unwrap_or_default(),
        architecture: info.map(|info| info.architecture.clone()).unwrap_or_default(),
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        images: images.flat_map(image_names).collect(),
        is_ready: is_ready.into_iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        is_cordoned: spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
        labels: node.labels().clone(),
        taints: taints.clone().filter(|taint| taint.effect != "PreferNoSchedule").map(own_taint).collect(),
        obstacle: obstacle(info, taints),
    }
}

fn own_taint(taint: &core::Taint) -> Taint {
    let (key, effect) = (taint.key.clone(), taint.effect.clone());
    Taint { key, value: taint.value.clone().unwrap_or_default(), effect }
}

fn image_names(image: &ContainerImage) -> impl Iterator<Item = NodeImage> {
    let size = image.size_bytes.unwrap_or_default();
    image.names.iter().flatten().map(move |name| NodeImage { name: name.clone(), size })
}

/// Taints of nodes that start no pods at the moment, or no probe pods at all. Either the kubelet refuses the
/// pods, or there is no kubelet.
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

/// Returns why no probe pod can run on a node, even with tolerations. `None` if one can.
fn obstacle<'a>(
    info: Option<&NodeSystemInfo>,
    taints: impl IntoIterator<Item = &'a core::Taint>,
) -> Option<String> {
    let system = info.map(|info| info.operating_system.as_str()).filter(|system| !system.is_empty());
    if let Some(other) = system.filter(|system| *system != "linux") {
        return Some(format!("runs {other}, and the probe image is for linux"));
    }
    let mut taints = taints.into_iter();
    let taint = taints.find(|taint| OBSTACLES.contains(&taint.key.as_str()))?;
    Some(format!("has the taint {}", taint.key))
}

/// Signs by which a network plugin is recognized.
struct Plugin {
    name: &'static str,
    /// Prefixes of the names of its pods in kube-system.
    pods: &'static [&'static str],
    /// Prefixes of the annotations that it sets on nodes.
    annotations: &'static [&'static str],
    /// API groups of its own kinds of objects.
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
    groups: &[APIGroup],
) -> Option<&'static str> {
    let annotations: Vec<&String> =
        nodes.flat_map(|node| node.annotations.iter().flatten()).map(|(k, _)| k).collect();
    let begins = |text: &str, beginnings: &[&str]| beginnings.iter().any(|begin| text.starts_with(begin));
    let found = PLUGINS.iter().find(|plugin| {
        pods.iter().any(|pod| begins(pod, plugin.pods))
            || annotations.iter().any(|key| begins(key, plugin.annotations))
            || groups.iter().any(|group| plugin.groups.contains(&group.name.as_str()))
    });
    found.map(|plugin| plugin.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_start_no_pods_are_told_from_nodes_that_need_a_toleration() {
        let taint = |key: &str| core::Taint {
            key: key.to_owned(),
            effect: "NoSchedule".into(),
            ..core::Taint::default()
        };
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
            let group = |name: &&str| APIGroup { name: (*name).to_owned(), ..APIGroup::default() };
            let groups: Vec<_> = groups.iter().map(group).collect();
            find_plugin(&pods, [&node].into_iter(), &groups)
        };
        assert_eq!(told(&["kindnet-x7k2"], &[], &[]), Some("kindnet"));
        assert_eq!(told(&[], &["projectcalico.org/IPv4Address"], &[]), Some("Calico"));
        assert_eq!(told(&["coredns-1"], &[], &["cilium.io"]), Some("Cilium"));
        assert_eq!(told(&["coredns-1"], &["node.alpha.kubernetes.io/ttl"], &["apps"]), None);
    }
}
