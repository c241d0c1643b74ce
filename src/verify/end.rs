//! Ends of connections that have an agent.

use std::collections::BTreeSet;

use super::class::Class;
use super::ports::PortOf;
use crate::policy::Pod;

/// An end that has an agent: a twin, or a running pod.
pub(super) struct End {
    pub(super) class: Class,
    pub(super) pod: Pod,
    /// Ports that its programs serve, as far as an agent can serve them in their place.
    pub(super) served: BTreeSet<PortOf>,
    /// Ports that programs of the pod may have opened, so that an agent in its network cannot.
    pub(super) taken: BTreeSet<PortOf>,
    /// Whether it stands for all pods of no tenant.
    pub(super) is_stranger: bool,
    /// Index of the pod in the cluster.
    pub(super) index: usize,
}
