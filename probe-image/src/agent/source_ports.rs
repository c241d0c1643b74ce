//! Source ports that have not been used before.
//!
//! A datagram from a port that sent to the same destination a while ago belongs to a connection
//! that connection tracking still knows, and passes whatever the policies say now. The system's own
//! choice is random and hits such a port every few thousand probes, which looks like a leak.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

use super::socket;

/// The ports to choose from: above those of most services.
const FIRST: u16 = 16_384;
const COUNT: u16 = u16::MAX - FIRST;

/// How many destinations are remembered. Far more than any batch has.
const DESTINATIONS: usize = 65_536;

/// Walks through all ports for every destination before it uses one again.
#[derive(Debug, Default)]
pub(super) struct SourcePorts {
    /// How many ports each destination has seen.
    used: HashMap<SocketAddr, u16>,
}

impl SourcePorts {
    /// A socket for datagrams to one destination.
    pub(super) fn connect(&mut self, destination: SocketAddr) -> io::Result<UdpSocket> {
        if self.used.len() >= DESTINATIONS {
            self.used.clear();
        }
        let used = self.used.entry(destination).or_default();
        let [v4, v6] = socket::unspecified();
        let own = if destination.is_ipv4() { v4 } else { v6 };
        let mut tries = 0;
        loop {
            let port = FIRST + wrapping_add(start(destination), *used);
            *used = wrapping_add(*used, 1);
            tries += 1;
            match socket::datagrams(SocketAddr::new(own, port)) {
                // Another probe of the batch, or a listener, has it.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < COUNT => {}
                Err(error) => return Err(error),
                Ok(socket) => return Ok(socket),
            }
        }
    }
}

/// The sum of two numbers below [`COUNT`], again below it.
fn wrapping_add(a: u16, b: u16) -> u16 {
    let rest = COUNT - a;
    if b < rest { a + b } else { b - rest }
}

/// Where to begin for a destination: apart from each other, so that the probes of a batch do not
/// all want the same port.
fn start(destination: SocketAddr) -> u16 {
    let bits = match destination.ip() {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => u128::from(address),
    };
    let mixed = (bits ^ (u128::from(destination.port()) << 64))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    let [high, low, ..] = mixed.to_be_bytes();
    u16::from_be_bytes([high, low]) % COUNT
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_walk_visits_every_port_once() {
        let visited: HashSet<u16> = (0..COUNT).map(|step| wrapping_add(COUNT - 7, step)).collect();
        assert_eq!(visited.len(), usize::from(COUNT));
        assert!(visited.iter().all(|port| *port < COUNT));
    }

    #[tokio::test]
    async fn a_destination_never_sees_a_source_port_twice() {
        let mut ports = SourcePorts::default();
        let mut seen = HashSet::new();
        for _ in 0..3_000 {
            let socket = ports.connect("127.0.0.1:9".parse().unwrap()).unwrap();
            assert!(seen.insert(socket.local_addr().unwrap().port()));
        }
    }

    #[tokio::test]
    async fn probes_at_the_same_time_do_not_take_each_others_ports() {
        let mut ports = SourcePorts::default();
        let open: Vec<_> = (1..=500)
            .map(|port| ports.connect(SocketAddr::new([127, 0, 0, 1].into(), port)).unwrap())
            .collect();
        let distinct: HashSet<_> = open.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_eq!(distinct.len(), 500);
    }
}
