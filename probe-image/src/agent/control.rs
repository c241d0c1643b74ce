//! The HTTP API.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};

use super::{Shared, held, listeners, prober};
use crate::wire::{
    ArrivalsRequest, HeldRequest, HoldRequest, Info, ListenRequest, ListenResponse, ProbeRequest,
    RecordsRequest,
};

/// The largest body: some 100,000 probes.
const LARGEST_BODY: usize = 16 << 20;

/// How long an agent that is asked to stop lives on, so that its answer gets away.
const FAREWELL: Duration = Duration::from_millis(10);

type Answer = Response<Full<Bytes>>;

/// Serves the API for ever.
pub(super) async fn serve(shared: Rc<Shared>, listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(serve_connection(Rc::clone(&shared), stream));
    }
}

async fn serve_connection(shared: Rc<Shared>, stream: TcpStream) {
    // Small requests and responses in turns: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Rc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await.unwrap_or_else(Answer::from)) }
    });
    // A broken connection is the client's to notice.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(24 * 60 * 60))
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(shared: &Rc<Shared>, request: Request<Incoming>) -> Result<Answer, Refusal> {
    if !is_authorized(request.headers().get(AUTHORIZATION), &shared.token) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "wrong or missing token"));
    }
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/info") => {
            json(&Info { name: shared.name.clone(), version: env!("CARGO_PKG_VERSION").to_owned() })
        }
        (&Method::POST, "/v1/listen") => {
            let ListenRequest { listeners } = read(request).await?;
            let failures = listeners.into_iter().map(|l| listeners::open(shared, l).err()).collect();
            json(&ListenResponse { failures })
        }
        (&Method::POST, "/v1/records") => {
            let RecordsRequest { records } = read(request).await?;
            *shared.records.borrow_mut() = records;
            json(&())
        }
        (&Method::POST, "/v1/probe") => {
            let request: ProbeRequest = read(request).await?;
            json(&prober::probe(shared, request).await)
        }
        (&Method::POST, "/v1/hold") => {
            let request: HoldRequest = read(request).await?;
            json(&held::hold(shared, request).await)
        }
        (&Method::POST, "/v1/held") => {
            let request: HeldRequest = read(request).await?;
            json(&held::use_again(shared, request).await)
        }
        (&Method::POST, "/v1/arrivals") => {
            let ArrivalsRequest { since } = read(request).await?;
            let response = shared.log.borrow_mut().since(since);
            json(&response)
        }
        (&Method::POST, "/v1/stop") => {
            let shared = Rc::clone(shared);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(FAREWELL).await;
                shared.stop.notify_one();
            });
            json(&())
        }
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "no such request")),
    }
}

fn is_authorized(header: Option<&HeaderValue>, token: &str) -> bool {
    let Some(given) = header.and_then(|header| header.as_bytes().strip_prefix(b"Bearer ")) else {
        return false;
    };
    // In time that does not depend on where they differ.
    given.len() == token.len() && given.iter().zip(token.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message);
    let body =
        Limited::new(request.into_body(), LARGEST_BODY).collect().await.map_err(|e| bad(e.to_string()))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| bad(error.to_string()))
}

fn json(value: &impl Serialize) -> Result<Answer, Refusal> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A request that gets no result.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let mut response = Response::new(Full::from(format!("{}\n", refusal.message)));
        *response.status_mut() = refusal.status;
        response
    }
}
