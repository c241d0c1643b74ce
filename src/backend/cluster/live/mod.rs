//! A check of a live cluster: probe pods beside the workloads that are there.
//!
//! The probe pods are twins: each has the labels of running pods that policies read, on the same node. A check changes no
//! object of others. In each namespace of a tenant, it creates one ConfigMap, which owns everything else there.
//!
//! A check may also use the networks of running pods. Then it has helpers, in a namespace of its own.

mod amount;
mod backend;
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
mod strangers;
mod twins;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join;
use tokio::time::sleep;

use super::access::Rights;
use super::canaries::Canaries;
use super::deployment::Deployment;
use super::pods::{ENDING, RunningPod};
use super::purpose::Purpose;
use super::request::ON_ITS_WAY;
use super::settings::Settings;
use super::shared::Shared;
use super::{access, cleanup, connect, survey};
use crate::backend::{Canary, Error, LostPod};
use crate::policy::Labels;
use crate::snapshot::{Identity, Unmodelled};
use crate::world::World;
pub(super) use helper_pod::Entry;
use helpers::Helpers;
use intact::Recorded;
pub(super) use objects::{NEVER, OWNER, readiness_gates};
pub(super) use owners::Owners;
use strangers::Strangers;
use twins::ReadTwins;

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
    strangers: Strangers,
    /// Namespaces of tenants in which an owner may exist.
    used: BTreeSet<String>,
    /// The twins in namespaces of tenants when they had started.
    read: ReadTwins,
    warnings: Vec<String>,
    /// The twins that can be created, and the running pods whose networks can be entered.
    checked: BTreeSet<Identity>,
    /// Whether there may be pods that no deployment knows, because a start failed or did not finish.
    is_broken: bool,
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
            strangers: Strangers::new(Arc::clone(&shared)),
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
            read: ReadTwins::new(),
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
    /// others while it runs. The latter are known after the first [`deploy`](crate::backend::Backend::deploy).
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

    /// Returns the permissions that the check of a state needs.
    pub fn rights(&self, world: &World) -> Rights {
        let twins = world.twins.iter().filter(|twin| !world.is_stranger(twin));
        let tenants = twins.map(|twin| twin.namespace.clone()).collect();
        access::rights_of_check(&self.shared.maker.settings, self.scope.is_empty(), tenants)
    }

    /// Returns the labels that the namespace of the pods that belong to no tenant has, or will have.
    ///
    /// # Errors
    /// If a prepared namespace cannot be read.
    pub async fn labels_of_strangers(&self) -> Result<Labels, Error> {
        strangers::labels_to_be(&self.shared).await
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
        let mut new = twins::of(&self.shared, world)?;
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

    /// Removes everything that the check created, unless the settings say to keep it.
    ///
    /// # Errors
    /// If something remains. The message says how to remove it.
    #[tracing::instrument(name = "remove_check", level = "debug", skip_all)]
    pub async fn finish(self) -> Result<(), Error> {
        let Shared { client, maker, prepared, .. } = &*self.shared;
        if self.is_kept() || !self.was_used() {
            return Ok(());
        }
        let canaries = async {
            match prepared {
                Some(prepared) => prepared.remove_run(client, &maker.run, true).await,
                None => cleanup::remove_run(client, &maker.run, true).await,
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
            sleep(ON_ITS_WAY).await;
            owners::delete(client, &owners).await?;
        }
        let ours = watch.existing().into_iter().filter(|pod| self.used.contains(&pod.namespace));
        watch.gone(&ours.collect::<Vec<_>>(), ENDING).await
    }
}
