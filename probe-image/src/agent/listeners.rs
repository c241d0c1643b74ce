//! Ports that are open for probes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Shared;
use super::datagrams::Datagrams;
use super::dns::{self, Responder};
use super::socket::{self, Local, StreamProtocol};
use super::strangers::{Admission, Strangers};
use crate::payload::{self, Asked};
use crate::wire::{Arrival, ListenFailure, Listener, Nonce, Transport};

/// Maximum time for a connection to send something. It is far longer than any probe takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Maximum silence of a connection that will be used again. It is longer than any step takes to settle. Only agents
/// of the run can keep a connection.
const KEPT: Duration = Duration::from_secs(30 * 60);

/// The open listeners, each with its tasks.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: BTreeMap<Listener, Vec<AbortHandle>>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.open.values().flatten().for_each(AbortHandle::abort);
    }
}

/// Opens a listener in every address family that the system has.
pub(super) fn open(shared: &Rc<Shared>, listener: Listener) -> Result<(), ListenFailure> {
    if shared.listeners.borrow().open.contains_key(&listener) {
        return Ok(());
    }
    let mut tasks = Vec::new();
    let mut unsupported = None;
    for ip in socket::unspecified() {
        match open_at(shared, listener, SocketAddr::new(ip, listener.port)) {
            Ok(task) => tasks.push(task),
            Err(error) => match Local::of(&error) {
                // A system without IPv6 still has IPv4.
                Some(Local::Unsupported(_)) => unsupported = Some(error),
                Some(Local::Setup(_)) | None => {
                    tasks.iter().for_each(AbortHandle::abort);
                    return Err(ListenFailure::Other(error.to_string()));
                }
            },
        }
    }
    match unsupported {
        Some(error) if tasks.is_empty() => Err(ListenFailure::Unsupported(error.to_string())),
        Some(_) | None => {
            shared.listeners.borrow_mut().open.insert(listener, tasks);
            Ok(())
        }
    }
}

fn open_at(shared: &Rc<Shared>, listener: Listener, address: SocketAddr) -> io::Result<AbortHandle> {
    let shared = Rc::clone(shared);
    let task = match listener.transport {
        Transport::Tcp | Transport::DnsTcp | Transport::Handshake => {
            let socket = socket::listen(StreamProtocol::Tcp, address)?;
            tokio::task::spawn_local(accept(shared, socket, listener))
        }
        Transport::Sctp => {
            let socket = socket::listen(StreamProtocol::Sctp, address)?;
            tokio::task::spawn_local(accept(shared, socket, listener))
        }
        Transport::Udp | Transport::DnsUdp => {
            let socket = socket::answered_datagrams(address)?;
            tokio::task::spawn_local(receive(shared, socket, listener))
        }
    };
    Ok(task.abort_handle())
}

