//! Enters the network of a running pod on the same node.
//!
//! The agent then sends from the pod's own addresses, and listens at them. Nothing else of the pod is entered, and
//! nothing there is changed. The sockets disappear with the agent.

mod processes;

use std::fs::{self, File, Metadata};
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::socket::unspecified_like;
use processes::Processes;

/// The first process of the node, which is in the node's own network.
const FIRST: u32 = 1;

/// Any port that is no zero. Nothing is sent to it.
const SOME_PORT: u16 = 9;

/// A running pod whose network is to be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The pod's `metadata.uid`.
    pub uid: String,
    /// The addresses that the pod must have.
    pub addresses: Vec<IpAddr>,
}

/// Why the network of a pod could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The pod has ended, or is on another node.
    #[error("pod {0} has no process on this node: it has ended, or it runs on another node")]
    NoProcess(String),
    /// The pod has the network of its node.
    #[error("pod {0} uses the network of its node (hostNetwork), which is not entered")]
    HostNetwork(String),
    /// The pod's network is not the one that it was taken for.
    #[error("no network of pod {} has the addresses {:?}: it may have started again since it was read", .0.uid, .0.addresses)]
    OtherAddresses(Entry),
    /// The system refused something.
    #[error(
        "cannot {doing}: {source}: the agent needs user 0, hostPID, and the capabilities SYS_ADMIN and SYS_PTRACE"
    )]
    System {
        /// What was tried.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
}

/// A network namespace, by the numbers of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    device: u64,
    inode: u64,
}

impl Network {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

/// The network of a pod that was entered.
#[derive(Debug)]
pub(super) struct Entered {
    uid: String,
    processes: Processes,
    network: Network,
    /// Processes of the pod that were in this network at the last check.
    known: Vec<u32>,
}

impl Entry {
    /// Moves this thread to the network of the pod.
    pub(super) fn enter(&self) -> Result<Entered, Refusal> {
        self.enter_from(Path::new("/proc"))
    }

    fn enter_from(&self, proc: &Path) -> Result<Entered, Refusal> {
        let processes = Processes::new(proc);
        let failed = |doing: &str| {
            let doing = doing.to_owned();
            move |source| Refusal::System { doing, source }
        };
        let node = fs::metadata(processes.network(FIRST)).map_err(failed("find the network of the node"))?;
        let node = Network::of(&node);
        let pids = processes.of_pod(&self.uid).map_err(failed("look for the processes of the pod"))?;
        let mut tried: Vec<Network> = Vec::new();
        for pid in pids {
            let file = match File::open(processes.network(pid)) {
                Ok(file) => file,
                // The process has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed("open the network of a process of the pod")(source)),
            };
            let metadata = file.metadata().map_err(failed("identify the network of a process"))?;
            let network = Network::of(&metadata);
            if tried.contains(&network) {
                continue;
            }
            tried.push(network);
            if network == node {
                continue;
            }
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| failed("enter the network of the pod")(error.into()))?;
            // A process of the pod may have made a network of its own.
            if self.addresses.iter().all(|address| is_own(*address)) {
                return Ok(Entered { uid: self.uid.clone(), processes, network, known: vec![pid] });
            }
        }
        match tried.as_slice() {
            [] => Err(Refusal::NoProcess(self.uid.clone())),
            [only] if *only == node => Err(Refusal::HostNetwork(self.uid.clone())),
            [..] => Err(Refusal::OtherAddresses(self.clone())),
        }
    }
}

impl Entered {
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// Returns whether the pod still has a process in the network.
    pub(super) fn is_there(&mut self) -> bool {
        // To read all processes of a node each second would cost too much.
        if self.known.iter().any(|pid| self.has(*pid)) {
            return true;
        }
        let all = self.processes.of_pod(&self.uid).unwrap_or_default();
        self.known = all.into_iter().filter(|pid| self.is_in_network(*pid)).collect();
        !self.known.is_empty()
    }

    /// Returns whether a process is of the pod and in the network. Another process may have got its number.
    fn has(&self, pid: u32) -> bool {
        self.is_in_network(pid) && self.processes.is_of_pod(pid, &self.uid)
    }

    fn is_in_network(&self, pid: u32) -> bool {
        let network = fs::metadata(self.processes.network(pid));
        network.is_ok_and(|network| Network::of(&network) == self.network)
    }
}

/// Returns whether this network has an address. The system sends from an address to itself, and to any other from another
/// one. Unlike an attempt to bind, this does not depend on `ip_nonlocal_bind`.
fn is_own(address: IpAddr) -> bool {
    let local = || {
        let socket = UdpSocket::bind((unspecified_like(address), 0))?;
        // This sends nothing.
        socket.connect((address, SOME_PORT))?;
        socket.local_addr()
    };
    local().is_ok_and(|local| local.ip() == address)
}

#[cfg(test)]
mod tests;
