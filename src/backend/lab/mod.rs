//! The lab: nodes and pods as network namespaces, policies enforced by the kernel, and an agent in
//! every pod. Needs no cluster, no root and no image.

mod address;
mod build;
mod enforce;
mod fault;
mod netns;
mod network;
mod nft;
mod paper;
mod process;
mod sandbox;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::backend::records::records;
use crate::backend::{Agent, Backend, Error, Single, Variants};
use crate::policy::{Cluster, Node, Pod};
use crate::scenario::{Action, EndpointName, State};
use crate::snapshot::Identity;

use address::Addresses;
use build::{Host, Started};
pub use fault::{Description, Fault, Hole, Lapse, Miscompiling, Misordering, Misreading};
use fault::{Follower, View};
use network::{Role, Space};
use nft::{Nft, Program};
pub use paper::Paper;
use process::Process;
pub use process::run_agent;
pub use sandbox::{Entered, enter};

/// A lab: one cluster, which ends with this value.
#[derive(Debug)]
pub struct Lab {
    nft: Nft,
    fault: Option<Fault>,
    token: String,
    addresses: Addresses,
    /// What nodes and external addresses hang on: held, because it ends with its last holder.
    fabric: Option<Space>,
    /// By position in the cluster's list of nodes.
    nodes: Vec<NodeSpace>,
    /// The pods in the pod network.
    pods: HashMap<Identity, PodSpace>,
    /// The agents by endpoint. A node's agent serves all pods that use its network.
    agents: HashMap<EndpointName, Arc<Agent>>,
    processes: HashMap<EndpointName, Process>,
    next_link: u32,
    /// Rules that a fault makes late.
    late: Vec<JoinHandle<io::Result<()>>>,
    /// What the enforcer knows of the cluster.
    follower: Follower,
    view: View,
    /// The same for enforcers that would be at fault.
    variants: Vec<Variant>,
}

/// An enforcer that would be at fault.
#[derive(Debug)]
struct Variant {
    fault: Fault,
    follower: Follower,
    view: View,
}

#[derive(Debug)]
struct NodeSpace {
    space: Space,
    /// How often the node's rules have been replaced.
    generation: u64,
    /// The rules in force, as those of the first generation.
    rules: Program,
}

#[derive(Debug)]
struct PodSpace {
    node: usize,
    link: u32,
    addresses: Vec<IpAddr>,
}

/// How late the rules are that a fault makes late.
const LATE: Duration = Duration::from_secs(1);

/// The first number of a link; the lower ones are the loopback device and the uplink.
const FIRST_LINK: u32 = 10;

impl Lab {
    /// A lab that has not been started, which enforces wrongly if it is told to.
    ///
    /// # Errors
    /// If this machine lacks something that a lab needs.
    pub fn new(fault: Option<Fault>) -> Result<Self, Error> {
        Ok(Self {
            nft: Nft::find()?,
            fault,
            token: format!("{:032x}", fastrand::u128(..)),
            addresses: Addresses::default(),
            fabric: None,
            nodes: Vec::new(),
            pods: HashMap::new(),
            agents: HashMap::new(),
            processes: HashMap::new(),
            next_link: FIRST_LINK,
            late: Vec::new(),
            follower: Follower::new(fault),
            view: View::default(),
            variants: Vec::new(),
        })
    }

    /// A lab that enforces as it should, and can be told at any time to enforce with one of these
    /// faults.
    ///
    /// # Errors
    /// If this machine lacks something that a lab needs.
    pub fn with_variants(faults: impl IntoIterator<Item = Fault>) -> Result<Self, Error> {
        let variant = |fault| Variant { fault, follower: Follower::new(Some(fault)), view: View::default() };
        Ok(Self { variants: faults.into_iter().map(variant).collect(), ..Self::new(None)? })
    }

    fn take_link(&mut self) -> u32 {
        self.next_link += 1;
        self.next_link - 1
    }

