//! Serves the control API over HTTP.

use std::cell::Cell;
use std::convert::Infallible;
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

use super::strangers::{Admission, Strangers};
use super::{Shared, held, listeners, prober, socket};
use crate::mac::are_equal;
use crate::wire::{
    ArrivalsRequest, HeldRequest, HoldRequest, Info, ListenRequest, ListenResponse, ProbeRequest,
    RecordsRequest, WIRE_VERSION,
};

/// Maximum size of a body, in bytes: about 100,000 probes.
const LARGEST_BODY: usize = 16 << 20;

/// Maximum size of a header, and of the part of a body that is read at once, in bytes.
const LARGEST_BUFFER: usize = 64 << 10;

/// Maximum number of connections that have not shown the token, from all programs that share the agent's loopback
/// interface.
const STRANGERS: usize = 32;

/// Maximum time for a connection to show the token.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(10);

/// Time that an agent keeps running after a stop request, so that its response can be sent.
const FAREWELL: Duration = Duration::from_millis(10);

type Answer = Response<Full<Bytes>>;

/// Serves the API without end.
pub(super) async fn serve(shared: Rc<Shared>, listener: TcpListener) {
    let strangers = Strangers::new(STRANGERS, STRANGERS);
    loop {
        match listener.accept().await {
            Ok((stream, source)) => Strangers::admit(&strangers, source.ip(), |admission| {
                tokio::task::spawn_local(serve_connection(Rc::clone(&shared), stream, admission))
                    .abort_handle()
            }),
            // No file descriptor is free at the moment. The connection stays in the backlog.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve_connection(shared: Rc<Shared>, stream: TcpStream, admission: Admission) {
    // Small requests and responses alternate. Waiting for more data to send would only delay them.
    let _ = stream.set_nodelay(true);
    let admission = Rc::new(Cell::new(Some(admission)));
    let stranger = Rc::clone(&admission);
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Rc::clone(&shared);
        if is_authorized(request.headers().get(AUTHORIZATION), &shared.token) {
            stranger.set(None);
        }
        async move {
            let answer = answer(&shared, request).await.unwrap_or_else(Answer::from);
            // What was seen while the pod ended says nothing about the pod.
            let loss = shared.loss().map(|loss| Refusal::new(StatusCode::GONE, loss.to_string()));
            Ok::<_, Infallible>(loss.map_or(answer, Answer::from))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(24 * 60 * 60))
        .max_buf_size(LARGEST_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let is_over = async {
        tokio::time::sleep(PATIENCE).await;
        // A client with the token may take its time.
        match admission.take() {
            Some(_) => {}
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // The client notices a broken connection.
        _ = connection => {}
        () = is_over => {}
    }
}

async fn answer(shared: &Rc<Shared>, request: Request<Incoming>) -> Result<Answer, Refusal> {
    if !is_authorized(request.headers().get(AUTHORIZATION), &shared.token) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "wrong or missing token"));
    }
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/info") => {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            json(&Info { name: shared.name.clone(), version, wire: WIRE_VERSION })
        }
        (&Method::POST, "/v1/capabilities") => {
            let capabilities = socket::capabilities();
            json(
                &capabilities
                    .map_err(|error| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?,
            )
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
        (&Method::POST, "/v1/give-up") => {
            shared.late.borrow_mut().give_up();
            // Their sockets are closed when the runtime has dropped the attempts.
            tokio::task::yield_now().await;
            json(&())
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
    are_equal(given, token.as_bytes())
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

/// Why a request gets no result.
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
