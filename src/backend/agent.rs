//! The client of an agent's control API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use netproof_probe::wire::{
    Arrival, ArrivalsRequest, ArrivalsResponse, ListenFailure, ListenRequest, ListenResponse, Listener,
    ProbeRequest, ProbeResponse, ProbeResult, RecordsRequest, Target,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Error;

/// How long an agent may take for anything beyond the waiting that it was asked to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent, reached over one connection that stays open.
#[derive(Debug)]
pub struct Agent {
    name: String,
    token: String,
    connection: Mutex<SendRequest<Full<Bytes>>>,
    /// How far the log of arrivals has been read.
    arrivals_seen: Mutex<u64>,
}

impl Agent {
    /// Talks to the agent at the other end of a stream.
    ///
    /// # Errors
    /// If there is none.
    pub async fn connect<S>(name: String, token: String, stream: S) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let result = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = result.map_err(|error| Error::Agent {
            agent: name.clone(),
            message: format!("does not answer: {error}"),
        })?;
        // Ends when the agent does, or when this value is dropped.
        tokio::spawn(connection);
        Ok(Self { name, token, connection: Mutex::new(sender), arrivals_seen: Mutex::new(0) })
    }

    /// The name with which the agent signs its answers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens listeners. Gives those that could not be opened.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub async fn listen(
        &self,
        listeners: impl IntoIterator<Item = Listener>,
    ) -> Result<Vec<(Listener, ListenFailure)>, Error> {
        let request = ListenRequest { listeners: listeners.into_iter().collect() };
        let ListenResponse { failures } = self.ask("/v1/listen", &request, Duration::ZERO).await?;
        let failed = request.listeners.into_iter().zip(failures);
        Ok(failed.filter_map(|(listener, failure)| Some((listener, failure?))).collect())
    }

    /// Sets the names that the agent's DNS listeners know.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub async fn set_records(&self, records: BTreeMap<String, Vec<IpAddr>>) -> Result<(), Error> {
        self.ask("/v1/records", &RecordsRequest { records }, Duration::ZERO).await
    }

    /// Sends a batch of probes, and waits for the end of the last. Gives a result for each, in
    /// order.
    ///
    /// # Errors
    /// If the agent cannot be reached or does not answer for all.
    pub async fn probe(&self, targets: Vec<Target>, timeout: Duration) -> Result<Vec<ProbeResult>, Error> {
        let count = targets.len();
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let request = ProbeRequest { timeout_ms, targets };
        let ProbeResponse { results } = self.ask("/v1/probe", &request, timeout).await?;
        if results.len() == count {
            Ok(results)
        } else {
            Err(self.error(format!("answered {} of {count} probes", results.len())))
        }
    }

    /// What arrived at the agent's listeners since the last time.
    ///
    /// # Errors
    /// If the agent cannot be reached, or lost arrivals.
    pub async fn arrivals(&self) -> Result<Vec<Arrival>, Error> {
        let mut seen = self.arrivals_seen.lock().await;
        let request = ArrivalsRequest { since: *seen };
        let ArrivalsResponse { arrivals, next, lost } =
            self.ask("/v1/arrivals", &request, Duration::ZERO).await?;
        *seen = next;
        match lost {
            0 => Ok(arrivals),
            lost => Err(self.error(format!("lost {lost} arrivals from its log"))),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        expected: Duration,
    ) -> Result<T, Error> {
        let patience = expected + PATIENCE;
        match timeout(patience, self.exchange(path, body)).await {
            Ok(result) => result,
            Err(_) => Err(self.error(format!("did not answer {path} in {} s", patience.as_secs()))),
        }
    }

    async fn exchange<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let failed = |error: &dyn std::fmt::Display| self.error(format!("failed at {path}: {error}"));
        let body = serde_json::to_vec(body).map_err(|error| failed(&error))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, "agent")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::from(body))
            .map_err(|error| failed(&error))?;
        let mut connection = self.connection.lock().await;
        connection.ready().await.map_err(|error| failed(&error))?;
        let response = connection.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        if status != StatusCode::OK {
            return Err(failed(&format!("{status}: {}", String::from_utf8_lossy(&body).trim_end())));
        }
        serde_json::from_slice(&body).map_err(|error| failed(&error))
    }

    fn error(&self, message: String) -> Error {
        Error::Agent { agent: self.name.clone(), message }
    }
}
