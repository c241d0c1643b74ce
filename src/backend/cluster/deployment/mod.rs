//! A topology on the cluster, brought from whatever it is to whatever it should be.

mod namespaces;
mod pods;
mod policies;
mod services;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::try_join;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams};
use tokio::sync::OwnedMutexGuard;

use super::Shared;
use super::names::Names;
use super::pods::PodState;
use super::request::{failed, persistently, unless_missing};
use crate::backend::records::{Records, records};
use crate::backend::{Agent, Error};
use crate::policy::{ClusterPolicyName, Labels, Pod, Service};
use crate::scenario::{DnsServer, EndpointName, State};
use crate::snapshot::Identity;
use crate::snapshot::cluster_policy::ClusterPolicyObject;

use pods::{ENDING, is_same_pod};

/// A topology on the cluster.
pub(super) struct Deployment {
    shared: Arc<Shared>,
    names: Names,
    /// The nodes of the cluster that stand for those of the scenario, in turn.
    group: Vec<String>,
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<Identity, Pod>,
    services: BTreeMap<Identity, Service>,
    policies: BTreeMap<Identity, Arc<NetworkPolicy>>,
    /// Those that are there or were asked for.
    cluster_policies: BTreeMap<ClusterPolicyName, Option<Arc<ClusterPolicyObject>>>,
    /// Held while it has the BaselineAdminNetworkPolicy.
    baseline: Option<OwnedMutexGuard<()>>,
    agents: HashMap<EndpointName, Arc<Agent>>,
    /// Its ports speak DNS and nothing else.
    dns: Option<DnsServer>,
    /// What the DNS server knows.
    records: Option<(Arc<Agent>, Records)>,
}

impl Deployment {
    pub(super) fn new(shared: Arc<Shared>, names: Names, group: Vec<String>) -> Self {
        Self {
            shared,
            names,
            group,
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            services: BTreeMap::new(),
            policies: BTreeMap::new(),
            cluster_policies: BTreeMap::new(),
            baseline: None,
            agents: HashMap::new(),
            dns: None,
            records: None,
        }
    }

