//! The twins of a state, and what the cluster has made of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use kube::api::ListParams;

use super::intact;
use crate::backend::Error;
use crate::backend::cluster::deployment::Deployment;
use crate::backend::cluster::request::{bounded, list_whole};
use crate::backend::cluster::shared::Shared;
use crate::policy::{Labels, Pod};
use crate::snapshot::Identity;
use crate::world::{Deployed, EndpointName, World};

/// The labels of twins on the cluster, by the names of the twins in the state.
pub(super) type ReadTwins = BTreeMap<Identity, Labels>;

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

/// Returns the twins of a state in namespaces of tenants.
pub(super) fn of<'a>(shared: &Shared, world: &'a World) -> Result<Vec<Twin<'a>>, Error> {
    let twins = world.twins.iter().filter(|twin| !world.is_stranger(twin)).map(|identity| {
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

/// Returns a state of which only the twins in namespaces of tenants exist.
pub(super) fn of_tenants(world: &World) -> World {
    only(world, |twin| !world.is_stranger(twin))
}

/// Returns a state of which only the strangers exist.
pub(super) fn strangers(world: &World) -> World {
    World { strangers: world.strangers.clone(), ..only(world, |twin| world.is_stranger(twin)) }
}

fn only(world: &World, is_wanted: impl Fn(&Identity) -> bool) -> World {
    let mut state = World::default();
    let twins = world.cluster.pods.iter().filter(|pod| {
        let pod = Identity::of_pod(pod);
        world.twins.contains(&pod) && is_wanted(&pod)
    });
    state.cluster.pods = twins.cloned().collect();
    let nodes = state.cluster.pods.iter().filter_map(|pod| pod.node.clone());
    state.assigned_nodes = nodes.map(|node| (node.clone(), node)).collect();
    state
}

/// Reads the twins of a deployment in these namespaces back from the cluster. `owner` is the name of what owns them, if
/// something does.
///
/// # Errors
/// If one of them is not what was sent.
pub(super) async fn read<'a>(
    shared: &Shared,
    deployment: &Deployment,
    namespaces: impl IntoIterator<Item = &'a String>,
    owner: Option<&str>,
) -> Result<ReadTwins, Error> {
    let selected = ListParams::default().labels(&shared.selector());
    let lists = namespaces.into_iter().map(|it| list_whole::<core::Pod>(&shared.client, it, &selected));
    let found: BTreeMap<Identity, core::Pod> = bounded(lists)
        .await?
        .into_iter()
        .flatten()
        .map(|pod| (Identity::new(&pod.namespace().unwrap_or_default(), &pod.name_any()), pod))
        .collect();
    let mut labels = ReadTwins::new();
    for (twin, real) in deployment.real_names() {
        // A pod that was deleted in the meantime is lost, and is reported as such.
        let Some(pod) = found.get(&real) else { continue };
        if let Some(objection) = intact::objection(pod, owner) {
            return Err(Error::failed(format!("use the probe pod {twin}"), objection));
        }
        labels.insert(twin, pod.labels().clone());
    }
    Ok(labels)
}

/// Adds the labels and addresses of the twins of a deployment.
pub(super) fn add_to(deployed: &mut Deployed, deployment: &Deployment, twins: &ReadTwins) {
    for (twin, labels) in twins {
        let name = EndpointName::of_identity(twin);
        deployed.pod_labels.insert(name.clone(), labels.clone());
        if let Some((_, addresses)) = deployment.running_pod(twin) {
            deployed.addresses.insert(name, addresses);
        }
    }
}

/// Describes the twins whose labels were changed.
pub(super) fn relabelled(before: &ReadTwins, now: &ReadTwins) -> Vec<String> {
    let changed = now.iter().filter(|(twin, labels)| before.get(*twin).is_some_and(|own| own != *labels));
    changed.map(|(twin, _)| format!("the labels of the probe pod {twin} were changed")).collect()
}
