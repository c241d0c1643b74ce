//! A check of a live cluster: probe pods beside the workloads that are there.
//!
//! The probe pods are twins: each has the labels of running pods that policies read, on the same node. A check changes no
//! object of others. In each namespace of a tenant, it creates one ConfigMap, which owns everything else there.
//!
//! A check may also use the networks of running pods. Then it has helpers, in a namespace of its own.

mod amount;
mod bystanders;
mod entered;
mod helper_pod;
mod helpers;
mod intact;
mod limits;
mod objects;
pub(super) mod owners;
mod preflight;
mod quota;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{join, try_join, try_join3};
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tokio::time::sleep;

use super::canaries::Canaries;
use super::deployment::Deployment;
use super::objects::RUN;
use super::pods::{ENDING, RunningPod};
use super::purpose::Purpose;
use super::request::{bounded, failed, persistently};
use super::settings::Settings;
use super::shared::Shared;
use super::{access, cleanup, connect, survey};
use crate::backend::{Agent, Backend, Canary, Error, LostPod, Sentinels};
use crate::policy::{IpFamily, Labels, Pod};
use crate::snapshot::{Identity, Unmodelled};
use crate::world::{Action, Deployed, EndpointName, World};
pub(super) use helper_pod::Entry;
use helpers::Helpers;
pub(super) use helpers::LEVEL;
use intact::Recorded;
pub(super) use objects::{NEVER, OWNER};
pub(super) use owners::Owners;

/// A check of a live cluster.
pub struct Live {
    shared: Arc<Shared>,
    name: String,
    version: String,
    /// The only namespaces that the check may use. Empty if it may use all.
    scope: Vec<String>,
    /// The objects of others when the check began.
    recorded: Recorded,
    canary_pods: Canaries,
    canaries: Vec<Canary>,
    /// Names and addresses of the canaries' pods on the cluster.
    running_canaries: Vec<RunningPod>,
    /// Canaries that were lost while they started.
    lost_at_start: Vec<LostPod>,
    deployment: Deployment,
    helpers: Helpers,
    /// Namespaces in which an owner may exist.
    used: BTreeSet<String>,
    /// Labels of the twins on the cluster, by their names in the state.
    labels: BTreeMap<Identity, Labels>,
    warnings: Vec<String>,
    /// The twins that can be created, and the running pods whose networks can be entered.
    checked: BTreeSet<Identity>,
    /// Whether there may be pods that no deployment knows, because a start failed or did not finish.
    is_broken: bool,
}

/// A pod to add.
#[derive(Debug, Clone)]
struct Twin<'a> {
    /// Its name in the state.
    pod: Identity,
    /// The labels that it will have.
    labels: Labels,
    /// The node on which it runs.
    node: &'a str,
    /// The pod of the state. `None` only in tests.
    world: Option<&'a Pod>,
}

impl Live {
    /// Connects to a cluster, checks the rights that every check needs, and records the objects that decide about packets.
    /// Creates nothing. Call it before the state of the cluster is read, so that no later change is missed.
    ///
    /// `namespaces` are the only ones that the check may use, besides that of the canaries. If none are named, it may use all,
    /// and needs the right to list objects in all.
    ///
    /// # Errors
    /// If the cluster cannot be reached or lacks something that a check needs.
    #[tracing::instrument(name = "open_live_cluster", level = "debug", skip_all)]
    pub async fn open(settings: Settings, namespaces: &[String]) -> Result<Self, Error> {
        let connected = connect::connect(&settings.target).await?;
        let client = connected.client;
        access::check_live(&client, &settings, namespaces).await?;
        let survey = survey::survey(&client).await?;
        let usable = survey.nodes.iter().filter(|node| node.is_ready && node.obstacle.is_none());
        let usable: Vec<String> = usable.map(|node| node.name.clone()).collect();
        let recorded = Recorded::read(&client, namespaces).await?;
        let purpose = Purpose::Check { namespaces };
        let shared = Shared::open(client, settings, survey, &usable, purpose).await?;
        let (name, version) = (connected.name, connected.version);
        Ok(Self::new(Arc::new(shared), name, version, namespaces.to_vec(), recorded))
    }

    fn new(
        shared: Arc<Shared>,
        name: String,
        version: String,
        scope: Vec<String>,
        recorded: Recorded,
    ) -> Self {
        Self {
            deployment: Deployment::of_twins(Arc::clone(&shared)),
            helpers: Helpers::new(Arc::clone(&shared)),
            shared,
            name,
            version,
            scope,
            recorded,
            canary_pods: Canaries::without_sentinels(),
            canaries: Vec::new(),
            running_canaries: Vec::new(),
            lost_at_start: Vec::new(),
            used: BTreeSet::new(),
            labels: BTreeMap::new(),
            warnings: Vec::new(),
            checked: BTreeSet::new(),
            is_broken: false,
        }
    }

