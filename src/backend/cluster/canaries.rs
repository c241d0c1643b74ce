//! Canaries of a run on a cluster: two pods on each node in use, in a namespace of their own whose pods no
//! policy of a scenario can select. For a run of scenarios, the namespace also has one sentinel per node.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::deployment::Deployment;
use super::pods::RunningPod;
use super::purpose::CANARIES;
use super::shared::Shared;
use crate::backend::{Canary, Error, LostPod, Place};
use crate::policy::{Labels, Namespace, Node, Pod};
use crate::scenario::standard_world;
use crate::snapshot::Identity;
use crate::world::{EndpointName, World};

/// Canaries per node. The path between two pods of one node needs two canaries.
const EACH: usize = 2;

/// Label of the sentinels: key and value.
pub(super) const SENTINEL: (&str, &str) = ("netproof.dev/role", "sentinel");

/// Canaries and sentinels of some nodes.
pub(super) struct Started {
    pub(super) canaries: Vec<Canary>,
    pub(super) sentinels: Vec<Canary>,
    /// The names and addresses of all these pods on the cluster.
    pub(super) pods: Vec<RunningPod>,
    /// Pods that were lost while they started.
    pub(super) lost: Vec<LostPod>,
}

/// Canaries that have been started.
#[derive(Default)]
pub(super) struct Canaries {
    started: Mutex<Option<Running>>,
    /// Whether there are no sentinels, because no policy ever changes.
    has_no_sentinels: bool,
}

struct Running {
    deployment: Deployment,
    world: World,
}

impl Canaries {
    /// Returns canaries without sentinels.
    pub(super) fn without_sentinels() -> Self {
        Self { has_no_sentinels: true, ..Self::default() }
    }

    /// Creates their namespace, if it does not exist yet.
    pub(super) async fn create_namespace(&self, shared: &Arc<Shared>) -> Result<(), Error> {
        let mut started = self.started.lock().await;
        let Running { deployment, world } = started.get_or_insert_with(|| Running::new(shared));
        match world.cluster.pods.as_slice() {
            [] => deployment.converge(world).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Returns the canaries and sentinels of these nodes. Starts the missing ones, and replaces those that are lost.
    pub(super) async fn on(&self, shared: &Arc<Shared>, nodes: &[String]) -> Result<Started, Error> {
        let mut started = self.started.lock().await;
        let Running { deployment, world } = started.get_or_insert_with(|| Running::new(shared));
        let known = |world: &World, name: &str| world.cluster.nodes.iter().any(|node| node.name == name);
        // One node of the cluster can stand for several logical nodes.
        let missing: BTreeSet<&String> = nodes.iter().filter(|name| !known(world, name)).collect();
        deployment.remove_lost().await?;
        // An earlier attempt to replace a lost pod may have failed.
        let is_gone = |pod: &Pod| deployment.running_pod(&Identity::of_pod(pod)).is_none();
        if world.cluster.pods.iter().any(is_gone) || !missing.is_empty() {
            let mut wanted = world.clone();
            for name in missing {
                add(&mut wanted, name);
                if !self.has_no_sentinels {
                    add_sentinel(&mut wanted, name);
                }
            }
            deployment.use_nodes(wanted.cluster.nodes.iter().map(|node| node.name.clone()).collect());
            let deployed = deployment.converge(&wanted).await?;
            wanted.complete(&deployed);
            *world = wanted;
        }
        let pods =
            world.cluster.pods.iter().filter(|pod| pod.node.as_ref().is_some_and(|n| nodes.contains(n)));
        let lost = deployment.take_lost_at_start();
        let mut found = Started { canaries: Vec::new(), sentinels: Vec::new(), pods: Vec::new(), lost };
        for pod in pods {
            let agent = deployment.agent(&EndpointName::of_pod(pod));
            let (Some(agent), Some(node)) = (agent, pod.node.clone()) else {
                let name = Identity::of_pod(pod);
                // Without its sentinel, a node that still enforces the state before a change looks up to date.
                return Err(Error::failed(format!("use pod {name}"), "it has no agent"));
            };
            found.pods.extend(deployment.running_pod(&Identity::of_pod(pod)));
            let canary = Canary { place: Place::Node(node), agent, addresses: pod.addresses.clone() };
            match is_sentinel(pod) {
                true => found.sentinels.push(canary),
                false => found.canaries.push(canary),
            }
        }
        Ok(found)
    }
}

impl Running {
    fn new(shared: &Arc<Shared>) -> Self {
        let mut world = standard_world(false);
        world.cluster.nodes.clear();
        world.cluster.pods.clear();
        world.cluster.namespaces = vec![Namespace::new(CANARIES, Labels::new())];
        let names = shared.names_of_canaries();
        Self { deployment: Deployment::new(Arc::clone(shared), names, Vec::new()), world }
    }
}

fn is_sentinel(pod: &Pod) -> bool {
    let (key, value) = SENTINEL;
    pod.labels.get(key).is_some_and(|found| found == value)
}

/// Adds a node with its canaries.
fn add(world: &mut World, node: &str) {
    let number = world.cluster.nodes.len() + 1;
    world.cluster.nodes.push(Node {
        name: node.to_owned(),
        addresses: Vec::new(),
        external_addresses: Vec::new(),
    });
    let canaries = (1..=EACH).map(|which| pod(format!("canary-{number}-{which}"), node));
    world.cluster.pods.extend(canaries);
}

/// Adds the sentinel of the node that was added last.
fn add_sentinel(world: &mut World, node: &str) {
    let number = world.cluster.nodes.len();
    let (key, value) = SENTINEL;
    let labels = [(key.to_owned(), value.to_owned())].into();
    world.cluster.pods.push(Pod { labels, ..pod(format!("sentinel-{number}"), node) });
}

fn pod(name: String, node: &str) -> Pod {
    Pod { namespace: CANARIES.to_owned(), name, node: Some(node.to_owned()), ..Pod::default() }
}