    /// Makes the nodes. Gives what they, and the external addresses, hang on.
    async fn start_nodes(&mut self, nodes: &mut [Node]) -> Result<Space, Error> {
        // What fails here fails for every scenario.
        let fabric = build::router(Vec::new(), Vec::new())
            .await
            .map_err(|error| Error::Unavailable(format!("this machine cannot run the lab: {error}")))?;
        let mut hosts = Vec::new();
        for (i, node) in nodes.iter_mut().enumerate() {
            let number = node_number(i);
            node.addresses = address::node(number);
            hosts.push(Host {
                name: EndpointName::Node(node.name.clone()),
                role: Role::Router,
                addresses: node.addresses.clone(),
                subnets: address::pods_of_node(number),
                parent: fabric.clone(),
                link: self.take_link(),
            });
        }
        for (node, space) in nodes.iter_mut().zip(self.build(hosts).await?) {
            // Without those of a family that the machine does not have.
            node.addresses.clone_from(&space.addresses);
            self.nodes.push(NodeSpace { space, generation: 0, rules: Program::default() });
        }
        Ok(fabric)
    }

    /// Gives a pod its addresses, and says what has to be made for it: nothing for a pod that uses
    /// its node's network.
    fn place(&mut self, pod: &mut Pod, nodes: &[Node]) -> Result<Option<Host>, Error> {
        let identity = Identity { namespace: pod.namespace.clone(), name: pod.name.clone() };
        let failed = |message: &str| Error::failed(format!("place pod {identity}"), message);
        let node = nodes.iter().position(|node| Some(&node.name) == pod.node.as_ref());
        let node = node.ok_or_else(|| failed("its node is not there"))?;
        if pod.host_network {
            pod.addresses = nodes.get(node).map(|node| node.addresses.clone()).unwrap_or_default();
            return Ok(None);
        }
        let room = format!("a node of the lab has room for {} pods", address::PODS_PER_NODE);
        let addresses = self.addresses.take_pod(node_number(node)).ok_or_else(|| failed(&room))?;
        let parent =
            self.nodes.get(node).ok_or_else(|| failed("its node has not been started"))?.space.clone();
        let link = self.take_link();
        pod.addresses = network::usable(addresses.clone());
        self.pods.insert(identity, PodSpace { node, link, addresses: addresses.clone() });
        let name = EndpointName::pod(&pod.namespace, &pod.name);
        Ok(Some(Host { name, role: Role::Host, addresses, subnets: Vec::new(), parent, link }))
    }

    /// Makes hosts and starts an agent in each.
    async fn build(&mut self, hosts: Vec<Host>) -> Result<Vec<Space>, Error> {
        let mut spaces = Vec::new();
        for Started { name, space, process, stream } in build::hosts(hosts, &self.token).await? {
            let failed = |error: io::Error| Error::failed(format!("reach the agent of {name}"), error);
            let stream = tokio::net::TcpStream::from_std(stream).map_err(failed)?;
            let way = Box::new(Single::new(stream));
            let agent = Agent::connect(name.to_string(), self.token.clone(), way).await?;
            self.agents.insert(name.clone(), Arc::new(agent));
            self.processes.insert(name, process);
            spaces.push(space);
        }
        Ok(spaces)
    }

    /// Lets the pods that use their node's network be served by its agent.
    fn share_agents(&mut self, pods: &[Pod]) {
        for pod in pods.iter().filter(|pod| pod.host_network) {
            let node = EndpointName::Node(pod.node.clone().unwrap_or_default());
            if let Some(agent) = self.agents.get(&node).cloned() {
                self.agents.insert(EndpointName::pod(&pod.namespace, &pod.name), agent);
            }
        }
    }

    /// Lets a pod's agent end by itself, and takes its network away: its addresses are free.
    async fn end_pod(&mut self, identity: &Identity) -> Result<(), Error> {
        let name = EndpointName::pod(&identity.namespace, &identity.name);
        if let Some(agent) = self.agents.get(&name).filter(|_| self.pods.contains_key(identity)) {
            agent.stop().await;
        }
        self.remove_pod(identity).await
    }

