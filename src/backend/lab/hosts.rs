//! Creation and removal of the lab's nodes and pods, and their addresses.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::build::{self, Host, Started};
use super::network::{Role, Space};
use super::nft::Program;
use super::{Lab, address};
use crate::backend::{Agent, Error, Single};
use crate::policy::{Node, Pod};
use crate::snapshot::Identity;
use crate::world::{Deployed, EndpointName};

#[derive(Debug)]
pub(super) struct NodeSpace {
    pub(super) name: String,
    pub(super) space: Space,
    /// The open port of its sentinels.
    pub(super) open: u16,
    /// Number of times that the node's rules were replaced.
    pub(super) generation: u64,
    /// The rules in force, with a placeholder for the generation in the table's name.
    pub(super) rules: Program,
}

/// The link of a pod to its node.
#[derive(Debug)]
pub(super) struct PodLink {
    node: Space,
    number: u32,
}

impl Lab {
    fn take_link(&mut self) -> u32 {
        self.next_link += 1;
        self.next_link - 1
    }

    /// Returns a host to create that does not route.
    pub(super) fn leaf(&mut self, name: EndpointName, addresses: Vec<IpAddr>, parent: &Space) -> Host {
        let (parent, link) = (parent.clone(), self.take_link());
        Host { name, role: Role::Host, addresses, subnets: Vec::new(), parent, link }
    }

    /// Creates the nodes. Returns the fabric, to which nodes and external addresses are linked.
    pub(super) async fn start_nodes(&mut self, nodes: &[Node]) -> Result<Space, Error> {
        // An error here would occur for every scenario.
        let fabric = build::router(Vec::new(), Vec::new())
            .await
            .map_err(|error| Error::Unavailable(format!("this machine cannot run the lab: {error}")))?;
        let mut hosts = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            hosts.push(Host {
                name: EndpointName::Node(node.name.clone()),
                role: Role::Router,
                addresses: address::node(i),
                subnets: address::pods_of_node(i),
                parent: fabric.clone(),
                link: self.take_link(),
            });
        }
        for (node, space) in nodes.iter().zip(self.build(hosts).await?) {
            let (name, rules) = (node.name.clone(), Program::default());
            self.nodes.push(NodeSpace { name, space, open: 0, generation: 0, rules });
        }
        Ok(fabric)
    }

    /// Returns the host to create for a pod, or `None` if the pod uses its node's network.
    pub(super) fn place(&mut self, pod: &Pod, deployed: &Deployed) -> Result<Option<Host>, Error> {
        let (identity, name) = (Identity::of_pod(pod), EndpointName::of_pod(pod));
        let failed = |message: &str| Error::failed(format!("place pod {identity}"), message);
        let mut nodes = self.nodes.iter();
        let node = nodes.find(|node| Some(&node.name) == pod.node.as_ref());
        let node = node.ok_or_else(|| failed("its node is not there"))?.space.clone();
        if pod.host_network {
            return Ok(None);
        }
        let addresses = deployed.addresses.get(&name).filter(|addresses| !addresses.is_empty());
        let room = format!("a node of the lab has room for {} pods", address::PODS_PER_NODE);
        let addresses = addresses.ok_or_else(|| failed(&room))?.clone();
        let host = self.leaf(name, addresses, &node);
        self.pods.insert(identity, PodLink { node, number: host.link });
        Ok(Some(host))
    }

    /// Creates hosts and starts an agent in each. Returns their network namespaces.
    #[tracing::instrument(name = "build_hosts", level = "debug", skip_all)]
    pub(super) async fn build(&mut self, hosts: Vec<Host>) -> Result<Vec<Space>, Error> {
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

    /// Lets the agent of a node serve the pods that use the node's network.
    pub(super) fn share_agents(&mut self, pods: &[Pod]) {
        for pod in pods.iter().filter(|pod| pod.host_network) {
            let node = EndpointName::Node(pod.node.clone().unwrap_or_default());
            if let Some(agent) = self.agents.get(&node).cloned() {
                self.agents.insert(EndpointName::of_pod(pod), agent);
            }
        }
    }

    /// Lets a pod's agent end by itself, and removes the pod's network, so that its addresses are free.
    pub(super) async fn end_pod(&mut self, identity: &Identity) -> Result<(), Error> {
        let name = EndpointName::of_identity(identity);
        if let Some(agent) = self.agents.get(&name).filter(|_| self.pods.contains_key(identity)) {
            agent.stop().await;
        }
        self.remove_pod(identity).await
    }

    pub(super) async fn remove_pod(&mut self, identity: &Identity) -> Result<(), Error> {
        if let Some(PodLink { node, number }) = self.pods.remove(identity) {
            // Remove the link before the agent ends. The network namespace ends with the agent, and the
            // kernel would then remove the link at an unknown time.
            build::detach(node, number).await?;
        }
        let name = EndpointName::of_identity(identity);
        self.agents.remove(&name);
        self.processes.remove(&name);
        Ok(())
    }
}
