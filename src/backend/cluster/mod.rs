//! Backend for any Kubernetes cluster. Probe pods run in the run's own namespaces or in prepared ones, and
//! are reached through the API server.
//!
//! The backend changes only objects that it created, and the labels and annotations of prepared namespaces.

mod access;
mod advice;
mod agent_source;
mod base_images;
mod canaries;
mod capacity;
mod channel;
mod cleanup;
mod cluster_policies;
mod conflicts;
mod connect;
mod deployment;
mod foreign;
mod leftovers;
mod live;
#[cfg(test)]
mod mocked;
mod names;
mod node_agents;
mod nodes;
mod objects;
mod outside;
mod places;
mod plugin;
mod pod_state;
mod pods;
mod prepared;
mod purpose;
mod read;
mod request;
mod schedule;
mod sentinels;
mod settings;
mod shared;
mod site;
mod survey;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::try_join;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, Patch};

use crate::backend::{Agent, Backend, Canary, Error, LostPod, Sentinels};
use crate::scenario::Scenario;
use crate::snapshot::{Identity, Unmodelled};
use crate::world::{Action, Deployed, EndpointName, PodChange, World};

pub use access::Rights;
use canaries::Canaries;
pub use connect::{Target, shell_word};
use deployment::Deployment;
pub use leftovers::{LeftRun, Leftovers};
pub use live::Live;
use node_agents::{Needs, NodeAgents};
use nodes::Wanted;
pub use objects::NO_SIDECARS;
pub(crate) use objects::{MANAGED_BY, RUN};
use outside::Lease;
pub use outside::agent_name;
pub use places::Places;
use pods::RunningPod;
use purpose::{NODES, Purpose};
pub use read::{LiveSnapshot, Scope, read_cluster};
use request::{apply, failed, persistently, say};
use schedule::{Group, Schedule, Turn};
use sentinels::Turns;
pub use settings::{Control, OutsideHost, PullPolicy, Resources, Settings};
use shared::Shared;
pub use site::{Site, TaintEffect, Toleration};

/// A cluster, in use by one run.
pub struct Cluster {
    shared: Arc<Shared>,
    scheduled: Arc<Scheduled>,
    name: String,
    version: String,
    /// Names of the nodes to use.
    nodes: Vec<String>,
}

/// The scenarios of a run, and the pods that they share.
#[derive(Default)]
struct Scheduled {
    schedule: Mutex<Schedule>,
    canaries: Canaries,
    sentinels: Turns,
    node_agents: NodeAgents,
}