    /// Returns a check on a cluster of which nothing was recorded.
    #[cfg(test)]
    pub(super) fn of(shared: Shared, scope: Vec<String>) -> Self {
        Self::new(Arc::new(shared), String::new(), String::new(), scope, Recorded::default())
    }

    /// Returns the cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the run's id. Everything that the check creates has it as the label `netproof.dev/run`.
    pub fn run(&self) -> &str {
        &self.shared.maker.run
    }

    /// Returns facts about the cluster for reports, as pairs of a name and a value.
    pub fn facts(&self) -> Vec<(String, String)> {
        let plugin = self.shared.plugin().to_owned();
        let facts = [("server", self.version.clone()), ("network plugin", plugin)];
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the name of the built-in profile for the cluster's network plugin. `None` if the plugin is not
    /// recognized, or has no profile.
    pub fn profile(&self) -> Option<&'static str> {
        self.shared.survey.plugin?.profile
    }

    /// Returns all nodes of the cluster with the versions of their kubelets.
    pub fn nodes(&self) -> BTreeMap<String, String> {
        self.shared.nodes()
    }

    /// Returns why no probe pod can run on a node. `None` if one can.
    pub fn obstacle(&self, node: &str) -> Option<String> {
        preflight::obstacle(&self.shared, node)
    }

