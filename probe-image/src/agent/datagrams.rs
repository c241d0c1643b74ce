//! Datagrams that are answered from the address to which they were sent.
//!
//! A host may have several addresses. Without this, the kernel answers from the one that the route back prefers. A node of
//! a cluster answered a pod from the address of its end of the pod's link, so the pod's socket dropped the answer.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A socket that knows to which address each datagram was sent.
pub(super) struct Datagrams(UdpSocket);

/// A datagram that was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) source: SocketAddr,
    /// The address to which it was sent. `None` if the kernel does not say.
    destination: Option<IpAddr>,
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        match socket.local_addr()? {
            SocketAddr::V4(_) => setsockopt(&socket, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, Ipv6RecvPacketInfo, &true)?,
        }
        Ok(Self(socket))
    }

    /// Waits for a datagram.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.0.async_io(Interest::READABLE, || self.try_receive(buffer)).await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let (mut parts, mut space) = ([IoSliceMut::new(buffer)], nix::cmsg_space!(in6_pktinfo));
        let socket = self.0.as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(socket, &mut parts, Some(&mut space), MsgFlags::empty())?;
        let source = message.address.as_ref().and_then(address);
        let source = source.ok_or_else(|| io::Error::other("a datagram without a source"))?;
        let destination = message.cmsgs()?.find_map(|control| destination(&control));
        Ok(Received { length: message.bytes, source, destination })
    }

    /// Sends an answer to a datagram.
    pub(super) async fn answer(&self, received: &Received, answer: &[u8]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || self.try_answer(received, answer)).await
    }

    fn try_answer(&self, received: &Received, answer: &[u8]) -> io::Result<()> {
        let (socket, parts) = (self.0.as_raw_fd(), [IoSlice::new(answer)]);
        let to = SockaddrStorage::from(received.source);
        let send = |control: &[ControlMessage<'_>]| {
            sendmsg(socket, &parts, control, MsgFlags::empty(), Some(&to)).map(drop)
        };
        let sent = match received.destination {
            None => send(&[]),
            Some(IpAddr::V4(own)) => {
                let own = in_addr { s_addr: u32::from_ne_bytes(own.octets()) };
                let any = in_addr { s_addr: 0 };
                let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: any };
                send(&[ControlMessage::Ipv4PacketInfo(&info)])
            }
            Some(IpAddr::V6(own)) => {
                let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: own.octets() }, ipi6_ifindex: 0 };
                send(&[ControlMessage::Ipv6PacketInfo(&info)])
            }
        };
        Ok(sent?)
    }
}

fn destination(control: &ControlMessageOwned) -> Option<IpAddr> {
    if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
        return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
    }
    if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
        return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
    }
    None
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let four = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    four.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: a node answered its pods from another address than the one that they had asked.
    #[tokio::test]
    async fn the_answer_comes_from_the_address_that_was_asked() {
        // All of 127.0.0.0/8 is this host's. Without this, answers would come from 127.0.0.1.
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let datagrams = Datagrams::new(socket).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(("127.0.0.9", port)).await.unwrap();
        client.send(b"question").await.unwrap();
        let mut buffer = [0; 64];
        let received = datagrams.receive(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..received.length], b"question");
        assert_eq!(received.source, client.local_addr().unwrap());
        datagrams.answer(&received, b"answer").await.unwrap();
        // A connected socket drops what comes from another address.
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"answer");
    }
}
