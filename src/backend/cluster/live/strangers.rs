//! Strangers: twins that stand for pods of no tenant. They are in the namespace of the canaries.

use std::sync::Arc;

use futures_util::future::try_join;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::twins::{self, ReadTwins};
use crate::backend::Error;
use crate::backend::cluster::deployment::Deployment;
use crate::backend::cluster::deployment::intact::ADVICE;
use crate::backend::cluster::request::{failed, list, persistently};
use crate::backend::cluster::shared::Shared;
use crate::policy::{Labels, NAMESPACE_NAME_LABEL};
use crate::world::{Deployed, World};

/// The strangers of a check.
pub(super) struct Strangers {
    shared: Arc<Shared>,
    pub(super) deployment: Deployment,
    /// Labels of their namespace when they had started.
    namespace: Labels,
    /// Labels of the strangers when they had started.
    pods: ReadTwins,
}

impl Strangers {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let deployment = Deployment::of_strangers(Arc::clone(&shared));
        Self { shared, deployment, namespace: Labels::new(), pods: ReadTwins::new() }
    }

    /// Starts the strangers of a state. Their namespace exists.
    pub(super) async fn start(&mut self, world: &World) -> Result<(), Error> {
        self.deployment.start_strangers(&twins::strangers(world)).await?;
        if world.strangers.is_some() {
            (self.namespace, self.pods) = try_join(self.read_namespace(), self.read()).await?;
            if let [policy, ..] = self.policies().await?.as_slice() {
                return Err(Error::failed("use netproof's own namespace", format!("{policy}: {ADVICE}")));
            }
        }
        Ok(())
    }

    /// Adds what is known of the strangers and their namespace.
    pub(super) fn add_to(&self, deployed: &mut Deployed, world: &World) {
        let namespace = world.strangers.iter().map(|name| (name.clone(), self.namespace.clone()));
        deployed.namespace_labels.extend(namespace);
        twins::add_to(deployed, &self.deployment, &self.pods);
    }

    /// Describes what is no longer as it was when the strangers had started.
    pub(super) async fn changes(&self, world: &World) -> Result<Vec<String>, Error> {
        if world.strangers.is_none() {
            return Ok(Vec::new());
        }
        let name = self.shared.namespace_of_canaries();
        let (namespace, pods) = try_join(self.read_namespace(), self.read()).await?;
        let mut changes = twins::relabelled(&self.pods, &pods);
        if namespace != self.namespace {
            changes.push(format!("the labels of namespace {name} were changed"));
        }
        changes.extend(self.policies().await?);
        Ok(changes)
    }

    /// Describes the policies in their namespace. Only others create policies there.
    async fn policies(&self) -> Result<Vec<String>, Error> {
        let name = self.shared.namespace_of_canaries();
        let policies = list::<NetworkPolicy>(&self.shared.client, &name, &ListParams::default()).await?;
        Ok(policies.iter().map(|it| format!("NetworkPolicy {name}/{} was added", it.name_any())).collect())
    }

    async fn read(&self) -> Result<ReadTwins, Error> {
        twins::read(&self.shared, &self.deployment, [&self.shared.namespace_of_canaries()], None).await
    }

    async fn read_namespace(&self) -> Result<Labels, Error> {
        read_labels(&self.shared, &self.shared.namespace_of_canaries()).await
    }
}

/// Returns the labels that the namespace of strangers has, or will have.
pub(super) async fn labels_to_be(shared: &Shared) -> Result<Labels, Error> {
    let name = shared.namespace_of_canaries();
    if shared.prepared.is_some() {
        return read_labels(shared, &name).await;
    }
    let mut labels = shared.maker.namespace_labels(&Labels::new());
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name);
    Ok(labels)
}

async fn read_labels(shared: &Shared, name: &str) -> Result<Labels, Error> {
    let namespaces: Api<Namespace> = Api::all(shared.client.clone());
    let found = persistently(async || namespaces.get_metadata(name).await).await;
    Ok(found.map_err(failed(format!("read namespace {name}")))?.labels().clone())
}
