//! The twins of a state.

use crate::backend::Error;
use crate::backend::cluster::shared::Shared;
use crate::policy::{Labels, Pod};
use crate::snapshot::Identity;
use crate::world::World;

/// A pod to add.
#[derive(Debug, Clone)]
pub(super) struct Twin<'a> {
    /// Its name in the state.
    pub(super) pod: Identity,
    /// The labels that it will have.
    pub(super) labels: Labels,
    /// The node on which it runs.
    pub(super) node: &'a str,
    /// The pod of the state.
    pub(super) known: &'a Pod,
}

/// Returns the twins of a state.
pub(super) fn of<'a>(shared: &Shared, world: &'a World) -> Result<Vec<Twin<'a>>, Error> {
    let twins = world.twins.iter().map(|identity| {
        let missing = |what: &str| Error::failed(format!("add the probe pod {identity}"), what);
        let pod = world
            .pod(&identity.namespace, &identity.name)
            .ok_or_else(|| missing("the state has no such pod"))?;
        let node = pod.node.as_deref().ok_or_else(|| missing("its node is not known"))?;
        if pod.host_network {
            return Err(missing("a pod in the network of its node cannot be added"));
        }
        let labels = shared.maker.twin_labels(&pod.labels);
        Ok(Twin { pod: identity.clone(), labels, node, known: pod })
    });
    twins.collect()
}

/// Returns a state of which only the twins exist.
pub(super) fn only(world: &World) -> World {
    let mut state = World::default();
    let is_twin = |pod: &&Pod| world.twins.contains(&Identity::of_pod(pod));
    state.cluster.pods = world.cluster.pods.iter().filter(is_twin).cloned().collect();
    let nodes = state.cluster.pods.iter().filter_map(|pod| pod.node.clone());
    state.assigned_nodes = nodes.map(|node| (node.clone(), node)).collect();
    state
}