    pub(super) fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.agents.get(endpoint).cloned()
    }

    /// Whether all of its pods still run as they did.
    pub(super) fn is_whole(&self) -> bool {
        self.pods.iter().filter(|(_, pod)| !pod.ended).all(|(identity, pod)| {
            self.shared.watch.state(&self.real(identity)) == Some(PodState::Ready(pod.addresses.clone()))
        })
    }

    /// The real names of its namespaces.
    pub(super) fn namespaces(&self) -> Vec<String> {
        self.namespaces.keys().map(|name| self.names.namespace(name)).collect()
    }

    /// How many of its pods a state has, too.
    pub(super) fn kept(&self, state: &State) -> usize {
        self.pods.keys().filter(|identity| self.can_stay(identity, state)).count()
    }

    /// Whether one of its pods can be one of the state's.
    fn can_stay(&self, identity: &Identity, state: &State) -> bool {
        // What listens for DNS does not listen for anything else, nor the other way round.
        let servers = [&self.dns, &state.dns];
        let speaks_dns = servers.iter().any(|dns| dns.as_ref().is_some_and(|dns| dns.pod == *identity));
        let old = self.pods.get(identity).filter(|_| !speaks_dns || self.dns == state.dns);
        old.is_some_and(|old| state.cluster.pods.iter().any(|new| is_same_pod(old, new)))
    }

    /// Makes the cluster what a state says, and fills in what only the cluster knows.
    pub(super) async fn converge(&mut self, state: &mut State) -> Result<(), Error> {
        self.complete(state);
        self.set_namespaces(state).await?;
        let is_surplus = |identity: &&Identity| !self.can_stay(identity, state);
        let surplus = self.pods.keys().filter(is_surplus).cloned();
        let is_in_the_way =
            |identity: &Identity| state.cluster.pods.iter().any(|pod| Identity::of_pod(pod) == *identity);
        let (in_the_way, others): (Vec<_>, Vec<_>) = surplus.partition(is_in_the_way);
        self.remove_pods(&in_the_way).await?;
        let leaving = self.delete_pods(&others).await?;
        self.dns.clone_from(&state.dns);
        // Before the pods: they start in a cluster that has its policies.
        let (policies, services) =
            try_join(self.set_policies(state), try_join(self.set_services(state), self.relabel_pods(state)))
                .await?;
        self.policies = policies;
        let obstacle = self.set_cluster_policies(state).await?;
        self.services = services.0;
        for (identity, labels) in services.1 {
            if let Some(pod) = self.pods.get_mut(&identity) {
                pod.labels = labels;
            }
        }
        self.add_pods(state).await?;
        self.shared.watch.gone(&leaving, ENDING).await?;
        self.fill_in(state);
        if let Some(why) = obstacle {
            let pods = state.cluster.pods.iter();
            let pods = pods.map(|pod| (EndpointName::pod(&pod.namespace, &pod.name), why.clone()));
            state.absent.extend(pods);
        }
        self.set_records(state).await
    }

    /// Adds the labels that the cluster's own objects have besides the scenario's, and says what
    /// cannot be had here.
    fn complete(&self, state: &mut State) {
        for namespace in &mut state.cluster.namespaces {
            namespace.labels = self.shared.maker.labels(&namespace.labels, true);
        }
        for pod in &mut state.cluster.pods {
            pod.labels = self.shared.maker.labels(&pod.labels, false);
        }
        for (node, machine) in state.cluster.nodes.iter_mut().zip(self.group.iter().cycle()) {
            let known = self.shared.survey.machines.iter().find(|known| known.name == *machine);
            node.addresses = known.map(|known| known.addresses.clone()).unwrap_or_default();
            state.machines.insert(node.name.clone(), machine.clone());
        }
        let externals = state.externals.iter().map(|external| {
            let why = "a run on a cluster has no agent outside of it";
            (EndpointName::External(external.name.clone()), why.to_owned())
        });
        let why = "a run on a cluster opens no ports on its nodes";
        let nodes = state.cluster.nodes.iter().map(|node| EndpointName::Node(node.name.clone()));
        let host_pods = state.cluster.pods.iter().filter(|pod| pod.host_network);
        let host_pods = host_pods.map(|pod| EndpointName::pod(&pod.namespace, &pod.name));
        let on_nodes = nodes.chain(host_pods).map(|endpoint| (endpoint, why.to_owned()));
        state.absent = externals.chain(on_nodes).collect();
    }

    /// Fills the addresses in.
    fn fill_in(&self, state: &mut State) {
        let cluster = &mut state.cluster;
        for pod in &mut cluster.pods {
            if pod.host_network {
                let node = cluster.nodes.iter().find(|node| Some(&node.name) == pod.node.as_ref());
                pod.addresses = node.map(|node| node.addresses.clone()).unwrap_or_default();
            } else if let Some(live) = self.pods.get(&Identity::of_pod(pod)) {
                pod.addresses.clone_from(&live.addresses);
            }
        }
        for service in &mut cluster.services {
            if let Some(live) = self.services.get(&Identity::of_service(service)) {
                service.addresses.clone_from(&live.addresses);
            }
        }
    }

    async fn set_records(&mut self, state: &State) -> Result<(), Error> {
        let dns = state.dns.as_ref();
        let agent = dns.and_then(|dns| self.agent(&EndpointName::pod(&dns.pod.namespace, &dns.pod.name)));
        let Some(agent) = agent else { return Ok(()) };
        let records = records(&state.cluster);
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

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.shared.client.clone(), &self.names.namespace(namespace))
    }

    async fn delete<K>(&self, identity: &Identity) -> Result<(), Error>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api(&identity.namespace);
        let deleted = persistently(async || api.delete(&identity.name, &DeleteParams::default()).await).await;
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        unless_missing(deleted).map_err(failed(format!("delete {kind} {identity}")))
    }
}

/// A merge patch from labels to others.
fn label_patch(old: &Labels, new: &Labels) -> BTreeMap<String, Option<String>> {
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    removed.chain(new.iter().map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}
