//! Agents in the networks of nodes. They play nodes, and pods with `hostNetwork`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1 as core;
use tokio::sync::OwnedMutexGuard;

use super::deployment::Deployment;
use super::objects::{Maker, privileged};
use super::pods::RunningPod;
use super::purpose::NODES;
use super::shared::Shared;
use crate::backend::{Agent, Canary, Error, LostPod, Place};
use crate::policy::{Namespace, Node, Pod};
use crate::scenario::Scenario;
use crate::snapshot::Identity;
use crate::world::{Action, Capability, EndpointName, World};

/// The parts of nodes that a scenario uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Agents in the networks of its nodes.
    pub(super) agents: bool,
    /// Ports of all nodes of the cluster, for Services with node ports.
    pub(super) node_ports: bool,
}

impl Needs {
    /// Returns what a scenario needs if nodes may be used.
    pub(super) fn of(scenario: &Scenario) -> Self {
        let of_nodes = [Capability::NodeEndpoints, Capability::HostNetwork];
        let actions = scenario.steps.iter().flat_map(|step| &step.actions);
        let set = actions.filter_map(|action| {
            if let Action::SetService(written) = action { Some(&written.service) } else { None }
        });
        let mut services = set.chain(&scenario.world.cluster.services);
        Self {
            agents: of_nodes.into_iter().any(|capability| scenario.uses(capability)),
            node_ports: services.any(|service| service.ports.iter().any(|port| port.node_port.is_some())),
        }
    }
}

/// The agents in the networks of nodes. Each is used by one scenario at a time, because it has one log of arrivals, and
/// the ports of a node can be used once.
#[derive(Default)]
pub(super) struct NodeAgents {
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    node_ports: Arc<tokio::sync::Mutex<()>>,
    started: tokio::sync::Mutex<Option<Running>>,
}

struct Running {
    deployment: Deployment,
    world: World,
}

/// The right of one scenario to use some nodes.
pub(super) type Lease = Vec<OwnedMutexGuard<()>>;

/// The agents of some nodes.
#[derive(Default)]
pub(super) struct Started {
    /// The agents, by the names of their nodes.
    pub(super) agents: BTreeMap<String, Arc<Agent>>,
    /// Each of them, as the canary of its node's own network.
    pub(super) canaries: Vec<Canary>,
    /// The names and addresses of their pods on the cluster.
    pub(super) pods: Vec<RunningPod>,
    /// Pods that were lost while they started.
    pub(super) lost: Vec<LostPod>,
}

impl NodeAgents {
    /// Waits until no other scenario uses these nodes. The order is always the same. What is taken before is always taken
    /// before, and a scenario that has a lease never asks again, so scenarios never wait for each other in a circle.
    pub(super) async fn lease(&self, needs: Needs, nodes: &[String]) -> Lease {
        let mut lease = Lease::new();
        for turn in self.turns(needs, nodes) {
            lease.push(turn.lock_owned().await);
        }
        lease
    }

    /// Returns a lease of these nodes. `None` if another scenario uses one of them.
    pub(super) fn try_lease(&self, needs: Needs, nodes: &[String]) -> Option<Lease> {
        self.turns(needs, nodes).into_iter().map(|turn| turn.try_lock_owned().ok()).collect()
    }

    /// Returns the locks of these nodes, in the order in which they are taken.
    fn turns(&self, needs: Needs, nodes: &[String]) -> Vec<Arc<tokio::sync::Mutex<()>>> {
        if !needs.agents {
            return Vec::new();
        }
        // A panic while the lock was held left no partial change.
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<&String> = nodes.iter().collect();
        let of_nodes = names.into_iter().map(|node| Arc::clone(turns.entry(node.clone()).or_default()));
        of_nodes.chain(needs.node_ports.then(|| Arc::clone(&self.node_ports))).collect()
    }

    /// Returns the agents of these nodes. Starts the missing ones, and replaces those that are lost.
    pub(super) async fn on(&self, shared: &Arc<Shared>, nodes: &[String]) -> Result<Started, Error> {
        let mut started = self.started.lock().await;
        let Running { deployment, world } = started.get_or_insert_with(|| Running::new(shared));
        deployment.remove_lost().await?;
        let mut wanted = world.clone();
        for node in nodes {
            if !wanted.cluster.nodes.iter().any(|known| known.name == *node) {
                add(&mut wanted, node);
            }
        }
        let is_gone = |pod: &Pod| deployment.running_pod(&Identity::of_pod(pod)).is_none();
        if wanted.cluster.pods.iter().any(is_gone) {
            deployment.use_nodes(wanted.cluster.nodes.iter().map(|node| node.name.clone()).collect());
            let deployed = deployment.converge(&wanted).await?;
            wanted.complete(&deployed);
            *world = wanted;
        }
        let mut found = Started { lost: deployment.take_lost_at_start(), ..Started::default() };
        for pod in &world.cluster.pods {
            let Some(node) = pod.node.clone().filter(|node| nodes.contains(node)) else { continue };
            let name = Identity::of_pod(pod);
            let agent = deployment.agent(&EndpointName::of_pod(pod));
            let agent = agent.ok_or_else(|| Error::failed(format!("use pod {name}"), "it has no agent"))?;
            found.pods.extend(deployment.running_pod(&name));
            let (place, addresses) = (Place::Host(node.clone()), addresses(shared, &node, pod));
            found.canaries.push(Canary { place, agent: Arc::clone(&agent), addresses });
            found.agents.insert(node, agent);
        }
        Ok(found)
    }
}

