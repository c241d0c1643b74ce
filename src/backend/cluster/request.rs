//! Requests to the API server: again while it is away, and in words that a person understands.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use kube::Error;
use kube::api::PatchParams;
use tokio::time::{sleep, timeout};

use crate::backend;

/// How long the API server may be away: a restart takes some seconds.
const RECOVERY: Duration = Duration::from_secs(30);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// How many requests are sent at once.
const AT_ONCE: usize = 16;

/// The pause before a request is sent again.
const PAUSE: Duration = Duration::from_millis(250);

/// Sends a request, and sends it again while the server is away. For requests that may be sent
/// twice.
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

/// Whether the same request may succeed a moment later.
fn is_passing(error: &Error) -> bool {
    match status_code(error) {
        // Two requests about the same quota at once: not what is meant by being there already.
        Some(409) => !is_there_already(error),
        Some(code) => matches!(code, 429 | 500 | 502 | 503 | 504),
        None => is_connection(error),
    }
}

/// Whether no answer came from the server.
pub(super) fn is_connection(error: &Error) -> bool {
    matches!(error, Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_))
}

/// The HTTP status that the server answered with, if it answered.
pub(super) fn status_code(error: &Error) -> Option<u16> {
    if let Error::Api(status) = error { Some(status.code) } else { None }
}

/// Whether something could not be created because there is one of its name.
pub(super) fn is_there_already(error: &Error) -> bool {
    if let Error::Api(status) = error { status.code == 409 && status.reason != "Conflict" } else { false }
}

/// What a deletion came to: what is not there is as good as deleted.
pub(super) fn unless_missing<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if status_code(&error) == Some(404) => Ok(()),
        result => result.map(drop),
    }
}

/// An error in words: what the server says, or why it says nothing.
pub(super) fn say(error: &Error) -> String {
    if let Error::Api(status) = error {
        let message = status.message.trim();
        return if message.is_empty() { format!("status {}", status.code) } else { message.to_owned() };
    }
    let mut cause: &dyn std::error::Error = error;
    // The innermost cause is the only one that says something.
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Carries requests out, a bounded number of them at once. Gives the results in order.
pub(super) async fn bounded<T>(
    requests: impl IntoIterator<Item = impl Future<Output = Result<T, backend::Error>>>,
) -> Result<Vec<T>, backend::Error> {
    // Collected first: a lazy iterator would have to live as long as the answers take.
    let requests: Vec<_> = requests.into_iter().collect();
    iter(requests).buffered(AT_ONCE).try_collect().await
}

/// How an object is created, or made what it should be.
pub(super) fn apply() -> PatchParams {
    PatchParams::apply("netproof").force()
}

/// What became of an attempt to do something.
pub(super) fn failed(doing: String) -> impl FnOnce(Error) -> backend::Error {
    move |error| backend::Error::failed(doing, say(&error))
}

/// Whether the namespace is too new for pods: its default service account is made a moment later.
pub(super) fn awaits_account(error: &Error) -> bool {
    status_code(error) == Some(403) && say(error).contains("error looking up service account")
}
