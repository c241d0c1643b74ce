//! Settings of a run on a cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::connect::Target;
use super::site::Site;
use crate::snapshot::Identity;

/// Settings of a run on a cluster.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster and the user.
    pub target: Target,
    /// Prefix of the names of all namespaces. `None` means `netproof` and the run's id.
    pub namespace_prefix: Option<String>,
    /// Namespaces that were prepared for runs. The first one is for canaries. Empty if the run creates its
    /// own.
    pub prepared_namespaces: Vec<String>,
    /// Name of an image that contains the agent. `None` means that the run brings the agent in ConfigMaps.
    pub image: Option<String>,
    /// Name of an image in which the agent of the ConfigMaps runs. `None` means that netproof chooses images that the
    /// nodes have.
    pub base_image: Option<String>,
    /// When nodes pull the image. `None` means that they pull an image that they do not have.
    pub image_pull_policy: Option<PullPolicy>,
    /// Secret that is copied to the pods' namespaces, so that the named image can be pulled.
    pub image_pull_secret: Option<Identity>,
    /// Requests and limits of the pods.
    pub resources: Resources,
    /// Names of the nodes to use. If empty, netproof chooses suitable nodes.
    pub nodes: Vec<String>,
    /// Whether to use every node on which probe pods can run.
    pub every_node: bool,
    /// Requirements of the site for namespaces and pods.
    pub site: Site,
    /// Connection to the agents.
    pub control: Control,
    /// Maximum time until pods are ready.
    pub pod_timeout: Duration,
    /// Lifetime of pods. They end by themselves after this time.
    pub deadline: Duration,
    /// Hosts outside of the cluster whose agents play externals.
    pub outside: Vec<OutsideHost>,
    /// The token of these agents. All agents of the run then have it. `None` draws one.
    pub token: Option<String>,
    /// Whether nodes, and pods with `hostNetwork`, are measured by agents in the networks of nodes.
    pub host_network: bool,
    /// Whether everything remains at the end of the run.
    pub keep: bool,
}

/// A host outside of the cluster, as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideHost {
    /// Its name for reports. A scenario's external of this name may be played at other addresses than its own.
    pub name: String,
    /// The addresses at which pods reach it, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// `HOST:PORT` of its agent's API.
    pub control: String,
}

/// The `resources` of a container: quantities by resource.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Amounts that the scheduler reserves.
    pub requests: BTreeMap<String, String>,
    /// Amounts that the container can use at most.
    pub limits: BTreeMap<String, String>,
}

impl Default for Resources {
    fn default() -> Self {
        let quantities = |cpu: &str, memory: &str| {
            [("cpu", cpu), ("memory", memory)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        Self { requests: quantities("5m", "16Mi"), limits: quantities("500m", "64Mi") }
    }
}

/// The `imagePullPolicy` of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// Only if the node does not have the image.
    IfNotPresent,
    /// Not at all. The node must have the image.
    Never,
}

impl PullPolicy {
    /// Returns the name in the Kubernetes API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Connection to the agents through the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A port-forward.
    PortForward,
    /// A process in the pod that connects its standard input and output to the agent.
    Exec,
}
