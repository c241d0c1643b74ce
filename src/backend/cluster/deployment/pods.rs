//! The pods of a topology on the cluster, from start to end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::sleep;

use super::{Deployment, Kind, Running, label_patch};
use crate::backend::cluster::advice;
use crate::backend::cluster::channel::Channel;
use crate::backend::cluster::objects::{Maker, POD};
use crate::backend::cluster::pods::{ENDING, NotReady};
use crate::backend::cluster::request::{
    awaits_account, bounded, delete, failed, is_there_already, persistently, say,
};
use crate::backend::cluster::shared::Shared;
use crate::backend::{Agent, Error, LostPod, ask_all};
use crate::policy::{Labels, Pod};
use crate::snapshot::Identity;
use crate::world::{EndpointName, World};

/// Maximum time for which a new namespace has no default service account.
const NEW_NAMESPACE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// A pod that has been created, or will be at once.
#[derive(Debug, Clone)]
struct Starting<'p> {
    pod: &'p Pod,
    /// Its name on the cluster.
    real: Identity,
    /// The pod that was lost in its place.
    before: Option<Identity>,
}

/// A pod whose agent has answered.
struct Started<'p> {
    pod: &'p Pod,
    real: Identity,
    addresses: Vec<IpAddr>,
    agent: Arc<Agent>,
}

impl Deployment {
    /// Updates the labels of pods, and the annotation with the pod's name in the scenario. Returns the
    /// changed pods with their labels.
    pub(super) async fn relabel_pods(&self, world: &World) -> Result<Vec<(Identity, Labels)>, Error> {
        let changed = world.cluster.pods.iter().filter_map(|pod| {
            let identity = Identity::of_pod(pod);
            let old = self.pods.get(&identity)?;
            let is_changed = old.pod.labels != pod.labels || old.annotated != identity;
            is_changed.then_some((identity, old, &pod.labels))
        });
        bounded(changed.map(async |(identity, old, new)| {
            let pods: Api<core::Pod> = self.api(&identity.namespace);
            let labels = label_patch(&old.pod.labels, new);
            let patch = json!({"metadata": {"labels": labels, "annotations": {(POD): identity.to_string()}}});
            let patched = persistently(async || {
                pods.patch(&old.real.name, &PatchParams::default(), &Patch::Merge(&patch)).await
            });
            patched.await.map(drop).map_err(failed(format!("label pod {identity}")))?;
            Ok((identity, new.clone()))
        }))
        .await
    }

