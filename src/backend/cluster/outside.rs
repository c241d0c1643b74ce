//! Hosts outside of the cluster. Their agents play the externals of scenarios.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::settings::OutsideHost;
use super::survey::SurveyedNode;
use crate::backend::{Agent, Canary, Connect, Error, Place, Stream, Unreachable};
use crate::policy::{Cluster, ClusterPeer, Direction, IpBlock, IpFamily, Peer, Peers};
use crate::snapshot::Identity;
use crate::world::{External, World};

/// What the name of an agent outside of a cluster begins with. The names of pods' agents begin with a namespace.
const PREFIX: &str = "external:";

/// Time until a host must accept a connection to its agent.
const CONNECT: Duration = Duration::from_secs(5);

/// Returns the name with which the agent of a host outside of a cluster signs its answers.
pub fn agent_name(host: &str) -> String {
    format!("{PREFIX}{host}")
}

/// A host whose agent has answered.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    addresses: Vec<IpAddr>,
    agent: Arc<Agent>,
    /// Held by the scenario that uses the agent: an agent has one log of arrivals.
    turn: Arc<Mutex<()>>,
}

/// All hosts outside of the cluster that the run may use.
#[derive(Debug, Default)]
pub(super) struct Outside(Vec<Arc<Host>>);

/// The right of one scenario to use a host.
#[derive(Debug)]
pub(super) struct Lease {
    host: Arc<Host>,
    _turn: OwnedMutexGuard<()>,
}

impl Lease {
    /// Returns the canary of the host, which is its only agent.
    pub(super) fn canary(&self) -> Canary {
        let Host { name, addresses, agent, .. } = &*self.host;
        let place = Place::Outside(Some(name.clone()));
        Canary { place, agent: Arc::clone(agent), addresses: addresses.clone() }
    }
}

/// How an external takes part in a state.
#[derive(Debug)]
pub(super) enum Role {
    /// A host plays it, at these addresses.
    Played { host: Arc<Host>, addresses: Vec<IpAddr> },
    /// No host can play it, for this reason.
    Absent(String),
}

impl Host {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    fn has_all(&self, external: &External) -> bool {
        external.addresses.iter().all(|address| self.addresses.contains(address))
    }

    /// Returns the addresses at which the host can stand for an external of its name. `None` if it lacks a family.
    fn instead_of(&self, external: &External) -> Option<Vec<IpAddr>> {
        let same_family = |own: &IpAddr| IpFamily::of(*own).first_of(&self.addresses);
        external.addresses.iter().map(same_family).collect()
    }

    /// Returns whether the host could play an external, whatever the policies say.
    fn may_play(&self, external: &External) -> bool {
        self.has_all(external) || self.name == external.name && self.instead_of(external).is_some()
    }
}

impl Outside {
    /// Connects to the agents of these hosts, and checks that they can be told apart.
    ///
    /// # Errors
    /// If one does not answer, has another version, or has the name or an address of another one or of a node.
    pub(super) async fn open(
        hosts: &[OutsideHost],
        token: &str,
        nodes: &[SurveyedNode],
    ) -> Result<Self, Error> {
        let mut opened: Vec<Arc<Host>> = Vec::new();
        for OutsideHost { name, addresses, control } in hosts {
            let unusable = |why: String| Error::Unavailable(format!("--external {name}: {why}"));
            let of_node = |address: &IpAddr| nodes.iter().find(|node| node.has(*address));
            if let Some((address, node)) = addresses.iter().find_map(|it| Some((it, of_node(it)?))) {
                let why = format!("{address} belongs to node {} or its pods: name a host", node.name);
                return Err(unusable(format!("{why} outside of the cluster")));
            }
            let way = Direct { control: control.clone() };
            if let Err(Unreachable::Gone(why) | Unreachable::Broken(why)) = way.connect().await {
                let advice = "start `netproof agent` there, and name its API with @HOST:PORT";
                return Err(unusable(format!("no agent answers at {control}: {why}: {advice}")));
            }
            let agent = Agent::connect_to_any(agent_name(name), token.to_owned(), Box::new(way)).await;
            let agent = agent.map_err(|error| unusable(error.to_string()))?;
            if !agent.name().starts_with(PREFIX) {
                let why = format!("the agent at {control} was not started with `netproof agent`");
                return Err(unusable(why));
            }
            if let Some(other) = opened.iter().find(|other| other.agent.name() == agent.name()) {
                let same = format!("its agent has the name of that of {}, {}", other.name, agent.name());
                let advice = "start each with a --name of its own, and name each once";
                return Err(unusable(format!("{same}: {advice}")));
            }
            opened.push(Arc::new(Host {
                name: name.clone(),
                addresses: addresses.clone(),
                agent: Arc::new(agent),
                turn: Arc::default(),
            }));
        }
        Ok(Self(opened))
    }

