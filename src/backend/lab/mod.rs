//! The lab: nodes and pods are network namespaces, the kernel enforces the policies, and every pod has an
//! agent. The lab needs no cluster, no root and no image.

mod build;
mod canaries;
mod detour;
mod enforce;
mod frame;
mod hosts;
mod interfere;
mod netns;
mod network;
mod nft;
mod process;
mod reached;
mod rules;
mod sandbox;
mod variants;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netproof_probe::random;
use tokio::task::JoinHandle;

use crate::backend::records::records;
use crate::backend::{
    Addresses, Agent, Backend, Canary, Error, Place, SENTINEL_PORT, Sentinels, address, no_random_numbers,
};
use crate::deviation::{DatapathFault, EnforcerState, Fault, Follower};
use crate::policy::IpFamily;
use crate::snapshot::Identity;
use crate::world::{Action, Deployed, EndpointName, External, PodChange, World};

use detour::KeptOpen;
pub use detour::{Detour, OpenDetour};
use hosts::{NodeSpace, PodLink};
use network::Space;
use nft::Nft;
use process::Process;
pub use process::run_agent;
pub use sandbox::{Entered, enter};
use variants::Variant;

/// A lab with one cluster, which ends when this value is dropped.
#[derive(Debug)]
pub struct Lab {
    nft: Nft,
    fault: Option<Fault>,
    token: String,
    addresses: Addresses,
    /// Router that links the nodes and external addresses. Stored, because it ends when nothing holds it.
    fabric: Option<Space>,
    /// The nodes, by index in the cluster's list of nodes.
    nodes: Vec<NodeSpace>,
    /// Pods in the pod network.
    pods: HashMap<Identity, PodLink>,
    /// Agents by endpoint. A node's agent also serves all pods that use the node's network.
    agents: HashMap<EndpointName, Arc<Agent>>,
    processes: HashMap<EndpointName, Process>,
    /// Canaries: location, endpoint name and addresses.
    canaries: Vec<(Place, EndpointName, Vec<IpAddr>)>,
    /// Twins that their nodes have reached, by family.
    reached: HashSet<(EndpointName, IpFamily)>,
    /// Number of changes that the enforcer has received.
    changes: u16,
    next_link: u32,
    /// Detours of a fault that delivers packets late.
    detours: Vec<KeptOpen>,
    /// Rules that a fault applies late.
    late: Vec<JoinHandle<io::Result<()>>>,
    /// The enforcer's knowledge of the cluster.
    follower: Follower,
    view: EnforcerState,
    /// Enforcers that would have a fault.
    variants: Vec<Variant>,
}

/// First number for links. The lower ones are the loopback device and the uplink.
const FIRST_LINK: u32 = 10;

/// Delay of the fault that delivers packets late.
const DELIVERED_LATE: Duration = Duration::from_secs(5);

impl Lab {
    /// Creates a lab that is not started yet. With `fault`, it enforces wrongly.
    ///
    /// # Errors
    /// If this machine lacks something that a lab needs.
    pub fn new(fault: Option<Fault>) -> Result<Self, Error> {
        Ok(Self {
            nft: Nft::find()?,
            fault,
            token: random::token().map_err(|error| no_random_numbers(&error))?,
            addresses: Addresses::default(),
            fabric: None,
            nodes: Vec::new(),
            pods: HashMap::new(),
            agents: HashMap::new(),
            processes: HashMap::new(),
            canaries: Vec::new(),
            reached: HashSet::new(),
            changes: 0,
            next_link: FIRST_LINK,
            detours: Vec::new(),
            late: Vec::new(),
            follower: Follower::new(fault.map(Fault::deviation)),
            view: EnforcerState::default(),
            variants: Vec::new(),
        })
    }

    /// Opens the detours on every node, if the lab has the fault that delivers denied packets late.
    async fn open_detours(&mut self) -> Result<(), Error> {
        if self.fault.and_then(Fault::datapath) != Some(DatapathFault::DeliversLate) {
            return Ok(());
        }
        let detour = Detour { per_mille: 1000, delay: DELIVERED_LATE };
        for node in &self.nodes {
            let kept_open = detour.keep_open(&node.space.netns).await;
            self.detours.push(kept_open.map_err(|error| Error::failed("deliver packets late", error))?);
        }
        Ok(())
    }