    /// Deletes pods and waits until they are gone, because another pod may take the name.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(in crate::backend::cluster) async fn remove_pods(
        &mut self,
        identities: &[Identity],
    ) -> Result<(), Error> {
        let leaving = self.delete_pods(identities).await?;
        self.shared.watch.gone(&leaving, ENDING).await
    }

    /// Deletes pods without waiting. Returns the names on the cluster of the pods that are terminating.
    pub(super) async fn delete_pods(&mut self, identities: &[Identity]) -> Result<Vec<Identity>, Error> {
        let real: Vec<Identity> = self.real_pods(identities);
        bounded(real.iter().map(|pod| delete::<core::Pod>(&self.shared.client, pod))).await?;
        for identity in identities {
            if let Some(running) = self.pods.remove(identity) {
                self.previous_names.insert(identity.clone(), running.real);
            }
            self.agents.remove(&EndpointName::of_identity(identity));
        }
        Ok(real)
    }

    /// Returns the names of pods on the cluster.
    fn real_pods<'a>(&self, identities: impl IntoIterator<Item = &'a Identity>) -> Vec<Identity> {
        let running = identities.into_iter().filter_map(|identity| self.pods.get(identity));
        running.map(|running| running.real.clone()).collect()
    }

    /// Lets pods end by themselves, and waits until the cluster reports that they succeeded.
    pub(in crate::backend::cluster) async fn end_pods(
        &mut self,
        identities: &[Identity],
    ) -> Result<(), Error> {
        let own: Vec<&Identity> = identities.iter().filter(|pod| self.pods.contains_key(pod)).collect();
        let is_of_host = |pod: &&&Identity| self.pods.get(pod).is_some_and(|it| it.pod.host_network);
        if let Some(pod) = own.iter().find(is_of_host) {
            // The agent is the node's.
            return Err(Error::failed(format!("let pod {pod} end"), "it uses the network of its node"));
        }
        let agents: Vec<Arc<Agent>> =
            own.iter().filter_map(|pod| self.agents.remove(&EndpointName::of_identity(pod))).collect();
        ask_all(agents.iter().map(|agent| agent.stop())).await;
        let real = self.real_pods(own.iter().copied());
        self.shared.watch.succeeded(&real, ENDING).await?;
        for identity in own {
            if let Some(running) = self.pods.get_mut(identity) {
                running.pod.ended = true;
            }
        }
        Ok(())
    }

    /// Starts the pods that do not exist yet, and connects to their agents.
    pub(super) async fn add_pods(&mut self, world: &World) -> Result<(), Error> {
        let missing = world
            .cluster
            .pods
            .iter()
            .filter(|pod| self.can_have(pod) && !self.pods.contains_key(&Identity::of_pod(pod)));
        let missing: Vec<&Pod> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.bring_agents(world, &missing).await?;
        for Started { pod, real, addresses, agent } in self.start_pods(world, &missing).await? {
            let identity = Identity::of_pod(pod);
            self.agents.insert(EndpointName::of_pod(pod), agent);
            let pod = Pod { addresses, ..pod.clone() };
            self.pods.insert(identity.clone(), Running { pod, real, annotated: identity });
        }
        Ok(())
    }

    /// Starts pods, and connects to their agents. If a pod is deleted or evicted before its agent answers, starts
    /// another one in its place, once. Returns the pods with their names on the cluster, addresses and agents.
    async fn start_pods<'p>(&mut self, world: &World, pods: &[&'p Pod]) -> Result<Vec<Started<'p>>, Error> {
        let names = self.new_names(pods, &[]);
        // After the names were chosen, because an earlier pod may have had one of them.
        let since = tokio::time::Instant::now();
        let starting = pods.iter().zip(names).map(|(pod, real)| Starting { pod, real, before: None });
        let mut starting: Vec<_> = starting.collect();
        let mut new = starting.clone();
        loop {
            bounded(new.iter().map(|Starting { pod, real, .. }| self.create_pod(world, pod, real))).await?;
            match self.until_started(&starting, since).await {
                Ok(started) => {
                    let lost: Vec<_> = starting.into_iter().filter_map(|it| it.before).collect();
                    // A pod that is still there would look like one of another user.
                    self.shared.watch.gone(&lost, ENDING).await?;
                    return Ok(started);
                }
                Err(NotReady::Failed(error)) => return Err(error),
                Err(NotReady::Lost(lost)) => new = self.start_again(&mut starting, lost).await?,
            }
        }
    }

    /// Waits until the agents of starting pods answer.
    async fn until_started<'p>(
        &self,
        starting: &[Starting<'p>],
        since: tokio::time::Instant,
    ) -> Result<Vec<Started<'p>>, NotReady> {
        let Shared { watch, maker, .. } = &*self.shared;
        let names: Vec<Identity> = starting.iter().map(|it| it.real.clone()).collect();
        let addresses = tokio::select! {
            ready = watch.ready(&names, since, maker.settings.pod_timeout) => ready?,
            error = self.replace_images(&names) => return Err(NotReady::Failed(error)),
        };
        let agents = starting.iter().map(async |Starting { pod, real, .. }| match self.node_agent(pod) {
            Some(agent) => Ok(agent),
            None => self.connect(real).await.map(Arc::new),
        });
        let agents = ask_all(agents).await;
        let mut started = Vec::new();
        for ((Starting { pod, real, .. }, addresses), agent) in starting.iter().zip(addresses).zip(agents) {
            match (agent, watch.loss(real, &addresses)) {
                (Ok(agent), _) => started.push(Started { pod, real: real.clone(), addresses, agent }),
                (Err(_), Some(why)) => return Err(NotReady::Lost(vec![(real.clone(), why)])),
                (Err(error), None) => return Err(NotReady::Failed(error)),
            }
        }
        Ok(started)
    }

    /// Replaces lost pods among those that are starting. Returns the new ones, which must be created. They have new
    /// names, because the lost pods may still be terminating.
    async fn start_again<'p>(
        &mut self,
        starting: &mut [Starting<'p>],
        lost: Vec<(Identity, String)>,
    ) -> Result<Vec<Starting<'p>>, Error> {
        let mut new = Vec::new();
        for (real, why) in lost {
            // The object of an evicted pod stays until it is deleted.
            delete::<core::Pod>(&self.shared.client, &real).await?;
            let taken: Vec<Identity> = starting.iter().map(|it| it.real.clone()).collect();
            let Some(lost) = starting.iter_mut().find(|it| it.real == real) else { continue };
            self.lost_at_start.push(LostPod { name: real.to_string(), why: why.clone(), was_starting: true });
            if let Some(before) = &lost.before {
                let why = format!("{why}: {before} was lost before it in the same way");
                return Err(Error::failed(format!("start pod {real}"), why));
            }
            lost.before = Some(real);
            if let Some(name) = self.new_names(&[lost.pod], &taken).pop() {
                lost.real = name;
            }
            new.push(lost.clone());
        }
        Ok(new)
    }

    /// Creates the ConfigMaps with the agents that these pods need, if they do not exist yet.
    #[tracing::instrument(level = "debug", skip_all)]
    async fn bring_agents(&self, world: &World, pods: &[&Pod]) -> Result<(), Error> {
        let Shared { maker, agent_maps, .. } = &*self.shared;
        let known = || agent_maps.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = pods.iter().filter_map(|pod| {
            let node = world.assigned_nodes.get(pod.node.as_ref()?)?;
            Some((self.names.namespace(&pod.namespace), maker.source.architecture(node)?.to_owned()))
        });
        let needed: BTreeSet<_> = needed.collect();
        let missing: Vec<_> = needed.difference(&known()).cloned().collect();
        bounded(missing.iter().map(|(namespace, architecture)| self.bring_agent(namespace, architecture)))
            .await?;
        known().extend(missing);
        Ok(())
    }

    /// Creates the ConfigMap with the agent for an architecture, in a namespace given by its name on the cluster.
    async fn bring_agent(&self, namespace: &str, architecture: &str) -> Result<(), Error> {
        let Some(mut object) = self.shared.maker.agent(architecture, namespace) else { return Ok(()) };
        if let Some(owner) = self.owner(namespace)? {
            object.metadata.owner_references = Some(vec![owner.clone()]);
        }
        let maps: Api<core::ConfigMap> = Api::namespaced(self.shared.client.clone(), namespace);
        match persistently(async || maps.create(&PostParams::default(), &object).await).await {
            // The answer to an earlier try was lost. The ConfigMap is ours, because its name contains the
            // run's id.
            Err(error) if is_there_already(&error) => Ok(()),
            Err(error) => {
                let why = format!("{}: or name an image of the agent with --image", say(&error));
                Err(Error::failed(format!("create the ConfigMap with the agent in {namespace}"), why))
            }
            Ok(_) => Ok(()),
        }
    }

    #[tracing::instrument(level = "debug", skip_all)]
    async fn create_pod(&self, world: &World, pod: &Pod, real: &Identity) -> Result<(), Error> {
        let identity = Identity::of_pod(pod);
        let node = pod.node.as_ref().and_then(|node| world.assigned_nodes.get(node));
        let Some(node) = node else {
            return Err(Error::failed(format!("place pod {identity}"), "its node is not there"));
        };
        let source = &self.shared.maker.source;
        let pods: Api<core::Pod> = self.api(&pod.namespace);
        let start = Instant::now();
        loop {
            let image = source.image(node)?;
            let mut object = self.shared.maker.pod(pod, real, node, image)?;
            match &self.kind {
                Kind::Plain if pod.host_network => Maker::make_idle(&mut object),
                Kind::Plain => {}
                Kind::Nodes => Maker::make_node_agent(&mut object),
                Kind::Twins(_) | Kind::Strangers => {
                    let owner = self.owner(&real.namespace)?;
                    self.shared.maker.make_twin(&mut object, node, owner);
                }
                Kind::Helpers(entries) => {
                    let entry = entries.get(&identity).ok_or_else(|| {
                        Error::failed(format!("create pod {identity}"), "it has no pod to enter")
                    })?;
                    self.shared.maker.make_helper(&mut object, node, entry);
                }
            }
            let created = persistently(async || pods.create(&PostParams::default(), &object).await).await;
            match created {
                Ok(_) => return Ok(()),
                // The answer to an earlier try was lost. The pod is ours, because no other user has this
                // name.
                Err(error) if is_there_already(&error) => return Ok(()),
                Err(error) if awaits_account(&error) && start.elapsed() < NEW_NAMESPACE => sleep(PAUSE).await,
                Err(error) => {
                    let refusal = say(&error);
                    if !advice::is_about_images(&refusal) || !source.has_other_image(node, image) {
                        let why = advice::explain_refusal(&refusal, image, source.image_choice());
                        return Err(Error::failed(format!("create pod {identity}"), why));
                    }
                }
            }
        }
    }

    #[tracing::instrument(level = "debug", skip_all)]
    async fn connect(&self, pod: &Identity) -> Result<Agent, Error> {
        let Shared { client, maker, watch, permits, .. } = &*self.shared;
        let channel = Channel {
            client: client.clone(),
            control: maker.settings.control,
            program: maker.source.program(),
            pod: pod.clone(),
            watch: watch.clone(),
            permits: Arc::clone(permits),
        };
        Agent::connect(pod.to_string(), maker.token.clone(), Box::new(channel)).await
    }
}