    /// Returns warnings about objects that the verdicts do not take into account, and about what the check does to objects of
    /// others while it runs. The latter are known after the first [`deploy`](Backend::deploy).
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.shared.survey.foreign.warnings.iter().chain(&self.warnings).map(String::as_str)
    }

    /// Returns the kinds of which the cluster has objects, or may have objects, that the policy engine does
    /// not model.
    pub fn unmodelled(&self) -> &[Unmodelled] {
        &self.shared.survey.foreign.unmodelled
    }

    /// Returns the command that removes everything that the check created.
    pub fn cleanup_command(&self) -> String {
        // A cleanup to which namespaces are named looks in no others.
        let is_prepared = self.shared.prepared.is_some();
        let tenants: Vec<String> = match self.scope.as_slice() {
            [] if is_prepared => self.used.iter().cloned().collect(),
            scope => scope.to_vec(),
        };
        let command = self.shared.cleanup_command(&tenants);
        match tenants.as_slice() {
            // The namespace of the canaries has a name of its own.
            [_, ..] if !is_prepared => format!("{command} && {}", self.shared.cleanup_command(&[])),
            _ => command,
        }
    }

    /// Returns the permissions that the check needs, as rules in YAML: those of a ClusterRole, and those of a Role in each
    /// namespace that gets probe pods.
    pub fn rights(&self) -> [String; 2] {
        access::rights_of_check(&self.shared.maker.settings, self.scope.is_empty())
    }

    /// Returns whether the check may have created something.
    pub fn was_used(&self) -> bool {
        self.shared.deployments.load(Ordering::Relaxed) > 0
    }

    /// Returns whether everything that the check created stays.
    pub fn is_kept(&self) -> bool {
        self.shared.maker.settings.keep
    }

    /// Checks that the twins and helpers of a state can be created, and that they would disturb no workload. Creates nothing.
    ///
    /// # Errors
    /// If something is in the way. The message lists everything that was found.
    pub async fn preflight(&mut self, world: &World) -> Result<(), Error> {
        let mut new = twins(&self.shared, world)?;
        // Those that exist would count twice.
        new.retain(|twin| !self.checked.contains(&twin.pod));
        if !new.is_empty() {
            self.warnings.extend(preflight::check(&self.shared, &new).await?);
            self.checked.extend(new.into_iter().map(|twin| twin.pod));
        }
        if world.entered.iter().any(|pod| !self.checked.contains(pod)) {
            self.warnings.extend(helpers::check(&self.shared, world).await?);
            self.checked.extend(world.entered.iter().cloned());
        }
        Ok(())
    }

    /// Starts the twins and helpers of a state, and the canaries on their nodes.
    async fn start(&mut self, world: &World) -> Result<(), Error> {
        let state = &only_twins(world);
        let pods = &state.cluster.pods;
        let entered = world.entered.iter().filter_map(|pod| world.pod(&pod.namespace, &pod.name));
        let nodes: BTreeSet<String> = pods.iter().chain(entered).filter_map(|pod| pod.node.clone()).collect();
        let nodes: Vec<String> = nodes.into_iter().collect();
        let namespaces: BTreeSet<String> = pods.iter().map(|pod| pod.namespace.clone()).collect();
        // Before the requests, so that the end deletes what an interrupted request creates.
        self.used.extend(namespaces);
        self.shared.deployments.store(1, Ordering::Relaxed);
        let Self { shared, deployment, helpers, used, canary_pods, .. } = self;
        let twins = async {
            let owners =
                owners::create(&shared.client, &shared.maker, used.iter().map(String::as_str)).await?;
            deployment.start_twins(state, &owners).await
        };
        let ((), (), started) =
            try_join3(twins, helpers.start(world), canary_pods.on(shared, &nodes)).await?;
        self.canaries = started.canaries;
        self.running_canaries = started.pods;
        self.lost_at_start.extend(started.lost);
        self.labels = self.read_twins().await?;
        Ok(())
    }

    /// Reads the twins back from the cluster. Returns their labels, by their names in the state.
    async fn read_twins(&self) -> Result<BTreeMap<Identity, Labels>, Error> {
        let Shared { client, maker, .. } = &*self.shared;
        let selected = ListParams::default().labels(&format!("{RUN}={}", maker.run));
        let lists = bounded(self.used.iter().map(async |namespace| {
            let pods: Api<core::Pod> = Api::namespaced(client.clone(), namespace);
            let listed = persistently(async || pods.list(&selected).await).await;
            Ok::<_, Error>(listed.map_err(failed(format!("list the pods of {namespace}")))?.items)
        }));
        let found: BTreeMap<Identity, core::Pod> = lists
            .await?
            .into_iter()
            .flatten()
            .map(|pod| (Identity::new(&pod.namespace().unwrap_or_default(), &pod.name_any()), pod))
            .collect();
        let mut labels = BTreeMap::new();
        for (twin, real) in self.deployment.real_names() {
            // A pod that was deleted in the meantime is lost, and is reported as such.
            let Some(pod) = found.get(&real) else { continue };
            if let Some(altered) = intact::altered(pod, &maker.owner_name()) {
                let why = format!(
                    "{altered}: exempt pods with the label app.kubernetes.io/managed-by=netproof from what did it"
                );
                return Err(Error::failed(format!("use the probe pod {twin}"), why));
            }
            labels.insert(twin, pod.labels().clone());
        }
        Ok(labels)
    }

    /// Returns what is known of the twins and nodes of a state.
    fn deployed(&self, world: &World) -> Deployed {
        let mut deployed = Deployed::default();
        for node in &world.cluster.nodes {
            deployed.assigned_nodes.insert(node.name.clone(), node.name.clone());
        }
        for (twin, labels) in &self.labels {
            let name = EndpointName::of_identity(twin);
            deployed.pod_labels.insert(name.clone(), labels.clone());
            if let Some((_, addresses)) = self.deployment.running_pod(twin) {
                deployed.addresses.insert(name, addresses);
            }
        }
        self.helpers.add_to(&mut deployed);
        deployed
    }

    /// Returns the pods that no longer run, of those that the check depends on.
    fn lost(&self) -> Vec<LostPod> {
        let mut lost = self.shared.lost_among(self.running_pods());
        lost.extend(self.helpers.lost());
        lost
    }

    /// Returns the twins and the pods of the canaries.
    fn running_pods(&self) -> impl Iterator<Item = RunningPod> {
        self.deployment.running_pods().chain(self.running_canaries.iter().cloned())
    }

    /// Describes what is no longer as it was when the check began, or when its pods started.
    async fn changes(&self, world: &World) -> Result<Vec<String>, Error> {
        let Shared { client, .. } = &*self.shared;
        let (now, labels) = try_join(Recorded::read(client, &self.scope), self.read_twins()).await?;
        let mut changes = self.recorded.differences(&now, world);
        changes.extend(self.helpers.changes(world).await?);
        let relabelled =
            labels.iter().filter(|(twin, labels)| self.labels.get(*twin).is_some_and(|own| own != *labels));
        changes
            .extend(relabelled.map(|(twin, _)| format!("the labels of the probe pod {twin} were changed")));
        let services = bounded(self.used.iter().map(|it| preflight::list::<core::Service>(client, it)));
        let services = services.await?.concat();
        changes.extend(bystanders::publishing(&services, &twins(&self.shared, world)?));
        Ok(changes)
    }

    /// Removes everything that the check created, unless the settings say to keep it.
    ///
    /// # Errors
    /// If something remains. The message says how to remove it.
    #[tracing::instrument(name = "remove_check", level = "debug", skip_all)]
    pub async fn finish(self) -> Result<(), Error> {
        let Shared { client, maker, prepared, .. } = &*self.shared;
        let was_started = self.was_used();
        if self.is_kept() || !was_started {
            return Ok(());
        }
        let canaries = async {
            match prepared {
                Some(prepared) => prepared.remove_run(client, &maker.run, was_started).await,
                None => cleanup::remove_run(client, &maker.run, was_started).await,
            }
        };
        self.helpers.end_agents().await;
        let (twins, canaries) = join(self.remove_twins(), canaries).await;
        twins.and(canaries).map_err(|error| {
            Error::Unavailable(format!("{error}: remove the rest with: {}", self.cleanup_command()))
        })
    }

    async fn remove_twins(&self) -> Result<(), Error> {
        let Shared { client, maker, watch, .. } = &*self.shared;
        let owner = |namespace: &String| Identity::new(namespace, &maker.owner_name());
        let owners: Vec<Identity> = self.used.iter().map(owner).collect();
        owners::delete(client, &owners).await?;
        if self.is_broken {
            // A request that was sent before the check was interrupted may still be in transit. Kubernetes deletes a pod
            // whose owner does not exist.
            sleep(cleanup::ON_ITS_WAY).await;
            owners::delete(client, &owners).await?;
        }
        let ours = watch.existing().into_iter().filter(|pod| self.used.contains(&pod.namespace));
        watch.gone(&ours.collect::<Vec<_>>(), ENDING).await
    }
}

