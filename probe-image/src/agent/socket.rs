//! Sockets that behave alike for TCP and SCTP, and for both families.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// A protocol of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamProtocol {
    Tcp,
    Sctp,
}

impl StreamProtocol {
    fn number(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::TCP,
            Self::Sctp => Protocol::SCTP,
        }
    }
}

const BACKLOG: i32 = 4_096;

/// Every address of each family.
pub(super) fn unspecified() -> [IpAddr; 2] {
    [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
}

/// Connects. Closing the connection will reset it: thousands of probes must not leave thousands
/// of sockets waiting.
pub(super) async fn connect(protocol: StreamProtocol, address: SocketAddr) -> io::Result<TcpStream> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(protocol.number()))?;
    socket.set_linger(Some(std::time::Duration::ZERO))?;
    // An SCTP association of the one-to-one style is used through the same calls as a connection.
    let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    Ok(stream)
}

/// Listens for connections.
pub(super) fn listen(protocol: StreamProtocol, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, Type::STREAM, protocol.number())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Opens a port for datagrams.
pub(super) fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bound(address, Type::DGRAM, Protocol::UDP)?;
    UdpSocket::from_std(socket.into())
}

fn bound(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // A listener must open again although connections of its predecessor still linger.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Whether the kernel does not have a protocol or a family.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::PROTONOSUPPORT) || is(Errno::SOCKTNOSUPPORT) || is(Errno::AFNOSUPPORT) || is(Errno::NOPROTOOPT)
}
