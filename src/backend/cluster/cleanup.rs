//! Removing what runs left.

use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{StreamExt, iter};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::sleep;

use super::objects::RUN;
use super::request::{failed, persistently, say, unless_missing};
use super::{access, cluster_policies, connect, pods, prepared};
use crate::backend::Error;

/// How long namespaces may take to end.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);

/// How long a request may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// How many requests are sent at once.
const AT_ONCE: usize = 16;

/// Removes what all runs left that began long enough ago, in these prepared namespaces or else everywhere. Gives the names of the namespaces, and the kinds and names of what belongs to none.
///
/// # Errors
/// If the cluster cannot be reached, does not allow it, or takes too long.
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
    let now = SystemTime::now();
    let is_old = |namespace: &Namespace| {
        let created = namespace.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| SystemTime::from(time.0));
        created.is_none_or(|created| now.duration_since(created).unwrap_or_default() >= older_than)
    };
    let found = list(&connected.client, RUN).await?;
    let (prepared, made): (Vec<_>, Vec<_>) = found.iter().partition(|found| prepared::is_prepared(found));
    let prepared: Vec<String> = prepared.into_iter().map(ResourceExt::name_any).collect();
    let names: Vec<String> = made.into_iter().filter(|n| is_old(n)).map(ResourceExt::name_any).collect();
    let policies = cluster_policies::delete_all(&connected.client, RUN, older_than).await?;
    delete(&connected.client, &names).await?;
    wait(&connected.client, &names).await?;
    let released = prepared::cleanup(&connected.client, &prepared, older_than).await?;
    Ok([policies, names, released].concat())
}

/// Removes everything that one run made in namespaces of its own.
pub(super) async fn remove_run(client: &Client, run: &str, was_started: bool) -> Result<(), Error> {
    let selector = format!("{RUN}={run}");
    let mut found = list(client, &selector).await?;
    if found.is_empty() && was_started {
        // What was asked for when the run was interrupted may be on its way.
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

/// Asks for the end of namespaces, and of everything in them.
async fn delete(client: &Client, names: &[String]) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let deletions = iter(names).map(async |name| {
        let deleted = persistently(async || delete_one(&namespaces, name).await).await;
        deleted.map_err(failed(format!("delete namespace {name}")))
    });
    let results: Vec<Result<(), Error>> = deletions.buffer_unordered(AT_ONCE).collect().await;
    results.into_iter().collect()
}

/// Asks for the end of namespaces that may be forgotten now: the end of the run makes sure of it.
pub(super) async fn forget(client: Client, names: Vec<String>) {
    let namespaces: Api<Namespace> = Api::all(client);
    for name in names {
        if let Err(error) = delete_one(&namespaces, &name).await {
            tracing::debug!("namespace {name} stays until the end of the run: {}", say(&error));
        }
    }
}

async fn delete_one(namespaces: &Api<Namespace>, name: &str) -> Result<(), kube::Error> {
    // Nobody waits for what these pods might still have to say; but a namespace waits for its pods.
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
