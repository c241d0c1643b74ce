//! A check as a backend: it starts what a state needs, and watches whether that and the cluster stay as they are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{try_join, try_join3};
use k8s_openapi::api::core::v1 as core;
use kube::api::ListParams;

use super::intact::Recorded;
use super::twins::{self, ReadTwins};
use super::{Live, bystanders, owners};
use crate::backend::cluster::deployment::Deployment;
use crate::backend::cluster::pods::RunningPod;
use crate::backend::cluster::request::{bounded, list_whole};
use crate::backend::{Agent, Backend, Canary, Error, LostPod, Sentinels};
use crate::policy::IpFamily;
use crate::snapshot::Identity;
use crate::world::{Action, Deployed, EndpointName, World};

impl Live {
    /// Starts the twins and helpers of a state, and the canaries on their nodes.
    async fn start(&mut self, world: &World) -> Result<(), Error> {
        let state = &twins::of_tenants(world);
        let ends = world.twins.union(&world.entered).filter_map(|pod| world.pod(&pod.namespace, &pod.name));
        let nodes: BTreeSet<String> = ends.filter_map(|pod| pod.node.clone()).collect();
        let nodes: Vec<String> = nodes.into_iter().collect();
        let namespaces: BTreeSet<String> =
            state.cluster.pods.iter().map(|pod| pod.namespace.clone()).collect();
        // Before the requests, so that the end deletes what an interrupted request creates.
        self.used.extend(namespaces);
        self.shared.deployments.store(1, Ordering::Relaxed);
        let Self { shared, deployment, helpers, strangers, used, canary_pods, .. } = self;
        let twins = async {
            let owners =
                owners::create(&shared.client, &shared.maker, used.iter().map(String::as_str)).await?;
            deployment.start_twins(state, owners).await
        };
        let own = async {
            canary_pods.create_namespace(shared).await?;
            try_join(canary_pods.on(shared, &nodes), strangers.start(world)).await
        };
        let ((), (), (started, ())) = try_join3(twins, helpers.start(world), own).await?;
        self.canaries = started.canaries;
        self.running_canaries = started.pods;
        self.lost_at_start.extend(started.lost);
        self.read = self.read_twins().await?;
        Ok(())
    }

    /// Reads the twins in namespaces of tenants back from the cluster.
    async fn read_twins(&self) -> Result<ReadTwins, Error> {
        let owner = self.shared.maker.owner_name();
        twins::read(&self.shared, &self.deployment, &self.used, Some(&owner)).await
    }

    /// Returns what is known of the twins and nodes of a state.
    fn deployed(&self, world: &World) -> Deployed {
        let mut deployed = Deployed::default();
        for node in &world.cluster.nodes {
            deployed.assigned_nodes.insert(node.name.clone(), node.name.clone());
        }
        twins::add_to(&mut deployed, &self.deployment, &self.read);
        self.strangers.add_to(&mut deployed, world);
        self.helpers.add_to(&mut deployed);
        deployed
    }

    /// Returns the pods that no longer run, of those that the check depends on.
    fn lost(&self) -> Vec<LostPod> {
        let mut lost = self.shared.lost_among(self.running_pods());
        lost.extend(self.helpers.lost());
        lost
    }

    /// Returns the twins and the pods of the canaries.
    fn running_pods(&self) -> impl Iterator<Item = RunningPod> {
        let twins = self.deployments().into_iter().flat_map(Deployment::running_pods);
        twins.chain(self.running_canaries.iter().cloned())
    }

    /// Returns the deployments of twins.
    fn deployments(&self) -> [&Deployment; 2] {
        [&self.deployment, &self.strangers.deployment]
    }

    /// Describes what is no longer as it was when the check began, or when its pods started.
    async fn changes(&self, world: &World) -> Result<Vec<String>, Error> {
        let client = &self.shared.client;
        let (now, read) = try_join(Recorded::read(client, &self.scope), self.read_twins()).await?;
        let mut changes =
            self.recorded.differences(&now, world, &self.shared.maker.settings.prepared_namespaces);
        changes.extend(self.helpers.changes(world).await?);
        changes.extend(twins::relabelled(&self.read, &read));
        changes.extend(self.strangers.changes(world).await?);
        let all = ListParams::default();
        let services = self.used.iter().map(|it| list_whole::<core::Service>(client, it, &all));
        let services = bounded(services).await?.concat();
        changes.extend(bystanders::publishing(&services, &twins::of(&self.shared, world)?));
        Ok(changes)
    }
}

impl Backend for Live {
    async fn deploy(&mut self, world: &World) -> Result<Deployed, Error> {
        self.preflight(world).await?;
        if self.is_broken {
            try_join(self.deployment.remove_strays(), self.helpers.remove_strays()).await?;
        }
        self.is_broken = true;
        match self.start(world).await {
            Ok(()) => {
                self.shared.has_started.store(true, Ordering::Relaxed);
                self.is_broken = false;
                Ok(self.deployed(world))
            }
            Err(error) => Err(self.shared.judge(error)),
        }
    }

    async fn apply(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        match actions {
            [] => Ok(self.deployed(world)),
            _ => Err(Error::failed("change the state", "a check of a live cluster changes nothing")),
        }
    }

    async fn check_intact(&self, world: &World) -> Result<(), Error> {
        match self.changes(world).await?.as_slice() {
            [] => Ok(()),
            changes => {
                let message = format!("{}: repeat the check", changes.join("; "));
                Err(Error::failed("check one state of the cluster", message))
            }
        }
    }

    fn lost_pods(&mut self) -> Vec<LostPod> {
        let at_start = std::mem::take(&mut self.lost_at_start).into_iter();
        let now = self.lost();
        let helpers = self.helpers.take_lost_at_start();
        let Self { deployment, strangers, .. } = self;
        let twins =
            [deployment, &mut strangers.deployment].into_iter().flat_map(Deployment::take_lost_at_start);
        at_start.chain(twins).chain(helpers).chain(now).collect()
    }

    fn has_lost_pod(&self) -> bool {
        !self.lost().is_empty()
    }

    /// The kubelet has reached a pod as soon as its startup probe has passed, and a twin or helper has not started before
    /// that. The kubelet uses the first address: that of the twin, or of the running pod in whose network the agent is.
    fn is_reached(&self, pod: &EndpointName, family: IpFamily) -> bool {
        let identity = match pod {
            EndpointName::Pod { namespace, name } => Identity::new(namespace, name),
            EndpointName::Service { .. } | EndpointName::Node(_) | EndpointName::External(_) => return false,
        };
        let mut deployments = self.deployments().into_iter();
        let of_twin = || deployments.find_map(|it| it.running_pod(&identity)).map(|(_, addresses)| addresses);
        let addresses = self.helpers.addresses(&identity).map(<[_]>::to_vec).or_else(of_twin);
        addresses.is_some_and(|own| own.first().is_some_and(|first| IpFamily::of(*first) == family))
    }

    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        let mut deployments = self.deployments().into_iter();
        deployments.find_map(|it| it.agent(endpoint)).or_else(|| self.helpers.agent(endpoint))
    }

    fn canaries(&self) -> Vec<Canary> {
        self.canaries.clone()
    }

    fn sentinels(&self) -> Sentinels {
        Sentinels::default()
    }

    /// Removes everything. [`finish`](Live::finish) also says what could not be removed.
    async fn stop(self) {
        if let Err(error) = self.finish().await {
            tracing::warn!("{error}");
        }
    }
}
