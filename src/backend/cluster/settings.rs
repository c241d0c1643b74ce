//! How to use a cluster.

use std::time::Duration;

use super::connect::Target;
use crate::snapshot::Identity;

/// How to use a cluster.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which cluster.
    pub target: Target,
    /// What the names of all namespaces begin with; `None` for `netproof` and the run's id.
    pub namespace_prefix: Option<String>,
    /// Namespaces that were prepared for runs, the first for canaries; empty if the run makes its own.
    pub prepared_namespaces: Vec<String>,
    /// The probe image.
    pub image: String,
    /// When nodes pull the image; `None` for the cluster's default.
    pub image_pull_policy: Option<PullPolicy>,
    /// A Secret that is copied to where the pods are, so that the image can be pulled.
    pub image_pull_secret: Option<Identity>,
    /// The nodes to use; empty for two that fit.
    pub nodes: Vec<String>,
    /// Whether to use every node on which pods can run.
    pub every_node: bool,
    /// How agents are reached.
    pub control: Control,
    /// How long pods may take to get ready.
    pub pod_timeout: Duration,
    /// When pods end by themselves.
    pub deadline: Duration,
    /// Whether everything stays at the end.
    pub keep: bool,
}

/// `imagePullPolicy` of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// Where the image is not there.
    IfNotPresent,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// How agents are reached through the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A port-forward.
    PortForward,
    /// A process in the pod that connects its standard input and output to the agent.
    Exec,
}