    /// Sends the names of the cluster to the DNS server.
    async fn set_records(&self, world: &World) -> Result<(), Error> {
        let Some(dns) = &world.dns else { return Ok(()) };
        match self.agents.get(&dns.pod_name()) {
            Some(agent) => agent.set_records(records(&world.cluster)).await,
            // The DNS server is yet to start, or the scenario removed it.
            None => Ok(()),
        }
    }
}

impl Backend for Lab {
    async fn deploy(&mut self, world: &World) -> Result<Deployed, Error> {
        check_externals(world)?;
        let World { cluster, externals, .. } = world;
        let deployed = usable(self.addresses.deploy(world));
        let fabric = self.start_nodes(&cluster.nodes).await?;
        let mut hosts = Vec::new();
        for External { name, addresses, .. } in externals {
            hosts.push(self.leaf(EndpointName::External(name.clone()), addresses.clone(), &fabric));
        }
        let outside = (!hosts.is_empty()).then_some(&fabric);
        hosts.extend(self.place_canaries(&cluster.nodes, outside));
        self.fabric = Some(fabric);
        for pod in &cluster.pods {
            hosts.extend(self.place(pod, &deployed)?);
        }
        self.build(hosts).await?;
        self.share_agents(&cluster.pods);
        self.open_detours().await?;
        let mut world = world.clone();
        world.complete(&deployed);
        self.set_records(&world).await?;
        self.enforce(&world).await?;
        self.reach_twins(&world).await;
        Ok(deployed)
    }

    fn is_reached(&self, twin: &EndpointName, family: IpFamily) -> bool {
        self.reached.contains(&(twin.clone(), family))
    }

    async fn apply(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        let mut hosts = Vec::new();
        let deployed = usable(self.addresses.apply(actions, world));
        for change in actions.iter().filter_map(Action::pod_change) {
            match change {
                PodChange::Removed(identity) => self.remove_pod(identity).await?,
                PodChange::Ended(identity) => self.end_pod(identity).await?,
                PodChange::Added(added) => {
                    if let Some(pod) = world.pod(&added.namespace, &added.name) {
                        hosts.extend(self.place(pod, &deployed)?);
                    }
                }
            }
        }
        let mut world = world.clone();
        world.complete(&deployed);
        let world = &world;
        // Enforce before new pods exist. They must be isolated from their first packet on, and are probed
        // from their agent's first answer on.
        self.enforce(world).await?;
        let dns = world.dns.as_ref().map(|dns| dns.pod_name());
        let is_new = hosts.iter().any(|host| Some(&host.name) == dns.as_ref());
        self.set_records(world).await?;
        self.build(hosts).await?;
        self.isolate_late();
        self.share_agents(&world.cluster.pods);
        if is_new {
            self.set_records(world).await?;
        }
        Ok(deployed)
    }

    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.agents.get(endpoint).cloned()
    }

    fn canaries(&self) -> Vec<Canary> {
        self.started_canaries()
    }

    fn sentinels(&self) -> Sentinels {
        let on_nodes = self.started_canaries().into_iter().filter(|canary| !canary.place.is_outside());
        // Of each node, the first canary sends and the second one is the sentinel.
        let second = on_nodes.skip(1).step_by(2);
        Sentinels::after(self.changes, second.collect(), SENTINEL_PORT)
    }

    /// Ends the agents, which are the last holders of most network namespaces.
    async fn stop(self) {}
}

/// Leaves out the addresses of families that the kernel does not have.
fn usable(mut deployed: Deployed) -> Deployed {
    deployed.addresses.values_mut().for_each(|addresses| addresses.retain(network::is_usable));
    deployed
}

fn check_externals(world: &World) -> Result<(), Error> {
    for external in &world.externals {
        for address in &external.addresses {
            if let Some(range) = address::cluster_ranges().into_iter().find(|range| range.contains(address)) {
                return Err(Error::Unavailable(format!(
                    "external `{}`: the lab uses {range} for itself: give it an address such as 203.0.113.10 instead of {address}",
                    external.name
                )));
            }
        }
    }
    Ok(())
}
