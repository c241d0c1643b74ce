//! The interface between a run and the environment in which packets are sent.

mod address;
mod agent;
pub mod cluster;
#[cfg(test)]
mod fake_agent;
mod interference;
#[cfg(all(target_os = "linux", not(without_lab)))]
pub mod lab;
#[cfg(any(test, without_lab, not(target_os = "linux")))]
pub mod no_lab;
mod records;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

pub use address::Addresses;
pub use agent::{Agent, Connect, Single, Stream, Unreachable};
pub use interference::Interference;
#[cfg(any(without_lab, not(target_os = "linux")))]
pub use no_lab as lab;

use crate::policy::IpFamily;
use crate::world::{Action, Deployed, EndpointName, World};

/// Sends requests to many agents, with a limit on how many are sent at the same time. The limit exists
/// because all connections to agents may go through the same API server. Returns the answers in order.
pub async fn ask_all<T>(requests: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    const AT_ONCE: usize = 128;
    // Collect first: a lazy iterator would have to live until the last answer.
    let requests: Vec<_> = requests.into_iter().collect();
    stream::iter(requests).buffered(AT_ONCE).collect().await
}

/// Port on which canaries listen. It is next to the port of the agents' API, and scenarios rarely probe it.
pub const CANARY_PORT: u16 = 15_120;

/// Location of an end of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The pods of a node, by its name in the environment.
    Node(String),
    /// A node itself, if its own network has an agent. Otherwise its paths count as those of its pods.
    Host(String),
    /// Outside the cluster, on this host. `None` if all externals share their paths, as in the lab.
    Outside(Option<String>),
}

impl Place {
    /// Returns whether the place is outside the cluster.
    pub fn is_outside(&self) -> bool {
        match self {
            Self::Node(_) | Self::Host(_) => false,
            Self::Outside(_) => true,
        }
    }
}

/// A pod that no policy of a scenario can select, and that probes other canaries. Outside the cluster, it is the
/// agent of the host.
#[derive(Debug, Clone)]
pub struct Canary {
    /// Its location.
    pub place: Place,
    /// Its agent.
    pub agent: Arc<Agent>,
    /// Its addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
}

/// First port on which sentinels listen.
const SENTINEL_PORT: u16 = CANARY_PORT + 1;

/// Number of ports that the policy of the sentinels opens in turn.
const SENTINEL_PORTS: u16 = 3;

/// Pods that are isolated except for one TCP port. After every change, another port is open. If a packet gets
/// through to a port that was closed before, the pod's node has processed all changes until then.
#[derive(Debug, Clone, Default)]
pub struct Sentinels {
    /// The pods, with their nodes.
    pub pods: Vec<Canary>,
    /// The port that was open before the last change.
    pub former: u16,
    /// The port that is open now.
    pub open: u16,
    /// The port that will be open after the next change.
    pub next: u16,
}

impl Sentinels {
    /// Returns the sentinels after this number of changes. Their ports begin with `first`.
    fn after(changes: u16, pods: Vec<Canary>, first: u16) -> Self {
        let port = |changes: u16| first + changes % SENTINEL_PORTS;
        // Add one full turn, because there was a port before the first change, too.
        let turn = changes % SENTINEL_PORTS + SENTINEL_PORTS;
        Self { pods, former: port(turn - 1), open: port(turn), next: port(turn + 1) }
    }
}

/// A pod that ended although no step ended it: it was deleted or evicted, or its agent has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostPod {
    /// Its name in the environment.
    pub name: String,
    /// The reason.
    pub why: String,
    /// Whether it had not started yet. Another pod was then started in its place, and no packet depended on it.
    pub was_starting: bool,
}

/// An environment in which pods run, policies are enforced and packets are sent.
pub trait Backend {
    /// Creates everything that a state describes. May return before the policies are enforced. If it was called
    /// before, everything is brought back to this state, and lost pods are replaced.
    fn deploy(&mut self, world: &World) -> impl Future<Output = Result<Deployed, Error>>;

