//! Survey of a cluster: its nodes, its network plugin, and the kinds of policies that it has and netproof
//! does not model.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{self as core, ContainerImage, Node, NodeSystemInfo};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::cluster_policies::{self, Support};
use super::foreign::{self, Foreign};
use super::plugin::{self, Plugin};
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
    /// Count of its processors. 0 if it does not report any.
    pub(super) processors: usize,
    /// The id of its machine since the machine started. Nodes that are containers share the machine, as with kind.
    pub(super) boot_id: String,
    pub(super) addresses: Vec<IpAddr>,
    /// The ranges of its pods' addresses, if it reports them.
    pub(super) pod_ranges: Vec<IpNet>,
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

impl SurveyedNode {
    /// Returns whether an address is the node's, or in the ranges of its pods.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.pod_ranges.iter().any(|range| range.contains(&address))
    }
}

#[cfg(test)]
impl SurveyedNode {
    /// Returns a node on which probe pods can run.
    pub(super) fn ready(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kubelet: String::new(),
            architecture: "amd64".to_owned(),
            processors: 1,
            boot_id: name.to_owned(),
            addresses: Vec::new(),
            pod_ranges: Vec::new(),
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
    /// The network plugin, if it is recognized.
    pub(super) plugin: Option<&'static Plugin>,
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
    let plugin =
        plugin::find(client, &nodes.iter().map(|node| &node.metadata).collect::<Vec<_>>(), &groups).await;
    Ok(Survey {
        nodes: nodes.iter().map(node).collect(),
        plugin,
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
    let capacity = status.and_then(|status| status.capacity.as_ref()).and_then(|amounts| amounts.get("cpu"));
    let is_ready = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let pod_ranges = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter();
    SurveyedNode {
        name: node.name_any(),
        kubelet: info.map(|info| info.kubelet_version.clone()).unwrap_or_default(),
        architecture: info.map(|info| info.architecture.clone()).unwrap_or_default(),
        processors: capacity.map(|amount| processors(&amount.0)).unwrap_or_default(),
        boot_id: info.map(|info| info.boot_id.clone()).unwrap_or_default(),
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        pod_ranges: pod_ranges
            .flat_map(|ranges| ranges.iter().filter_map(|range| range.parse().ok()))
            .collect(),
        images: images.flat_map(image_names).collect(),
        is_ready: is_ready.into_iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        is_cordoned: spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
        labels: node.labels().clone(),
        taints: taints.clone().filter(|taint| taint.effect != "PreferNoSchedule").map(own_taint).collect(),
        obstacle: obstacle(info, taints),
    }
}

/// Returns the count of whole processors in an amount of CPU, such as `4` or `3920m`. A node reports no other
/// forms.
fn processors(amount: &str) -> usize {
    let (number, divisor) = amount.strip_suffix('m').map_or((amount, 1), |thousandths| (thousandths, 1000));
    number.parse().map_or(0, |number: usize| number / divisor)
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
    fn the_processors_of_a_node_are_whole() {
        let amounts = ["4", "3920m", "500m", "", "4Gi", "-1"];
        assert_eq!(amounts.map(processors), [4, 3, 0, 0, 0, 0]);
    }
}
