//! Whether a connection is wanted.

use std::net::IpAddr;

use crate::policy::{Labels, Pod, named};

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party<'a> {
    /// A pod with an address of its own.
    Pod {
        /// `metadata.namespace`
        namespace: &'a str,
        /// `metadata.labels`, at least those that a selector of the tenants reads.
        labels: &'a Labels,
        /// `spec.nodeName`, if known.
        node: Option<&'a str>,
    },
    /// A Service, as destination.
    Service {
        /// `metadata.namespace`
        namespace: &'a str,
        /// `metadata.name`
        name: &'a str,
    },
    /// A node, or a pod in the network of the node. `None` if it is not known which node.
    Node(Option<&'a str>),
    /// An address outside the cluster.
    Address(IpAddr),
}

impl<'a> Party<'a> {
    /// Returns the end that a pod is. A pod with `hostNetwork` has the address of its node.
    pub fn of_pod(pod: &'a Pod) -> Self {
        match pod.host_network {
            true => Self::Node(pod.node.as_deref()),
            false => Self::Pod { namespace: &pod.namespace, labels: &pod.labels, node: pod.node.as_deref() },
        }
    }
}

named! {
    /// Whether a connection is wanted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Wish {
        /// It must be possible.
        Required = "required",
        /// It may be possible. Whether it is does not matter.
        Permitted = "permitted",
        /// It must not be possible.
        Forbidden = "forbidden",
    }
}

named! {
    /// Whether a difference fails the check.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
    pub enum Mode {
        /// Differences fail the check.
        #[default]
        Enforce = "enforce",
        /// Differences are reported, and do not change the exit code.
        Monitor = "monitor",
    }
}

/// What the owners want of a connection, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Whether the connection is wanted.
    pub wish: Wish,
    /// What says so, in a few words. Includes the place, if there is one.
    pub why: String,
    /// Whether a difference fails the check.
    pub mode: Mode,
}
