//! The namespaces of a topology on the cluster.

use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{Deployment, label_patch};
use crate::backend::Error;
use crate::backend::cluster::objects::RUN;
use crate::backend::cluster::prepared::{self, Prepared};
use crate::backend::cluster::request::{bounded, failed, is_there_already, persistently};
use crate::backend::cluster::shared::Shared;
use crate::backend::cluster::site::refused;
use crate::policy::{Labels, NAMESPACE_NAME_LABEL};
use crate::world::World;

impl Deployment {
    #[tracing::instrument(level = "debug", skip_all)]
    pub(super) async fn set_namespaces(&mut self, world: &World) -> Result<(), Error> {
        let wanted = world.cluster.namespaces.iter().map(|namespace| {
            let mut labels = namespace.labels.clone();
            // The API server sets this label itself.
            labels.remove(NAMESPACE_NAME_LABEL);
            (namespace.name.clone(), labels)
        });
        let changed = wanted.filter(|(name, labels)| self.namespaces.get(name) != Some(labels));
        let changes = bounded(changed.map(async |(name, labels)| {
            self.set_namespace(&name, &labels).await?;
            Ok::<_, Error>((name, labels))
        }));
        let changes = changes.await?;
        self.namespaces.extend(changes);
        Ok(())
    }

    /// Takes as many prepared namespaces as the state has namespaces. Does nothing if the run creates its
    /// own.
    pub(in crate::backend::cluster) async fn borrow_prepared(&mut self, world: &World) -> Result<(), Error> {
        let Some(prepared) = self.shared.prepared.as_ref().filter(|_| self.borrowed.is_none()) else {
            return Ok(());
        };
        let namespaces = &world.cluster.namespaces;
        let borrowed = prepared.borrow(namespaces.len()).await?;
        let names = namespaces.iter().map(|namespace| namespace.name.clone()).zip(borrowed.names.clone());
        self.names = self.names.with_prepared(names.collect());
        self.borrowed = Some(borrowed);
        Ok(())
    }

    /// Removes everything from the prepared namespaces and gives them back.
    pub(in crate::backend::cluster) async fn give_prepared_back(
        &mut self,
        prepared: &Prepared,
        is_broken: bool,
    ) {
        let Shared { client, maker, .. } = &*self.shared;
        if let Some(borrowed) = self.borrowed.take()
            && let Err(error) = prepared.give_back(client, &maker.run, borrowed, is_broken).await
        {
            // Scenarios that need these namespaces report the error.
            tracing::debug!("prepared namespaces stay in use: {error}");
        }
    }

    async fn set_namespace(&self, name: &str, labels: &Labels) -> Result<(), Error> {
        let namespaces: Api<core::Namespace> = Api::all(self.shared.client.clone());
        let real = self.names.namespace(name);
        if self.shared.prepared.is_some() {
            let Shared { client, maker, .. } = &*self.shared;
            return prepared::set_labels(client, &real, &maker.run, labels).await;
        }
        if let Some(old) = self.namespaces.get(name) {
            let patch = json!({"metadata": {"labels": label_patch(old, labels)}});
            let patched = persistently(async || {
                namespaces.patch(&real, &PatchParams::default(), &Patch::Merge(&patch)).await
            });
            return patched.await.map(drop).map_err(failed(format!("label namespace {name}")));
        }
        let namespace = self.shared.maker.namespace(&real, labels.clone());
        let created =
            persistently(async || namespaces.create(&PostParams::default(), &namespace).await).await;
        match created {
            Ok(_) => {}
            Err(error) if is_there_already(&error) => {
                // The namespace is ours if the answer to an earlier request was lost. Namespaces of other
                // users are not touched.
                let found = persistently(async || namespaces.get(&real).await);
                let found = found.await.map_err(failed(format!("create namespace {real}")))?;
                if found.metadata.labels.unwrap_or_default().get(RUN) != Some(&self.shared.maker.run) {
                    let advice = "choose another beginning with --namespace-prefix";
                    return Err(Error::Unavailable(format!("namespace {real} is there already: {advice}")));
                }
            }
            Err(error) => return Err(refused(format!("create namespace {real}"))(error)),
        }
        if let Some(secret) = &self.shared.pull_secret {
            let secrets: Api<core::Secret> = Api::namespaced(self.shared.client.clone(), &real);
            let copy = self.shared.maker.pull_secret(secret, &real);
            let created = persistently(async || secrets.create(&PostParams::default(), &copy).await).await;
            match created {
                Err(error) if !is_there_already(&error) => {
                    return Err(failed(format!("copy the image pull secret to {real}"))(error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}
