//! Nodes as endpoints, and pods with `hostNetwork`. The agent of a node plays both.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;

use super::{Deployment, Kind};
use crate::backend::cluster::objects::{POD_SECURITY, privileged};
use crate::backend::cluster::shared::Shared;
use crate::backend::{Agent, Error};
use crate::policy::{Labels, Namespace, Pod, Service};
use crate::snapshot::Identity;
use crate::world::{Absence, Capability, Deployed, EndpointName, World};

impl Deployment {
    /// Returns a deployment in the namespace of agents in the networks of nodes.
    pub(in crate::backend::cluster) fn of_nodes(shared: Arc<Shared>) -> Self {
        let names = shared.names_of_nodes();
        Self { kind: Kind::Nodes, ..Self::new(shared, names, Vec::new()) }
    }

    /// Lets these agents play nodes and pods with `hostNetwork`.
    pub(in crate::backend::cluster) fn use_node_agents(&mut self, agents: BTreeMap<String, Arc<Agent>>) {
        self.node_agents = agents;
    }

    /// Deletes what takes ports of nodes, before another scenario uses the nodes: pods with `hostNetwork`, and Services
    /// with node ports.
    pub(in crate::backend::cluster) async fn leave_nodes(&mut self) -> Result<(), Error> {
        let host_pods = self.pods.iter().filter(|(_, running)| running.pod.host_network);
        let host_pods: Vec<Identity> = host_pods.map(|(pod, _)| pod.clone()).collect();
        self.remove_pods(&host_pods).await?;
        let has_port = |service: &Service| service.ports.iter().any(|port| port.node_port.is_some());
        let services = self.services.iter().filter(|(_, service)| has_port(service));
        let services: Vec<Identity> = services.map(|(service, _)| service.clone()).collect();
        self.delete::<core::Service>(services.iter()).await?;
        self.services.retain(|service, _| !services.contains(service));
        self.node_agents.clear();
        Ok(())
    }

    /// Returns the node of the cluster that stands for a logical node and for no other one.
    fn own_node(&self, logical: &str, world: &World) -> Option<&str> {
        let mut placed = world.cluster.nodes.iter().zip(self.group.iter().cycle());
        let (_, own) = placed.clone().find(|(node, _)| node.name == logical)?;
        let is_shared = placed.any(|(node, real)| real == own && node.name != logical);
        (!is_shared).then_some(own)
    }

    /// Returns the agent of the node whose network a pod uses. `None` if it has its own network, or there is no agent.
    pub(super) fn node_agent(&self, pod: &Pod) -> Option<Arc<Agent>> {
        let node = pod.node.clone().filter(|_| pod.host_network)?;
        self.agents.get(&EndpointName::Node(node)).cloned()
    }

    /// Returns whether a pod can exist: it has a network of its own, or that of a node with an agent.
    pub(super) fn can_have(&self, pod: &Pod) -> bool {
        !pod.host_network || self.node_agent(pod).is_some()
    }

    /// Returns the label that a namespace needs for pods with `hostNetwork`. Empty without such pods.
    pub(super) fn level_of(&self, namespace: &Namespace, world: &World) -> Labels {
        let (key, _) = POD_SECURITY;
        let is_in = |pod: &Pod| pod.namespace == namespace.name && pod.host_network;
        let has_any = !self.node_agents.is_empty() && world.cluster.pods.iter().any(is_in);
        if has_any && !namespace.labels.contains_key(key) { privileged() } else { Labels::new() }
    }

    /// Returns the nodes, and the pods with `hostNetwork`, that cannot be measured.
    pub(super) fn absent_on_nodes(&self, world: &World) -> Vec<(EndpointName, Absence)> {
        let why = |logical: Option<&str>| match (self.node_agents.is_empty(), logical) {
            (true, _) => Some(
                "a run on a cluster opens no ports on its nodes, unless --host-network allows it".to_owned(),
            ),
            (false, Some(logical)) if self.own_node(logical, world).is_some() => None,
            (false, _) => {
                let (wanted, found) = (world.cluster.nodes.len(), self.node_agents.len());
                Some(format!(
                    "the scenario has {wanted} nodes, and the run {found}: one node would play several"
                ))
            }
        };
        let nodes = world
            .cluster
            .nodes
            .iter()
            .map(|node| (EndpointName::Node(node.name.clone()), Some(node.name.as_str())));
        let host_pods = world.cluster.pods.iter().filter(|pod| pod.host_network);
        let host_pods = host_pods.map(|pod| (EndpointName::of_pod(pod), pod.node.as_deref()));
        let absent = nodes.chain(host_pods).filter_map(|(endpoint, logical)| {
            let capability = Capability::of_endpoint(&endpoint);
            Some((endpoint, Absence { capability, why: why(logical)? }))
        });
        absent.collect()
    }

    /// Lets the agents of nodes send and receive for the logical nodes that are not absent.
    pub(super) fn use_agents_of_nodes(&mut self, deployed: &Deployed) {
        for (logical, node) in &deployed.assigned_nodes {
            let endpoint = EndpointName::Node(logical.clone());
            let agent = self.node_agents.get(node).filter(|_| !deployed.absent.contains_key(&endpoint));
            match agent.cloned() {
                Some(agent) => self.agents.insert(endpoint, agent),
                None => self.agents.remove(&endpoint),
            };
        }
    }
}
