//! The control API's requests and responses, as JSON over HTTP/1.1.
//!
//! | request | body | response |
//! |---|---|---|
//! | `POST /v1/info` | – | [`Info`] |
//! | `POST /v1/capabilities` | – | [`Capabilities`] |
//! | `POST /v1/listen` | [`ListenRequest`] | [`ListenResponse`] |
//! | `POST /v1/records` | [`RecordsRequest`] | – |
//! | `POST /v1/probe` | [`ProbeRequest`] | [`ProbeResponse`] |
//! | `POST /v1/hold` | [`HoldRequest`] | [`ProbeResponse`] |
//! | `POST /v1/held` | [`HeldRequest`] | [`ProbeResponse`] |
//! | `POST /v1/arrivals` | [`ArrivalsRequest`] | [`ArrivalsResponse`] |
//! | `POST /v1/stop` | – | – |
//!
//! Every request carries `Authorization: Bearer` and the agent's token. Anything but status 200
//! has a body of plain text that says why.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The version of everything that agents say: to each other in probes, and here. Agents of different
/// versions do not understand each other's probes, so a run refuses to begin with them.
pub const WIRE_VERSION: u32 = 3;

/// The environment variable that holds the token. Not an argument: those can be read by others. From it,
/// all agents of a run derive the key that signs their probes.
pub const TOKEN_VARIABLE: &str = "NETPROOF_TOKEN";

/// The port of an agent's API in a pod: below those that source ports are taken from, and hardly
/// ever probed.
pub const CONTROL_PORT: u16 = 15_119;

/// The line that an agent prints on its standard output once its API can be reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// The address of the API.
    pub listening: SocketAddr,
}

/// A number that tells one attempt from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Nonce(pub u64);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How an attempt travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An SCTP association.
    Sctp,
    /// A DNS query in a UDP datagram.
    DnsUdp,
    /// A DNS query over a TCP connection.
    DnsTcp,
}

impl Transport {
    /// Whether a connection comes before the first message.
    pub fn is_stream(self) -> bool {
        match self {
            Self::Tcp | Self::Sctp | Self::DnsTcp => true,
            Self::Udp | Self::DnsUdp => false,
        }
    }
}

/// What an agent is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// The agent's name, with which it signs its answers.
    pub name: String,
    /// The version of this crate.
    pub version: String,
    /// [`WIRE_VERSION`]; 0 for agents older than it.
    #[serde(default)]
    pub wire: u32,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What an agent's kernel lets it have, found out by creating sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// One for each of TCP, UDP and SCTP in each family.
    pub sockets: Vec<Capability>,
}

impl Capabilities {
    /// Returns why there are no sockets of a transport and a family; `None` if there are. DNS travels in
    /// the sockets of TCP and UDP. A socket that the agent did not report is missing.
    pub fn missing(&self, transport: Transport, family: Family) -> Option<&str> {
        let carrier = match transport {
            Transport::Tcp | Transport::DnsTcp => Transport::Tcp,
            Transport::Udp | Transport::DnsUdp => Transport::Udp,
            Transport::Sctp => Transport::Sctp,
        };
        let mut sockets = self.sockets.iter();
        match sockets.find(|socket| socket.transport == carrier && socket.family == family) {
            Some(socket) => socket.missing.as_deref(),
            None => Some("the agent did not report it"),
        }
    }
}

/// Whether there are sockets of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The transport: TCP, UDP or SCTP.
    pub transport: Transport,
    /// The family.
    pub family: Family,
    /// The system's reason why there are none; `None` if there are.
    pub missing: Option<String>,
}

/// A port to listen on, at every address of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// The protocol.
    pub transport: Transport,
    /// The port.
    pub port: u16,
}

/// Asks for listeners; those that are open already stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenRequest {
    /// The listeners.
    pub listeners: Vec<Listener>,
}

/// What became of each listener of a [`ListenRequest`], in its order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenResponse {
    /// `None` if it is open.
    pub failures: Vec<Option<ListenFailure>>,
}