    async fn remove_pod(&mut self, identity: &Identity) -> Result<(), Error> {
        if let Some(PodSpace { node, link, addresses }) = self.pods.remove(identity) {
            self.addresses.free_pod(&addresses);
            // Before its agent ends: the namespace goes with it, and takes the link away at a moment
            // of its own.
            if let Some(parent) = self.nodes.get(node) {
                build::detach(parent.space.clone(), link).await?;
            }
        }
        let name = EndpointName::pod(&identity.namespace, &identity.name);
        self.agents.remove(&name);
        self.processes.remove(&name);
        Ok(())
    }

    /// Lets the enforcer look at a state, and puts the rules of every node into force.
    async fn enforce(&mut self, state: &State) -> Result<(), Error> {
        self.view = self.follower.see(state);
        for variant in &mut self.variants {
            variant.view = variant.follower.see(state);
        }
        let rules = self.rules(&self.view, self.fault);
        self.replace_rules(rules).await
    }

    /// The rules of every node, as those of the first generation.
    fn rules(&self, view: &View, fault: Option<Fault>) -> Vec<Program> {
        let last = self.nodes.len().saturating_sub(1);
        let nodes = self.view.cluster.nodes.iter().enumerate();
        let rules = |(i, node): (usize, &Node)| {
            let view = view.frozen.as_deref().filter(|_| i == last).unwrap_or(view);
            enforce::program(view, node, fault)
        };
        nodes.map(rules).collect()
    }

    /// Puts rules into force where there are others.
    async fn replace_rules(&mut self, rules: Vec<Program>) -> Result<(), Error> {
        let late = std::mem::take(&mut self.late);
        finished(late).await?;
        finished(self.replace_rules_after(rules, Duration::ZERO)).await
    }

    /// Lets the pods that came with a step be isolated late, if that is the fault.
    fn isolate_late(&mut self) {
        if self.fault == Some(Fault::Following(Lapse::NewPodsOpen)) && !self.view.unguarded.is_empty() {
            self.view.unguarded.clear();
            let rules = self.rules(&self.view, self.fault);
            self.late = self.replace_rules_after(rules, LATE);
        }
    }

    fn replace_rules_after(
        &mut self,
        rules: Vec<Program>,
        delay: Duration,
    ) -> Vec<JoinHandle<io::Result<()>>> {
        let mut running = Vec::new();
        for (node, rules) in self.nodes.iter_mut().zip(rules).filter(|(node, rules)| node.rules != *rules) {
            node.generation += 1;
            node.rules = rules;
            let (nft, netns, generation) = (self.nft.clone(), node.space.netns.clone(), node.generation);
            let rules = node.rules.clone();
            running.push(tokio::spawn(async move {
                sleep(delay).await;
                nft.run(&netns, &rules, generation).await
            }));
        }
        running
    }

    fn variant(&self, fault: Fault) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.fault == fault)
    }

    /// Tells the DNS server the names of the cluster.
    async fn set_records(&self, state: &State) -> Result<(), Error> {
        let Some(dns) = &state.dns else { return Ok(()) };
        match self.agents.get(&EndpointName::pod(&dns.pod.namespace, &dns.pod.name)) {
            Some(agent) => agent.set_records(records(&state.cluster)).await,
            // The scenario removed it.
            None => Ok(()),
        }
    }
}

