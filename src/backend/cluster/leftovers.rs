//! What runs left on a cluster, and what runs in progress use.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Client, ResourceExt};

use super::live::{OWNER, owners};
use super::objects::RUN;
use super::places::Places;
use super::request::{Namespaced, bounded, list, list_everywhere};
use super::{access, cleanup, cluster_policies, connect, pods, prepared};
use crate::backend::Error;
use crate::snapshot::Identity;

/// Time for which a run in progress may change nothing. It changes a policy of its own in each step.
const QUIET: Duration = Duration::from_secs(300);

/// Time until a run in progress has pods.
const START: Duration = Duration::from_secs(60);

/// Everything that runs have on a cluster.
pub struct Leftovers {
    client: Client,
    /// The prepared namespaces to look in.
    prepared: Vec<String>,
    /// The namespaces of tenants to look in.
    tenants: Vec<String>,
    runs: Vec<LeftRun>,
    has_unseen_owners: bool,
}

/// The objects of one run on a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftRun {
    /// The run's id.
    pub id: String,
    /// Time since the run created the oldest of its objects. `Duration::MAX` if it is not known.
    pub age: Duration,
    /// Time since the last visible change by the run. A run in progress changes something in each step. `Duration::MAX`
    /// if it is not known.
    pub unchanged: Duration,
    /// The namespaces that the run created.
    pub namespaces: Vec<String>,
    /// The prepared namespaces that the run took over.
    pub prepared: Vec<String>,
    /// The ConfigMaps in namespaces of tenants that own what a check created there.
    pub owners: Vec<Identity>,
    /// Count of its cluster-scoped policies.
    pub cluster_policies: usize,
    /// Count of its pods that have not ended.
    pub live_pods: usize,
    /// Whether Kubernetes is already deleting everything.
    pub is_ending: bool,
}

impl LeftRun {
    /// Returns whether the run seems to be in progress. It is not certain: a run that was killed leaves pods that live
    /// for some time.
    pub fn seems_in_progress(&self) -> bool {
        let is_quiet = self.unchanged >= QUIET;
        let has_started = self.live_pods > 0 || self.unchanged < START;
        !self.is_ending && !is_quiet && has_started
    }

    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            age: Duration::ZERO,
            unchanged: Duration::MAX,
            namespaces: Vec::new(),
            prepared: Vec::new(),
            owners: Vec::new(),
            cluster_policies: 0,
            live_pods: 0,
            is_ending: true,
        }
    }

    /// Returns the label selector that finds everything that the run created.
    fn selector(&self) -> String {
        format!("{RUN}={}", self.id)
    }

    /// Records when the run created or took over an object, and when it changed it last.
    fn record(&mut self, since: Duration, unchanged: Duration) {
        self.age = self.age.max(since);
        self.unchanged = self.unchanged.min(unchanged);
    }

    fn record_object(&mut self, object: &ObjectMeta) {
        self.record(age(object), unchanged(object));
    }
}

impl Leftovers {
    /// Finds everything that runs have.
    ///
    /// # Errors
    /// If the cluster cannot be reached or denies a request.
    pub async fn find(target: &connect::Target, places: Places<'_>) -> Result<Self, Error> {
        let client = connect::connect(target).await?.client;
        access::check_cleanup(&client, places).await?;
        let (runs, has_unseen_owners) = find(&client, places).await?;
        let [prepared, tenants] = [places.prepared, places.tenants].map(<[String]>::to_vec);
        Ok(Self { client, prepared, tenants, runs, has_unseen_owners })
    }

    /// Returns whether checks may have left something in namespaces of tenants that this user may not see.
    pub fn has_unseen_owners(&self) -> bool {
        self.has_unseen_owners
    }

    /// Returns the runs, sorted by their ids.
    pub fn runs(&self) -> &[LeftRun] {
        &self.runs
    }

    /// Removes everything that some of the runs have. Returns the names of the namespaces, and the kinds and names of
    /// cluster-scoped objects. Prepared namespaces are emptied, and stay.
    ///
    /// # Errors
    /// If the cluster cannot be reached, denies a request, or takes too long.
    pub async fn remove(&self, runs: &[&LeftRun]) -> Result<Vec<String>, Error> {
        let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
        let places = Places { prepared: &self.prepared, tenants: &self.tenants };
        remove(&self.client, places, &ids).await
    }
}

/// Removes everything that the runs with these ids have in these places. Returns what was removed.
pub(super) async fn remove(client: &Client, places: Places<'_>, ids: &[&str]) -> Result<Vec<String>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // A namespace that was listed before may belong to another run by now, and a run in progress may have more of them.
    let (mut runs, _) = find(client, places).await?;
    runs.retain(|run| ids.contains(&run.id.as_str()));
    let mut removed = Vec::new();
    for run in &runs {
        // Only the labels of its namespaces say that there was such a run, so the policies are deleted first.
        removed.extend(cluster_policies::delete_all(client, &run.selector()).await?);
    }
    let owners: Vec<Identity> = runs.iter().flat_map(|run| run.owners.clone()).collect();
    owners::delete(client, &owners).await?;
    for run in &runs {
        for owner in &run.owners {
            pods::until_gone(client, &owner.namespace, &run.selector()).await?;
            removed.push(format!("ConfigMap {owner}"));
        }
    }
    let created: Vec<String> = runs.iter().flat_map(|run| run.namespaces.clone()).collect();
    cleanup::delete_and_wait(client, &created).await?;
    removed.extend(created);
    for run in &runs {
        for name in &run.prepared {
            prepared::release_one(client, name, &run.id, true).await?;
            removed.push(name.clone());
        }
    }
    Ok(removed)
}

