//! Client of an agent's control API.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use netproof_probe::random::Nonces;
use netproof_probe::wire::{
    Arrival, ArrivalsRequest, ArrivalsResponse, Capabilities, Connection, Exchange, Family, HeldRequest,
    HoldRequest, Info, ListenFailure, ListenRequest, ListenResponse, Listener, Nonce, ProbeRequest,
    ProbeResponse, ProbeResult, RecordsRequest, Target, Transport, WIRE_VERSION,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::Error;

/// Time that an agent may take to answer, in addition to the time that the request itself takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time for which an idempotent request is retried while the connection to the agent is broken.
const RECOVERY: Duration = Duration::from_secs(15);

/// Pause before a retry.
const PAUSE: Duration = Duration::from_millis(200);

/// Maximum size of an answer, in bytes. It is far more than the longest log of arrivals, and less than the
/// memory of a machine.
const LONGEST_ANSWER: usize = 64 << 20;

/// A transport to an agent that can reconnect after the connection breaks.
pub trait Connect: fmt::Debug + Send + Sync {
    /// Opens a new connection to the agent's control API.
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, Unreachable>>;
}

/// A connection to a control API.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A transport that consists of one connection, which is already open.
#[derive(Debug)]
pub struct Single<S>(std::sync::Mutex<Option<S>>);

impl<S> Single<S> {
    /// Creates a transport that uses this connection and cannot reconnect.
    pub fn new(stream: S) -> Self {
        Self(std::sync::Mutex::new(Some(stream)))
    }
}

impl<S: Stream + fmt::Debug + 'static> Connect for Single<S> {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, Unreachable>> {
        let taken = self.0.lock().ok().and_then(|mut stream| stream.take());
        let result = taken.map(|stream| Box::new(stream) as Box<dyn Stream>);
        let ended = || Unreachable::Gone("its connection has ended".to_owned());
        Box::pin(std::future::ready(result.ok_or_else(ended)))
    }
}

/// The reason why an agent cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreachable {
    /// The agent has ended and will not come back.
    Gone(String),
    /// The path to the agent is broken, perhaps only for a moment.
    Broken(String),
}

/// An agent, reached over one connection that stays open. The connection is opened again when it breaks.
#[derive(Debug)]
pub struct Agent {
    name: String,
    token: String,
    way: Box<dyn Connect>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
    /// Position in the log of arrivals up to which it has been read.
    arrivals_seen: Mutex<u64>,
    capabilities: OnceCell<Capabilities>,
    /// Nonces for its probes.
    nonces: Nonces,
    /// Whether the last idempotent request failed after all retries. The next request is then tried only
    /// once.
    is_down: AtomicBool,
    /// Time of its first answer.
    since: Instant,
}

/// Whether a request may be sent again if its answer was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Harmless,
    Never,
}

impl Agent {
    /// Connects to an agent, and checks its name, version and protocol version.
    ///
    /// # Errors
    /// If the agent cannot be reached, or if one of these is wrong.
    pub async fn connect(name: String, token: String, way: Box<dyn Connect>) -> Result<Self, Error> {
        let (agent, info) = Self::introduced(name, token, way).await?;
        if info.name != agent.name {
            return Err(agent.error(format!("is not there, but `{}` is", info.name)));
        }
        let advice = "load the image of this version (`netproof image`) and name it with --image, or leave --image out";
        agent.check_version(&info, advice)?;
        Ok(agent)
    }

    /// Connects to an agent that a user started, and checks its version and protocol version. The agent then has the name
    /// that it reports. Until then, `called` names it in errors.
    ///
    /// # Errors
    /// If the agent cannot be reached, or if one of these is wrong.
    pub async fn connect_to_any(called: String, token: String, way: Box<dyn Connect>) -> Result<Self, Error> {
        let (agent, info) = Self::introduced(called, token, way).await?;
        agent.check_version(&info, "start the agent of this version there")?;
        Ok(Self { name: info.name, ..agent })
    }

    /// Connects to an agent, and asks it who it is.
    async fn introduced(name: String, token: String, way: Box<dyn Connect>) -> Result<(Self, Info), Error> {
        let (connection, arrivals_seen, since) = (Mutex::default(), Mutex::default(), Instant::now());
        let (is_down, capabilities) = (AtomicBool::default(), OnceCell::default());
        let nonces = Nonces::draw().map_err(|error| super::no_random_numbers(&error))?;
        let mut agent =
            Self { name, token, way, connection, arrivals_seen, capabilities, nonces, is_down, since };
        let info: Info = agent.ask("/v1/info", &(), Duration::ZERO, Repeat::Harmless).await?;
        agent.since = Instant::now();
        Ok((agent, info))
    }

