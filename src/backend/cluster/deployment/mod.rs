//! A topology on the cluster. It can be brought from any state to any other.

mod helpers;
mod images;
pub(super) mod intact;
mod namespaces;
mod on_nodes;
mod pods;
pub(super) mod policies;
mod reuse;
mod services;
mod twins;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::try_join;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::Api;
use tokio::sync::OwnedMutexGuard;

use super::live::{Entry, Owners};
use super::names::Names;
use super::nodes::without_own_nodes;
use super::outside::Role;
use super::pod_state::PodState;
use super::pods::{ENDING, RunningPod};
use super::prepared::Borrowed;
use super::request::{Namespaced, bounded, delete};
use super::shared::Shared;
use crate::backend::records::{Records, records};
use crate::backend::{Agent, Error, LostPod};
use crate::policy::{ClusterPolicyName, Labels, Pod, Service};
use crate::snapshot::Identity;
use crate::snapshot::cluster_policy::ClusterPolicyObject;
use crate::world::{Absence, Capability, Deployed, DnsServer, EndpointName, External, World};

/// A topology on the cluster.
pub(super) struct Deployment {
    shared: Arc<Shared>,
    names: Names,
    kind: Kind,
    /// The prepared namespaces in use. `None` if the run creates its own namespaces.
    borrowed: Option<Borrowed>,
    /// The cluster's nodes that stand for the logical nodes, in turn.
    group: Vec<String>,
    namespaces: BTreeMap<String, Labels>,
    /// Running pods by their names in the scenario.
    pods: BTreeMap<Identity, Running>,
    /// Names on the cluster of the pods that a step removed.
    previous_names: BTreeMap<Identity, Identity>,
    /// Names of the previous scenario's pods that may still be terminating.
    leaving: Vec<Identity>,
    /// Pods that were lost while they started, and that others have replaced.
    lost_at_start: Vec<LostPod>,
    services: BTreeMap<Identity, Service>,
    policies: BTreeMap<Identity, Arc<NetworkPolicy>>,
    /// Policies that exist or were requested. `None` until the API server has accepted the policy.
    cluster_policies: BTreeMap<ClusterPolicyName, Option<Arc<ClusterPolicyObject>>>,
    /// Held while the deployment has the BaselineAdminNetworkPolicy.
    baseline: Option<OwnedMutexGuard<()>>,
    agents: HashMap<EndpointName, Arc<Agent>>,
    /// The agents in the networks of the nodes in use, by the names of these nodes on the cluster. Empty if nothing on a
    /// node is measured.
    node_agents: BTreeMap<String, Arc<Agent>>,
    /// The externals, with the addresses that the scenario gives them.
    externals: Vec<External>,
    /// The DNS server. Its port answers only DNS.
    dns: Option<DnsServer>,
    /// The DNS server's agent, and the records that it has.
    records: Option<(Arc<Agent>, Records)>,
}

/// Kind of the pods of a deployment.
enum Kind {
    /// The pods of a scenario, or canaries.
    Plain,
    /// Agents in the networks of nodes.
    Nodes,
    /// Twins of running pods, in namespaces of tenants. All that is created in a namespace has an owner.
    Twins(Owners),
    /// Pods of no tenant. They are made as twins are, but their namespace is the run's, so everything goes with it.
    Strangers,
    /// Pods whose agents enter the networks of running pods, each with that pod.
    Helpers(BTreeMap<Identity, Entry>),
}

/// A running pod, and the scenario's pod that it currently is.
#[derive(Debug, Clone)]
struct Running {
    pod: Pod,
    /// Its name on the cluster, which never changes.
    real: Identity,
    /// Its name in the scenario, according to its annotation.
    annotated: Identity,
}

impl Deployment {
    pub(super) fn new(shared: Arc<Shared>, names: Names, group: Vec<String>) -> Self {
        Self {
            shared,
            names,
            kind: Kind::Plain,
            borrowed: None,
            group,
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            previous_names: BTreeMap::new(),
            leaving: Vec::new(),
            lost_at_start: Vec::new(),
            services: BTreeMap::new(),
            policies: BTreeMap::new(),
            cluster_policies: BTreeMap::new(),
            baseline: None,
            agents: HashMap::new(),
            node_agents: BTreeMap::new(),
            externals: Vec::new(),
            dns: None,
            records: None,
        }
    }

