//! Removal of what runs leave on a cluster.

use std::time::{Duration, Instant};

use futures_util::stream::{StreamExt, iter};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::sleep;

use super::objects::{RUN, is_old};
use super::request::{failed, persistently, say, unless_missing};
use super::{access, cluster_policies, connect, pods, prepared};
use crate::backend::Error;

/// Maximum time until namespaces are deleted.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);

/// Time that a request may be in transit.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Maximum number of concurrent requests.
const AT_ONCE: usize = 16;

/// Removes everything that runs left, if they began at least `older_than` ago. Looks in the named prepared
/// namespaces, or in the whole cluster if none are named. Returns the names of the namespaces, and the kinds
/// and names of cluster-scoped objects.
///
/// # Errors
/// If the cluster cannot be reached, denies a request, or takes too long.
pub async fn cleanup(
    target: &connect::Target,
    prepared: &[String],
    older_than: Duration,
) -> Result<Vec<String>, Error> {
    let connected = connect::connect(target).await?;
    access::check_cleanup(&connected.client, prepared).await?;
    if !prepared.is_empty() {
        return prepared::cleanup(&connected.client, prepared, older_than).await;
    }
    let found = list(&connected.client, RUN).await?;
    let (prepared, made): (Vec<_>, Vec<_>) = found.iter().partition(|found| prepared::is_prepared(found));
    let prepared: Vec<String> = prepared.into_iter().map(ResourceExt::name_any).collect();
    let names: Vec<String> =
        made.into_iter().filter(|n| is_old(&n.metadata, older_than)).map(ResourceExt::name_any).collect();
    let policies = cluster_policies::delete_all(&connected.client, RUN, older_than).await?;
    delete(&connected.client, &names).await?;
    wait(&connected.client, &names).await?;
    let released = prepared::cleanup(&connected.client, &prepared, older_than).await?;
    Ok([policies, names, released].concat())
}

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
        delete(client, &names).await?;
        wait(client, &names).await?;
        found = list(client, &selector).await?;
    }
    cluster_policies::delete_all(client, &selector, Duration::ZERO).await.map(drop)
}

async fn list(client: &Client, selector: &str) -> Result<Vec<Namespace>, Error> {
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
