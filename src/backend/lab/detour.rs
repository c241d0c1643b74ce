//! A detour around the rules of a node. It imitates an enforcer that delivers packets that it should drop.
//!
//! A packet socket receives every frame before any rule applies. A copy of the frame that is sent through the
//! device of its destination meets no rule either. A detour with a delay acts like an enforcer that holds
//! packets back and then lets them go. A detour for a share of the connections acts like an enforcer that
//! forgets some connections. Packets that the rules allow arrive twice, which changes nothing.

use std::collections::{HashMap, VecDeque};
use std::fs::read_to_string;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::frame::{Frame, Mac};
use super::netns::Netns;

/// Which connections take the detour, and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detour {
    /// Connections that take the detour, per thousand. All packets of a connection take the same path.
    pub per_mille: u32,
    /// Delay of the packets.
    pub delay: Duration,
}

/// Maximum wait for a frame before due frames are checked, in milliseconds.
const TICK: i64 = 10;
/// Maximum size of a frame, in bytes.
const LONGEST: usize = 65_536;
/// Time for which the list of a node's devices is cached. It changes when pods come and go.
const REMEMBERED: Duration = Duration::from_millis(200);
/// The `sll_pkttype` of a frame that is addressed to the device that received it.
const PACKET_HOST: u8 = 0;
/// Device that leads to the other nodes.
const UPLINK: &str = "eth0";

/// A detour for one node. The calling thread must be in the node's network namespace.
pub struct OpenDetour {
    detour: Detour,
    socket: OwnedFd,
    devices: Devices,
    /// Frames in transit, with the time at which each is due.
    held: VecDeque<(Instant, Frame)>,
    buffer: Vec<u8>,
}

impl Detour {
    /// Opens the detour.
    ///
    /// # Errors
    /// If the kernel does not allow a packet socket.
    pub fn open(self) -> io::Result<OpenDetour> {
        let protocol = SockProtocol::EthAll;
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(TICK))?;
        let (devices, held, buffer) = (Devices::default(), VecDeque::new(), vec![0; LONGEST]);
        Ok(OpenDetour { detour: self, socket, devices, held, buffer })
    }

    /// Keeps the detour open in a network namespace, on its own thread.
    pub(super) async fn keep_open(self, netns: &Netns) -> io::Result<KeptOpen> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (netns, is_over_there) = (netns.clone(), Arc::clone(&is_over));
        std::thread::Builder::new().name("detour".to_owned()).spawn(move || {
            let opened = netns.enter().and_then(|()| self.open());
            let (opened, result) = match opened {
                Ok(opened) => (Some(opened), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // The receiver may no longer be waiting.
            let _ = sender.send(result);
            let Some(mut opened) = opened else { return };
            while !is_over_there.load(Ordering::Relaxed) {
                opened.carry();
            }
        })?;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("a thread of the lab ended early")))?;
        Ok(KeptOpen(is_over))
    }
}

/// A detour that is open until this value is dropped.
#[derive(Debug)]
pub(super) struct KeptOpen(Arc<AtomicBool>);

impl Drop for KeptOpen {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl OpenDetour {
    /// Waits briefly for the next frame, and delivers the frames that are due.
    pub fn carry(&mut self) {
        if let Some(frame) = self.receive() {
            self.held.push_back((Instant::now() + self.detour.delay, frame));
        }
        while self.held.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            if let Some((_, frame)) = self.held.pop_front() {
                self.devices.deliver(&self.socket, frame);
            }
        }
    }

    /// Returns the next frame that takes the detour. `None` if none arrives in time.
    fn receive(&mut self) -> Option<Frame> {
        // An error means that the wait timed out, or that a device was removed.
        let (length, from) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut self.buffer).ok()?;
        let is_incoming = from.is_some_and(|from| from.pkttype() == PACKET_HOST);
        let frame = Frame::read(self.buffer.get(..length)?).filter(|_| is_incoming)?;
        let mut hasher = DefaultHasher::new();
        frame.flow().hash(&mut hasher);
        (hasher.finish() % 1000 < u64::from(self.detour.per_mille)).then_some(frame)
    }
}

/// Devices of a node, and where each leads.
#[derive(Default)]
struct Devices {
    read: Option<Instant>,
    /// Devices of local pods by address.
    by_address: HashMap<IpAddr, String>,
    /// Hardware addresses at the other ends of the devices.
    neighbours: HashMap<String, Mac>,
    links: HashMap<String, LinkAddr>,
}

impl Devices {
    fn deliver(&mut self, socket: &OwnedFd, mut frame: Frame) {
        if self.read.is_none_or(|read| read.elapsed() > REMEMBERED) {
            self.read();
        }
        let device = self.by_address.get(&frame.destination()).map_or(UPLINK, String::as_str);
        let Some((neighbour, link)) = self.neighbours.get(device).zip(self.links.get(device)) else { return };
        frame.readdress(*neighbour);
        // The pod may be gone. Then nothing can be delivered.
        let _ = sendto(socket.as_raw_fd(), frame.bytes(), link, MsgFlags::empty());
    }

    fn read(&mut self) {
        *self = Self { read: Some(Instant::now()), ..Self::default() };
        let table = |name: &str| read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        for line in table("arp").lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [address, _, _, mac, _, device] = fields.as_slice() else { continue };
            let Some(mac) = read_mac(mac) else { continue };
            self.neighbours.insert((*device).to_owned(), mac);
            if let Ok(address) = address.parse()
                && *device != UPLINK
            {
                self.by_address.insert(address, (*device).to_owned());
            }
        }
        for line in table("ipv6_route").lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (Some(to), Some(&"80"), Some(device)) = (fields.first(), fields.get(1), fields.last()) else {
                continue;
            };
            if let Ok(to) = u128::from_str_radix(to, 16)
                && self.neighbours.contains_key(*device)
                && *device != UPLINK
            {
                self.by_address.insert(Ipv6Addr::from(to).into(), (*device).to_owned());
            }
        }
        for interface in getifaddrs().into_iter().flatten() {
            if let Some(link) = interface.address.and_then(|address| address.as_link_addr().copied()) {
                self.links.insert(interface.interface_name, link);
            }
        }
    }
}

fn read_mac(text: &str) -> Option<Mac> {
    let bytes: Vec<u8> = text.split(':').map_while(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.try_into().ok()
}