/// Finds what runs have. Also returns whether owners in namespaces of tenants may exist that this user may not see.
pub(super) async fn find(client: &Client, places: Places<'_>) -> Result<(Vec<LeftRun>, bool), Error> {
    let (prepared, is_everywhere) = (places.prepared, places.is_everywhere());
    let namespaces = match is_everywhere {
        true => cleanup::list(client, RUN).await?,
        false => bounded(prepared.iter().map(|name| prepared::get(client, name))).await?,
    };
    let mut runs: BTreeMap<String, LeftRun> = BTreeMap::new();
    let owners = owners(client, places).await?;
    for owner in owners.iter().flatten() {
        let Some(id) = id(owner) else { continue };
        let run = runs.entry(id.to_owned()).or_insert_with(|| LeftRun::new(id));
        let name = owner.name.as_deref().unwrap_or_default();
        run.owners.push(Identity::new(owner.namespace.as_deref().unwrap_or_default(), name));
        run.record_object(owner);
        run.is_ending = false;
    }
    for namespace in &namespaces {
        let Some(id) = id(&namespace.metadata) else { continue };
        let run = runs.entry(id.to_owned()).or_insert_with(|| LeftRun::new(id));
        let is_prepared = !prepared.is_empty() || prepared::is_prepared(namespace);
        record_namespace(run, namespace, is_prepared);
    }
    for (_, policy) in cluster_policies::list_all(client, RUN).await? {
        let Some(id) = id(&policy.metadata) else { continue };
        // If namespaces are named, only runs in them count.
        if !is_everywhere && !runs.contains_key(id) {
            continue;
        }
        let run = runs.entry(id.to_owned()).or_insert_with(|| LeftRun::new(id));
        run.record_object(&policy.metadata);
        run.cluster_policies += 1;
        run.is_ending = false;
    }
    let live = ListParams::default().labels(RUN).fields("status.phase!=Succeeded,status.phase!=Failed");
    let named = [prepared, places.tenants].concat();
    for pod in metadata::<Pod>(client, &named, &live).await? {
        let Some(run) = id(&pod).and_then(|id| runs.get_mut(id)) else { continue };
        run.record_object(&pod);
        run.live_pods += usize::from(pod.deletion_timestamp.is_none());
    }
    // A check has no policies.
    if is_everywhere || !prepared.is_empty() {
        for policy in metadata::<NetworkPolicy>(client, prepared, &ListParams::default().labels(RUN)).await? {
            let Some(run) = id(&policy).and_then(|id| runs.get_mut(id)) else { continue };
            run.record_object(&policy);
        }
    }
    Ok((runs.into_values().collect(), owners.is_none()))
}

/// Finds the owners that checks created in namespaces of tenants. `None` if this user may not list them everywhere.
async fn owners(client: &Client, places: Places<'_>) -> Result<Option<Vec<ObjectMeta>>, Error> {
    match places.tenants {
        [] if !places.is_everywhere() => return Ok(Some(Vec::new())),
        [] if !access::may_list_config_maps(client).await? => return Ok(None),
        _ => {}
    }
    let (key, value) = OWNER;
    let owners = ListParams::default().labels(&format!("{RUN},{key}={value}"));
    metadata::<ConfigMap>(client, places.tenants, &owners).await.map(Some)
}

fn record_namespace(run: &mut LeftRun, namespace: &Namespace, is_prepared: bool) {
    if is_prepared {
        // Others may change this namespace, too.
        let since = prepared::taken_since(&namespace.metadata);
        run.record(since, since);
        run.prepared.push(namespace.name_any());
        run.is_ending = false;
    } else {
        run.record_object(&namespace.metadata);
        run.namespaces.push(namespace.name_any());
        run.is_ending &= namespace.metadata.deletion_timestamp.is_some();
    }
}

/// Lists objects of a kind in the named namespaces, or in all namespaces if none are named.
async fn metadata<K: Namespaced>(
    client: &Client,
    namespaces: &[String],
    parameters: &ListParams,
) -> Result<Vec<ObjectMeta>, Error> {
    let found = match namespaces {
        [] => list_everywhere::<K>(client, parameters).await?,
        names => bounded(names.iter().map(|name| list::<K>(client, name, parameters))).await?.concat(),
    };
    Ok(found.into_iter().map(|object| object.metadata).collect())
}

fn id(object: &ObjectMeta) -> Option<&str> {
    object.labels.as_ref()?.get(RUN).map(String::as_str)
}

fn age(object: &ObjectMeta) -> Duration {
    object.creation_timestamp.as_ref().map_or(Duration::MAX, |time| elapsed(time.0.into()))
}

/// Returns the time since an object was created or changed last. Changes of its status do not count, because the kubelet
/// and controllers make them.
fn unchanged(object: &ObjectMeta) -> Duration {
    let changes = object.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let changes = changes.filter_map(|entry| Some(elapsed(entry.time.as_ref()?.0.into())));
    changes.fold(age(object), Duration::min)
}

fn elapsed(since: SystemTime) -> Duration {
    // The API server's clock may be ahead.
    since.elapsed().unwrap_or_default()
}
