//! The seam between a run and the place where packets are sent.

mod agent;
pub mod cluster;
pub mod lab;
mod records;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

pub use agent::{Agent, Connect, Single, Stream, Unreachable};

use crate::scenario::{Action, EndpointName, State};

/// Asks many agents, a bounded number of them at once: behind each may be a stream through the same
/// API server. Gives the answers in order.
pub async fn ask_all<T>(requests: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    const AT_ONCE: usize = 128;
    // Collected first: a lazy iterator would have to live as long as the answers take.
    let requests: Vec<_> = requests.into_iter().collect();
    stream::iter(requests).buffered(AT_ONCE).collect().await
}

/// The port on which canaries listen: beside that of the agents' API, and hardly ever probed.
pub const CANARY_PORT: u16 = 15_120;

/// Where the ends of a path are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// On a node, by its name where the packets are sent.
    Node(String),
    /// Outside the cluster.
    Outside,
}

/// A pod that no policy can select, and that probes others of its kind.
#[derive(Debug, Clone)]
pub struct Canary {
    /// Where it is.
    pub place: Place,
    /// Its agent.
    pub agent: Arc<Agent>,
    /// Its addresses, at most one a family.
    pub addresses: Vec<IpAddr>,
}

/// The first port on which sentinels listen.
const SENTINEL_PORT: u16 = CANARY_PORT + 1;

/// How many ports the policy of sentinels lets through in turn.
const SENTINEL_PORTS: u16 = 3;

/// Pods that a policy isolates but for one TCP port, which is another one after every change. A packet that
/// gets through to a port that was closed before shows that the pod's node has worked off all changes until then.
#[derive(Debug, Clone, Default)]
pub struct Sentinels {
    /// The pods, each on a node.
    pub pods: Vec<Canary>,
    /// The port that was open before the last change.
    pub former: u16,
    /// The port that is open.
    pub open: u16,
    /// The port that will be open after the next change.
    pub next: u16,
}

impl Sentinels {
    /// Those of these pods after so many changes, whose ports begin with this one.
    fn after(changes: u16, pods: Vec<Canary>, first: u16) -> Self {
        let port = |changes: u16| first + changes % SENTINEL_PORTS;
        // Counted from one turn on, as there was a port before the first change, too.
        let turn = changes % SENTINEL_PORTS + SENTINEL_PORTS;
        Self { pods, former: port(turn - 1), open: port(turn), next: port(turn + 1) }
    }
}

/// A place where pods run, policies are enforced and packets are sent.
pub trait Backend {
    /// Makes everything that a state describes, and fills in its addresses. Policies are not
    /// enforced yet.
    fn start(&mut self, state: &mut State) -> impl Future<Output = Result<(), Error>>;

    /// Carries out what changed a state into this one, fills in the addresses of what is new, and
    /// hands the policies over to those who enforce them.
    fn apply(&mut self, actions: &[Action], state: &mut State) -> impl Future<Output = Result<(), Error>>;

    /// Makes sure that what was made for a state is what it was made as, and that nobody added to it. For
    /// after a step was measured: whatever was found then is what the packets followed.
    ///
    /// # Errors
    /// If somebody changed it. The message says what, and who if that is known.
    fn check_intact(&self, state: &State) -> impl Future<Output = Result<(), Error>> {
        // Nobody else can reach into most backends.
        let _ = state;
        std::future::ready(Ok(()))
    }

    /// Changes the policies between two steps, for a control round: no step led to this state.
    fn apply_between_steps(
        &mut self,
        actions: &[Action],
        state: &mut State,
    ) -> impl Future<Output = Result<(), Error>> {
        self.apply(actions, state)
    }

    /// The agent that sends and receives for an endpoint.
    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>>;

    /// The canaries, once it has started: two at each place that endpoints can be at, as the path between
    /// two pods of one node needs both.
    fn canaries(&self) -> Vec<Canary>;

    /// The sentinels as they are after the last change.
    fn sentinels(&self) -> Sentinels;

    /// Removes everything that was made.
    fn stop(self) -> impl Future<Output = ()>;
}

/// A backend that can treat packets in other ways, without changing anything else.
pub trait Variants: Backend {
    /// A way to treat packets.
    type Variant: Copy;

    /// Those of these ways that would treat packets otherwise than now.
    fn differing(&self, variants: &[Self::Variant]) -> Vec<Self::Variant>;

    /// Treats packets in another way from now on, or as usual.
    fn vary(&mut self, variant: Option<Self::Variant>) -> impl Future<Output = Result<(), Error>>;
}

/// Why a backend could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend cannot work here at all.
    #[error("{0}")]
    Unavailable(String),
    /// Something that should work did not.
    #[error("could not {doing}: {message}")]
    Failed {
        /// What was being done.
        doing: String,
        /// Why it did not work.
        message: String,
    },
    /// An agent has ended.
    #[error("the agent of {agent} is gone: {message}")]
    AgentGone {
        /// The agent's name.
        agent: String,
        /// How that is known.
        message: String,
    },
    /// An agent could not be reached, or refused.
    #[error("the agent of {agent} {message}")]
    Agent {
        /// The agent's name.
        agent: String,
        /// What it did.
        message: String,
    },
}

impl Error {
    fn failed(doing: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Failed { doing: doing.into(), message: message.to_string() }
    }
}

/// Reports that there is nothing to make tokens and nonces of.
fn no_random_numbers(error: &std::io::Error) -> Error {
    Error::Unavailable(format!("the operating system has no random numbers: {error}"))
}
