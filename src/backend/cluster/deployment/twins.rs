//! Twins: pods that a check of a live cluster adds to namespaces of tenants. Strangers: such pods in its own namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::time::sleep;

use super::{Deployment, Kind};
use crate::backend::Error;
use crate::backend::cluster::live::Owners;
use crate::backend::cluster::names::Names;
use crate::backend::cluster::pods::ENDING;
use crate::backend::cluster::request::{ON_ITS_WAY, bounded, delete};
use crate::backend::cluster::shared::Shared;
use crate::snapshot::Identity;
use crate::world::World;

impl Deployment {
    /// Returns a deployment in namespaces that exist already. Everything in them has an owner.
    pub(in crate::backend::cluster) fn of_twins(shared: Arc<Shared>) -> Self {
        let kind = Kind::Twins(Owners::new());
        Self { kind, ..Self::new(shared, Names::of_live_cluster(), Vec::new()) }
    }

    /// Returns a deployment in the namespace of the canaries, for pods that belong to no tenant.
    pub(in crate::backend::cluster) fn of_strangers(shared: Arc<Shared>) -> Self {
        let names = shared.names_of_canaries();
        Self { kind: Kind::Strangers, ..Self::new(shared, names, Vec::new()) }
    }

    /// Returns the owner of what is created in a namespace. `None` if nothing needs one.
    ///
    /// # Errors
    /// If the namespace is a tenant's, and its owner does not exist.
    pub(super) fn owner(&self, namespace: &str) -> Result<Option<&OwnerReference>, Error> {
        let Kind::Twins(owners) = &self.kind else { return Ok(None) };
        let missing = || Error::failed(format!("add pods to namespace {namespace}"), "they have no owner");
        owners.get(namespace).map(Some).ok_or_else(missing)
    }

    /// Starts the pods of a state that do not exist, and deletes those that are lost or not in the state. Changes
    /// nothing else.
    ///
    /// # Errors
    /// If the owner of a namespace was replaced, or a pod cannot start.
    pub(in crate::backend::cluster) async fn start_twins(
        &mut self,
        world: &World,
        owners: Owners,
    ) -> Result<(), Error> {
        let is_replaced = |(namespace, new): (&String, &OwnerReference)| {
            let Kind::Twins(old) = &self.kind else { return None };
            old.get(namespace).is_some_and(|old| old.uid != new.uid).then(|| namespace.clone())
        };
        if let Some(namespace) = owners.iter().find_map(is_replaced) {
            // The agent is still being deleted with it.
            let message = "another user deleted the ConfigMap that owns them: repeat the check";
            return Err(Error::failed(format!("replace the probe pods of namespace {namespace}"), message));
        }
        self.kind = Kind::Twins(owners);
        self.add_and_remove(world).await
    }

    /// Starts the strangers of a state that do not exist, and deletes those that are lost or not in the state. Their
    /// namespace exists.
    ///
    /// # Errors
    /// If a pod cannot start.
    pub(in crate::backend::cluster) async fn start_strangers(&mut self, world: &World) -> Result<(), Error> {
        let namespace = self.shared.namespace_of_canaries();
        let own = world.strangers.iter().map(|name| (name.clone(), namespace.clone())).collect();
        self.names = self.names.with_prepared(own);
        self.add_and_remove(world).await
    }

    async fn add_and_remove(&mut self, world: &World) -> Result<(), Error> {
        self.remove_lost().await?;
        let wanted: BTreeSet<Identity> = world.cluster.pods.iter().map(Identity::of_pod).collect();
        let surplus: Vec<Identity> = self.pods.keys().filter(|pod| !wanted.contains(pod)).cloned().collect();
        self.remove_pods(&surplus).await?;
        self.add_pods(world).await
    }

    /// Deletes the pods that an attempt to start left behind.
    pub(in crate::backend::cluster) async fn remove_strays(&self) -> Result<(), Error> {
        // A request that was sent before the attempt failed may still be in transit.
        sleep(ON_ITS_WAY).await;
        let Shared { client, watch, .. } = &*self.shared;
        let own: BTreeSet<&Identity> = self.pods.values().map(|running| &running.real).collect();
        let namespaces: Vec<String> = match &self.kind {
            Kind::Twins(owners) => owners.keys().cloned().collect(),
            Kind::Plain | Kind::Nodes | Kind::Strangers | Kind::Helpers(_) => self.namespaces(),
        };
        let is_here = |pod: &Identity| namespaces.contains(&pod.namespace);
        let strays = watch.existing().into_iter().filter(|pod| is_here(pod) && !own.contains(pod));
        let strays: Vec<Identity> = strays.collect();
        bounded(strays.iter().map(|pod| delete::<core::Pod>(client, pod))).await?;
        watch.gone(&strays, ENDING).await
    }

    /// Returns the names on the cluster of the running pods, by their names in the state.
    pub(in crate::backend::cluster) fn real_names(&self) -> BTreeMap<Identity, Identity> {
        self.pods.iter().map(|(pod, running)| (pod.clone(), running.real.clone())).collect()
    }
}
