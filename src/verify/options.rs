//! The options of a plan.

use std::collections::BTreeSet;

use crate::policy::IpFamily;

/// What a check does besides probing twins, and how much.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nodes on which no probe pod can run.
    pub unusable: BTreeSet<String>,
    /// Namespace of the probe pods that belong to no tenant.
    pub strangers: String,
    /// Families that are asked about: see [`families`](super::families).
    pub families: Vec<IpFamily>,
    /// Greatest count of questions.
    pub most: Option<usize>,
    /// Whether an agent uses the network of a running pod of each class, too.
    pub through_nodes: bool,
    /// Whether running pods and Services are asked to accept connections.
    pub to_workloads: bool,
}