    /// Returns a deployment with namespaces of its own.
    pub(super) fn numbered(shared: &Arc<Shared>, group: Vec<String>) -> Self {
        let number = shared.deployments.fetch_add(1, Ordering::Relaxed) + 1;
        let names = Names::new(format!("{}-{number}", shared.prefix));
        Self::new(Arc::clone(shared), names, group)
    }

    /// Lets these nodes of the cluster stand for the logical nodes of the next state, in turn.
    pub(super) fn use_nodes(&mut self, group: Vec<String>) {
        self.group = group;
    }

    pub(super) fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.agents.get(endpoint).cloned()
    }

    /// Returns whether all pods that have not ended are still ready, with the same addresses.
    pub(super) fn is_whole(&self) -> bool {
        self.pods.values().filter(|running| !running.pod.ended).all(|Running { pod, real, .. }| {
            self.shared.watch.state(real) == Some(PodState::Ready(pod.addresses.clone()))
        })
    }

    /// Returns the pods that were lost while they started, since the last call.
    pub(super) fn take_lost_at_start(&mut self) -> Vec<LostPod> {
        std::mem::take(&mut self.lost_at_start)
    }

    /// Returns the name on the cluster and the addresses of a pod. `None` if it does not exist or a step ended it.
    pub(super) fn running_pod(&self, pod: &Identity) -> Option<RunningPod> {
        let Running { pod, real, .. } = self.pods.get(pod).filter(|running| !running.pod.ended)?;
        Some((real.clone(), pod.addresses.clone()))
    }

    /// Returns all pods that no step ended.
    pub(super) fn running_pods(&self) -> impl Iterator<Item = RunningPod> {
        self.pods.keys().filter_map(|pod| self.running_pod(pod))
    }

    /// Returns whether a pod runs no longer although no step ended it.
    fn is_lost(&self, pod: &Identity) -> bool {
        self.running_pod(pod)
            .is_some_and(|(real, addresses)| self.shared.watch.loss(&real, &addresses).is_some())
    }

    /// Deletes the pods that are lost, so that [`converge`](Self::converge) replaces them.
    pub(super) async fn remove_lost(&mut self) -> Result<(), Error> {
        let lost: Vec<Identity> = self.pods.keys().filter(|pod| self.is_lost(pod)).cloned().collect();
        self.remove_pods(&lost).await
    }

    /// Returns the names of its namespaces on the cluster.
    pub(super) fn namespaces(&self) -> Vec<String> {
        self.namespaces.keys().map(|name| self.names.namespace(name)).collect()
    }

    /// Brings the cluster to the initial state of a scenario, whatever was there before.
    pub(super) async fn start(&mut self, world: &World) -> Result<Deployed, Error> {
        self.hand_over(world).await?;
        self.externals.clone_from(&world.externals);
        let deployed = self.converge(world).await?;
        self.shared.watch.gone(&std::mem::take(&mut self.leaving), ENDING).await?;
        Ok(deployed)
    }

    /// Brings the cluster to a state. Pods of the state that do not exist are started.
    pub(super) async fn converge(&mut self, world: &World) -> Result<Deployed, Error> {
        let mut deployed = self.prepared(world);
        self.use_outside(world, &mut deployed);
        self.use_agents_of_nodes(&deployed);
        let mut completed = world.clone();
        completed.complete(&deployed);
        let world = &completed;
        self.set_namespaces(world).await?;
        let surplus = self.pods.keys().filter(|identity| !self.can_stay(identity, world)).cloned();
        self.remove_pods(&surplus.collect::<Vec<_>>()).await?;
        // Set policies before adding pods, so that new pods start in a cluster that already has its policies.
        let (policies, services) =
            try_join(self.set_policies(world), try_join(self.set_services(world), self.relabel_pods(world)))
                .await?;
        self.policies = policies;
        let obstacle = self.set_cluster_policies(world).await?;
        self.services = services.0;
        for (identity, labels) in services.1 {
            if let Some(running) = self.pods.get_mut(&identity) {
                running.pod.labels = labels;
                running.annotated = identity;
            }
        }
        self.add_pods(world).await?;
        deployed.addresses.extend(self.addresses(world));
        if let Some(absence) = obstacle {
            let pods = world.cluster.pods.iter();
            let pods = pods.map(|pod| (EndpointName::of_pod(pod), absence.clone()));
            deployed.absent.extend(pods);
        }
        completed.complete(&deployed);
        self.set_records(&completed).await?;
        Ok(deployed)
    }

    /// Returns what is known before the cluster has the state: the labels that netproof and the site add, the
    /// nodes and their addresses, and the endpoints that cannot exist here.
    fn prepared(&self, world: &World) -> Deployed {
        let (maker, mut deployed) = (&self.shared.maker, Deployed::default());
        for namespace in &world.cluster.namespaces {
            let mut labels = maker.namespace_labels(&namespace.labels);
            labels.extend(self.level_of(namespace, world));
            deployed.namespace_labels.insert(namespace.name.clone(), labels);
        }
        for pod in &world.cluster.pods {
            let name = EndpointName::of_pod(pod);
            deployed.pod_labels.insert(name, maker.pod_labels(&pod.labels));
        }
        for (logical, node) in world.cluster.nodes.iter().zip(self.group.iter().cycle()) {
            let known = self.shared.survey.nodes.iter().find(|known| known.name == *node);
            let addresses = known.map(|known| known.addresses.clone()).unwrap_or_default();
            deployed.addresses.insert(EndpointName::Node(logical.name.clone()), addresses);
            deployed.assigned_nodes.insert(logical.name.clone(), node.clone());
        }
        deployed.absent.extend(self.absent_on_nodes(world));
        deployed.absent.extend(without_own_nodes(&world.cluster, &self.group));
        deployed
    }

    /// Lets agents outside of the cluster play externals, and adds which of them do.
    fn use_outside(&mut self, world: &World, deployed: &mut Deployed) {
        // A step may bring a policy that tells the addresses of a stand-in from the external's own.
        let own = if self.externals.is_empty() { &world.externals } else { &self.externals };
        for (name, role) in self.shared.outside.roles(own, &world.cluster) {
            let endpoint = EndpointName::External(name.clone());
            match role {
                Role::Played { host, addresses } => {
                    deployed.addresses.insert(endpoint.clone(), addresses);
                    deployed.assigned_hosts.insert(name, host.name().to_owned());
                    self.agents.insert(endpoint, Arc::clone(host.agent()));
                }
                Role::Absent(why) => {
                    // Its agent may still get packets of an earlier state.
                    let own = own.iter().find(|external| external.name == name);
                    let addresses = own.map(|external| external.addresses.clone());
                    deployed.addresses.insert(endpoint.clone(), addresses.unwrap_or_default());
                    let capability = Capability::of_endpoint(&endpoint);
                    deployed.absent.insert(endpoint, Absence { capability, why });
                }
            }
        }
    }

    /// Returns the addresses of the state's pods and Services.
    fn addresses(&self, world: &World) -> Vec<(EndpointName, Vec<IpAddr>)> {
        let cluster = &world.cluster;
        let pods = cluster.pods.iter().filter_map(|pod| {
            let addresses = if pod.host_network {
                let node = cluster.nodes.iter().find(|node| Some(&node.name) == pod.node.as_ref());
                node.map(|node| node.addresses.clone()).unwrap_or_default()
            } else {
                self.pods.get(&Identity::of_pod(pod))?.pod.addresses.clone()
            };
            Some((EndpointName::of_pod(pod), addresses))
        });
        let services = cluster.services.iter().filter_map(|service| {
            let live = self.services.get(&Identity::of_service(service))?;
            Some((EndpointName::of_service(service), live.addresses.clone()))
        });
        pods.chain(services).collect()
    }

    #[tracing::instrument(level = "debug", skip_all)]
    async fn set_records(&mut self, world: &World) -> Result<(), Error> {
        let dns = world.dns.as_ref();
        let agent = dns.and_then(|dns| self.agent(&dns.pod_name()));
        let Some(agent) = agent else { return Ok(()) };
        let records = records(&world.cluster);
        let is_known = self
            .records
            .as_ref()
            .is_some_and(|(holder, known)| Arc::ptr_eq(holder, &agent) && *known == records);
        if !is_known {
            agent.set_records(records.clone()).await?;
            self.records = Some((agent, records));
        }
        Ok(())
    }

    fn real(&self, identity: &Identity) -> Identity {
        Identity { namespace: self.names.namespace(&identity.namespace), name: identity.name.clone() }
    }

    fn api<K: Namespaced>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.shared.client.clone(), &self.names.namespace(namespace))
    }

    /// Deletes objects, by their names in the scenario.
    async fn delete<K: Namespaced>(&self, objects: impl Iterator<Item = &Identity>) -> Result<(), Error> {
        let real = objects.map(|identity| self.real(identity));
        bounded(real.map(async |real| delete::<K>(&self.shared.client, &real).await)).await.map(drop)
    }
}

