//! Sending probes.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::listeners::read_line;
use super::socket::{self, StreamProtocol};
use super::source_ports::SourcePorts;
use super::{Shared, dns};
use crate::payload;
use crate::wire::{Nonce, Outcome, ProbeRequest, ProbeResponse, ProbeResult, Target, Transport};

/// Sends all probes of a batch at once and waits for their ends.
pub(super) async fn probe(shared: &Rc<Shared>, request: ProbeRequest) -> ProbeResponse {
    let ProbeRequest { timeout_ms, targets } = request;
    let patience = Duration::from_millis(timeout_ms.into());
    let attempts = targets.into_iter().map(|target| {
        let shared = Rc::clone(shared);
        async move { attempt(target, &shared.source_ports, patience).await }
    });
    all(attempts).await
}

/// Makes attempts, all at once, and waits for their ends.
pub(super) async fn all(
    attempts: impl Iterator<Item = impl Future<Output = ProbeResult> + 'static>,
) -> ProbeResponse {
    let unsent =
        || ProbeResult { outcome: Outcome::Failed { message: "not sent".to_owned() }, elapsed_us: 0 };
    let mut results = Vec::new();
    let mut running = JoinSet::new();
    for (index, attempt) in attempts.enumerate() {
        results.push(unsent());
        running.spawn_local(async move { (index, attempt.await) });
    }
    while let Some(finished) = running.join_next().await {
        if let Ok((index, result)) = finished
            && let Some(place) = results.get_mut(index)
        {
            *place = result;
        }
    }
    ProbeResponse { results }
}

async fn attempt(target: Target, ports: &RefCell<SourcePorts>, patience: Duration) -> ProbeResult {
    let start = Instant::now();
    let mut connected = false;
    let ended = timeout(patience, send(&target, ports, &mut connected)).await;
    result(start, ended, connected)
}

/// What became of an attempt that began at `start`.
pub(super) fn result(
    start: Instant,
    ended: Result<io::Result<Outcome>, Elapsed>,
    connected: bool,
) -> ProbeResult {
    let outcome = match ended {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failure(&error, connected),
        Err(_) => Outcome::Silent { connected },
    };
    ProbeResult { outcome, elapsed_us: u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX) }
}

async fn send(target: &Target, ports: &RefCell<SourcePorts>, connected: &mut bool) -> io::Result<Outcome> {
    let Target { nonce, transport, address, name } = target;
    match transport {
        Transport::Tcp => stream(StreamProtocol::Tcp, *nonce, *address, connected).await,
        Transport::Sctp => stream(StreamProtocol::Sctp, *nonce, *address, connected).await,
        Transport::Udp => {
            datagram(ports, payload::probe(*nonce).as_bytes(), *address, |m| read_answer(m, *nonce)).await
        }
        Transport::DnsUdp => {
            let query = query(target, name.as_deref())?;
            datagram(ports, &query, *address, |message| dns::read_response(message, *nonce)).await
        }
        Transport::DnsTcp => {
            let query = query(target, name.as_deref())?;
            dns_over_tcp(&query, *nonce, *address, connected).await
        }
    }
}

fn query(target: &Target, name: Option<&str>) -> io::Result<Vec<u8>> {
    name.and_then(|name| dns::query(target.nonce, name, target.address.is_ipv6()))
        .ok_or_else(|| io::Error::other("a DNS probe needs the name to look up"))
}

async fn stream(
    protocol: StreamProtocol,
    nonce: Nonce,
    address: SocketAddr,
    connected: &mut bool,
) -> io::Result<Outcome> {
    let mut stream = socket::connect(protocol, address).await?;
    *connected = true;
    exchange(&mut stream, &payload::probe(nonce), nonce).await
}

/// Sends a probe over a connection, and reads what is answered.
pub(super) async fn exchange(stream: &mut TcpStream, probe: &str, nonce: Nonce) -> io::Result<Outcome> {
    stream.write_all(probe.as_bytes()).await?;
    let message = read_line(stream).await?;
    Ok(read_answer(&message, nonce).unwrap_or_else(|| garbled(&message)))
}

async fn dns_over_tcp(
    query: &[u8],
    nonce: Nonce,
    address: SocketAddr,
    connected: &mut bool,
) -> io::Result<Outcome> {
    let mut stream: TcpStream = socket::connect(StreamProtocol::Tcp, address).await?;
    *connected = true;
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(dns::read_response(&message, nonce).unwrap_or_else(|| garbled(&message)))
}

async fn datagram(
    ports: &RefCell<SourcePorts>,
    message: &[u8],
    address: SocketAddr,
    read: impl Fn(&[u8]) -> Option<Outcome>,
) -> io::Result<Outcome> {
    let socket = ports.borrow_mut().connect(address)?;
    socket.connect(address).await?;
    socket.send(message).await?;
    loop {
        // An ICMP message makes the socket erroneous, not readable.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        let result = if ready.is_error() { pending_error(&socket) } else { receive(&socket, &read) };
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

fn pending_error(socket: &UdpSocket) -> io::Result<Outcome> {
    socket.try_io(Interest::ERROR, || match socket.take_error()? {
        Some(error) => Err(error),
        None => Err(io::ErrorKind::WouldBlock.into()),
    })
}

/// Not a part of the waiting future: its buffer would be held by every probe in flight.
fn receive(socket: &UdpSocket, read: impl Fn(&[u8]) -> Option<Outcome>) -> io::Result<Outcome> {
    let mut buffer = [0; dns::LONGEST];
    let length = socket.try_recv(&mut buffer)?;
    let message = buffer.get(..length).unwrap_or_default();
    Ok(read(message).unwrap_or_else(|| garbled(message)))
}

fn read_answer(message: &[u8], nonce: Nonce) -> Option<Outcome> {
    match payload::read_answer(message) {
        Some((echo, agent)) if echo == nonce => Some(Outcome::Answered { agent: agent.to_owned() }),
        Some(_) | None => None,
    }
}

fn garbled(message: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(message.get(..80).unwrap_or(message)).into_owned();
    Outcome::Garbled { text }
}

fn failure(error: &io::Error, connected: bool) -> Outcome {
    let message = error.to_string();
    if socket::is_unsupported(error) {
        return Outcome::Unsupported { message };
    }
    let kind = error.kind();
    if kind == io::ErrorKind::ConnectionRefused
        || kind == io::ErrorKind::ConnectionReset
        // The reset came before something was written.
        || kind == io::ErrorKind::BrokenPipe
    {
        return Outcome::Refused;
    }
    if kind == io::ErrorKind::HostUnreachable
        || kind == io::ErrorKind::NetworkUnreachable
        || kind == io::ErrorKind::PermissionDenied
    {
        return Outcome::Unreachable { message };
    }
    if connected && kind == io::ErrorKind::UnexpectedEof {
        // Something accepted the connection and closed it without a word.
        return Outcome::Garbled { text: String::new() };
    }
    if kind == io::ErrorKind::TimedOut {
        return Outcome::Silent { connected };
    }
    Outcome::Failed { message }
}
