//! Sends probes.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::dns::Question;
use super::listeners::read_line;
use super::socket::{self, Local, StreamProtocol};
use super::source_ports::SourcePorts;
use super::{Shared, dns};
use crate::mac::Key;
use crate::payload::{self, Asked};
use crate::wire::{Nonce, Outcome, ProbeRequest, ProbeResponse, ProbeResult, Target, Transport};

/// Sends all probes of a batch at once, and waits until all have ended.
pub(super) async fn probe(shared: &Rc<Shared>, request: ProbeRequest) -> ProbeResponse {
    let ProbeRequest { timeout_ms, targets } = request;
    let patience = Duration::from_millis(timeout_ms.into());
    let attempts = targets.into_iter().map(|target| {
        let shared = Rc::clone(shared);
        async move { attempt(&shared, target, patience).await }
    });
    all(attempts).await
}

/// Runs all attempts at once, and waits until all have ended.
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

async fn attempt(shared: &Rc<Shared>, target: Target, patience: Duration) -> ProbeResult {
    let start = Instant::now();
    let connected = Rc::new(Cell::new(false));
    let Some(_permit) = shared.descriptors.for_probe() else {
        let message = "too many probes at once for the limit on open files".to_owned();
        return ProbeResult { outcome: Outcome::Failed { message }, elapsed_us: 0 };
    };
    let is_stream = target.transport.is_stream();
    let mut sending = Box::pin(send(Rc::clone(shared), target, Rc::clone(&connected)));
    let ended = timeout(patience, &mut sending).await;
    if ended.is_err() && is_stream && !connected.get() {
        shared.late.borrow_mut().keep(sending);
    }
    result(start, ended, connected.get())
}

/// Returns the result of an attempt that began at `start`.
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

async fn send(shared: Rc<Shared>, target: Target, connected: Rc<Cell<bool>>) -> io::Result<Outcome> {
    let Target { nonce, transport, address, name } = &target;
    let (key, ports) = (&shared.key, &shared.source_ports);
    match transport {
        Transport::Tcp => stream(key, StreamProtocol::Tcp, &target, &connected).await,
        Transport::Sctp => stream(key, StreamProtocol::Sctp, &target, &connected).await,
        Transport::Handshake => {
            let _: TcpStream = socket::connect(StreamProtocol::Tcp, *address).await?;
            Ok(Outcome::Accepted)
        }
        Transport::Udp => {
            let probe = payload::probe(key, *transport, Asked::once(*nonce));
            datagram(ports, probe.as_bytes(), *address, |m| read_answer(key, *transport, m, *nonce)).await
        }
        Transport::DnsUdp => {
            let question = question(&target, name.as_deref())?;
            let query = question.query(key).ok_or_else(no_name)?;
            datagram(ports, &query, *address, |message| question.read_response(key, message)).await
        }
        Transport::DnsTcp => {
            let question = question(&target, name.as_deref())?;
            dns_over_tcp(key, &question, *address, &connected).await
        }
    }
}

fn question<'a>(target: &Target, name: Option<&'a str>) -> io::Result<Question<'a>> {
    let Target { nonce, transport, address, .. } = *target;
    let name = name.ok_or_else(no_name)?;
    Ok(Question { nonce, transport, name, ipv6: address.is_ipv6() })
}

fn no_name() -> io::Error {
    io::Error::other("a DNS probe needs the name to look up")
}

async fn stream(
    key: &Key,
    protocol: StreamProtocol,
    target: &Target,
    connected: &Cell<bool>,
) -> io::Result<Outcome> {
    let mut stream = socket::connect(protocol, target.address).await?;
    connected.set(true);
    exchange(key, &mut stream, target.transport, Asked::once(target.nonce)).await
}

/// Sends a probe over a connection, and reads the answer.
pub(super) async fn exchange(
    key: &Key,
    stream: &mut TcpStream,
    transport: Transport,
    asked: Asked,
) -> io::Result<Outcome> {
    stream.write_all(payload::probe(key, transport, asked).as_bytes()).await?;
    let message = read_line(stream).await?;
    Ok(read_answer(key, transport, &message, asked.nonce).unwrap_or_else(|| garbled(&message)))
}

async fn dns_over_tcp(
    key: &Key,
    question: &Question<'_>,
    address: SocketAddr,
    connected: &Cell<bool>,
) -> io::Result<Outcome> {
    let query = question.query(key).ok_or_else(no_name)?;
    let mut stream: TcpStream = socket::connect(StreamProtocol::Tcp, address).await?;
    connected.set(true);
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(question.read_response(key, &message).unwrap_or_else(|| garbled(&message)))
}

