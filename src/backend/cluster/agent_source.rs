//! Where probe pods get the agent from: an image that contains it, or a ConfigMap beside an image that the
//! node has.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::backend::Error;
use crate::image;

/// Path of the agent in an image that contains it.
const IN_IMAGE: &str = "/netproof-probe";

/// Where the ConfigMap is mounted, the agent's key in it, and the path that follows.
pub(super) const FOLDER: &str = "/netproof";
pub(super) const FILE: &str = "netproof-probe";
const IN_CONFIG_MAP: &str = "/netproof/netproof-probe";

/// Where probe pods get the agent from.
#[derive(Debug, Clone)]
pub(super) enum AgentSource {
    /// An image with this name, which contains the agent.
    Image(String),
    /// ConfigMaps.
    ConfigMaps(Carried),
}

/// What the agent needs to know of a node that it is brought to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// The architecture, as Kubernetes names it.
    pub(super) architecture: String,
    /// An image that the node has. The agent runs in it and uses nothing of it.
    pub(super) image: String,
}

/// The packed agents that a run brings to the nodes.
#[derive(Clone)]
pub(super) struct Carried {
    hosts: BTreeMap<String, Host>,
    /// Packed agents by architecture.
    agents: BTreeMap<String, Cow<'static, [u8]>>,
}

impl AgentSource {
    /// Returns ConfigMaps with the agents for these nodes, given by name.
    pub(super) fn carried(hosts: BTreeMap<String, Host>) -> Result<Self, Error> {
        let mut agents = BTreeMap::new();
        for Host { architecture, .. } in hosts.values() {
            if !agents.contains_key(architecture) {
                let packed = image::packed(architecture);
                let packed = packed.map_err(|error| Error::Unavailable(error.to_string()))?;
                agents.insert(architecture.clone(), packed);
            }
        }
        Ok(Self::ConfigMaps(Carried { hosts, agents }))
    }

    /// Returns the path of the agent in a pod.
    pub(super) fn program(&self) -> &'static str {
        match self {
            Self::Image(_) => IN_IMAGE,
            Self::ConfigMaps(_) => IN_CONFIG_MAP,
        }
    }

    /// Returns the architecture whose ConfigMap a pod on this node needs. `None` if it needs none.
    pub(super) fn architecture(&self, node: &str) -> Option<&str> {
        match self {
            Self::Image(_) => None,
            Self::ConfigMaps(carried) => carried.hosts.get(node).map(|host| host.architecture.as_str()),
        }
    }

    /// Returns the packed agent for an architecture.
    pub(super) fn agent(&self, architecture: &str) -> Option<&[u8]> {
        match self {
            Self::Image(_) => None,
            Self::ConfigMaps(carried) => carried.agents.get(architecture).map(AsRef::as_ref),
        }
    }
}

impl Carried {
    /// Returns what is known of a node.
    pub(super) fn host(&self, node: &str) -> Result<&Host, Error> {
        let unknown = || Error::failed(format!("bring the agent to node {node}"), "its image is not known");
        self.hosts.get(node).ok_or_else(unknown)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl AgentSource {
    /// Returns ConfigMaps for these nodes (name, architecture), with a few bytes as the agent. The nodes have
    /// the image
    /// `pause`.
    pub(super) fn fake(nodes: &[(&str, &str)]) -> Self {
        let host =
            |architecture: &str| Host { architecture: architecture.to_owned(), image: "pause".to_owned() };
        let hosts = nodes.iter().map(|(name, architecture)| ((*name).to_owned(), host(architecture)));
        let agents =
            nodes.iter().map(|(_, architecture)| ((*architecture).to_owned(), Cow::Borrowed(&b"packed"[..])));
        Self::ConfigMaps(Carried { hosts: hosts.collect(), agents: agents.collect() })
    }
}
