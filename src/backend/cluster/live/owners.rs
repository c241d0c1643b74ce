//! The owners: one ConfigMap in each namespace with twins. Deleting it is the whole clean-up of the namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, PostParams};

use super::objects::reference;
use crate::backend::Error;
use crate::backend::cluster::objects::{Maker, RUN};
use crate::backend::cluster::request::{self, bounded, failed, is_there_already, persistently};
use crate::snapshot::Identity;

/// The owners by their namespaces, as references to them.
pub(in crate::backend::cluster) type Owners = BTreeMap<String, OwnerReference>;

/// Creates the owners that do not exist yet. Returns all of them.
pub(super) async fn create<'a>(
    client: &Client,
    maker: &Maker,
    namespaces: impl IntoIterator<Item = &'a str>,
) -> Result<Owners, Error> {
    let created = namespaces.into_iter().map(async |namespace| {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let object = maker.owner(namespace);
        let doing = || format!("create ConfigMap {namespace}/{}", maker.owner_name());
        let found = match persistently(async || maps.create(&PostParams::default(), &object).await).await {
            Ok(created) => created,
            // It was created before, or the answer to an earlier try was lost.
            Err(error) if is_there_already(&error) => {
                let found = persistently(async || maps.get(&maker.owner_name()).await).await;
                found.map_err(failed(doing()))?
            }
            Err(error) => return Err(failed(doing())(error)),
        };
        let labels = found.metadata.labels.as_ref();
        let is_ours = labels.and_then(|labels| labels.get(RUN)) == Some(&maker.run);
        if !is_ours || found.metadata.uid.is_none() || found.metadata.deletion_timestamp.is_some() {
            return Err(Error::failed(doing(), "there is another one, or it is being deleted"));
        }
        Ok((namespace.to_owned(), reference(&found)))
    });
    Ok(bounded(created).await?.into_iter().collect())
}

/// Deletes owners. Kubernetes then deletes everything that they own.
pub(in crate::backend::cluster) async fn delete(client: &Client, owners: &[Identity]) -> Result<(), Error> {
    // An error in one namespace must not stop the others.
    let deleted = owners.iter().map(async |owner| Ok(request::delete::<ConfigMap>(client, owner).await));
    let results: Vec<Result<(), Error>> = bounded(deleted).await?;
    results.into_iter().collect()
}