    /// Executes the actions that led to this state, and hands the policies over to the enforcer. The state does
    /// not have the addresses of new objects yet.
    fn apply(&mut self, actions: &[Action], world: &World) -> impl Future<Output = Result<Deployed, Error>>;

    /// Checks that everything that was created for a state is unchanged, and that nothing was added to it.
    /// Called after a step was measured: whatever is found then is what the packets followed.
    ///
    /// # Errors
    /// If something changed. The message says what, and who changed it if that is known.
    fn check_intact(&self, world: &World) -> impl Future<Output = Result<(), Error>> {
        // In most backends, no other user can change anything.
        let _ = world;
        std::future::ready(Ok(()))
    }

    /// Changes the policies between two steps, for a control round. No step leads to this state.
    fn apply_between_steps(
        &mut self,
        actions: &[Action],
        world: &World,
    ) -> impl Future<Output = Result<Deployed, Error>> {
        self.apply(actions, world)
    }

    /// Returns the pods that are lost. From when a pod was lost until the next [`deploy`](Self::deploy), nothing can
    /// be observed of it. A pod that was lost while it started is returned once.
    fn lost_pods(&mut self) -> Vec<LostPod> {
        Vec::new()
    }

    /// Returns whether a running pod is lost.
    fn has_lost_pod(&self) -> bool {
        // In most backends, no other user can end a pod.
        false
    }

    /// Returns whether a pod with an agent in a check of a live cluster was reached over its network from its own node
    /// since the agent started, at its address of this family. Policies cannot forbid that. So its network works, even if
    /// everything else is denied.
    fn is_reached(&self, pod: &EndpointName, family: IpFamily) -> bool {
        // In a scenario, control rounds show it.
        let _ = (pod, family);
        false
    }

    /// Returns the agent that sends and receives for an endpoint.
    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>>;

    /// Returns the canaries, once the backend has started. There are two on each node, because the path between two
    /// pods of one node needs both, and one at each location outside the cluster.
    fn canaries(&self) -> Vec<Canary>;

    /// Returns the sentinels as they are after the last change.
    fn sentinels(&self) -> Sentinels;

    /// Removes everything that was created.
    fn stop(self) -> impl Future<Output = ()>;
}

/// A backend that can handle packets in other ways, and change nothing else.
pub trait Variants: Backend {
    /// A way to handle packets.
    type Variant: Copy;

    /// Returns the variants that would change how packets are handled.
    fn differing(&self, variants: &[Self::Variant]) -> Vec<Self::Variant>;

    /// Handles packets in another way from now on, or as usual if `variant` is `None`.
    fn vary(&mut self, variant: Option<Self::Variant>) -> impl Future<Output = Result<(), Error>>;
}

/// The reason why a backend could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The backend cannot work here at all.
    #[error("{0}")]
    Unavailable(String),
    /// An operation that should work has failed.
    #[error("could not {doing}: {message}")]
    Failed {
        /// The operation.
        doing: String,
        /// The reason of the failure.
        message: String,
    },
    /// An agent has ended.
    #[error("the agent of {agent} is gone: {message}")]
    AgentGone {
        /// The agent's name.
        agent: String,
        /// How netproof knows that it has ended.
        message: String,
    },
    /// An agent could not be reached, or refused a request.
    #[error("the agent of {agent} {message}")]
    Agent {
        /// The agent's name.
        agent: String,
        /// What it did, as the rest of the sentence.
        message: String,
    },
}

impl Error {
    fn failed(doing: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Failed { doing: doing.into(), message: message.to_string() }
    }
}

/// Returns the error for missing random numbers, which tokens and nonces need.
fn no_random_numbers(error: &std::io::Error) -> Error {
    Error::Unavailable(format!("the operating system has no random numbers: {error}"))
}
