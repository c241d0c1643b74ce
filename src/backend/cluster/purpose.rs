//! What a connection to a cluster is for.

use super::names::Names;
use super::settings::Settings;

/// Name of the canaries' namespace. The run's prefix precedes it.
pub(super) const CANARIES: &str = "canaries";

/// Name of the namespace of pods that enter the networks of running pods.
pub(super) const HELPERS: &str = "helpers";

/// Name of the namespace of agents in the networks of nodes.
pub(super) const NODES: &str = "nodes";

/// What a cluster is used for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// A run of scenarios, in namespaces of its own.
    Run,
    /// A check of the workloads that are there.
    Check {
        /// The only namespaces that the check may use, besides its own. Empty if it may use all.
        namespaces: &'a [String],
    },
}

impl Purpose<'_> {
    /// Returns the namespaces in which pods are watched. Empty for all.
    pub(super) fn watched(self, settings: &Settings, prefix: &str) -> Vec<String> {
        let prepared = &settings.prepared_namespaces;
        match self {
            Self::Run => prepared.clone(),
            Self::Check { namespaces: [] } => Vec::new(),
            Self::Check { namespaces } => {
                let names = Names::new(prefix.to_owned());
                let own = match prepared.as_slice() {
                    [] => vec![names.namespace(CANARIES), names.namespace(HELPERS)],
                    prepared => prepared.to_vec(),
                };
                namespaces.iter().cloned().chain(own).collect()
            }
        }
    }
}
