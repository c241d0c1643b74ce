//! The helpers of a check: agents in the networks of running pods.
//!
//! A twin shows what a new pod gets. Stale rules of an old pod show only from that pod's own address. For each such pod, a
//! helper pod runs on the same node, in a namespace of the check. Nothing is added to the running pod, and all sockets
//! disappear with the helper.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use kube::api::Api;

use super::entered::{self, EnteredPod};
use super::helper_pod::CAPABILITIES;
use super::preflight::{self, dry_run};
use crate::backend::cluster::access;
use crate::backend::cluster::deployment::Deployment;
use crate::backend::cluster::objects::{POD_SECURITY, PRIVILEGED, privileged};
use crate::backend::cluster::purpose::HELPERS;
use crate::backend::cluster::shared::Shared;
use crate::backend::{Agent, Error, LostPod, ask_all};
use crate::policy::{Namespace, Node, Pod};
use crate::snapshot::Identity;
use crate::world::{Deployed, EndpointName, World};

/// The helpers of a check.
pub(super) struct Helpers {
    shared: Arc<Shared>,
    deployment: Deployment,
    /// The running pods whose networks are in use.
    pods: BTreeMap<Identity, Helped>,
}

/// A running pod with its helper.
struct Helped {
    running: EnteredPod,
    /// Name of the helper in the state of the deployment.
    helper: Identity,
}

impl Helped {
    fn addresses(&self) -> &[IpAddr] {
        &self.running.entry.addresses
    }
}

impl Helpers {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { deployment: Deployment::of_helpers(Arc::clone(&shared)), shared, pods: BTreeMap::new() }
    }

    /// Starts the helpers that a state needs.
    ///
    /// # Errors
    /// If a running pod is not what the state says, or if its helper does not start.
    pub(super) async fn start(&mut self, world: &World) -> Result<(), Error> {
        if world.entered.is_empty() {
            return Ok(());
        }
        let running = entered::read(&self.shared.client, world).await?;
        let named = |(index, (pod, running)): (usize, (Identity, EnteredPod))| {
            let helper = Identity::new(HELPERS, &format!("helper-{}", index + 1));
            (pod, Helped { running, helper })
        };
        self.pods = running.into_iter().enumerate().map(named).collect();
        let helped = self.pods.values();
        let entries =
            helped.map(|Helped { running, helper }| (helper.clone(), running.entry.clone())).collect();
        self.deployment.start_helpers(&state(self.pods.values()), entries).await
    }

    /// Deletes the helpers that an attempt to start left behind.
    pub(super) async fn remove_strays(&self) -> Result<(), Error> {
        self.deployment.remove_strays().await
    }

    pub(super) fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        let helped = self.pods.iter().find(|(pod, _)| EndpointName::of_identity(pod) == *endpoint);
        self.deployment.agent(&EndpointName::of_identity(&helped?.1.helper))
    }

    /// Adds what is known of the running pods.
    pub(super) fn add_to(&self, deployed: &mut Deployed) {
        let pods = self.pods.iter();
        let known = pods.map(|(pod, helped)| (EndpointName::of_identity(pod), helped.addresses().to_vec()));
        deployed.addresses.extend(known);
    }

    /// Returns the addresses of a running pod. `None` for other pods.
    pub(super) fn addresses(&self, pod: &Identity) -> Option<&[IpAddr]> {
        self.pods.get(pod).map(Helped::addresses)
    }

    /// Returns the running pods that have ended or started again, and those whose helpers do not run.
    pub(super) fn lost(&self) -> Vec<LostPod> {
        let lost = self.pods.iter().filter_map(|(pod, Helped { helper, .. })| {
            let (real, addresses) = self.deployment.running_pod(helper)?;
            let why = self.shared.watch.loss(&real, &addresses)?;
            Some(LostPod { name: format!("{real} in the network of {pod}"), why, was_starting: false })
        });
        lost.collect()
    }

    pub(super) fn take_lost_at_start(&mut self) -> Vec<LostPod> {
        self.deployment.take_lost_at_start()
    }

    /// Describes the running pods that are not what they were when their helpers started.
    pub(super) async fn changes(&self, world: &World) -> Result<Vec<String>, Error> {
        if self.pods.is_empty() {
            return Ok(Vec::new());
        }
        let now = match entered::read(&self.shared.client, world).await {
            Ok(now) => now,
            Err(error) => return Ok(vec![error.to_string()]),
        };
        let is_other = |(pod, helped): &(&Identity, &Helped)| now.get(*pod) != Some(&helped.running);
        let changed = self.pods.iter().filter(is_other);
        Ok(changed.map(|(pod, _)| format!("pod {pod} is another one, or has other labels")).collect())
    }

    /// Lets all agents end, so that their sockets are closed. Kubernetes deletes a pod before its processes have ended.
    pub(super) async fn end_agents(&self) {
        let agents = self.pods.values();
        let agents: Vec<_> = agents
            .filter_map(|helped| self.deployment.agent(&EndpointName::of_identity(&helped.helper)))
            .collect();
        // What does not answer ends with its pod.
        ask_all(agents.iter().map(|agent| agent.stop())).await;
    }
}