    /// Waits until no other scenario uses the hosts that can play externals of this state.
    ///
    /// The order is always the same, and a scenario calls this before it takes any other lock and only if it has no
    /// leases. So scenarios never wait for each other in a circle.
    pub(super) async fn lease(&self, world: &World) -> Vec<Lease> {
        let mut leases = Vec::new();
        for host in self.playing(world) {
            let turn = Arc::clone(&host.turn).lock_owned().await;
            leases.push(Lease { host: Arc::clone(host), _turn: turn });
        }
        leases
    }

    /// Returns leases of the hosts that can play externals of this state. `None` if another scenario uses one of them.
    pub(super) fn try_lease(&self, world: &World) -> Option<Vec<Lease>> {
        let leases = self.playing(world).map(|host| {
            let turn = Arc::clone(&host.turn).try_lock_owned().ok()?;
            Some(Lease { host: Arc::clone(host), _turn: turn })
        });
        leases.collect()
    }

    /// Returns the hosts that can play externals of a state, in the order in which they are taken.
    fn playing(&self, world: &World) -> impl Iterator<Item = &Arc<Host>> {
        self.0.iter().filter(|host| world.externals.iter().any(|external| host.may_play(external)))
    }

    /// Returns how each external takes part in a state with these policies. `own` are the externals with the addresses
    /// that the scenario gives them.
    pub(super) fn roles(&self, own: &[External], cluster: &Cluster) -> BTreeMap<String, Role> {
        let mut free: Vec<&Arc<Host>> = self.0.iter().collect();
        let mut roles = BTreeMap::new();
        for external in own {
            if let Some(index) = free.iter().position(|host| host.has_all(external)) {
                let (host, addresses) = (Arc::clone(free.remove(index)), external.addresses.clone());
                roles.insert(external.name.clone(), Role::Played { host, addresses });
            }
        }
        for external in own {
            let role = || self.stand_in(external, own, &free, cluster);
            roles.entry(external.name.clone()).or_insert_with(role);
        }
        roles
    }

    /// Returns how an external takes part of which no host has all addresses.
    fn stand_in(
        &self,
        external: &External,
        all: &[External],
        free: &[&Arc<Host>],
        cluster: &Cluster,
    ) -> Role {
        if self.0.is_empty() {
            return Role::Absent(
                "a run on a cluster has no agent outside of it, unless --external names one".to_owned(),
            );
        }
        let named = free.iter().find(|host| host.name == external.name);
        let stand_in = named.and_then(|host| Some((*host, host.instead_of(external)?)));
        let lacks = match (named, stand_in) {
            (_, Some((host, addresses))) => match obstacle(external, &addresses, all, cluster) {
                None => return Role::Played { host: Arc::clone(host), addresses },
                Some(why) => why,
            },
            (Some(host), None) => {
                let has = joined(&host.addresses);
                format!("--external {} has only {has}, and the scenario uses both families", host.name)
            }
            (None, None) => "no --external has these addresses".to_owned(),
        };
        let (name, addresses) = (&external.name, joined(&external.addresses));
        let advice = format!("add --external NAME={addresses} for an agent on a host that has them");
        Role::Absent(format!("nothing plays external:{name} ({addresses}): {lacks}: {advice}"))
    }
}