/// Returns the merge patch that turns old labels into new ones.
fn label_patch(old: &Labels, new: &Labels) -> BTreeMap<String, Option<String>> {
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    removed.chain(new.iter().map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::backend::cluster::Site;
    use crate::backend::cluster::mocked::{client, deployment_on_site, scenario, state_after, status};
    use crate::plan::{Router, cells};
    use crate::policy::{Decision, Engine};
    use crate::world::Action;

    /// Pod `b` and namespace `y` have the label themselves.
    const SCENARIO: &str = "
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b, labels: {owner: you}}]},
  {name: y, labels: {owner: you}, pods: [{name: c}]}]}
probes: [80/TCP]
steps:
- name: one
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec: {podSelector: {matchLabels: {owner: me}}, ingress: [{from: [{namespaceSelector: {matchLabels: {owner: me}}}]}]}
";

    /// Returns the requirement that all namespaces and pods have an owner.
    fn owner() -> Site {
        let labels = Labels::from([("owner".to_owned(), "me".to_owned())]);
        Site { namespace_labels: labels.clone(), pod_labels: labels, ..Site::default() }
    }

    /// Returns the state of the scenario as the engine sees it.
    fn completed(deployment: &Deployment) -> World {
        let mut world = state_after(SCENARIO, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        world.complete(&deployment.prepared(&world));
        world
    }

    fn denied(site: Site) -> Vec<String> {
        let deployment = deployment_on_site(client(|_, path| status(404, path)), site);
        let world = completed(&deployment);
        let engine = Engine::new(world.cluster.clone());
        let router = Router::new(&world, &engine);
        let is_denied = |cell: &crate::plan::Cell| {
            cell.evaluate(router.route(cell).as_ref(), &engine).decision == Decision::Deny
        };
        let cells = cells(&world, &scenario(SCENARIO).probes).into_iter().filter(is_denied);
        cells.map(|cell| cell.to_string()).collect()
    }

    #[tokio::test]
    async fn policies_select_the_labels_of_the_site() {
        assert_eq!(denied(Site::default()), [""; 0]);
        // The policy isolates `a`, and not `b`, which belongs to another owner, as namespace `y` does.
        assert_eq!(denied(owner()), ["y/c → x/a 80/TCP"]);
    }

    /// If a step removes its own value of a label, the object gets the site's value, and not none.
    #[tokio::test]
    async fn steps_do_not_remove_labels_of_the_site() {
        let patches = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&patches);
        let client = client(move |method, path| {
            if *method == Method::PATCH {
                log.lock().unwrap().push(path.to_owned());
            }
            (200, json!({"metadata": {"name": "x"}}))
        });
        let mut deployment = deployment_on_site(client, owner());
        let mut world = completed(&deployment);
        for namespace in &world.cluster.namespaces {
            let labels = namespace.labels.iter().filter(|(key, _)| *key != "kubernetes.io/metadata.name");
            let labels = labels.map(|(key, value)| (key.clone(), value.clone())).collect();
            deployment.namespaces.insert(namespace.name.clone(), labels);
        }
        for pod in &world.cluster.pods {
            let identity = Identity::of_pod(pod);
            let real = deployment.real(&identity);
            let running = Running { pod: pod.clone(), real, annotated: identity.clone() };
            deployment.pods.insert(identity, running);
        }
        let labels: BTreeMap<_, _> = [("owner".to_owned(), None)].into();
        for namespace in ["x", "y"] {
            let (namespace, labels) = (namespace.to_owned(), labels.clone());
            world.apply(&Action::LabelNamespace { namespace, labels }).unwrap();
        }
        for pod in ["a", "b"] {
            let (pod, labels) = (Identity::new("x", pod), labels.clone());
            world.apply(&Action::LabelPod { pod, labels }).unwrap();
        }
        world.complete(&deployment.prepared(&world));
        assert!(world.cluster.pods.iter().all(|pod| pod.labels["owner"] == "me"));
        assert!(world.cluster.namespaces.iter().all(|namespace| namespace.labels["owner"] == "me"));
        deployment.set_namespaces(&world).await.unwrap();
        deployment.relabel_pods(&world).await.unwrap();
        let namespaces = "/api/v1/namespaces";
        // The others have kept their labels.
        let expected =
            [format!("{namespaces}/netproof-r-1-y"), format!("{namespaces}/netproof-r-1-x/pods/b")];
        assert_eq!(*patches.lock().unwrap(), expected);
    }
}