async fn accept(shared: Rc<Shared>, socket: TcpListener, listener: Listener) {
    loop {
        match socket.accept().await {
            Ok((stream, source)) => Strangers::admit(&shared.strangers, source.ip(), |admission| {
                let shared = Rc::clone(&shared);
                let serve = async move {
                    // If a connection breaks, the sender reports it.
                    let _ = converse(&shared, stream, source, listener, admission).await;
                };
                tokio::task::spawn_local(serve).abort_handle()
            }),
            // No file descriptor is free at the moment. The connection stays in the backlog.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn converse(
    shared: &Shared,
    mut stream: TcpStream,
    source: SocketAddr,
    listener: Listener,
    admission: Admission,
) -> io::Result<()> {
    let (mut patience, mut admission) = (PATIENCE, Some(admission));
    loop {
        match timeout(patience, answer_once(shared, &mut stream, source, listener)).await?? {
            Peer::Stranger => return Ok(()),
            Peer::Agent { keep } => {
                admission = None;
                if !keep {
                    break;
                }
                patience = KEPT;
            }
            // It may still have to read the response, but it remains a stranger.
            Peer::Resolver => break,
        }
    }
    // The sender closes first, so that no waiting sockets remain at this end.
    let closed = timeout(PATIENCE, stream.read_u8()).await?.map(|_| ());
    drop(admission);
    closed
}

/// The sender of a message.
enum Peer {
    /// An agent of the run, which may keep the connection for another message.
    Agent { keep: bool },
    /// A program that looked up a name.
    Resolver,
    /// Any other program.
    Stranger,
}

/// Answers one message. Returns its sender.
async fn answer_once(
    shared: &Shared,
    stream: &mut TcpStream,
    source: SocketAddr,
    listener: Listener,
) -> io::Result<Peer> {
    match listener.transport {
        Transport::DnsTcp | Transport::DnsUdp => {
            let length = usize::from(stream.read_u16().await?);
            let mut message = vec![0; length];
            stream.read_exact(&mut message).await?;
            let mut peer = Peer::Resolver;
            let arrived = |nonce| {
                peer = Peer::Agent { keep: false };
                record(shared, nonce, source, listener)
            };
            let Some(response) = answer_query(shared, &message, listener, arrived) else {
                return Ok(Peer::Stranger);
            };
            let length = u16::try_from(response.len()).unwrap_or(u16::MAX);
            stream.write_all(&[&length.to_be_bytes(), response.as_slice()].concat()).await?;
            Ok(peer)
        }
        Transport::Tcp | Transport::Udp | Transport::Sctp | Transport::Handshake => {
            let message = read_line(stream).await?;
            let Some(Asked { nonce, keep }) = payload::read_probe(&shared.key, listener.transport, &message)
            else {
                return Ok(Peer::Stranger);
            };
            if !record(shared, nonce, source, listener) {
                return Ok(Peer::Stranger);
            }
            let answer = payload::answer(&shared.key, listener.transport, nonce, &shared.name);
            stream.write_all(answer.as_bytes()).await?;
            Ok(Peer::Agent { keep })
        }
    }
}

/// Reads up to a line feed, or up to the maximum length of a message. Drops what follows the line feed, because a
/// sender waits for the answer before it sends more.
pub(super) async fn read_line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(payload::LONGEST);
    while message.len() < payload::LONGEST {
        // Reading every byte with its own system call took an eighth of the time of a run.
        let left = payload::LONGEST.saturating_sub(message.len());
        let mut rest = (&mut *stream).take(u64::try_from(left).unwrap_or(u64::MAX));
        if rest.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = message.iter().position(|byte| *byte == b'\n') {
            message.truncate(end + 1);
            break;
        }
    }
    Ok(message)
}

async fn receive(shared: Rc<Shared>, socket: Datagrams, listener: Listener) {
    let mut buffer = vec![0; dns::LONGEST];
    loop {
        // An error here is an ICMP message about an earlier answer.
        let Ok(received) = socket.receive(&mut buffer).await else { continue };
        let message = buffer.get(..received.length).unwrap_or_default();
        let arrived = |nonce| record(&shared, nonce, received.source, listener);
        let answer = if listener.transport == Transport::DnsUdp {
            answer_query(&shared, message, listener, arrived)
        } else {
            answer_datagram(&shared, message, listener, arrived)
        };
        if let Some(answer) = answer {
            let _ = socket.answer(&received, &answer).await;
        }
    }
}

fn answer_datagram(
    shared: &Shared,
    message: &[u8],
    listener: Listener,
    arrived: impl FnOnce(Nonce) -> bool,
) -> Option<Vec<u8>> {
    let Asked { nonce, .. } = payload::read_probe(&shared.key, listener.transport, message)?;
    let answer = || payload::answer(&shared.key, listener.transport, nonce, &shared.name).into_bytes();
    arrived(nonce).then(answer)
}

fn answer_query(
    shared: &Shared,
    message: &[u8],
    listener: Listener,
    arrived: impl FnOnce(Nonce) -> bool,
) -> Option<Vec<u8>> {
    let Shared { key, name: agent, records, .. } = shared;
    let transport = listener.transport;
    Responder { key, agent, transport, records: &records.borrow() }.respond(message, arrived)
}

/// Records an arrival. Returns `false` if it is a copy of an earlier one.
fn record(shared: &Shared, nonce: Nonce, source: SocketAddr, listener: Listener) -> bool {
    shared.log.borrow_mut().record(Arrival { nonce, listener, source })
}