    fn check_version(&self, info: &Info, advice: &str) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION");
        if info.version != version {
            return Err(self.error(format!("has version {}, not {version}: {advice}", info.version)));
        }
        if info.wire != WIRE_VERSION {
            let wire = format!("speaks version {} of the probes, not {WIRE_VERSION}", info.wire);
            return Err(self.error(format!("{wire}: {advice}")));
        }
        Ok(())
    }

    /// Returns the name with which the agent signs its answers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the time of the agent's first answer.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Returns a nonce that no probe had before.
    pub fn next_nonce(&self) -> Nonce {
        self.nonces.next()
    }

    /// Asks the agent which sockets its kernel has. After a success, later calls send no request.
    ///
    /// # Errors
    /// If the agent cannot be reached, or cannot find it out.
    pub async fn find_capabilities(&self) -> Result<(), Error> {
        let ask = || self.ask("/v1/capabilities", &(), Duration::ZERO, Repeat::Harmless);
        self.capabilities.get_or_try_init(ask).await?;
        Ok(())
    }

    /// Returns why the agent's kernel has no sockets that reach this address. Returns `None` if it has them,
    /// or if [`find_capabilities`](Self::find_capabilities) has not succeeded yet.
    pub fn missing(&self, transport: Transport, address: SocketAddr) -> Option<&str> {
        let family = if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        self.capabilities.get()?.missing(transport, family)
    }

    /// Opens listeners. Returns the listeners that could not be opened.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub async fn listen(
        &self,
        listeners: impl IntoIterator<Item = Listener>,
    ) -> Result<Vec<(Listener, ListenFailure)>, Error> {
        let request = ListenRequest { listeners: listeners.into_iter().collect() };
        let ListenResponse { failures } =
            self.ask("/v1/listen", &request, Duration::ZERO, Repeat::Harmless).await?;
        let failed = request.listeners.into_iter().zip(failures);
        Ok(failed.filter_map(|(listener, failure)| Some((listener, failure?))).collect())
    }

    /// Sets the names that the agent's DNS listeners know.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub async fn set_records(&self, records: BTreeMap<String, Vec<IpAddr>>) -> Result<(), Error> {
        self.ask("/v1/records", &RecordsRequest { records }, Duration::ZERO, Repeat::Harmless).await
    }

    /// Sends a batch of probes and waits until the last one ends. Returns one result per probe, in order.
    ///
    /// # Errors
    /// If the agent cannot be reached or does not answer for all probes.
    pub async fn probe(&self, targets: Vec<Target>, timeout: Duration) -> Result<Vec<ProbeResult>, Error> {
        let (timeout_ms, count) = (millis(timeout), targets.len());
        self.attempt("/v1/probe", &ProbeRequest { timeout_ms, targets }, timeout, count).await
    }

    /// Opens connections that stay open until [`use_again`](Self::use_again) is called or other connections
    /// are opened. Returns one result per connection, in order.
    ///
    /// # Errors
    /// If the agent cannot be reached or does not answer for all connections.
    pub async fn hold(
        &self,
        connections: Vec<Connection>,
        timeout: Duration,
    ) -> Result<Vec<ProbeResult>, Error> {
        let (timeout_ms, count) = (millis(timeout), connections.len());
        self.attempt("/v1/hold", &HoldRequest { timeout_ms, connections }, timeout, count).await
    }

    /// Uses open connections once more and closes all of them. Returns one result per exchange, in order.
    ///
    /// # Errors
    /// If the agent cannot be reached or does not answer for all exchanges.
    pub async fn use_again(
        &self,
        exchanges: Vec<Exchange>,
        timeout: Duration,
    ) -> Result<Vec<ProbeResult>, Error> {
        let (timeout_ms, count) = (millis(timeout), exchanges.len());
        self.attempt("/v1/held", &HeldRequest { timeout_ms, exchanges }, timeout, count).await
    }

    /// Sends a request whose answer must have `count` results.
    async fn attempt(
        &self,
        path: &str,
        request: &impl Serialize,
        timeout: Duration,
        count: usize,
    ) -> Result<Vec<ProbeResult>, Error> {
        let ProbeResponse { results } = self.ask(path, request, timeout, Repeat::Never).await?;
        if results.len() == count {
            Ok(results)
        } else {
            Err(self.error(format!("answered {} of {count} probes", results.len())))
        }
    }

    /// Ends the connection attempts that continue after their result was reported.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub async fn give_up(&self) -> Result<(), Error> {
        self.ask("/v1/give-up", &(), Duration::ZERO, Repeat::Harmless).await
    }

    /// Returns what arrived at the agent's listeners since the last call.
    ///
    /// # Errors
    /// If the agent cannot be reached, or if its log lost arrivals.
    pub async fn arrivals(&self) -> Result<Vec<Arrival>, Error> {
        let mut seen = self.arrivals_seen.lock().await;
        let request = ArrivalsRequest { since: *seen };
        let ArrivalsResponse { arrivals, next, lost } =
            self.ask("/v1/arrivals", &request, Duration::ZERO, Repeat::Harmless).await?;
        // An agent that was started again has a log of its own.
        let is_another = next < std::mem::replace(&mut *seen, next);
        match lost {
            0 if is_another => Err(self.error("was started again, without its log of arrivals".to_owned())),
            0 => Ok(arrivals),
            lost => Err(self.error(format!("lost {lost} arrivals from its log"))),
        }
    }

    /// Asks the agent to end. The caller must check whether it did: the answer may be lost when the agent
    /// ends.
    pub async fn stop(&self) {
        let stopped: Result<(), Error> = self.ask("/v1/stop", &(), Duration::ZERO, Repeat::Never).await;
        if let Err(error) = stopped {
            tracing::debug!("{error}");
        }
    }

    /// Sends a request. Retries while the connection is broken, if the request may be repeated.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        expected: Duration,
        repeat: Repeat,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|error| self.error(format!("{path}: {error}")))?;
        let start = Instant::now();
        let patience = if self.is_down.load(Ordering::Relaxed) { Duration::ZERO } else { RECOVERY };
        loop {
            let span = tracing::trace_span!("request", agent = self.name, path);
            let broken = match self.try_once(path, &body, expected).instrument(span).await {
                Ok(Ok(answer)) => {
                    self.is_down.store(false, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(Err(message)) => return Err(self.error(message)),
                Err(Unreachable::Gone(message)) => {
                    return Err(Error::AgentGone { agent: self.name.clone(), message });
                }
                Err(Unreachable::Broken(message)) => message,
            };
            // Pause even if there is no retry, so that the next request has a better chance of a working
            // connection.
            sleep(PAUSE).await;
            if repeat == Repeat::Never || start.elapsed() >= patience {
                self.is_down.store(repeat == Repeat::Harmless, Ordering::Relaxed);
                return Err(self.error(format!("cannot be reached: {broken}")));
            }
        }
    }

    /// Sends a request once. If the agent sends an error or an unexpected answer, the inner result says so.
    async fn try_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
        expected: Duration,
    ) -> Result<Result<T, String>, Unreachable> {
        let mut connection = self.connection.lock().await;
        let patience = expected + PATIENCE;
        // Take the connection out, so that it is dropped if the exchange fails or is cancelled.
        let mut kept = connection.take();
        let exchange = async {
            if let Some(sender) = &mut kept
                && sender.ready().await.is_err()
            {
                kept = None;
            }
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.open().await?,
            };
            let (status, body) = self.exchange(&mut sender, path, body).await.map_err(broken)?;
            Ok((sender, status, body))
        };
        let silent = || broken(format!("no answer to {path} in {} s", patience.as_secs()));
        let (sender, status, body) = timeout(patience, exchange).await.map_err(|_| silent())??;
        *connection = Some(sender);
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            return Ok(Err(format!("refused {path}: {status}: {}", text.trim_end())));
        }
        let answer = serde_json::from_slice(&body);
        Ok(answer.map_err(|error| format!("answered {path} with something else: {error}")))
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, Unreachable> {
        let stream = self.way.connect().await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // This task ends when the agent ends or when the sender is dropped.
        tokio::spawn(connection);
        sender.ready().await.map_err(broken)?;
        Ok(sender)
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        path: &str,
        body: &[u8],
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, "agent")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::from(body.to_vec()))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER);
        Ok((status, body.collect().await?.to_bytes()))
    }

    fn error(&self, message: String) -> Error {
        Error::Agent { agent: self.name.clone(), message }
    }
}

fn broken(error: impl fmt::Display) -> Unreachable {
    Unreachable::Broken(error.to_string())
}

fn millis(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake_agent::answering;

    /// Connects to a server that answers every request with this text.
    async fn connect_to(info: String) -> Result<Agent, Error> {
        Agent::connect("x/a".to_owned(), "token".to_owned(), answering(info)).await
    }

    /// Agents of different versions do not understand each other's probes. Every cell would look denied.
    #[tokio::test]
    async fn an_agent_that_speaks_other_probes_is_refused() {
        let info =
            |wire: &str| format!(r#"{{"name": "x/a", "version": "{}"{wire}}}"#, env!("CARGO_PKG_VERSION"));
        assert!(connect_to(info(&format!(r#", "wire": {WIRE_VERSION}"#))).await.is_ok());
        for (wire, version) in [("", 0), (r#", "wire": 7"#, 7)] {
            let refused = connect_to(info(wire)).await.unwrap_err().to_string();
            let expected =
                format!("speaks version {version} of the probes, not {WIRE_VERSION}: load the image");
            assert!(refused.contains(&expected), "{refused}");
        }
    }
}