/// Why a listener is not open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "message")]
pub enum ListenFailure {
    /// The kernel has no sockets of the protocol, in any family.
    Unsupported(String),
    /// Anything else.
    Other(String),
}

/// The names that the agent's DNS listeners know. Replaces those of the request before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordsRequest {
    /// Addresses by name, in lower case and without a dot at the end.
    pub records: BTreeMap<String, Vec<IpAddr>>,
}

/// A batch of probes, all sent at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// How long to wait for each answer, in milliseconds.
    pub timeout_ms: u32,
    /// The probes.
    pub targets: Vec<Target>,
}

/// One probe: a fresh socket with a fresh source port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// What the receiver has to echo.
    pub nonce: Nonce,
    /// How to send it.
    pub transport: Transport,
    /// Where to.
    pub address: SocketAddr,
    /// The name to look up: for DNS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Asks for TCP connections that stay open until the next [`HeldRequest`] or [`HoldRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HoldRequest {
    /// How long to wait for each answer, in milliseconds.
    pub timeout_ms: u32,
    /// The connections.
    pub connections: Vec<Connection>,
}

/// A connection to open and to keep. It is kept if an agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// What the receiver has to echo; afterwards the name of the connection.
    pub nonce: Nonce,
    /// Where to.
    pub address: SocketAddr,
}

/// Asks to use connections once more, all at once, and then to close everything that is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldRequest {
    /// How long to wait for each answer, in milliseconds.
    pub timeout_ms: u32,
    /// What to say over which connection.
    pub exchanges: Vec<Exchange>,
}

/// One more use of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// [`Connection::nonce`]
    pub connection: Nonce,
    /// What the receiver has to echo this time.
    pub nonce: Nonce,
}

/// What became of each probe of a [`ProbeRequest`], connection of a [`HoldRequest`] or exchange of a
/// [`HeldRequest`], in its order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbeResponse {
    /// The results.
    pub results: Vec<ProbeResult>,
}

/// What became of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// What happened.
    pub outcome: Outcome,
    /// How long it took, in microseconds.
    pub elapsed_us: u32,
}

/// What the sender of a probe saw. Facts only: what they mean is decided elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Outcome {
    /// An agent echoed the nonce.
    Answered {
        /// The agent's name.
        agent: String,
    },
    /// A DNS server answered this query.
    DnsAnswered {
        /// The agent's name, if the server is an agent.
        agent: Option<String>,
        /// The response code, 0 for success.
        code: u16,
        /// The addresses of the answer.
        addresses: Vec<IpAddr>,
    },
    /// No answer in time.
    Silent {
        /// Whether a connection had been established.
        connected: bool,
    },
    /// A reset, or an ICMP message that the port cannot be reached.
    Refused,
    /// A connection was established, and then broken off.
    Cut {
        /// The system's reason.
        message: String,
    },
    /// Another ICMP message, or no route: what the network did to a packet, whatever the message says about
    /// protocols.
    Unreachable {
        /// The system's reason.
        message: String,
    },
    /// Something answered, but not an agent of this run, or not to this attempt.
    Garbled {
        /// The beginning of what it said.
        text: String,
    },
    /// The kernel has no socket of the protocol and the family: nothing was sent. See [`Capabilities`].
    Unsupported {
        /// The system's reason.
        message: String,
    },
    /// The probe could not be sent.
    Failed {
        /// The system's reason.
        message: String,
    },
}

/// Asks for the arrivals since an earlier [`ArrivalsResponse`], which the agent then forgets up to
/// that point.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArrivalsRequest {
    /// [`ArrivalsResponse::next`] of that response; 0 in the beginning.
    pub since: u64,
}

/// What arrived at the agent's listeners.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArrivalsResponse {
    /// The arrivals, oldest first.
    pub arrivals: Vec<Arrival>,
    /// Where to go on.
    pub next: u64,
    /// How many arrivals since that point were lost because the log was full.
    pub lost: u64,
}

/// A nonce that arrived at a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// The nonce.
    pub nonce: Nonce,
    /// Where it arrived.
    pub listener: Listener,
    /// Who sent it, as the listener saw it.
    pub source: SocketAddr,
}
