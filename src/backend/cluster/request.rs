//! Requests to the API server, with retries while it is unavailable and with readable error messages.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use kube::api::{Api, DeleteParams, ListParams, PatchParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::backend;
use crate::snapshot::Identity;

/// Maximum time for which the API server may be unavailable. A restart takes some seconds.
const RECOVERY: Duration = Duration::from_secs(30);

/// Maximum time until an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Maximum number of concurrent requests.
const AT_ONCE: usize = 16;

/// Time that a request of an attempt that was interrupted may still be in transit.
pub(super) const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Pause before a retry.
const PAUSE: Duration = Duration::from_millis(250);

/// Sends a request and repeats it while the server is unavailable. Only for requests that may be sent twice.
pub(super) async fn persistently<T>(mut request: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    let start = Instant::now();
    loop {
        let answer = timeout(ANSWER, request()).await;
        match answer.unwrap_or_else(|_| Err(Error::Service("the API server did not answer".into()))) {
            Err(error) if is_passing(&error) && start.elapsed() < RECOVERY => sleep(PAUSE).await,
            result => return result,
        }
    }
}

/// Returns whether the same request may succeed a moment later.
fn is_passing(error: &Error) -> bool {
    match status_code(error) {
        // Two requests against the same quota may conflict. Unlike the error for an existing object, this
        // passes.
        Some(409) => !is_there_already(error),
        // A quota that a controller adds to a new namespace refuses everything until it was counted.
        Some(403) => say(error).contains("status unknown for quota"),
        Some(code) => matches!(code, 429 | 500 | 502 | 503 | 504),
        None => is_connection(error),
    }
}

/// Returns whether no answer came from the server.
pub(super) fn is_connection(error: &Error) -> bool {
    matches!(error, Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_))
}

/// Returns the HTTP status of the server's answer. `None` if there was no answer.
pub(super) fn status_code(error: &Error) -> Option<u16> {
    if let Error::Api(status) = error { Some(status.code) } else { None }
}

/// Returns whether an object could not be created because its name is taken.
pub(super) fn is_there_already(error: &Error) -> bool {
    if let Error::Api(status) = error { status.code == 409 && status.reason != "Conflict" } else { false }
}

/// Returns the result of a deletion. An object that does not exist counts as deleted.
pub(super) fn unless_missing<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if status_code(&error) == Some(404) => Ok(()),
        result => result.map(drop),
    }
}

/// Describes an error: what the server answered, or why there was no answer.
pub(super) fn say(error: &Error) -> String {
    if let Error::Api(status) = error {
        let message = status.message.trim();
        return if message.is_empty() { format!("status {}", status.code) } else { message.to_owned() };
    }
    let mut cause: &dyn std::error::Error = error;
    // Only the innermost cause is informative.
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Sends requests, with a limit on how many are sent at the same time. Returns the results in order.
pub(super) async fn bounded<T>(
    requests: impl IntoIterator<Item = impl Future<Output = Result<T, backend::Error>>>,
) -> Result<Vec<T>, backend::Error> {
    // Collect first: a lazy iterator would have to live until the last answer.
    let requests: Vec<_> = requests.into_iter().collect();
    iter(requests).buffered(AT_ONCE).try_collect().await
}

/// A kind whose objects are in namespaces.
pub(super) trait Namespaced:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
}

impl<K> Namespaced for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
}

/// Lists objects of a kind, without their contents.
pub(super) async fn list<K: Namespaced>(
    client: &Client,
    namespace: &str,
    parameters: &ListParams,
) -> Result<Vec<PartialObjectMeta<K>>, backend::Error> {
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    let listed = persistently(async || objects.list_metadata(parameters).await).await;
    let doing = format!("list objects of kind {} in {namespace}", K::kind(&()));
    listed.map(|list| list.items).map_err(failed(doing))
}

/// Lists objects of a kind with their contents.
pub(super) async fn list_whole<K: Namespaced>(
    client: &Client,
    namespace: &str,
    parameters: &ListParams,
) -> Result<Vec<K>, backend::Error> {
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    let listed = persistently(async || objects.list(parameters).await).await;
    let doing = format!("list objects of kind {} in {namespace}", K::kind(&()));
    listed.map(|list| list.items).map_err(failed(doing))
}

/// Lists objects of a kind in all namespaces, without their contents.
pub(super) async fn list_everywhere<K: Namespaced>(
    client: &Client,
    parameters: &ListParams,
) -> Result<Vec<PartialObjectMeta<K>>, backend::Error> {
    let objects: Api<K> = Api::all(client.clone());
    let listed = persistently(async || objects.list_metadata(parameters).await).await;
    listed.map(|list| list.items).map_err(failed(format!("list objects of kind {}", K::kind(&()))))
}

/// Deletes the object with this name on the cluster, if it exists.
pub(super) async fn delete<K: Namespaced>(client: &Client, object: &Identity) -> Result<(), backend::Error> {
    let objects: Api<K> = Api::namespaced(client.clone(), &object.namespace);
    let deleted = persistently(async || objects.delete(&object.name, &DeleteParams::default()).await).await;
    unless_missing(deleted).map_err(failed(format!("delete {} {object}", K::kind(&()))))
}

/// Returns the parameters for server-side apply, which creates or updates an object.
pub(super) fn apply() -> PatchParams {
    PatchParams::apply("netproof").force()
}

/// Returns a function that turns an API error into a backend error with a description of the attempt.
pub(super) fn failed(doing: String) -> impl FnOnce(Error) -> backend::Error {
    move |error| backend::Error::failed(doing, say(&error))
}

/// Returns whether the namespace is too new for pods. Its default service account is created a moment later.
pub(super) fn awaits_account(error: &Error) -> bool {
    status_code(error) == Some(403) && say(error).contains("error looking up service account")
}
