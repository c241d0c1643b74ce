//! Settings of a run on a cluster.

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
    /// When nodes pull this image. `None` means the cluster's default.
    pub image_pull_policy: Option<PullPolicy>,
    /// Secret that is copied to the pods' namespaces, so that this image can be pulled.
    pub image_pull_secret: Option<Identity>,
    /// Names of the nodes to use. If empty, netproof chooses suitable nodes.
    pub nodes: Vec<String>,
    /// Whether to use every node on which probe pods can run.
    pub every_node: bool,
    /// What the site requires of namespaces and pods.
    pub site: Site,
    /// Connection to the agents.
    pub control: Control,
    /// Maximum time until pods are ready.
    pub pod_timeout: Duration,
    /// Lifetime of pods. They end by themselves after this time.
    pub deadline: Duration,
    /// Whether everything remains at the end of the run.
    pub keep: bool,
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
