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
//! | `POST /v1/give-up` | – | – |
//! | `POST /v1/arrivals` | [`ArrivalsRequest`] | [`ArrivalsResponse`] |
//! | `POST /v1/stop` | – | – |
//!
//! Every request carries `Authorization: Bearer` and the agent's token. If the status is not 200, the body is plain
//! text that says why.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Version of the probes between agents, and of this API. Agents of different versions do not understand each other's
/// probes, so a run refuses to begin with them.
pub const WIRE_VERSION: u32 = 4;

/// Environment variable with the token. It is not an argument, because other programs can read arguments. All agents
/// of a run derive the key that signs their probes from it.
pub const TOKEN_VARIABLE: &str = "NETPROOF_TOKEN";

/// Port of an agent's API in a pod. It is below the ports that source ports are taken from, and is hardly ever
/// probed.
pub const CONTROL_PORT: u16 = 15_119;

/// Port that is open from the start in a pod that is never ready. The kubelet's startup probe of this port shows that
/// the pod's network works.
pub const STARTUP_PORT: u16 = 15_118;

/// The line that an agent prints on its standard output when its API can be reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// The address of the API.
    pub listening: SocketAddr,
}

/// A number that distinguishes one attempt from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Nonce(pub u64);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The transport of an attempt.
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
    /// A TCP connection on which nothing is sent, for destinations that are no agents. Nobody listens for it.
    Handshake,
}

impl Transport {
    /// Returns whether a connection is opened before the first message.
    pub fn is_stream(self) -> bool {
        match self {
            Self::Tcp | Self::Sctp | Self::DnsTcp | Self::Handshake => true,
            Self::Udp | Self::DnsUdp => false,
        }
    }
}

/// The name and version of an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// The agent's name, which is part of its signed answers.
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

/// The sockets that an agent's kernel allows. The agent finds out by creating them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// One for each of TCP, UDP and SCTP in each family.
    pub sockets: Vec<Capability>,
}

impl Capabilities {
    /// Returns why there are no sockets of a transport and a family, or `None` if there are. DNS uses the sockets of
    /// TCP and UDP. A socket that the agent did not report is missing.
    pub fn missing(&self, transport: Transport, family: Family) -> Option<&str> {
        let carrier = match transport {
            Transport::Tcp | Transport::DnsTcp | Transport::Handshake => Transport::Tcp,
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
    /// The system's reason why there is no such socket; `None` if there is one.
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

/// A request to open listeners. Listeners that are already open stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenRequest {
    /// The listeners.
    pub listeners: Vec<Listener>,
}

/// The results for the listeners of a [`ListenRequest`], in its order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenResponse {
    /// `None` for a listener that is open.
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

impl std::error::Error for ListenFailure {}

impl fmt::Display for ListenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(message) | Self::Other(message) => f.write_str(message),
        }
    }
}

/// The names that the agent's DNS listeners know. They replace those of the previous request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordsRequest {
    /// Addresses by name, in lower case and without a dot at the end.
    pub records: BTreeMap<String, Vec<IpAddr>>,
}

/// A batch of probes, all sent at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// Maximum time to wait for each answer, in milliseconds.
    pub timeout_ms: u32,
    /// The probes.
    pub targets: Vec<Target>,
}

/// One probe: a fresh socket with a fresh source port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// The nonce that the receiver must echo.
    pub nonce: Nonce,
    /// The transport.
    pub transport: Transport,
    /// The destination.
    pub address: SocketAddr,
    /// The name to look up, for DNS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A request for TCP connections that stay open until the next [`HeldRequest`] or [`HoldRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HoldRequest {
    /// Maximum time to wait for each answer, in milliseconds.
    pub timeout_ms: u32,
    /// The connections.
    pub connections: Vec<Connection>,
}

/// A connection to open and to keep. It is kept if an agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The nonce that the receiver must echo. Later, it identifies the connection.
    pub nonce: Nonce,
    /// The destination.
    pub address: SocketAddr,
}

/// A request to use connections once more, all at once, and then to close all kept connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldRequest {
    /// Maximum time to wait for each answer, in milliseconds.
    pub timeout_ms: u32,
    /// The exchanges.
    pub exchanges: Vec<Exchange>,
}

/// One more use of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// [`Connection::nonce`]
    pub connection: Nonce,
    /// The nonce that the receiver must echo this time.
    pub nonce: Nonce,
}

/// The results for the probes of a [`ProbeRequest`], the connections of a [`HoldRequest`] or the exchanges of a
/// [`HeldRequest`], in its order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbeResponse {
    /// The results.
    pub results: Vec<ProbeResult>,
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// What the sender saw.
    pub outcome: Outcome,
    /// Time until the outcome, in microseconds.
    pub elapsed_us: u32,
}

/// What the sender of a probe saw. These are only facts: their meaning is decided elsewhere.
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
    /// Something accepted the connection of a [`Transport::Handshake`].
    Accepted,
    /// No answer in time.
    Silent {
        /// Whether a connection had been established.
        connected: bool,
    },
    /// A reset, or an ICMP message that the port cannot be reached.
    Refused,
    /// A connection was established, and then broken.
    Cut {
        /// The system's reason.
        message: String,
    },
    /// Another ICMP message, or no route. This is what the network did to a packet, whatever the message says about
    /// protocols.
    Unreachable {
        /// The system's reason.
        message: String,
    },
    /// Something answered, but it is not an agent of this run, or it answered another attempt.
    Garbled {
        /// The beginning of the answer.
        text: String,
    },
    /// The kernel has no socket of the protocol and the family, so nothing was sent. See [`Capabilities`].
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

/// A request for the arrivals since an earlier [`ArrivalsResponse`]. The agent forgets all arrivals before that
/// point.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArrivalsRequest {
    /// [`ArrivalsResponse::next`] of that response; 0 at the beginning.
    pub since: u64,
}

/// What arrived at the agent's listeners.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArrivalsResponse {
    /// The arrivals, oldest first.
    pub arrivals: Vec<Arrival>,
    /// The number for the next request.
    pub next: u64,
    /// Number of arrivals since that point that were lost because the log was full.
    pub lost: u64,
}

/// A nonce that arrived at a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// The nonce.
    pub nonce: Nonce,
    /// The listener.
    pub listener: Listener,
    /// The sender, as the listener saw it.
    pub source: SocketAddr,
}
