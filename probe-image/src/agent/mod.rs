//! Runs the agent.

mod arrivals;
mod bridge;
mod control;
mod datagrams;
mod descriptors;
mod dns;
mod enter;
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
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::mac::Key;
use crate::wire::{ListenFailure, Listener, Ready, Transport};
use arrivals::ArrivalLog;
pub use bridge::connect;
use descriptors::Descriptors;
use enter::Entered;
pub use enter::{Entry, Refusal};
use held::Held;
use late::Late;
use listeners::Listeners;
use source_ports::SourcePorts;
use strangers::Strangers;

/// Pause between two checks whether the pod still exists in whose network the agent is.
const PAUSE: Duration = Duration::from_secs(1);

/// Options of an agent.
#[derive(Debug, Clone)]
pub struct Options {
    /// The agent's name, which is part of its signed answers.
    pub name: String,
    /// The address of its API. With port 0, the system chooses the port.
    pub listen: SocketAddr,
    /// Whether that address may be another one than loopback. The API and its token travel unencrypted.
    pub is_open: bool,
    /// A TCP port that is open at every address from the start, as if a request had opened it.
    pub open: Option<u16>,
    /// The token that every request must carry.
    pub token: String,
    /// The running pod in whose network the agent sends and listens. `None` for the agent's own network.
    pub entry: Option<Entry>,
    /// Time after which the agent ends by itself. `None` for no limit.
    pub deadline: Option<Duration>,
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
    /// The network of a running pod could not be entered.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The running pod, of which this is the UID, has ended while the agent was in its network.
    #[error("pod {0} has ended, or its network was made anew")]
    PodEnded(String),
    /// The system refused something else that an agent needs.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Error {
    /// Returns whether the pod whose network the agent uses does not exist any more.
    pub fn is_pod_gone(&self) -> bool {
        matches!(self, Self::PodEnded(_) | Self::Refused(Refusal::NoProcess(_)))
    }
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
    /// The pod in whose network the agent is. `None` for the agent's own network.
    entered: Option<RefCell<Entered>>,
    stop: Notify,
}

impl Shared {
    /// Returns why nothing that the agent sees means anything: the pod in whose network it is has ended. `None` if the pod
    /// exists.
    fn loss(&self) -> Option<Error> {
        let mut entered = self.entered.as_ref()?.borrow_mut();
        (!entered.is_there()).then(|| Error::PodEnded(entered.uid().to_owned()))
    }

    /// Waits until the pod in whose network the agent is has ended. The agent must not keep the network of such a pod.
    async fn until_lost(&self) -> Error {
        loop {
            match self.loss() {
                Some(loss) => return loss,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Runs an agent until a request, SIGTERM or SIGINT stops it. Prints [`Ready`] on standard output when its API can be
/// reached.
///
/// # Errors
/// If the options are invalid or the API cannot be opened.
pub fn run(options: Options) -> Result<(), Error> {
    if !options.is_open && !options.listen.ip().is_loopback() {
        return Err(Error::NotLoopback(options.listen.ip()));
    }
    if options.token.is_empty() {
        return Err(Error::NoToken);
    }
    let failed = |source| Error::Listen { address: options.listen, source };
    // The API stays in the agent's own network. All other sockets are made in the network that is entered.
    let listener = std::net::TcpListener::bind(options.listen).map_err(failed)?;
    listener.set_nonblocking(true)?;
    let entered = options.entry.as_ref().map(Entry::enter).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(options, listener, entered))
}

/// Returns the name of the host. In a pod, this is the name of the pod.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

async fn serve(
    options: Options,
    listener: std::net::TcpListener,
    entered: Option<Entered>,
) -> Result<(), Error> {
    let Options { name, open, token, deadline, .. } = options;
    let listener = TcpListener::from_std(listener)?;
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
        entered: entered.map(RefCell::new),
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
        () = until(deadline) => {}
        loss = shared.until_lost() => return Err(loss),
    }
    Ok(())
}

async fn until(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline).await,
        None => std::future::pending().await,
    }
}

fn announce(ready: &Ready) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, ready)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
