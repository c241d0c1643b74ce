//! Chooses source ports that have not been used before.
//!
//! Connection tracking remembers a datagram for a while. A new datagram with the same ports and addresses belongs to
//! the same connection, and passes whatever the policies say now. That looks like a leak. It happens in three cases.
//! First, the system's own choice of ports is random, and hits a recently used port every few thousand probes.
//! Second, a pod gets the address of a pod that ended a moment ago, and both begin with the same ports. Third, a
//! datagram is sent to a pod from a port that sent to a Service before, and the Service led to that pod.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::UdpSocket;

use super::socket;

/// The first port to choose from. It is above the ports of most services.
const FIRST: u16 = 16_384;
const COUNT: u16 = u16::MAX - FIRST;

/// Maximum number of destinations that are remembered. It is far more than any batch has.
const DESTINATIONS: usize = 65_536;

/// Time in which the first port moves on by one. This is faster than rounds follow each other. So an agent that
/// starts later begins beyond the ports of the agent that had the address before. It is also slow enough: all ports
/// take longer than connection tracking remembers a datagram (two or three minutes).
const STRIDE: Duration = Duration::from_millis(10);

/// Maximum time that connection tracking remembers a datagram, with a margin (the kernel's
/// `nf_conntrack_udp_timeout_stream` is two minutes).
const REMEMBERED: Duration = Duration::from_secs(180);

/// Maximum number of ports that are skipped because they were used recently. Enough ports remain to find one quickly.
const LEFT_OUT: usize = 32_768;

/// The source ports for each destination. A destination sees all ports before one is used again. Ports that any other
/// destination has seen recently are skipped, because two destinations may be the same pod.
#[derive(Debug)]
pub(super) struct SourcePorts {
    /// Distance from each destination's own first port to the port at which it starts.
    offset: u16,
    /// Number of ports that were used or skipped for each destination.
    used: HashMap<SocketAddr, u16>,
    recent: Recent,
}

/// Ports that were used recently, oldest first.
#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<(Instant, u16)>,
    ports: HashSet<u16>,
}

impl Recent {
    fn add(&mut self, port: u16, now: Instant) {
        if self.ports.insert(port) {
            self.order.push_back((now, port));
        }
    }

    /// Forgets the ports that connection tracking has forgotten, too. If there are too many, forgets the oldest.
    fn forget(&mut self, now: Instant) {
        while let Some((then, port)) = self.order.front()
            && (now.saturating_duration_since(*then) > REMEMBERED || self.order.len() > LEFT_OUT)
        {
            self.ports.remove(port);
            self.order.pop_front();
        }
    }
}

impl SourcePorts {
    pub(super) fn new(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let strides = since.as_millis() / STRIDE.as_millis() % u128::from(COUNT);
        Self {
            offset: u16::try_from(strides).unwrap_or_default(),
            used: HashMap::new(),
            recent: Recent::default(),
        }
    }

    /// Returns a socket for datagrams to one destination.
    pub(super) fn connect(&mut self, destination: SocketAddr, now: Instant) -> io::Result<UdpSocket> {
        self.recent.forget(now);
        if self.used.len() >= DESTINATIONS {
            self.used.clear();
        }
        let used = self.used.entry(destination).or_default();
        let [v4, v6] = socket::unspecified();
        let own = if destination.is_ipv4() { v4 } else { v6 };
        let mut tries = 0;
        loop {
            let first = wrapping_add(start(destination), self.offset);
            let port = FIRST + wrapping_add(first, *used);
            *used = wrapping_add(*used, 1);
            tries += 1;
            if self.recent.ports.contains(&port) && tries < COUNT {
                continue;
            }
            match socket::datagrams(SocketAddr::new(own, port)) {
                // Another probe of the batch, or a listener, uses the port.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < COUNT => {}
                Err(error) => return Err(error),
                Ok(socket) => {
                    self.recent.add(port, now);
                    return Ok(socket);
                }
            }
        }
    }
}

