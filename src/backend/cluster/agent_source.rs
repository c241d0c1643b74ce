//! Where probe pods get the agent from: an image that contains it, or a ConfigMap beside any image.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// Images to try, best first. The agent runs in one of them and uses nothing of it.
    pub(super) images: Vec<String>,
}

/// The packed agents that a run brings to the nodes.
#[derive(Clone)]
pub(super) struct Carried {
    hosts: BTreeMap<String, Host>,
    /// For each node, how many of its images could not be used. Pods of all scenarios use the next one.
    failed_images: Arc<BTreeMap<String, AtomicUsize>>,
    /// Whether the user named the image.
    is_image_named: bool,
    /// Packed agents by architecture.
    agents: BTreeMap<String, Cow<'static, [u8]>>,
}

/// Who chose the image of a pod, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImageChoice {
    /// The user, because it contains the agent (`--image`).
    WithAgent,
    /// The user, for the agent of a ConfigMap (`--base-image`).
    Base,
    /// netproof, because the node has it.
    Found,
}

impl AgentSource {
    /// Returns ConfigMaps with the agents for these nodes, given by name. `is_image_named` says whether the user
    /// named the image.
    pub(super) fn carried(hosts: BTreeMap<String, Host>, is_image_named: bool) -> Result<Self, Error> {
        let mut agents = BTreeMap::new();
        for Host { architecture, .. } in hosts.values() {
            if !agents.contains_key(architecture) {
                let packed = image::packed(architecture);
                let packed = packed.map_err(|error| Error::Unavailable(error.to_string()))?;
                agents.insert(architecture.clone(), packed);
            }
        }
        Ok(Self::ConfigMaps(Carried::new(hosts, is_image_named, agents)))
    }

    /// Returns who chose the images.
    pub(super) fn image_choice(&self) -> ImageChoice {
        match self {
            Self::Image(_) => ImageChoice::WithAgent,
            Self::ConfigMaps(Carried { is_image_named: true, .. }) => ImageChoice::Base,
            Self::ConfigMaps(Carried { is_image_named: false, .. }) => ImageChoice::Found,
        }
    }

    /// Returns the image for pods on this node.
    pub(super) fn image(&self, node: &str) -> Result<&str, Error> {
        let unknown = || Error::failed(format!("bring the agent to node {node}"), "its image is not known");
        match self {
            Self::Image(image) => Ok(image),
            Self::ConfigMaps(carried) => carried.image(node).ok_or_else(unknown),
        }
    }

    /// Records that pods on a node cannot use an image. Returns whether there is another one to try.
    pub(super) fn has_other_image(&self, node: &str, image: &str) -> bool {
        match self {
            Self::Image(_) => false,
            Self::ConfigMaps(carried) => carried.has_other_image(node, image),
        }
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
    fn new(
        hosts: BTreeMap<String, Host>,
        is_image_named: bool,
        agents: BTreeMap<String, Cow<'static, [u8]>>,
    ) -> Self {
        let failed_images = hosts.keys().map(|node| (node.clone(), AtomicUsize::new(0))).collect();
        Self { hosts, failed_images: Arc::new(failed_images), is_image_named, agents }
    }

    fn image(&self, node: &str) -> Option<&str> {
        let failed = self.failed_images.get(node)?.load(Ordering::Relaxed);
        let images = &self.hosts.get(node)?.images;
        images.get(failed).or(images.last()).map(String::as_str)
    }

    fn has_other_image(&self, node: &str, image: &str) -> bool {
        let (Some(failed), Some(host)) = (self.failed_images.get(node), self.hosts.get(node)) else {
            return false;
        };
        let tried = host.images.iter().position(|known| known == image).map_or(0, |index| index + 1);
        // Another pod may have tried more of them.
        failed.fetch_max(tried, Ordering::Relaxed).max(tried) < host.images.len()
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
    /// the images `pause` and `pause@sha256:00`.
    pub(super) fn fake(nodes: &[(&str, &str)]) -> Self {
        let host = |architecture: &str| Host {
            architecture: architecture.to_owned(),
            images: ["pause", "pause@sha256:00"].map(str::to_owned).to_vec(),
        };
        let hosts = nodes.iter().map(|(name, architecture)| ((*name).to_owned(), host(architecture)));
        let agents =
            nodes.iter().map(|(_, architecture)| ((*architecture).to_owned(), Cow::Borrowed(&b"packed"[..])));
        Self::ConfigMaps(Carried::new(hosts.collect(), false, agents.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_failed_is_not_used_again_on_its_node() {
        let source = AgentSource::fake(&[("a", "amd64"), ("b", "amd64")]);
        let images = || ["a", "b"].map(|node| source.image(node).unwrap().to_owned());
        assert_eq!(images(), ["pause", "pause"]);
        assert!(source.has_other_image("a", "pause"));
        // Another pod with the same image failed a moment later.
        assert!(source.has_other_image("a", "pause"));
        assert_eq!(images(), ["pause@sha256:00", "pause"]);
        assert!(!source.has_other_image("a", "pause@sha256:00"));
        assert!(!source.has_other_image("a", "pause"), "all have failed");
        assert!(source.image("c").is_err());
    }
}