impl Cluster {
    /// Connects to a cluster and checks that a run can succeed there. Creates nothing yet.
    ///
    /// # Errors
    /// If the cluster cannot be reached or lacks something that a run needs.
    #[tracing::instrument(name = "open_cluster", level = "debug", skip_all)]
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let connected = connect::connect(&settings.target).await?;
        let client = connected.client;
        access::check_run(&client, &settings).await?;
        let site = &settings.site;
        let mut survey = survey::survey(&client).await?;
        survey.foreign.warnings.extend(site.check_priority_class(&client).await?);
        let wanted = match settings.nodes.as_slice() {
            [] if settings.every_node => Wanted::Every,
            [] => Wanted::Usual,
            named => Wanted::Named(named),
        };
        let nodes = nodes::choose(&survey.nodes, wanted, site)?;
        let shared = Shared::open(client, settings, survey, &nodes, Purpose::Run).await?;
        let (name, version) = (connected.name, connected.version);
        Ok(Self { shared: Arc::new(shared), scheduled: Arc::default(), name, version, nodes })
    }

    /// Returns the cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns facts about the cluster for reports, as pairs of a name and a value.
    pub fn facts(&self) -> Vec<(String, String)> {
        let mut facts = vec![("server", self.version.clone())];
        facts.extend(self.shared.unfit_nodes().map(|nodes| ("nodes without probe pods", nodes)));
        facts.push(("network plugin", self.shared.plugin().to_owned()));
        facts.extend(self.shared.maker.settings.site.facts());
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

    /// Returns warnings about objects that the verdicts do not take into account.
    pub fn warnings(&self) -> &[String] {
        &self.shared.survey.foreign.warnings
    }

    /// Returns the kinds of which the cluster has objects, or may have objects, that the policy engine does
    /// not model.
    pub fn unmodelled(&self) -> &[Unmodelled] {
        &self.shared.survey.foreign.unmodelled
    }

    /// Accepts objects of these kinds (`Kind.group`) in the run's namespaces, no matter who creates them.
    /// Only the first call has an effect.
    pub fn accept(&self, kinds: impl IntoIterator<Item = String>) {
        self.shared.accepted.get_or_init(|| kinds.into_iter().collect());
    }

    /// Returns how many scenarios should run at the same time. Each has one or two dozen pods.
    pub fn parallel(&self) -> usize {
        capacity::parallel(self.shared.survey.nodes.iter().filter(|node| self.nodes.contains(&node.name)))
    }

    /// Returns the prefix of the names of the run's namespaces.
    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// Returns the command that removes everything that the run created.
    pub fn cleanup_command(&self) -> String {
        self.shared.cleanup_command(&[])
    }

    /// Returns whether the run may have created something.
    pub fn was_used(&self) -> bool {
        self.shared.deployments.load(Ordering::Relaxed) > 0
    }

    /// Returns whether everything that the run created stays.
    pub fn is_kept(&self) -> bool {
        self.shared.maker.settings.keep
    }

    /// Schedules scenarios. Returns each scenario as often as needed to cover all requested nodes.
    pub fn schedule(&self, scenarios: &[Scenario]) -> Vec<Scenario> {
        let settings = &self.shared.maker.settings;
        let all = settings.every_node || !settings.nodes.is_empty();
        let mut placed = Vec::new();
        let mut schedule = self.scheduled.schedule();
        for scenario in scenarios {
            // Without requested nodes, one group of nodes is enough.
            let groups = nodes::groups(&self.nodes, &nodes::have_pods(scenario), all);
            for group in &groups {
                schedule.add(Turn {
                    index: placed.len(),
                    group: group.clone(),
                    world: scenario.world.clone(),
                    needs: self.needs(scenario),
                });
                let mut scenario = scenario.clone();
                if groups.len() > 1 {
                    scenario.nodes.clone_from(group);
                }
                placed.push(scenario);
            }
        }
        placed
    }

    /// Returns the backends for the scenarios that [`schedule`](Self::schedule) returned, with the indices of
    /// the scenarios there. Each backend is for the scenario that can reuse most of its pods at that moment.
    pub fn backends(&self) -> impl Iterator<Item = (usize, Result<ClusterBackend, Error>)> + '_ {
        std::iter::from_fn(|| {
            let leases = |turn: &Turn| {
                let on_nodes = self.scheduled.node_agents.try_lease(turn.needs, &turn.group);
                self.shared.outside.try_lease(&turn.world).zip(on_nodes)
            };
            let (turn, deployment) = self.scheduled.schedule().next(|turn| leases(turn).is_some())?;
            // Taken now, so that the next one does not wait for it.
            let leases = leases(&turn);
            Some((
                turn.index,
                Ok(ClusterBackend { leases, ..self.backend(turn.group, deployment, turn.needs) }),
            ))
        })
    }

    /// Returns a backend for a scenario that was not scheduled, on as many nodes as the scenario has.
    pub fn backend_for(&self, scenario: &Scenario) -> ClusterBackend {
        let groups = nodes::groups(&self.nodes, &nodes::have_pods(scenario), false);
        self.backend(groups.into_iter().next().unwrap_or_default(), None, self.needs(scenario))
    }

    /// Returns what a scenario needs of nodes, if the user lets the run use them.
    fn needs(&self, scenario: &Scenario) -> Needs {
        if self.shared.maker.settings.host_network { Needs::of(scenario) } else { Needs::default() }
    }

    /// Waits until nothing of other scenarios is left, and returns a backend for a scenario that was scheduled before.
    ///
    /// # Errors
    /// If something is left.
    pub async fn alone(&self, scenario: &Scenario) -> Result<ClusterBackend, Error> {
        if self.is_kept() {
            return Err(Error::failed("run it alone", "--keep leaves the policies of the other scenarios"));
        }
        let Shared { client, prepared, .. } = &*self.shared;
        // Prepared namespaces are empty when they are given back.
        if prepared.is_none() {
            cluster_policies::delete_all(client, &self.shared.selector()).await?;
            let own = [self.shared.namespace_of_canaries(), self.shared.names_of_nodes().namespace(NODES)];
            let found = cleanup::list(client, &self.shared.selector()).await?;
            let others = found.iter().map(ResourceExt::name_any).filter(|name| !own.contains(name));
            cleanup::delete_and_wait(client, &others.collect::<Vec<_>>()).await?;
        }
        Ok(match scenario.nodes.as_slice() {
            [] => self.backend_for(scenario),
            nodes => self.backend(nodes.to_vec(), None, self.needs(scenario)),
        })
    }

    /// Returns a backend on an existing deployment, or on a new one.
    fn backend(&self, group: Group, deployment: Option<Deployment>, needs: Needs) -> ClusterBackend {
        let deployment = deployment.unwrap_or_else(|| Deployment::numbered(&self.shared, group.clone()));
        ClusterBackend {
            shared: Arc::clone(&self.shared),
            scheduled: Arc::clone(&self.scheduled),
            group,
            deployment,
            needs,
            leases: None,
            canaries: Vec::new(),
            sentinels: None,
            canary_pods: Vec::new(),
            lost_at_start: Vec::new(),
            is_broken: false,
        }
    }

    /// Checks that a ConfigMap can be read, and that it does not exist or is netproof's own.
    ///
    /// # Errors
    /// If it cannot be read, or belongs to someone else.
    pub async fn check_save(&self, identity: &Identity) -> Result<(), Error> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.shared.client.clone(), &identity.namespace);
        let found = persistently(async || config_maps.get_opt(&identity.name).await).await;
        let unusable = |why: String| Error::Unavailable(format!("--save-configmap {identity}: {why}"));
        let found = found.map_err(|error| unusable(say(&error)))?;
        let (key, value) = MANAGED_BY;
        let is_ours = |map: &ConfigMap| map.labels().get(key).is_some_and(|found| found == value);
        match found {
            Some(map) if !is_ours(&map) => {
                Err(unusable(format!("it is there, and not netproof's: it lacks the label {key}={value}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Writes a result to a ConfigMap that remains after the run.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn save(&self, identity: &Identity, entries: BTreeMap<String, String>) -> Result<(), Error> {
        let (key, value) = MANAGED_BY;
        let config_map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(identity.name.clone()),
                labels: Some([(key.to_owned(), value.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(entries),
            ..ConfigMap::default()
        };
        let config_maps: Api<ConfigMap> = Api::namespaced(self.shared.client.clone(), &identity.namespace);
        let saved = persistently(async || {
            config_maps.patch(&identity.name, &apply(), &Patch::Apply(&config_map)).await
        });
        saved.await.map(drop).map_err(failed(format!("write ConfigMap {identity}")))
    }

    /// Removes everything that the run created, unless the settings say to keep it.
    ///
    /// # Errors
    /// If something remains. The message says how to remove it.
    #[tracing::instrument(name = "remove_run", level = "debug", skip_all)]
    pub async fn finish(self) -> Result<(), Error> {
        if self.is_kept() {
            return Ok(());
        }
        let Shared { client, maker, prepared, .. } = &*self.shared;
        let was_started = self.was_used();
        let removed = match prepared {
            Some(prepared) => {
                // Delete the policies first. A later cleanup finds the run of leftover policies by the labels
                // of the namespaces.
                let selector = self.shared.selector();
                match cluster_policies::delete_all(client, &selector).await {
                    Ok(_) => prepared.remove_run(client, &maker.run, was_started).await,
                    Err(error) => Err(error),
                }
            }
            None => cleanup::remove_run(client, &maker.run, was_started).await,
        };
        removed.map_err(|error| {
            Error::Unavailable(format!("{error}: remove the rest with: {}", self.cleanup_command()))
        })
    }
}

impl Scheduled {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        // A panic while the lock was held left no partial change.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The backend of one scenario on a cluster.
pub struct ClusterBackend {
    shared: Arc<Shared>,
    scheduled: Arc<Scheduled>,
    group: Group,
    deployment: Deployment,
    /// The parts of nodes that the scenario uses.
    needs: Needs,
    /// The agents outside of the cluster and on nodes that it uses. `None` until it has waited for them.
    leases: Option<(Vec<Lease>, node_agents::Lease)>,
    canaries: Vec<Canary>,
    /// `None` until the backend has started.
    sentinels: Option<sentinels::Turn>,
    /// Pods of the canaries and sentinels.
    canary_pods: Vec<RunningPod>,
    /// Canaries and sentinels that were lost while they started.
    lost_at_start: Vec<LostPod>,
    /// Whether the deployment may be in any state, because a change failed or has not finished.
    is_broken: bool,
}

impl ClusterBackend {
    fn give_sentinels_back(&mut self) {
        if let Some(turn) = self.sentinels.take() {
            self.scheduled.sentinels.give_back(&turn);
        }
    }

    /// Returns all pods that the scenario depends on.
    fn running_pods(&self) -> impl Iterator<Item = RunningPod> {
        self.deployment.running_pods().chain(self.canary_pods.iter().cloned())
    }
}

impl Backend for ClusterBackend {
    async fn deploy(&mut self, world: &World) -> Result<Deployed, Error> {
        // Before anything for which another scenario may wait. A scenario that is deployed again keeps its leases.
        if self.leases.is_none() {
            let outside = self.shared.outside.lease(world).await;
            let on_nodes = self.scheduled.node_agents.lease(self.needs, &self.group).await;
            self.leases = Some((outside, on_nodes));
        }
        if self.is_broken {
            // A change that did not finish may have left anything.
            let new = Deployment::numbered(&self.shared, self.group.clone());
            let old = std::mem::replace(&mut self.deployment, new);
            give_up(&self.shared, &self.scheduled, self.group.clone(), old, true).await;
        }
        self.give_sentinels_back();
        // Broken until the start has succeeded.
        self.is_broken = true;
        // An error here does not end the run: the next scenario may need fewer namespaces.
        self.deployment.borrow_prepared(world).await?;
        let on_nodes = match self.needs.agents {
            true => self.scheduled.node_agents.on(&self.shared, &self.group).await,
            false => Ok(node_agents::Started::default()),
        };
        let on_nodes = on_nodes.map_err(|error| self.shared.judge(error))?;
        self.deployment.use_node_agents(on_nodes.agents);
        let canaries = self.scheduled.canaries.on(&self.shared, &self.group);
        match try_join(self.deployment.start(world), canaries).await {
            Ok((deployed, started)) => {
                let outside = self.leases.iter().flat_map(|(outside, _)| outside).map(Lease::canary);
                let canaries = started.canaries.into_iter().chain(on_nodes.canaries);
                self.canaries = canaries.chain(outside).collect();
                self.canary_pods = started.pods.into_iter().chain(on_nodes.pods).collect();
                self.lost_at_start.extend(started.lost.into_iter().chain(on_nodes.lost));
                let turn = self.scheduled.sentinels.take(started.sentinels);
                self.sentinels.insert(turn).move_on(&self.shared).await?;
                self.shared.has_started.store(true, Ordering::Relaxed);
                self.is_broken = false;
                Ok(deployed)
            }
            Err(error) => Err(self.shared.judge(error)),
        }
    }

    async fn apply(&mut self, actions: &[Action], world: &World) -> Result<Deployed, Error> {
        // A change would replace a lost pod silently.
        if let Some(LostPod { name, why, .. }) =
            self.shared.lost_among(self.deployment.running_pods()).first()
        {
            return Err(Error::failed("change the state", format!("pod {name} is lost: {why}")));
        }
        self.is_broken = true;
        let (mut removed, mut ended) = (Vec::new(), Vec::new());
        for change in actions.iter().filter_map(Action::pod_change) {
            match change {
                PodChange::Removed(identity) => removed.push(identity.clone()),
                PodChange::Ended(identity) => ended.push(identity.clone()),
                PodChange::Added(_) => {}
            }
        }
        self.deployment.remove_pods(&removed).await?;
        self.deployment.end_pods(&ended).await?;
        let deployed = self.deployment.converge(world).await?;
        if let Some(sentinels) = &mut self.sentinels {
            sentinels.move_on(&self.shared).await?;
        }
        self.is_broken = false;
        Ok(deployed)
    }

    async fn check_intact(&self, world: &World) -> Result<(), Error> {
        self.deployment.check_intact(world).await
    }

    fn agent(&self, endpoint: &EndpointName) -> Option<Arc<Agent>> {
        self.deployment.agent(endpoint)
    }

    fn canaries(&self) -> Vec<Canary> {
        self.canaries.clone()
    }

    fn sentinels(&self) -> Sentinels {
        self.sentinels.as_ref().map(sentinels::Turn::sentinels).unwrap_or_default()
    }

    fn lost_pods(&mut self) -> Vec<LostPod> {
        let at_start = std::mem::take(&mut self.lost_at_start).into_iter();
        let now = self.shared.lost_among(self.running_pods());
        at_start.chain(self.deployment.take_lost_at_start()).chain(now).collect()
    }

    fn has_lost_pod(&self) -> bool {
        !self.shared.lost_among(self.running_pods()).is_empty()
    }

    /// Keeps the deployment if another scenario can use it, and otherwise removes it.
    #[tracing::instrument(level = "debug", skip_all)]
    async fn stop(mut self) {
        self.give_sentinels_back();
        let Self { shared, scheduled, group, mut deployment, mut is_broken, leases, needs, .. } = self;
        if needs.agents && !shared.maker.settings.keep {
            is_broken |= deployment.leave_nodes().await.is_err();
        }
        // Nothing of the scenario uses these agents and ports any more.
        drop(leases);
        give_up(&shared, &scheduled, group, deployment, is_broken).await;
    }
}

/// Keeps a deployment if another scenario can use it, and otherwise removes it.
async fn give_up(
    shared: &Shared,
    scheduled: &Scheduled,
    group: Group,
    mut deployment: Deployment,
    mut is_broken: bool,
) {
    let removes = !shared.maker.settings.keep;
    if removes {
        // The end of the run removes what could not be deleted here.
        is_broken |= deployment.remove_cluster_policies().await.is_err();
    }
    if let Some(prepared) = &shared.prepared {
        // A policy that could not be deleted would also select the pods of the next scenario.
        match is_broken && deployment.has_cluster_policies() {
            true => prepared.close(),
            false => deployment.give_prepared_back(prepared, is_broken).await,
        }
        return;
    }
    let is_usable = !is_broken && deployment.is_whole();
    let left = if is_usable { scheduled.schedule().give_back(group, deployment) } else { Some(deployment) };
    if let Some(deployment) = left.filter(|_| removes) {
        tokio::spawn(cleanup::forget(shared.client.clone(), deployment.namespaces()));
    }
}