/// Returns the sum of two numbers below [`COUNT`], modulo [`COUNT`].
fn wrapping_add(a: u16, b: u16) -> u16 {
    let rest = COUNT - a;
    if b < rest { a + b } else { b - rest }
}

/// Returns where to begin for a destination. These beginnings differ, so that the probes of a batch do not all want
/// the same port.
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
        let mut ports = SourcePorts::new(SystemTime::now());
        let mut seen = HashSet::new();
        for _ in 0..3_000 {
            let socket = ports.connect("127.0.0.1:9".parse().unwrap(), Instant::now()).unwrap();
            assert!(seen.insert(socket.local_addr().unwrap().port()));
        }
    }

    /// Regression: connection tracking remembered the datagrams of a pod that had ended, and let packets of the next
    /// pod pass.
    #[tokio::test]
    async fn a_pod_that_takes_over_an_address_begins_beyond_the_ports_of_the_former() {
        let ports_of = |start: SystemTime, probes: usize| -> HashSet<u16> {
            let mut ports = SourcePorts::new(start);
            let destination = "127.0.0.1:9".parse().unwrap();
            let sockets = (0..probes).map(|_| ports.connect(destination, Instant::now()).unwrap());
            sockets.map(|socket| socket.local_addr().unwrap().port()).collect()
        };
        let start = SystemTime::now();
        let former = ports_of(start, 150);
        let later = ports_of(start + Duration::from_secs(2), 150);
        let much_later = ports_of(start + Duration::from_secs(180), 150);
        assert!(former.is_disjoint(&later) && former.is_disjoint(&much_later));
    }

    /// Regression: connection tracking remembered a datagram to a Service, and let later ones to its pod pass.
    #[tokio::test]
    async fn two_destinations_do_not_see_the_same_source_port() {
        let mut ports = SourcePorts::new(SystemTime::now());
        let service = SocketAddr::new([127, 0, 0, 1].into(), 80);
        // The destination whose ports begin next after those of the Service.
        let distance = |port: &u16| {
            let pod = SocketAddr::new([127, 0, 0, 1].into(), *port);
            wrapping_add(start(pod), COUNT - start(service))
        };
        let pod = (1_000..=u16::MAX).min_by_key(distance).unwrap();
        assert!(distance(&pod) < 100, "the walks overlap");
        let mut sent_to = |port: u16, now: Instant| -> HashSet<u16> {
            let destination = SocketAddr::new([127, 0, 0, 1].into(), port);
            let sockets = (0..200).map(|_| ports.connect(destination, now).unwrap());
            sockets.map(|socket| socket.local_addr().unwrap().port()).collect()
        };
        let start = Instant::now();
        let first = sent_to(80, start);
        assert!(sent_to(pod, start + Duration::from_secs(100)).is_disjoint(&first));
    }

    #[test]
    fn a_port_is_free_again_when_connection_tracking_has_forgotten_it() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        recent.add(1, start);
        recent.add(2, start + Duration::from_secs(100));
        recent.forget(start + REMEMBERED + Duration::from_secs(1));
        assert_eq!(recent.ports, HashSet::from([2]));
        for port in 0..=u16::MAX {
            recent.add(port, start + Duration::from_secs(200));
            recent.forget(start + Duration::from_secs(200));
        }
        assert_eq!((recent.ports.len(), recent.order.len()), (LEFT_OUT, LEFT_OUT));
    }

    #[tokio::test]
    async fn probes_at_the_same_time_do_not_take_each_others_ports() {
        let mut ports = SourcePorts::new(SystemTime::now());
        let open: Vec<_> = (1..=500)
            .map(|port| ports.connect(SocketAddr::new([127, 0, 0, 1].into(), port), Instant::now()).unwrap())
            .collect();
        let distinct: HashSet<_> = open.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_eq!(distinct.len(), 500);
    }
}