/// Returns why an external cannot be played at other addresses than its own.
fn obstacle(
    external: &External,
    addresses: &[IpAddr],
    all: &[External],
    cluster: &Cluster,
) -> Option<String> {
    external.addresses.iter().zip(addresses).find_map(|(own, other)| {
        let holder = all.iter().find(|it| it.name != external.name && it.addresses.contains(other));
        if let Some(holder) = holder {
            return Some(format!(
                "{other}, which stands for {own}, is the address of external:{}",
                holder.name
            ));
        }
        let policy = telling_apart(cluster, *own, *other)?;
        Some(format!("{policy} tells {other}, which stands for {own}, from it"))
    })
}

/// Returns the name of a policy that has a range with just one of two addresses. `None` if there is none.
fn telling_apart(cluster: &Cluster, one: IpAddr, other: IpAddr) -> Option<String> {
    let differs = |block: &IpBlock| {
        let mut ranges = std::iter::once(block.net()).chain(block.except().iter().copied());
        ranges.any(|range| range.contains(&one) != range.contains(&other))
    };
    let directions = [Direction::Ingress, Direction::Egress];
    let policies = cluster.policies.iter().filter(|policy| {
        let rules = directions.iter().filter_map(|direction| policy.rules(*direction)).flatten();
        let peers = rules.flat_map(|rule| match &rule.peers {
            Peers::Any => &[][..],
            Peers::Only(peers) => peers,
        });
        peers.into_iter().any(|peer| match peer {
            Peer::IpBlock(block) => differs(block),
            Peer::Pods { .. } => false,
        })
    });
    let of_cluster = cluster.cluster_policies.iter().filter(|policy| {
        let mut peers = directions.iter().flat_map(|it| policy.rules(*it)).flat_map(|rule| &rule.peers);
        peers.any(|peer| match peer {
            ClusterPeer::Network(block) => differs(block),
            ClusterPeer::Pods(_) | ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) => false,
        })
    });
    let policies = policies.map(|policy| format!("NetworkPolicy {}", Identity::of_policy(policy)));
    policies.chain(of_cluster.map(|policy| policy.name.to_string())).next()
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

/// A way to an agent without the cluster.
#[derive(Debug)]
struct Direct {
    control: String,
}

