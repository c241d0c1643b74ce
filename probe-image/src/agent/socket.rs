//! Sockets that behave the same for TCP and SCTP, and for both families.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::datagrams::Datagrams;
use crate::wire::{Capabilities, Capability, Family, Transport};

/// A protocol with connections.
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

/// A failure before anything could reach the network. Every later failure is what the network did.
#[derive(Debug, thiserror::Error)]
pub(super) enum Local {
    /// The kernel has no such socket, or does not allow it for this pod.
    #[error("{0}")]
    Unsupported(io::Error),
    /// The socket exists, but could not be prepared, or resources were missing.
    #[error("{0}")]
    Setup(io::Error),
}

impl Local {
    /// Returns the failure before the network was reached, if an error is about one.
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Classifies why a socket could not be created.
    fn creation(error: io::Error) -> io::Error {
        use rustix::io::Errno;
        // Seccomp filters and security modules refuse with the last two.
        let missing = [
            Errno::PROTONOSUPPORT,
            Errno::SOCKTNOSUPPORT,
            Errno::PFNOSUPPORT,
            Errno::AFNOSUPPORT,
            Errno::NOPROTOOPT,
            Errno::OPNOTSUPP,
            Errno::ACCESS,
            Errno::PERM,
        ];
        let is_missing = missing.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        let local = if is_missing { Self::Unsupported } else { Self::Setup };
        io::Error::new(error.kind(), local(error))
    }

    fn setup(error: io::Error) -> io::Error {
        io::Error::new(error.kind(), Self::Setup(error))
    }
}

/// Creates a socket. All other functions create their sockets here.
fn create(domain: Domain, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    Socket::new(domain, kind.nonblocking(), Some(protocol)).map_err(Local::creation)
}

/// Returns the unspecified address of each family, which means every address.
pub(super) fn unspecified() -> [IpAddr; 2] {
    [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
}

/// Returns the unspecified address of the family of an address.
pub(super) fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Opens a connection. Closing it resets it, because thousands of probes must not leave thousands of waiting sockets.
pub(super) async fn connect(protocol: StreamProtocol, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = create(Domain::for_address(address), Type::STREAM, protocol.number())?;
    socket.set_linger(Some(std::time::Duration::ZERO)).map_err(Local::setup)?;
    // An SCTP association in one-to-one style uses the same calls as a TCP connection.
    let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    Ok(stream)
}

pub(super) fn listen(protocol: StreamProtocol, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, Type::STREAM, protocol.number())?;
    socket.listen(BACKLOG).and_then(|()| TcpListener::from_std(socket.into())).map_err(Local::setup)
}

/// Opens a port for datagrams.
pub(super) fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bound(address, Type::DGRAM, Protocol::UDP)?;
    UdpSocket::from_std(socket.into()).map_err(Local::setup)
}

/// Opens a port whose datagrams are answered from the address to which they were sent.
pub(super) fn answered_datagrams(address: SocketAddr) -> io::Result<Datagrams> {
    Datagrams::new(datagrams(address)?).map_err(Local::setup)
}

fn bound(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = create(Domain::for_address(address), kind, protocol)?;
    bind(&socket, address, kind).map_err(Local::setup)?;
    Ok(socket)
}

fn bind(socket: &Socket, address: SocketAddr, kind: Type) -> io::Result<()> {
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // A listener must be able to open again while connections of the previous one still exist.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())
}

/// Finds out which sockets the kernel has, by creating one of each kind.
///
/// # Errors
/// If this cannot be found out at the moment.
pub(super) fn capabilities() -> io::Result<Capabilities> {
    let families = [(Family::Ipv4, Domain::IPV4), (Family::Ipv6, Domain::IPV6)];
    let transports = [
        (Transport::Tcp, Type::STREAM, Protocol::TCP),
        (Transport::Udp, Type::DGRAM, Protocol::UDP),
        (Transport::Sctp, Type::STREAM, Protocol::SCTP),
    ];
    let kinds = families.into_iter().flat_map(|family| transports.map(|transport| (family, transport)));
    let sockets = kinds.map(|((family, domain), (transport, kind, protocol))| {
        let missing = match create(domain, kind, protocol) {
            Ok(_) => None,
            Err(error) => match Local::of(&error) {
                Some(Local::Unsupported(why)) => Some(why.to_string()),
                Some(Local::Setup(_)) | None => return Err(error),
            },
        };
        Ok(Capability { transport, family, missing })
    });
    Ok(Capabilities { sockets: sockets.collect::<io::Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn os(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn only_the_kernel_itself_can_lack_a_protocol() {
        for errno in [Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT, Errno::SOCKTNOSUPPORT, Errno::PERM] {
            let error = Local::creation(os(errno));
            assert!(matches!(Local::of(&error), Some(Local::Unsupported(_))), "{error}");
        }
        // Such a socket exists, but not at the moment.
        let error = Local::creation(os(Errno::MFILE));
        assert!(matches!(Local::of(&error), Some(Local::Setup(_))));
        // The error that an ICMP message causes for a packet that was sent.
        assert!(Local::of(&os(Errno::NOPROTOOPT)).is_none());
    }

    #[test]
    fn capabilities_are_those_of_the_sockets_that_can_be_created() {
        let capabilities = capabilities().unwrap();
        assert_eq!(capabilities.sockets.len(), 6);
        for transport in [Transport::Tcp, Transport::Udp, Transport::DnsTcp, Transport::DnsUdp] {
            assert_eq!(capabilities.missing(transport, Family::Ipv4), None);
        }
        let sctp = create(Domain::IPV4, Type::STREAM, Protocol::SCTP);
        assert_eq!(capabilities.missing(Transport::Sctp, Family::Ipv4).is_some(), sctp.is_err());
        let none = Capabilities { sockets: Vec::new() };
        assert!(none.missing(Transport::Tcp, Family::Ipv4).is_some(), "what is unknown is missing");
    }
}
