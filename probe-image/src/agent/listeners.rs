//! Ports that are open for probes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::socket::{self, StreamProtocol};
use super::{Shared, dns};
use crate::payload::{self, Asked};
use crate::wire::{Arrival, ListenFailure, Listener, Nonce, Transport};

/// How long a connection may take to say something. Far beyond any probe.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection that will be used again may be silent: longer than any step takes to settle.
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

/// Opens a listener in every family that the system has.
pub(super) fn open(shared: &Rc<Shared>, listener: Listener) -> Result<(), ListenFailure> {
    if shared.listeners.borrow().open.contains_key(&listener) {
        return Ok(());
    }
    let mut tasks = Vec::new();
    let mut unsupported = None;
    for ip in socket::unspecified() {
        match open_at(shared, listener, SocketAddr::new(ip, listener.port)) {
            Ok(task) => tasks.push(task),
            // A system without IPv6 still has IPv4.
            Err(error) if socket::is_unsupported(&error) => unsupported = Some(error),
            Err(error) => {
                tasks.iter().for_each(AbortHandle::abort);
                return Err(ListenFailure::Other(error.to_string()));
            }
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
        Transport::Tcp | Transport::DnsTcp => {
            let socket = socket::listen(StreamProtocol::Tcp, address)?;
            tokio::task::spawn_local(accept(shared, socket, listener))
        }
        Transport::Sctp => {
            let socket = socket::listen(StreamProtocol::Sctp, address)?;
            tokio::task::spawn_local(accept(shared, socket, listener))
        }
        Transport::Udp | Transport::DnsUdp => {
            let socket = socket::datagrams(address)?;
            tokio::task::spawn_local(receive(shared, socket, listener))
        }
    };
    Ok(task.abort_handle())
}

async fn accept(shared: Rc<Shared>, socket: TcpListener, listener: Listener) {
    loop {
        match socket.accept().await {
            Ok((stream, source)) => {
                let shared = Rc::clone(&shared);
                tokio::task::spawn_local(async move {
                    // A connection that breaks is the sender's to report.
                    let _ = converse(&shared, stream, source, listener).await;
                });
            }
            // Out of files for a moment: the connection stays in the backlog.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn converse(
    shared: &Shared,
    mut stream: TcpStream,
    source: SocketAddr,
    listener: Listener,
) -> io::Result<()> {
    let mut patience = PATIENCE;
    while timeout(patience, answer_once(shared, &mut stream, source, listener)).await?? {
        patience = KEPT;
    }
    // The sender closes first, so that waiting sockets are not left at this end.
    timeout(PATIENCE, stream.read_u8()).await?.map(|_| ())
}

/// Answers one message. Gives whether another one will come.
async fn answer_once(
    shared: &Shared,
    stream: &mut TcpStream,
    source: SocketAddr,
    listener: Listener,
) -> io::Result<bool> {
    match listener.transport {
        Transport::DnsTcp | Transport::DnsUdp => {
            let length = usize::from(stream.read_u16().await?);
            let mut message = vec![0; length];
            stream.read_exact(&mut message).await?;
            if let Some(response) = answer_query(shared, &message, source, listener) {
                let length = u16::try_from(response.len()).unwrap_or(u16::MAX);
                stream.write_all(&[&length.to_be_bytes(), response.as_slice()].concat()).await?;
            }
            Ok(false)
        }
        Transport::Tcp | Transport::Udp | Transport::Sctp => {
            let message = read_line(stream).await?;
            let Some(Asked { nonce, keep }) = payload::read_probe(&message) else { return Ok(false) };
            record(shared, nonce, source, listener);
            stream.write_all(payload::answer(nonce, &shared.name).as_bytes()).await?;
            Ok(keep)
        }
    }
}

/// Reads up to a line feed, or as much as a message may have.
pub(super) async fn read_line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    while message.len() < payload::LONGEST && message.last() != Some(&b'\n') {
        message.push(stream.read_u8().await?);
    }
    Ok(message)
}

async fn receive(shared: Rc<Shared>, socket: UdpSocket, listener: Listener) {
    let mut buffer = vec![0; dns::LONGEST];
    loop {
        // An error here is an ICMP message about an earlier answer.
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
        let message = buffer.get(..length).unwrap_or_default();
        let answer = if listener.transport == Transport::DnsUdp {
            answer_query(&shared, message, source, listener)
        } else {
            payload::read_probe(message).map(|Asked { nonce, .. }| {
                record(&shared, nonce, source, listener);
                payload::answer(nonce, &shared.name).into_bytes()
            })
        };
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, source).await;
        }
    }
}

fn answer_query(shared: &Shared, message: &[u8], source: SocketAddr, listener: Listener) -> Option<Vec<u8>> {
    let (response, nonce) = dns::respond(message, &shared.records.borrow(), &shared.name)?;
    if let Some(nonce) = nonce {
        record(shared, nonce, source, listener);
    }
    Some(response)
}

fn record(shared: &Shared, nonce: Nonce, source: SocketAddr, listener: Listener) {
    shared.log.borrow_mut().record(Arrival { nonce, listener, source });
}
