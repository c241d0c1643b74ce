//! Runs the agent.

mod arrivals;
mod bridge;
mod control;
mod descriptors;
mod dns;
mod held;
mod late;
mod listeners;
mod prober;
mod socket;
mod source_ports;
mod strangers;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::mac::Key;
use crate::wire::{ListenFailure, Listener, Ready, Transport};
use arrivals::ArrivalLog;
pub use bridge::connect;
use descriptors::Descriptors;
use held::Held;
use late::Late;
use listeners::Listeners;
use source_ports::SourcePorts;
use strangers::Strangers;

/// Options of an agent.
#[derive(Debug, Clone)]
pub struct Options {
    /// The agent's name, which is part of its signed answers.
    pub name: String,
    /// The address of its API, on loopback. With port 0, the system chooses the port.
    pub listen: SocketAddr,
    /// A TCP port that is open at every address from the start, as if a request had opened it.
    pub open: Option<u16>,
    /// The token that every request must carry.
    pub token: String,
}

/// Why an agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API would be open to other hosts.
    #[error("the control API listens on loopback only, not on {0}")]
    NotLoopback(IpAddr),
    /// The token is empty, so it would not keep other programs out.
    #[error("the token is empty: set {}", crate::wire::TOKEN_VARIABLE)]
    NoToken,
    /// The API could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The port that must be open from the start could not be opened.
    #[error("cannot listen on port {port}: {source}")]
    Open {
        /// The port.
        port: u16,
        /// The system's error.
        source: ListenFailure,
    },
    /// The system refused something else that an agent needs.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The state that all parts of an agent share. An agent is one thread, because many agents run on one node.
struct Shared {
    name: String,
    token: String,
    /// The key that signs probes and answers.
    key: Key,
    descriptors: Descriptors,
    /// Connections to listeners that are not authenticated yet.
    strangers: Rc<RefCell<Strangers>>,
    log: RefCell<ArrivalLog>,
    listeners: RefCell<Listeners>,
    records: RefCell<BTreeMap<String, Vec<IpAddr>>>,
    source_ports: RefCell<SourcePorts>,
    held: RefCell<Held>,
    late: RefCell<Late>,
    stop: Notify,
}

/// Runs an agent until a request, SIGTERM or SIGINT stops it. Prints [`Ready`] on standard output when its API can be
/// reached.
///
/// # Errors
/// If the options are invalid or the API cannot be opened.
pub fn run(options: Options) -> Result<(), Error> {
    if !options.listen.ip().is_loopback() {
        return Err(Error::NotLoopback(options.listen.ip()));
    }
    if options.token.is_empty() {
        return Err(Error::NoToken);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> Result<(), Error> {
    let Options { name, listen: address, open, token } = options;
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let ready = Ready { listening: listener.local_addr()? };
    let descriptors = Descriptors::of_system();
    let shared = Rc::new(Shared {
        name,
        key: Key::from_token(&token),
        token,
        strangers: Strangers::new(descriptors.strangers, descriptors.strangers / 2),
        late: RefCell::new(Late::new(descriptors.late)),
        descriptors,
        log: RefCell::default(),
        listeners: RefCell::default(),
        records: RefCell::default(),
        source_ports: RefCell::new(SourcePorts::new(SystemTime::now())),
        held: RefCell::default(),
        stop: Notify::new(),
    });
    if let Some(port) = open {
        let listener = Listener { transport: Transport::Tcp, port };
        listeners::open(&shared, listener).map_err(|source| Error::Open { port, source })?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    announce(&ready)?;
    tokio::select! {
        () = control::serve(Rc::clone(&shared), listener) => {}
        () = shared.stop.notified() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn announce(ready: &Ready) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, ready)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