impl Backend for Lab {
    async fn start(&mut self, state: &mut State) -> Result<(), Error> {
        check_externals(state)?;
        let State { cluster, externals, .. } = state;
        for service in &mut cluster.services {
            service.addresses = network::usable(self.addresses.take_service());
        }
        let fabric = self.start_nodes(&mut cluster.nodes).await?;
        let externals = externals.iter().map(|external| Host {
            name: EndpointName::External(external.name.clone()),
            role: Role::Host,
            addresses: external.addresses.clone(),
            subnets: Vec::new(),
            parent: fabric.clone(),
            link: self.take_link(),
        });
        let mut hosts: Vec<Host> = externals.collect();
        self.fabric = Some(fabric);
        for pod in &mut cluster.pods {
            hosts.extend(self.place(pod, &cluster.nodes)?);
        }
        self.build(hosts).await?;
        self.share_agents(&cluster.pods);
        self.set_records(state).await?;
        self.enforce(state).await
    }

    async fn apply(&mut self, actions: &[Action], state: &mut State) -> Result<(), Error> {
        let mut hosts = Vec::new();
        for action in actions {
            match action {
                Action::RemovePod(identity) => self.remove_pod(identity).await?,
                Action::EndPod(identity) => self.end_pod(identity).await?,
                Action::AddPod(pod) => {
                    let Cluster { pods, nodes, .. } = &mut state.cluster;
                    let added = pods.iter_mut().find(|p| p.namespace == pod.namespace && p.name == pod.name);
                    if let Some(pod) = added {
                        hosts.extend(self.place(pod, nodes)?);
                    }
                }
                Action::SetService(_)
                | Action::SetPolicy(_)
                | Action::DeletePolicy(_)
                | Action::SetClusterPolicy(_)
                | Action::DeleteClusterPolicy(_)
                | Action::DeleteService(_)
                | Action::LabelPod { .. }
                | Action::LabelNamespace { .. } => {}
            }
        }
        for service in state.cluster.services.iter_mut().filter(|service| service.addresses.is_empty()) {
            service.addresses = network::usable(self.addresses.take_service());
        }
        // Before new pods are there: they are isolated from their first packet on, and probed from their
        // agent's first answer on.
        self.enforce(state).await?;
        let dns = state.dns.as_ref().map(|dns| EndpointName::pod(&dns.pod.namespace, &dns.pod.name));
        let is_new = hosts.iter().any(|host| Some(&host.name) == dns.as_ref());
        if !is_new {
            self.set_records(state).await?;
        }
        self.build(hosts).await?;
        self.isolate_late();
        self.share_agents(&state.cluster.pods);
        if is_new { self.set_records(state).await } else { Ok(()) }
    }

    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.agents.get(endpoint).cloned()
    }

    /// Ends the agents, and with them the last holders of most namespaces.
    async fn stop(self) {}
}

impl Variants for Lab {
    type Variant = Fault;

    fn differing(&self, faults: &[Fault]) -> Vec<Fault> {
        let right = self.rules(&self.view, self.fault);
        let differs = |fault: &Fault| {
            self.variant(*fault).is_some_and(|variant| {
                // Equal rules are made of equal views, unless the fault is in making them.
                let is_plain = matches!(fault, Fault::Reading(_) | Fault::Following(_));
                let is_known = is_plain && variant.view.is_same(&self.view);
                !is_known && self.rules(&variant.view, Some(*fault)) != right
            })
        };
        faults.iter().copied().filter(differs).collect()
    }

    async fn vary(&mut self, fault: Option<Fault>) -> Result<(), Error> {
        let varied = fault.and_then(|fault| self.variant(fault));
        let rules = match varied {
            Some(variant) => self.rules(&variant.view, fault),
            None => self.rules(&self.view, self.fault),
        };
        self.replace_rules(rules).await
    }
}

/// Waits until rules are in force.
async fn finished(rules: Vec<JoinHandle<io::Result<()>>>) -> Result<(), Error> {
    for node in rules {
        let result = node.await.map_err(io::Error::other).and_then(|result| result);
        result.map_err(|error| Error::failed("enforce the policies", error))?;
    }
    Ok(())
}

/// The number of a node, counted from 1; scenarios have at most 64.
fn node_number(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

fn check_externals(state: &State) -> Result<(), Error> {
    for external in &state.externals {
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