/// Returns the addresses of a node. They are those of the agent's pod, unless the node reports others.
fn addresses(shared: &Shared, node: &str, pod: &Pod) -> Vec<IpAddr> {
    let known = shared.survey.nodes.iter().find(|known| known.name == node);
    known.map_or_else(|| pod.addresses.clone(), |known| known.addresses.clone())
}

impl Running {
    fn new(shared: &Arc<Shared>) -> Self {
        let mut world = World::default();
        world.cluster.namespaces = vec![Namespace::new(NODES, privileged())];
        Self { deployment: Deployment::of_nodes(Arc::clone(shared)), world }
    }
}

/// Adds a node with its agent. The state does not say that the pod uses the network of the node: it would be one of the
/// pods that the agent plays.
fn add(world: &mut World, node: &str) {
    let number = world.cluster.nodes.len() + 1;
    let (addresses, external_addresses) = (Vec::new(), Vec::new());
    world.cluster.nodes.push(Node { name: node.to_owned(), addresses, external_addresses });
    let (namespace, name) = (NODES.to_owned(), format!("node-{number}"));
    world.cluster.pods.push(Pod { namespace, name, node: Some(node.to_owned()), ..Pod::default() });
}

impl Maker {
    /// Lets a probe pod use the network of its node. Its agent opens ports below 1024 there.
    pub(super) fn make_node_agent(pod: &mut core::Pod) {
        use_host_network(pod);
        let Some(spec) = &mut pod.spec else { return };
        let security = spec.security_context.get_or_insert_default();
        // A capability is of no use to another user, and the node's sysctls are not the pod's.
        security.run_as_non_root = Some(false);
        (security.run_as_user, security.run_as_group) = (Some(0), Some(0));
        for container in &mut spec.containers {
            let capabilities =
                container.security_context.get_or_insert_default().capabilities.get_or_insert_default();
            capabilities.add = Some(vec!["NET_BIND_SERVICE".to_owned()]);
        }
    }

    /// Turns the object of a scenario's pod with `hostNetwork` into one that does nothing. The agent of the node sends and
    /// receives for it.
    pub(super) fn make_idle(pod: &mut core::Pod) {
        use_host_network(pod);
        for container in pod.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
            let arguments = container.args.get_or_insert_default();
            // The last one counts. The port of the agent of the node is in use.
            arguments.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        }
    }
}

fn use_host_network(pod: &mut core::Pod) {
    let Some(spec) = &mut pod.spec else { return };
    spec.host_network = Some(true);
    // The API server refuses those of the network.
    spec.security_context.get_or_insert_default().sysctls = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::agent_source::AgentSource;
    use crate::backend::cluster::mocked::{scenario, settings};

    /// A field with a wrong name would be ignored.
    #[test]
    fn pods_in_the_network_of_a_node_have_the_least_that_they_need() {
        let source = AgentSource::fake(&[("n", "amd64")]);
        let maker = Maker { run: "r".to_owned(), token: "t".to_owned(), settings: settings(), source };
        let pod = Pod { namespace: "x".to_owned(), name: "a".to_owned(), ..Pod::default() };
        let object = || maker.pod(&pod, &Identity::new("netproof-r-1-x", "a"), "n", "pause").unwrap();
        let (mut agent, mut idle) = (object(), object());
        Maker::make_node_agent(&mut agent);
        Maker::make_idle(&mut idle);
        let objects = serde_json::json!({"agent of a node": agent, "pod of a scenario": idle});
        insta::assert_snapshot!(serde_json::to_string_pretty(&objects).unwrap());
    }

    #[test]
    fn a_scenario_needs_nodes_that_it_names() {
        let needs = |fields: &str| Needs::of(&scenario(fields));
        let x = |rest: &str| format!("topology: {{namespaces: [{{name: x, pods: [{{name: a{rest}}}]}}]}}");
        let step = "\nsteps: [{name: s}]";
        assert_eq!(needs(&(x("") + step)), Needs::default());
        assert_eq!(needs(&(x(", hostNetwork: true") + step)), Needs { agents: true, node_ports: false });
        let added = "\nsteps: [{name: s, addPod: [{namespace: x, name: b, node: 1, hostNetwork: true}]}]";
        assert!(needs(&(x("") + added)).agents);
        let service = "\nsteps: [{name: s, apply: [{apiVersion: v1, kind: Service, metadata: {name: w, namespace: x}, \
            spec: {type: NodePort, selector: {a: b}, ports: [{port: 80, nodePort: 30080}]}}]}]";
        assert!(needs(&(x("") + service)).node_ports);
    }

    #[tokio::test]
    async fn one_scenario_at_a_time_uses_a_node() {
        let agents = NodeAgents::default();
        let needs = Needs { agents: true, node_ports: false };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(agents.lease(Needs::default(), &names(&["a"])).await.is_empty());
        let first = agents.lease(needs, &names(&["b", "a", "b"])).await;
        assert_eq!(first.len(), 2);
        let other = agents.lease(Needs { node_ports: true, ..needs }, &names(&["c"])).await;
        assert_eq!(other.len(), 2);
        let wait = std::time::Duration::from_millis(50);
        let waits =
            async || tokio::time::timeout(wait, agents.lease(needs, &names(&["c", "a"]))).await.is_err();
        assert!(waits().await);
        drop((first, other));
        assert!(!waits().await);
    }
}
