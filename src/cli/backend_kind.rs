//! The choice of the backend.

use clap::ValueEnum;

/// Where packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendKind {
    /// On this machine, in network namespaces.
    Lab,
    /// On a Kubernetes cluster.
    Cluster,
}
