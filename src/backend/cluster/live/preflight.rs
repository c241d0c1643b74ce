//! The checks before anything is created: nodes, rights, room, and objects that a twin would disturb.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{self as core, LimitRange, Namespace, ResourceQuota, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ListParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::{self, Needs};
use super::quota::{self, Demand};
use super::twins::Twin;
use super::{bystanders, intact};
use crate::backend::Error;
use crate::backend::cluster::request::{bounded, failed, list_whole, persistently, say};
use crate::backend::cluster::settings::Settings;
use crate::backend::cluster::shared::Shared;
use crate::backend::cluster::{access, advice};
use crate::snapshot::Identity;

/// Most problems that an error lists.
const MOST: usize = 20;

/// What was found in one namespace.
#[derive(Debug, Default)]
struct Found {
    problems: Vec<String>,
    warnings: Vec<String>,
}

/// Checks that the twins can be created, and that they would disturb nobody. Returns warnings.
///
/// # Errors
/// If something is in the way. The message lists everything that was found.
#[tracing::instrument(level = "debug", skip_all)]
pub(super) async fn check(shared: &Shared, twins: &[Twin<'_>]) -> Result<Vec<String>, Error> {
    let settings = &shared.maker.settings;
    if settings.image_pull_secret.is_some() {
        let message = "--image-pull-secret: a check copies no Secret to the namespaces of tenants: name an image that the nodes \
                       have or pull without a login, or leave the image out";
        return Err(Error::Unavailable(message.to_owned()));
    }
    let mut by_namespace: BTreeMap<&str, Vec<Twin<'_>>> = BTreeMap::new();
    for twin in twins {
        by_namespace.entry(&twin.pod.namespace).or_default().push(twin.clone());
    }
    let namespaces: Vec<&str> = by_namespace.keys().copied().collect();
    access::check_tenants(&shared.client, settings, &namespaces).await?;
    let mut problems: Vec<String> = twins.iter().filter_map(|twin| on_node(shared, twin)).collect();
    let found = by_namespace.iter().map(|(namespace, twins)| in_namespace(shared, namespace, twins));
    let mut warnings = Vec::new();
    for found in bounded(found).await? {
        problems.extend(found.problems);
        warnings.extend(found.warnings);
    }
    if problems.is_empty() {
        problems =
            bounded(twins.iter().map(|twin| try_out(shared, twin))).await?.into_iter().flatten().collect();
    }
    if problems.is_empty() { Ok(warnings) } else { Err(Error::Unavailable(say_all(&problems))) }
}

fn say_all(problems: &[String]) -> String {
    let mut text = "the check cannot begin, and nothing was created:".to_owned();
    for problem in problems.iter().take(MOST) {
        text.push_str(&format!("\n- {problem}"));
    }
    if problems.len() > MOST {
        text.push_str(&format!("\n- and {} more", problems.len() - MOST));
    }
    text
}

/// Returns why a twin cannot run on its node. `None` if it can.
fn on_node(shared: &Shared, twin: &Twin<'_>) -> Option<String> {
    let why = obstacle(shared, twin.node)?;
    Some(format!("{} cannot run: node {} {why}: leave out the pods of this node", twin.pod, twin.node))
}

/// Returns why no twin can run on a node. `None` if one can. Unlike a pod that is scheduled, a twin can run on a node that is
/// cordoned or tainted, as the pods there do.
pub(super) fn obstacle(shared: &Shared, node: &str) -> Option<String> {
    match shared.survey.nodes.iter().find(|known| known.name == node) {
        None => Some("does not exist".to_owned()),
        Some(known) if !known.is_ready => Some("is not ready".to_owned()),
        Some(known) => known.obstacle.clone(),
    }
}

async fn in_namespace(shared: &Shared, namespace: &str, twins: &[Twin<'_>]) -> Result<Found, Error> {
    let Shared { client, maker, .. } = shared;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = persistently(async || namespaces.get_opt(namespace).await).await;
    let found = found.map_err(failed(format!("read namespace {namespace}")))?;
    let is_leaving = |found: &Namespace| found.metadata.deletion_timestamp.is_some();
    let gone = match found {
        None => Some("does not exist"),
        Some(found) if is_leaving(&found) => Some("is being deleted"),
        Some(_) => None,
    };
    if let Some(why) = gone {
        let problem = format!("namespace {namespace} {why}: leave it out");
        return Ok(Found { problems: vec![problem], warnings: Vec::new() });
    }
    let all = ListParams::default();
    let services = list_whole::<Service>(client, namespace, &all).await?;
    let ranges = list_whole::<LimitRange>(client, namespace, &all).await?;
    let quotas = list_whole::<ResourceQuota>(client, namespace, &all).await?;
    let budgets = list_whole::<PodDisruptionBudget>(client, namespace, &all).await?;
    let Settings { resources, site, .. } = &maker.settings;
    let architectures: BTreeSet<&str> =
        twins.iter().filter_map(|twin| maker.source.architecture(twin.node)).collect();
    let demand = Demand {
        pods: twins.len(),
        // One is the owner.
        config_maps: architectures.len() + 1,
        needs: Needs::new(resources, &ranges),
        priority_class: site.priority_class.clone(),
    };
    let mut problems = bystanders::publishing(&services, twins);
    problems.extend(limits::refusals(&demand.needs, &ranges));
    problems.extend(quota::refusals(&demand, &quotas));
    Ok(Found { problems, warnings: bystanders::stopped_budgets(&budgets, twins) })
}

/// Lets the API server say whether it would accept a twin, and what its webhooks would make of it. Returns the problem, if
/// there is one.
async fn try_out(shared: &Shared, twin: &Twin<'_>) -> Result<Option<String>, Error> {
    let Shared { client, maker, .. } = shared;
    let real = Identity::new(&twin.pod.namespace, &maker.twin_name(&twin.pod.name));
    let image = maker.source.image(twin.node)?;
    let mut object = maker.pod(twin.known, &real, twin.node, image)?;
    maker.make_twin(&mut object, twin.node, Some(&sample_owner(&maker.owner_name())));
    let pods: Api<core::Pod> = Api::namespaced(client.clone(), &twin.pod.namespace);
    let problem = match dry_run(&pods, &object).await {
        Ok(accepted) => accepted.and_then(|pod| intact::objection(&pod, Some(&maker.owner_name()))),
        // Another image may be accepted.
        Err(refusal) if advice::is_about_images(&refusal) => None,
        Err(refusal) => {
            let why = advice::explain_refusal(&refusal, image, maker.source.image_choice());
            Some(format!("the cluster refuses {}: {why}", twin.pod))
        }
    };
    Ok(problem)
}

/// Lets the API server say whether it would accept an object. Returns the object that it would create, or `None` if it
/// cannot say. An error is its refusal.
pub(super) async fn dry_run<K>(objects: &Api<K>, object: &K) -> Result<Option<K>, String>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let answer = persistently(async || objects.create(&parameters, object).await).await;
    match answer.map_err(|error| say(&error)) {
        Ok(accepted) => Ok(Some(accepted)),
        // A webhook with side effects cannot be asked. If it refuses the object, the creation fails.
        Err(refusal) if refusal.contains("does not support dry run") => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Returns a reference to an owner that does not exist yet.
fn sample_owner(name: &str) -> OwnerReference {
    let mut owner = core::ConfigMap::default();
    owner.metadata.name = Some(name.to_owned());
    owner.metadata.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
    super::objects::reference(&owner)
}
