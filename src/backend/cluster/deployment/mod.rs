//! A topology on the cluster, brought from whatever it is to whatever it should be.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::OwnedMutexGuard;
use tokio::time::sleep;

use super::Shared;
use super::channel::Channel;
use super::cluster_policies::{self, Made};
use super::names::Names;
use super::objects::RUN;
use super::pods::PodState;
use super::request::{
    apply, awaits_account, bounded, failed, is_there_already, persistently, unless_missing,
};
use crate::backend::records::{Records, records};
use crate::backend::{Agent, Error, ask_all};
use crate::policy::{ClusterPolicyKind, ClusterPolicyName, Labels, NAMESPACE_NAME_LABEL, Pod, Service};
use crate::scenario::{EndpointName, State};
use crate::snapshot::cluster_policy::ClusterPolicyObject;
use crate::snapshot::{Identity, WrittenClusterPolicy};

/// How long a pod may take to end.
const ENDING: Duration = Duration::from_secs(60);

/// How long a new namespace may be without its default service account.
const NEW_NAMESPACE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

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

    /// Makes the cluster what a state says, and fills in what only the cluster knows.
    pub(super) async fn converge(&mut self, state: &mut State) -> Result<(), Error> {
        self.complete(state);
        self.set_namespaces(state).await?;
        let surplus: Vec<Identity> = self
            .pods
            .iter()
            .filter(|(_, old)| state.cluster.pods.iter().all(|new| !is_same_pod(old, new)))
            .map(|(identity, _)| identity.clone())
            .collect();
        self.remove_pods(&surplus).await?;
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

    async fn set_namespaces(&mut self, state: &State) -> Result<(), Error> {
        let wanted = state.cluster.namespaces.iter().map(|namespace| {
            let mut labels = namespace.labels.clone();
            // The API server's own.
            labels.remove(NAMESPACE_NAME_LABEL);
            (namespace.name.clone(), labels)
        });
        let changed = wanted.filter(|(name, labels)| self.namespaces.get(name) != Some(labels));
        let changes = bounded(changed.map(async |(name, labels)| {
            self.set_namespace(&name, &labels).await?;
            Ok::<_, Error>((name, labels))
        }));
        let changes = changes.await?;
        self.namespaces.extend(changes);
        Ok(())
    }

    async fn set_namespace(&self, name: &str, labels: &Labels) -> Result<(), Error> {
        let namespaces: Api<core::Namespace> = Api::all(self.shared.client.clone());
        let real = self.names.namespace(name);
        if let Some(old) = self.namespaces.get(name) {
            let patch = json!({"metadata": {"labels": label_patch(old, labels)}});
            let patched = persistently(async || {
                namespaces.patch(&real, &PatchParams::default(), &Patch::Merge(&patch)).await
            });
            return patched.await.map(drop).map_err(failed(format!("label namespace {name}")));
        }
        let namespace = self.shared.maker.namespace(&real, labels.clone());
        let created =
            persistently(async || namespaces.create(&PostParams::default(), &namespace).await).await;
        match created {
            Ok(_) => {}
            Err(error) if is_there_already(&error) => {
                // An answer of ours may have been lost; one of somebody else is not touched.
                let found = persistently(async || namespaces.get(&real).await);
                let found = found.await.map_err(failed(format!("create namespace {real}")))?;
                if found.metadata.labels.unwrap_or_default().get(RUN) != Some(&self.shared.maker.run) {
                    let advice = "choose another beginning with --namespace-prefix";
                    return Err(Error::Unavailable(format!("namespace {real} is there already: {advice}")));
                }
            }
            Err(error) => return Err(failed(format!("create namespace {real}"))(error)),
        }
        if let Some(secret) = &self.shared.pull_secret {
            let secrets: Api<core::Secret> = Api::namespaced(self.shared.client.clone(), &real);
            let copy = self.shared.maker.pull_secret(secret, &real);
            let created = persistently(async || secrets.create(&PostParams::default(), &copy).await).await;
            match created {
                Err(error) if !is_there_already(&error) => {
                    return Err(failed(format!("copy the image pull secret to {real}"))(error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Gives what the policies are afterwards.
    async fn set_policies(&self, state: &State) -> Result<BTreeMap<Identity, Arc<NetworkPolicy>>, Error> {
        let wanted: BTreeMap<Identity, Arc<NetworkPolicy>> = state
            .written
            .iter()
            .map(|written| {
                let policy = &written.policy;
                (identity(&policy.namespace, &policy.name), Arc::clone(&written.object))
            })
            .collect();
        let changed = wanted.iter().filter(|(identity, object)| self.policies.get(identity) != Some(object));
        let set = bounded(changed.map(async |(identity, object)| {
            let Identity { namespace, name } = identity;
            let policy = self.shared.maker.policy(object, namespace, &self.names);
            let policies: Api<NetworkPolicy> = self.api(namespace);
            let applied =
                persistently(async || policies.patch(name, &apply(), &Patch::Apply(&policy)).await).await;
            applied.map(drop).map_err(failed(format!("apply NetworkPolicy {identity}")))
        }));
        let surplus = self.policies.keys().filter(|identity| !wanted.contains_key(identity));
        let deleted = bounded(surplus.map(|identity| self.delete::<NetworkPolicy>(identity)));
        try_join(set, deleted).await?;
        Ok(wanted)
    }

    /// Gives the reason why nothing can be measured, if not all of them can be there.
    async fn set_cluster_policies(&mut self, state: &State) -> Result<Option<String>, Error> {
        let support = &self.shared.survey.cluster_policies;
        let refused = |written: &WrittenClusterPolicy| {
            support.get(&written.policy.name.kind).and_then(|usable| usable.as_ref().err().cloned())
        };
        let refusal = state.written_for_cluster.iter().find_map(refused);
        let wanted: BTreeMap<_, _> = match refusal {
            Some(_) => BTreeMap::new(),
            None => state.written_for_cluster.iter().map(|w| (w.policy.name.clone(), w)).collect(),
        };
        let surplus: Vec<_> =
            self.cluster_policies.keys().filter(|name| !wanted.contains_key(name)).cloned().collect();
        self.delete_cluster_policies(surplus).await?;
        let shared = Arc::clone(&self.shared);
        for (name, written) in wanted {
            if self.cluster_policies.get(&name).is_some_and(|known| known.as_ref() == Some(&written.object)) {
                continue;
            }
            if name.kind == ClusterPolicyKind::BaselineAdminNetworkPolicy && self.baseline.is_none() {
                self.baseline = Some(Arc::clone(&shared.baseline).lock_owned().await);
            }
            let object = shared.maker.cluster_policy(written, &self.names, &self.namespaces())?;
            self.cluster_policies.insert(name.clone(), None);
            match cluster_policies::set(&shared.client, name.kind, &object, &shared.maker.run).await? {
                Made::Done => self.cluster_policies.insert(name, Some(Arc::clone(&written.object))),
                Made::SomebodyElses => {
                    let real = self.names.cluster_policy(&name);
                    let why = format!("the cluster has a {} {real} which is not this run's", name.kind);
                    return Ok(Some(why));
                }
            };
        }
        Ok(refusal)
    }

    /// Removes the policies that would stay without the namespaces.
    pub(super) async fn remove_cluster_policies(&mut self) -> Result<(), Error> {
        self.delete_cluster_policies(self.cluster_policies.keys().cloned().collect()).await
    }

    async fn delete_cluster_policies(&mut self, names: Vec<ClusterPolicyName>) -> Result<(), Error> {
        let Shared { client, maker, .. } = &*self.shared;
        for name in names {
            let real = self.names.cluster_policy(&name);
            cluster_policies::delete(client, name.kind, &real, &maker.run).await?;
            self.cluster_policies.remove(&name);
            if name.kind == ClusterPolicyKind::BaselineAdminNetworkPolicy {
                self.baseline = None;
            }
        }
        Ok(())
    }

    /// Gives what the Services are afterwards.
    async fn set_services(&self, state: &State) -> Result<BTreeMap<Identity, Service>, Error> {
        let wanted = bounded(state.cluster.services.iter().map(async |service| {
            let identity = identity(&service.namespace, &service.name);
            let old = self.services.get(&identity);
            let is_same = |old: &&Service| old.ports == service.ports && old.backends == service.backends;
            if let Some(old) = old.filter(is_same) {
                return Ok((identity, old.clone()));
            }
            let object = self.shared.maker.service(service, &self.names);
            let services: Api<core::Service> = self.api(&service.namespace);
            let applied =
                persistently(async || services.patch(&service.name, &apply(), &Patch::Apply(&object)).await);
            let applied = applied.await.map_err(failed(format!("apply Service {identity}")))?;
            Ok::<_, Error>((identity, Service { addresses: addresses(&applied), ..service.clone() }))
        }));
        let wanted: BTreeMap<Identity, Service> = wanted.await?.into_iter().collect();
        let surplus = self.services.keys().filter(|identity| !wanted.contains_key(identity));
        bounded(surplus.map(|identity| self.delete::<core::Service>(identity))).await?;
        Ok(wanted)
    }

    /// Gives the pods that have new labels.
    async fn relabel_pods(&self, state: &State) -> Result<Vec<(Identity, Labels)>, Error> {
        let changed = state.cluster.pods.iter().filter_map(|pod| {
            let identity = identity(&pod.namespace, &pod.name);
            let old = self.pods.get(&identity)?;
            (old.labels != pod.labels).then_some((identity, &old.labels, &pod.labels))
        });
        bounded(changed.map(async |(identity, old, new)| {
            let pods: Api<core::Pod> = self.api(&identity.namespace);
            let patch = json!({"metadata": {"labels": label_patch(old, new)}});
            let patched = persistently(async || {
                pods.patch(&identity.name, &PatchParams::default(), &Patch::Merge(&patch)).await
            });
            patched.await.map(drop).map_err(failed(format!("label pod {identity}")))?;
            Ok((identity, new.clone()))
        }))
        .await
    }

    /// Deletes pods, and waits until they are gone: another may take the name.
    pub(super) async fn remove_pods(&mut self, identities: &[Identity]) -> Result<(), Error> {
        if identities.is_empty() {
            return Ok(());
        }
        bounded(identities.iter().map(|identity| self.delete::<core::Pod>(identity))).await?;
        let real: Vec<Identity> = identities.iter().map(|identity| self.real(identity)).collect();
        self.shared.watch.gone(&real, ENDING).await?;
        for identity in identities {
            self.pods.remove(identity);
            self.agents.remove(&EndpointName::pod(&identity.namespace, &identity.name));
        }
        Ok(())
    }

    /// Lets pods end by themselves, and waits until the cluster knows that they succeeded.
    pub(super) async fn end_pods(&mut self, identities: &[Identity]) -> Result<(), Error> {
        let own: Vec<&Identity> = identities.iter().filter(|pod| self.pods.contains_key(pod)).collect();
        let agents: Vec<Arc<Agent>> = own
            .iter()
            .filter_map(|pod| self.agents.remove(&EndpointName::pod(&pod.namespace, &pod.name)))
            .collect();
        ask_all(agents.iter().map(|agent| agent.stop())).await;
        let real: Vec<Identity> = own.iter().map(|identity| self.real(identity)).collect();
        self.shared.watch.succeeded(&real, ENDING).await?;
        for identity in own {
            if let Some(pod) = self.pods.get_mut(identity) {
                pod.ended = true;
            }
        }
        Ok(())
    }

    /// Starts the pods that are not there, and connects to their agents.
    async fn add_pods(&mut self, state: &State) -> Result<(), Error> {
        let missing =
            state.cluster.pods.iter().filter(|pod| {
                !pod.host_network && !self.pods.contains_key(&identity(&pod.namespace, &pod.name))
            });
        let missing: Vec<&Pod> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        bounded(missing.iter().map(|pod| self.create_pod(state, pod))).await?;
        let identities: Vec<Identity> =
            missing.iter().map(|pod| identity(&pod.namespace, &pod.name)).collect();
        let real: Vec<Identity> = identities.iter().map(|identity| self.real(identity)).collect();
        let addresses = self.shared.watch.ready(&real, self.shared.maker.settings.pod_timeout).await?;
        let agents = ask_all(real.iter().map(|pod| self.connect(pod))).await;
        for ((pod, addresses), agent) in missing.iter().zip(addresses).zip(agents) {
            let agent = Arc::new(agent?);
            self.agents.insert(EndpointName::pod(&pod.namespace, &pod.name), agent);
            let started = Pod { addresses, ..(*pod).clone() };
            self.pods.insert(identity(&pod.namespace, &pod.name), started);
        }
        Ok(())
    }

    async fn create_pod(&self, state: &State, pod: &Pod) -> Result<(), Error> {
        let identity = identity(&pod.namespace, &pod.name);
        let machine = pod.node.as_ref().and_then(|node| state.machines.get(node));
        let Some(machine) = machine else {
            return Err(Error::failed(format!("place pod {identity}"), "its node is not there"));
        };
        let agent = self.real(&identity).to_string();
        let object = self.shared.maker.pod(pod, &agent, machine, &self.names);
        let pods: Api<core::Pod> = self.api(&pod.namespace);
        let start = Instant::now();
        loop {
            let created = persistently(async || pods.create(&PostParams::default(), &object).await).await;
            match created {
                Ok(_) => return Ok(()),
                // The answer to an earlier try was lost: the name is nobody else's.
                Err(error) if is_there_already(&error) => return Ok(()),
                Err(error) if awaits_account(&error) && start.elapsed() < NEW_NAMESPACE => sleep(PAUSE).await,
                Err(error) => return Err(failed(format!("create pod {identity}"))(error)),
            }
        }
    }

    async fn connect(&self, pod: &Identity) -> Result<Agent, Error> {
        let Shared { client, maker, watch, permits, .. } = &*self.shared;
        let channel = Channel {
            client: client.clone(),
            control: maker.settings.control,
            pod: pod.clone(),
            watch: watch.clone(),
            permits: Arc::clone(permits),
        };
        Agent::connect(pod.to_string(), maker.token.clone(), Box::new(channel)).await
    }

    /// Fills the addresses in.
    fn fill_in(&self, state: &mut State) {
        let cluster = &mut state.cluster;
        for pod in &mut cluster.pods {
            if pod.host_network {
                let node = cluster.nodes.iter().find(|node| Some(&node.name) == pod.node.as_ref());
                pod.addresses = node.map(|node| node.addresses.clone()).unwrap_or_default();
            } else if let Some(live) = self.pods.get(&identity(&pod.namespace, &pod.name)) {
                pod.addresses.clone_from(&live.addresses);
            }
        }
        for service in &mut cluster.services {
            if let Some(live) = self.services.get(&identity(&service.namespace, &service.name)) {
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

fn identity(namespace: &str, name: &str) -> Identity {
    Identity { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Whether a pod can stay, perhaps with other labels. None comes back after its end.
fn is_same_pod(old: &Pod, new: &Pod) -> bool {
    old.ended <= new.ended
        && old.namespace == new.namespace
        && old.name == new.name
        && old.ports == new.ports
        && old.node == new.node
        && old.host_network == new.host_network
}

/// A merge patch from labels to others.
fn label_patch(old: &Labels, new: &Labels) -> BTreeMap<String, Option<String>> {
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    removed.chain(new.iter().map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

fn addresses(service: &core::Service) -> Vec<IpAddr> {
    let spec = service.spec.as_ref();
    let texts = spec.and_then(|spec| spec.cluster_ips.as_ref()).into_iter().flatten();
    texts.filter_map(|text| text.parse().ok()).collect()
}