/// Returns the twins of a state.
fn twins<'a>(shared: &Shared, world: &'a World) -> Result<Vec<Twin<'a>>, Error> {
    let twins = world.twins.iter().map(|identity| {
        let missing = |what: &str| Error::failed(format!("add the probe pod {identity}"), what);
        let pod = world
            .pod(&identity.namespace, &identity.name)
            .ok_or_else(|| missing("the state has no such pod"))?;
        let node = pod.node.as_deref().ok_or_else(|| missing("its node is not known"))?;
        if pod.host_network {
            return Err(missing("a pod in the network of its node cannot be added"));
        }
        let labels = shared.maker.twin_labels(&pod.labels);
        Ok(Twin { pod: identity.clone(), labels, node, world: Some(pod) })
    });
    twins.collect()
}

/// Returns a state of which only the twins exist.
fn only_twins(world: &World) -> World {
    let mut state = World::default();
    let is_twin = |pod: &&Pod| world.twins.contains(&Identity::of_pod(pod));
    state.cluster.pods = world.cluster.pods.iter().filter(is_twin).cloned().collect();
    let nodes = state.cluster.pods.iter().filter_map(|pod| pod.node.clone());
    state.assigned_nodes = nodes.map(|node| (node.clone(), node)).collect();
    state
}

impl Backend for Live {
    async fn deploy(&mut self, world: &World) -> Result<Deployed, Error> {
        self.preflight(world).await?;
        if self.is_broken {
            try_join(self.deployment.remove_strays(), self.helpers.remove_strays()).await?;
        }
        self.is_broken = true;
        match self.start(world).await {
            Ok(()) => {
                self.shared.has_started.store(true, Ordering::Relaxed);
                self.is_broken = false;
                Ok(self.deployed(world))
            }
            Err(error) => Err(self.shared.judge(error)),
        }
    }

    async fn apply(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        match actions {
            [] => Ok(self.deployed(world)),
            _ => Err(Error::failed("change the state", "a check of a live cluster changes nothing")),
        }
    }

    async fn check_intact(&self, world: &World) -> Result<(), Error> {
        match self.changes(world).await?.as_slice() {
            [] => Ok(()),
            changes => {
                let message = format!("{}: repeat the check", changes.join("; "));
                Err(Error::failed("check one state of the cluster", message))
            }
        }
    }

    fn lost_pods(&mut self) -> Vec<LostPod> {
        let at_start = std::mem::take(&mut self.lost_at_start).into_iter();
        let now = self.lost();
        let helpers = self.helpers.take_lost_at_start();
        at_start.chain(self.deployment.take_lost_at_start()).chain(helpers).chain(now).collect()
    }

    fn has_lost_pod(&self) -> bool {
        !self.lost().is_empty()
    }

    /// The kubelet has reached a twin as soon as its startup probe has passed, and the twin has not started before that.
    /// The kubelet uses the pod's first address.
    fn is_reached(&self, twin: &EndpointName, family: IpFamily) -> bool {
        let identity = match twin {
            EndpointName::Pod { namespace, name } => Identity::new(namespace, name),
            EndpointName::Service { .. } | EndpointName::Node(_) | EndpointName::External(_) => return false,
        };
        if let Some(is_reached) = self.helpers.is_reached(&identity, family) {
            return is_reached;
        }
        let addresses = self.deployment.running_pod(&identity).map(|(_, addresses)| addresses);
        addresses.is_some_and(|own| own.first().is_some_and(|first| IpFamily::of(*first) == family))
    }

    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.deployment.agent(endpoint).or_else(|| self.helpers.agent(endpoint))
    }

    fn canaries(&self) -> Vec<Canary> {
        self.canaries.clone()
    }

    fn sentinels(&self) -> Sentinels {
        Sentinels::default()
    }

    /// Removes everything. [`finish`](Live::finish) also says what could not be removed.
    async fn stop(self) {
        if let Err(error) = self.finish().await {
            tracing::warn!("{error}");
        }
    }
}