async fn datagram(
    ports: &RefCell<SourcePorts>,
    message: &[u8],
    address: SocketAddr,
    read: impl Fn(&[u8]) -> Option<Outcome>,
) -> io::Result<Outcome> {
    let socket = ports.borrow_mut().connect(address, Instant::now())?;
    socket.connect(address).await?;
    socket.send(message).await?;
    loop {
        // After an ICMP message, the socket has an error. It is not readable.
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

/// Receives one datagram. This is not part of the future that waits, because every probe in flight would then hold a
/// buffer.
fn receive(socket: &UdpSocket, read: impl Fn(&[u8]) -> Option<Outcome>) -> io::Result<Outcome> {
    let mut buffer = [0; dns::LONGEST];
    let length = socket.try_recv(&mut buffer)?;
    let message = buffer.get(..length).unwrap_or_default();
    Ok(read(message).unwrap_or_else(|| garbled(message)))
}

fn read_answer(key: &Key, transport: Transport, message: &[u8], nonce: Nonce) -> Option<Outcome> {
    payload::read_answer(key, transport, nonce, message)
        .map(|agent| Outcome::Answered { agent: agent.to_owned() })
}

fn garbled(message: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(message.get(..80).unwrap_or(message)).into_owned();
    Outcome::Garbled { text }
}

/// Returns what an error means. Before the network was reached, it is the agent's own. Later, it is what the network
/// did.
fn failure(error: &io::Error, connected: bool) -> Outcome {
    let message = error.to_string();
    match Local::of(error) {
        Some(Local::Unsupported(_)) => return Outcome::Unsupported { message },
        Some(Local::Setup(_)) => return Outcome::Failed { message },
        None => {}
    }
    let kind = error.kind();
    if kind == io::ErrorKind::ConnectionRefused
        || kind == io::ErrorKind::ConnectionReset
        // The reset arrived before the probe was written.
        || kind == io::ErrorKind::BrokenPipe
    {
        return if connected { Outcome::Cut { message } } else { Outcome::Refused };
    }
    if is_unreachable(error) {
        return if connected { Outcome::Cut { message } } else { Outcome::Unreachable { message } };
    }
    if connected && kind == io::ErrorKind::UnexpectedEof {
        // Something accepted the connection, and closed it without sending anything.
        return Outcome::Garbled { text: String::new() };
    }
    if kind == io::ErrorKind::TimedOut {
        return Outcome::Silent { connected };
    }
    Outcome::Failed { message }
}

/// Returns whether an error comes from an ICMP message (see `icmp_err_convert` and `icmpv6_err_convert` of Linux), a
/// missing route, or a filter for outgoing packets. Some of these errors sound as if the kernel lacked something: an
/// ICMP message "protocol unreachable" becomes ENOPROTOOPT.
fn is_unreachable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errors = [
        Errno::NETUNREACH,
        Errno::HOSTUNREACH,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::NOPROTOOPT,
        Errno::PROTONOSUPPORT,
        Errno::AFNOSUPPORT,
        Errno::OPNOTSUPP,
        Errno::PROTO,
        Errno::ACCESS,
        Errno::PERM,
    ];
    errors.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    /// Regression: an ICMP message "protocol unreachable" was mistaken for a kernel without the protocol, and cells
    /// that had to be allowed passed.
    #[test]
    fn what_happens_to_a_packet_that_was_sent_is_never_unsupported() {
        for errno in [
            Errno::NOPROTOOPT,
            Errno::PROTONOSUPPORT,
            Errno::AFNOSUPPORT,
            Errno::OPNOTSUPP,
            Errno::PROTO,
            Errno::HOSTUNREACH,
            Errno::PERM,
        ] {
            let outcome = failure(&io::Error::from_raw_os_error(errno.raw_os_error()), false);
            assert!(matches!(outcome, Outcome::Unreachable { .. }), "{errno:?}: {outcome:?}");
        }
        for errno in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::PIPE] {
            let outcome = failure(&io::Error::from_raw_os_error(errno.raw_os_error()), false);
            assert_eq!(outcome, Outcome::Refused, "{errno:?}");
        }
    }

    /// Regression: a connection to a denied destination was established, and a later reset counted as a denial.
    #[test]
    fn a_connection_that_was_established_was_not_refused() {
        for errno in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::PIPE, Errno::HOSTUNREACH, Errno::PERM] {
            let outcome = failure(&io::Error::from_raw_os_error(errno.raw_os_error()), true);
            assert!(matches!(outcome, Outcome::Cut { .. }), "{errno:?}: {outcome:?}");
        }
    }

    #[test]
    fn what_fails_for_lack_of_resources_is_an_error_of_ours() {
        for errno in [Errno::MFILE, Errno::NOBUFS, Errno::MSGSIZE, Errno::ADDRNOTAVAIL] {
            let outcome = failure(&io::Error::from_raw_os_error(errno.raw_os_error()), false);
            assert!(matches!(outcome, Outcome::Failed { .. }), "{errno:?}: {outcome:?}");
        }
    }
}
