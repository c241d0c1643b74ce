//! The choice of the backend.

use clap::ValueEnum;

/// The heading in help texts of the options that only a cluster has.
pub(super) const ON_A_CLUSTER: &str = "On a cluster";

/// Where packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendKind {
    /// On this machine, in network namespaces.
    Lab,
    /// On a Kubernetes cluster.
    Cluster,
}