/// Returns a state of which only the helpers exist.
fn state<'a>(pods: impl Iterator<Item = &'a Helped>) -> World {
    let mut world = World::default();
    world.cluster.namespaces = vec![Namespace::new(HELPERS, privileged())];
    for Helped { running, helper } in pods {
        if !world.cluster.nodes.iter().any(|node| node.name == running.node) {
            let (addresses, external_addresses) = (Vec::new(), Vec::new());
            world.cluster.nodes.push(Node { name: running.node.clone(), addresses, external_addresses });
        }
        world.cluster.pods.push(Pod {
            namespace: helper.namespace.clone(),
            name: helper.name.clone(),
            node: Some(running.node.clone()),
            ..Pod::default()
        });
    }
    world
}

/// Checks that the networks of running pods can be used. Creates nothing. Returns warnings.
///
/// # Errors
/// If something is in the way.
pub(super) async fn check(shared: &Shared, world: &World) -> Result<Vec<String>, Error> {
    let settings = &shared.maker.settings;
    let prepared = shared.prepared.as_ref().map(|prepared| {
        prepared.helpers().ok_or_else(|| {
            let (key, _) = POD_SECURITY;
            Error::Unavailable(format!(
                "--prepared-namespaces: name a second namespace, with the label {key}={PRIVILEGED}: the pods that enter the \
                 networks of running pods are created there"
            ))
        })
    });
    let prepared = prepared.transpose()?;
    let tenants: Vec<&str> = world.entered.iter().map(|pod| pod.namespace.as_str()).collect();
    access::check_helpers(&shared.client, settings, prepared.as_deref(), &tenants).await?;
    let running = entered::read(&shared.client, world).await?;
    for (pod, EnteredPod { node, .. }) in &running {
        if let Some(why) = preflight::obstacle(shared, node) {
            let message = format!("pod {pod}: node {node} {why}: leave out the pods of this node");
            return Err(Error::Unavailable(message));
        }
    }
    let namespace = shared.names_of_helpers().namespace(HELPERS);
    try_out(shared, &namespace, prepared.is_some(), running.values().next()).await?;
    Ok(vec![format!(
        "{} pods of namespace {namespace} enter the networks of running pods. They have user 0, hostPID and the capabilities \
         {}: who controls such a pod controls its node",
        running.len(),
        CAPABILITIES.join(", ")
    )])
}

/// Lets the API server say whether it would accept the namespace of the helpers, or, if it exists already, a helper.
async fn try_out(
    shared: &Shared,
    namespace: &str,
    is_prepared: bool,
    sample: Option<&EnteredPod>,
) -> Result<(), Error> {
    let Shared { client, maker, .. } = shared;
    let refusal = if is_prepared {
        let Some(EnteredPod { entry, node, .. }) = sample else { return Ok(()) };
        let image = maker.source.image(node)?;
        let pod = Pod { namespace: HELPERS.to_owned(), name: "helper".to_owned(), ..Pod::default() };
        let real = Identity::new(namespace, &format!("netproof-{}-helper", maker.run));
        let mut object = maker.pod(&pod, &real, node, image)?;
        maker.make_helper(&mut object, node, entry);
        let pods: Api<core::Pod> = Api::namespaced(client.clone(), namespace);
        dry_run(&pods, &object).await.err()
    } else {
        let object = maker.namespace(namespace, maker.namespace_labels(&privileged()));
        let namespaces: Api<core::Namespace> = Api::all(client.clone());
        dry_run(&namespaces, &object).await.err()
    };
    let Some(refusal) = refusal else { return Ok(()) };
    let (key, _) = POD_SECURITY;
    Err(Error::Unavailable(format!(
        "the cluster refuses the pods that enter the networks of running pods: {refusal}: they need a namespace with \
         {key}={PRIVILEGED}, user 0, hostPID and the capabilities {}",
        CAPABILITIES.join(", ")
    )))
}
