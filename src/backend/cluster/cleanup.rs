//! Deletion of the namespaces of runs.

use std::time::{Duration, Instant};

use futures_util::stream::{StreamExt, iter};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::sleep;

use super::objects::RUN;
use super::request::{ON_ITS_WAY, failed, persistently, say, unless_missing};
use super::{cluster_policies, pods};
use crate::backend::Error;

/// Maximum time until namespaces are deleted.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);

/// Maximum number of concurrent requests.
const AT_ONCE: usize = 16;

/// Removes the namespaces and the cluster-scoped policies of one run.
pub(super) async fn remove_run(client: &Client, run: &str, was_started: bool) -> Result<(), Error> {
    let selector = format!("{RUN}={run}");
    let mut found = list(client, &selector).await?;
    if found.is_empty() && was_started {
        // A request that was sent before the run was interrupted may still be in transit.
        sleep(ON_ITS_WAY).await;
        found = list(client, &selector).await?;
    }
    while !found.is_empty() {
        let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
        delete_and_wait(client, &names).await?;
        found = list(client, &selector).await?;
    }
    cluster_policies::delete_all(client, &selector).await.map(drop)
}

/// Deletes namespaces with everything in them, and waits until they are gone.
pub(super) async fn delete_and_wait(client: &Client, names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        // A user of prepared namespaces may not list namespaces.
        return Ok(());
    }
    delete(client, names).await?;
    wait(client, names).await
}

pub(super) async fn list(client: &Client, selector: &str) -> Result<Vec<Namespace>, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let parameters = ListParams::default().labels(selector);
    let listed = persistently(async || namespaces.list(&parameters).await).await;
    Ok(listed.map_err(|error| Error::failed("list namespaces", say(&error)))?.items)
}

/// Requests the deletion of namespaces, with everything in them.
async fn delete(client: &Client, names: &[String]) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let deletions = iter(names).map(async |name| {
        let deleted = persistently(async || delete_one(&namespaces, name).await).await;
        deleted.map_err(failed(format!("delete namespace {name}")))
    });
    let results: Vec<Result<(), Error>> = deletions.buffer_unordered(AT_ONCE).collect().await;
    results.into_iter().collect()
}

/// Requests the deletion of namespaces, but does not wait for it. The end of the run makes sure that they are
/// gone.
pub(super) async fn forget(client: Client, names: Vec<String>) {
    let namespaces: Api<Namespace> = Api::all(client);
    for name in names {
        if let Err(error) = delete_one(&namespaces, &name).await {
            tracing::debug!("namespace {name} stays until the end of the run: {}", say(&error));
        }
    }
}

async fn delete_one(namespaces: &Api<Namespace>, name: &str) -> Result<(), kube::Error> {
    // Nothing needs the last answers of these pods, so they get no grace period. The namespace is not deleted
    // before its pods are.
    pods::delete_all(&namespaces.clone().into_client(), name, "", Some(0)).await?;
    unless_missing(namespaces.delete(name, &DeleteParams::background()).await)
}

async fn wait(client: &Client, names: &[String]) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        let there = list(client, RUN).await?;
        let left = there.iter().map(ResourceExt::name_any).find(|name| names.contains(name));
        match left {
            None => return Ok(()),
            Some(name) if start.elapsed() >= PATIENCE => {
                let message = format!("it was still there after {} s", PATIENCE.as_secs());
                return Err(Error::failed(format!("delete namespace {name}"), message));
            }
            Some(_) => sleep(PAUSE).await,
        }
    }
}