impl Connect for Direct {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, Unreachable>> {
        Box::pin(async {
            let broken = |error: std::io::Error| Unreachable::Broken(error.to_string());
            let silent = || Unreachable::Broken(format!("no connection in {} s", CONNECT.as_secs()));
            let connected = timeout(CONNECT, TcpStream::connect(&self.control)).await;
            let stream = connected.map_err(|_| silent())?.map_err(broken)?;
            stream.set_nodelay(true).map_err(broken)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::mocked::{scenario, state_after};
    use crate::backend::fake_agent::answering;

    /// Returns an agent that only says who it is.
    async fn agent(name: &str) -> Agent {
        let (version, wire) = (env!("CARGO_PKG_VERSION"), netproof_probe::wire::WIRE_VERSION);
        let info = format!(r#"{{"name": "{name}", "version": "{version}", "wire": {wire}}}"#);
        Agent::connect_to_any(String::new(), "token".to_owned(), answering(info)).await.unwrap()
    }

    /// Returns hosts with these names and addresses.
    async fn hosts(hosts: &[(&str, &[&str])]) -> Outside {
        let mut outside = Outside::default();
        for (name, addresses) in hosts {
            outside.0.push(Arc::new(Host {
                name: (*name).to_owned(),
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                agent: Arc::new(agent(&agent_name(name)).await),
                turn: Arc::default(),
            }));
        }
        outside
    }

    const POLICY: &str = "steps:
- name: one
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: RANGE}}]}]}
";

    /// Returns a state with these externals, and a policy with this range.
    fn state(externals: &str, range: &str) -> World {
        let topology = format!(
            "topology:\n  namespaces: [{{name: x, pods: [{{name: a}}]}}]\n  externals: {externals}\n"
        );
        state_after(&format!("{topology}{}", POLICY.replace("RANGE", range)), &["10.0.0.1"])
    }

    /// Returns who plays each external, and at which addresses, or why nobody does.
    fn roles(outside: &Outside, world: &World) -> Vec<String> {
        let roles = outside.roles(&world.externals, &world.cluster).into_iter();
        let says = |(name, role)| match role {
            Role::Played { host, addresses } => format!("{name}: {} at {}", host.name, joined(&addresses)),
            Role::Absent(why) => why,
        };
        roles.map(says).collect()
    }

    #[tokio::test]
    async fn addresses_count_more_than_names() {
        let outside = hosts(&[("b", &["192.0.2.1"]), ("a", &["2001:db8::2", "192.0.2.2"])]).await;
        let world =
            state("[{name: a, ip: 192.0.2.1}, {name: b, ip: [192.0.2.2, \"2001:db8::2\"]}]", "192.0.2.1/32");
        assert_eq!(roles(&outside, &world), ["a: b at 192.0.2.1", "b: a at 192.0.2.2,2001:db8::2"]);
    }

    #[tokio::test]
    async fn a_stand_in_has_an_address_that_no_policy_tells_apart() {
        let outside = hosts(&[("a", &["192.0.2.9", "2001:db8::9"])]).await;
        let role = |ip: &str, range: &str| {
            roles(&outside, &state(&format!("[{{name: a, ip: {ip}}}]"), range)).remove(0)
        };
        assert_eq!(role("203.0.113.1", "198.51.100.0/24"), "a: a at 192.0.2.9");
        assert_eq!(role("\"2001:db8::1\"", "\"2001:db8::/32\""), "a: a at 2001:db8::9");
        let differs = role("203.0.113.1", "203.0.113.0/24");
        let why = "NetworkPolicy x/p tells 192.0.2.9, which stands for 203.0.113.1, from it";
        let advice = "add --external NAME=203.0.113.1 for an agent on a host that has them";
        assert_eq!(differs, format!("nothing plays external:a (203.0.113.1): {why}: {advice}"));
        // A hole tells them apart, too.
        let hole = role("203.0.113.1", "0.0.0.0/0, except: [192.0.2.0/24]");
        assert!(hole.contains("NetworkPolicy x/p tells"), "{hole}");
        let taken = roles(
            &outside,
            &state("[{name: a, ip: 203.0.113.1}, {name: c, ip: [192.0.2.9, \"3fff::1\"]}]", "10.0.0.0/8"),
        );
        assert!(taken[0].contains("is the address of external:c"), "{taken:?}");
        assert!(taken[1].contains("no --external has these addresses"), "{taken:?}");
    }

    #[tokio::test]
    async fn a_host_without_a_family_plays_nothing_of_both() {
        let outside = hosts(&[("a", &["192.0.2.9"])]).await;
        let both = roles(&outside, &state("[{name: a, ip: [203.0.113.1, \"2001:db8::1\"]}]", "10.0.0.0/8"));
        assert!(both[0].contains("--external a has only 192.0.2.9"), "{both:?}");
        assert!(
            roles(&Outside::default(), &state("[{name: a, ip: 203.0.113.1}]", "10.0.0.0/8"))[0]
                .contains("unless --external")
        );
    }

    #[tokio::test]
    async fn one_scenario_at_a_time_uses_a_host() {
        let outside = hosts(&[("a", &["192.0.2.1"]), ("b", &["192.0.2.2"]), ("c", &["192.0.2.3"])]).await;
        let world = |externals: &str| {
            scenario(&format!("topology: {{externals: {externals}}}\nsteps: [{{name: s}}]")).world
        };
        let (one, other) = (world("[{name: x, ip: 192.0.2.1}]"), world("[{name: y, ip: 192.0.2.2}]"));
        let both = world("[{name: y, ip: 192.0.2.2}, {name: x, ip: 192.0.2.1}]");
        let first = outside.lease(&one).await;
        let second = outside.lease(&other).await;
        assert_eq!((first.len(), second.len()), (1, 1), "they use different hosts");
        let waits = async || timeout(Duration::from_millis(50), outside.lease(&both)).await.is_err();
        assert!(waits().await && outside.try_lease(&both).is_none());
        drop(second);
        assert!(waits().await);
        drop(first);
        assert_eq!(outside.lease(&both).await.len(), 2);
        assert_eq!(outside.try_lease(&both).map(|leases| leases.len()), Some(2));
        assert_eq!(outside.lease(&world("[]")).await.len(), 0);
    }
}
