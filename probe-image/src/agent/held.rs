//! Connections that stay open while something else happens.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Shared;
use super::prober::{all, exchange, result};
use super::socket::{self, StreamProtocol};
use crate::payload::Asked;
use crate::wire::{
    Connection, Exchange, HeldRequest, HoldRequest, Nonce, Outcome, ProbeResponse, ProbeResult, Transport,
};

/// The open connections, by the nonces that opened them.
pub(super) type Held = HashMap<Nonce, TcpStream>;

/// Opens connections, and keeps those over which an agent answered. Closes the connections that were kept before.
pub(super) async fn hold(shared: &Rc<Shared>, request: HoldRequest) -> ProbeResponse {
    shared.held.borrow_mut().clear();
    let patience = Duration::from_millis(request.timeout_ms.into());
    let attempts = request.connections.into_iter().map(|connection| {
        let shared = Rc::clone(shared);
        async move { open(&shared, connection, patience).await }
    });
    all(attempts).await
}

async fn open(shared: &Shared, connection: Connection, patience: Duration) -> ProbeResult {
    let Connection { nonce, address } = connection;
    let start = Instant::now();
    let connected = Cell::new(false);
    let attempt = async {
        let mut stream = socket::connect(StreamProtocol::Tcp, address).await?;
        connected.set(true);
        let asked = Asked { nonce, keep: true };
        let outcome = exchange(&shared.key, &mut stream, Transport::Tcp, asked).await?;
        if matches!(outcome, Outcome::Answered { .. }) {
            shared.held.borrow_mut().insert(nonce, stream);
        }
        Ok(outcome)
    };
    let ended = timeout(patience, attempt).await;
    result(start, ended, connected.get())
}

/// Uses connections once more, and then closes all kept connections.
pub(super) async fn use_again(shared: &Rc<Shared>, request: HeldRequest) -> ProbeResponse {
    let mut held = shared.held.take();
    let patience = Duration::from_millis(request.timeout_ms.into());
    let attempts = request.exchanges.into_iter().map(|Exchange { connection, nonce }| {
        let stream = held.remove(&connection);
        let shared = Rc::clone(shared);
        async move {
            let start = Instant::now();
            let ended = timeout(patience, say(&shared, stream, nonce)).await;
            result(start, ended, true)
        }
    });
    all(attempts).await
}

async fn say(shared: &Shared, stream: Option<TcpStream>, nonce: Nonce) -> io::Result<Outcome> {
    let mut stream = stream.ok_or_else(|| io::Error::other("no such connection is open"))?;
    exchange(&shared.key, &mut stream, Transport::Tcp, Asked::once(nonce)).await
}
