//! Namespaces that were prepared for runs, for users who are not allowed to create namespaces.
//!
//! A run takes them over by labels, and restores their labels when it gives them back. An annotation of the
//! namespace lists the labels that the run added, so that a cleanup can remove them after the run was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::stream::{StreamExt, iter};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::objects::{MANAGED_BY, POD_SECURITY, PRIVILEGED, RUN};
use super::pods;
use super::purpose::Purpose;
use super::request::{Namespaced, ON_ITS_WAY, bounded, delete, failed, list, persistently};
use crate::backend::Error;
use crate::policy::Labels;
use crate::snapshot::Identity;

/// Annotation of a prepared namespace that a run has taken over.
const TAKEN: &str = "netproof.dev/taken";

/// Maximum number of namespaces that are given back at the same time.
const AT_ONCE: usize = 8;

/// Content of this annotation, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Taken {
    /// Keys of the labels that the run added.
    labels: BTreeSet<String>,
    /// Time of the takeover, in seconds since 1970.
    since: u64,
}

/// The prepared namespaces of a run.
pub(super) struct Prepared {
    names: Vec<String>,
    /// Whether the run creates ConfigMaps with the agent. Without them, it needs no rights on ConfigMaps.
    has_config_maps: bool,
    free: Mutex<Vec<String>>,
    /// One permit per free namespace. Closed if a namespace could not be given back.
    permits: Arc<Semaphore>,
}

/// Prepared namespaces in use by a scenario.
pub(super) struct Borrowed {
    pub(super) names: Vec<String>,
    permit: OwnedSemaphorePermit,
}

impl Prepared {
    /// Creates a pool of namespaces. The first one is for canaries, the others are for scenarios. A check uses only the
    /// second one of these, for pods that enter the networks of running pods.
    pub(super) fn new(names: &[String], has_config_maps: bool) -> Self {
        let free: Vec<String> = names.iter().skip(1).cloned().collect();
        let permits = Arc::new(Semaphore::new(free.len()));
        Self { names: names.to_vec(), has_config_maps, free: Mutex::new(free), permits }
    }

    /// Checks that the namespaces exist, have the required label and no other values of the site's labels, are
    /// empty and are not in use.
    pub(super) async fn check(
        &self,
        client: &Client,
        site: &Labels,
        purpose: Purpose<'_>,
    ) -> Result<(), Error> {
        let (least, privileged) = match purpose {
            Purpose::Run => (2, None),
            Purpose::Check { .. } => (1, self.helpers()),
        };
        let distinct: BTreeSet<&String> = self.names.iter().collect();
        if distinct.len() < least || distinct.len() < self.names.len() {
            let count = if least == 1 { "one" } else { "two" };
            let message =
                format!("--prepared-namespaces: name at least {count}, each once: the first is for canaries");
            return Err(Error::Unavailable(message));
        }
        let checks = self.names.iter().map(async |name| {
            let found = get(client, name).await?;
            refuse_taken(name, &found.metadata)?;
            let (_, usual) = POD_SECURITY;
            let level = if privileged.as_ref() == Some(name) { PRIVILEGED } else { usual };
            refuse_unlabelled(name, &found.metadata, level)?;
            refuse_other_values(name, found.labels(), site)?;
            refuse_used::<NetworkPolicy>(client, name).await?;
            refuse_used::<Service>(client, name).await?;
            refuse_used::<Pod>(client, name).await
        });
        bounded(checks).await.map(drop)
    }

    /// Returns the namespace for canaries.
    pub(super) fn canaries(&self) -> String {
        self.names.first().cloned().unwrap_or_default()
    }

    /// Returns the namespace for pods that enter the networks of running pods, in a check. `None` if there is none.
    pub(super) fn helpers(&self) -> Option<String> {
        self.names.get(1).cloned()
    }

    /// Waits until this number of the other namespaces is free, and borrows them.
    pub(super) async fn borrow(&self, number: usize) -> Result<Borrowed, Error> {
        let others = self.names.len().saturating_sub(1);
        let doing = || format!("take {number} prepared namespaces");
        if number > others {
            let message = format!(
                "there are {others} besides that of the canaries: name {} more with --prepared-namespaces",
                number - others
            );
            return Err(Error::failed(doing(), message));
        }
        let permits = Arc::clone(&self.permits);
        let asked = u32::try_from(number).unwrap_or(u32::MAX);
        let Ok(permit) = permits.acquire_many_owned(asked).await else {
            return Err(Error::failed(doing(), "an earlier scenario could not give its namespaces back"));
        };
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rest) = free.len().checked_sub(number) else {
            return Err(Error::failed(doing(), "some were not given back by a scenario that was stopped"));
        };
        Ok(Borrowed { names: free.split_off(rest), permit })
    }

    /// Removes what the run created in borrowed namespaces, and makes them available again. The ConfigMaps with the
    /// agent stay until the end of the run. If a request
    /// failed (`is_broken`), the server may still be processing it. Then this first waits for what the
    /// request creates.
    pub(super) async fn give_back(
        &self,
        client: &Client,
        run: &str,
        borrowed: Borrowed,
        is_broken: bool,
    ) -> Result<(), Error> {
        let Borrowed { names, permit } = borrowed;
        if is_broken {
            sleep(ON_ITS_WAY).await;
        }
        let released = release(client, &names, run, false).await;
        if released.is_err() {
            self.close();
        } else {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
            drop(permit);
        }
        released
    }

    /// Prevents other scenarios from borrowing namespaces. What was left in some of them would disturb these
    /// scenarios.
    pub(super) fn close(&self) {
        self.permits.close();
    }

    /// Removes everything that the run created in any of the namespaces.
    pub(super) async fn remove_run(
        &self,
        client: &Client,
        run: &str,
        was_started: bool,
    ) -> Result<(), Error> {
        let released = release(client, &self.names, run, self.has_config_maps).await;
        if !was_started {
            return released;
        }
        // A request that was sent before the run was interrupted may still be in transit.
        sleep(ON_ITS_WAY).await;
        release(client, &self.names, run, self.has_config_maps).await
    }
}

/// Removes what a run created in namespaces, and the labels with which it took them over. An error in one
/// namespace does not stop the others.
async fn release(client: &Client, names: &[String], run: &str, has_config_maps: bool) -> Result<(), Error> {
    let released =
        iter(names.to_vec()).map(async |name| release_one(client, &name, run, has_config_maps).await);
    let released: Vec<Result<(), Error>> = released.buffer_unordered(AT_ONCE).collect().await;
    released.into_iter().collect()
}

/// Takes a prepared namespace over for a run, or changes its labels during the run. `labels` contains all
/// labels of the scenario and those of the run.
pub(super) async fn set_labels(client: &Client, name: &str, run: &str, labels: &Labels) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    // If the namespace changes between these two requests, the API server refuses the second one with a
    // conflict, and both are repeated.
    let patched = persistently(async || {
        let found = namespaces.get(name).await?;
        let patch = match taking_over(name, &found.metadata, run, labels) {
            Ok(patch) => patch,
            Err(refusal) => return Ok(Err(refusal)),
        };
        namespaces.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| Ok(()))
    });
    patched.await.map_err(failed(format!("take namespace {name} over")))?
}

/// Returns the merge patch that sets a scenario's labels on a prepared namespace and lists them in the
/// annotation.
fn taking_over(name: &str, found: &ObjectMeta, run: &str, labels: &Labels) -> Result<Value, Error> {
    let doing = || format!("take namespace {name} over");
    let none = Labels::new();
    let now = found.labels.as_ref().unwrap_or(&none);
    if now.get(RUN).is_some_and(|of| of != run) {
        refuse_taken(name, found)?;
    }
    let taken = taken(found).filter(|_| now.contains_key(RUN));
    let is_own = |key: &String| taken.as_ref().is_some_and(|taken| taken.labels.contains(key));
    let foreign: BTreeMap<&String, &String> = now.iter().filter(|(key, _)| !is_own(key)).collect();
    let clash = labels.iter().find(|(key, value)| foreign.get(key).is_some_and(|other| other != value));
    if let Some((key, value)) = clash {
        let message = format!("a scenario needs its label {key} to be `{value}`: remove the label from it");
        return Err(Error::failed(doing(), message));
    }
    let added: BTreeSet<String> = labels.keys().filter(|key| !foreign.contains_key(key)).cloned().collect();
    let removed = taken.iter().flat_map(|taken| &taken.labels).filter(|key| !added.contains(*key));
    let removed = removed.map(|key| (key.clone(), Value::Null));
    let changes: BTreeMap<String, Value> =
        removed.chain(added.iter().map(|key| (key.clone(), json!(labels.get(key))))).collect();
    let since = taken.map_or_else(seconds, |taken| taken.since);
    let taken = json!(Taken { labels: added, since }).to_string();
    Ok(json!({"metadata": {
        "resourceVersion": found.resource_version,
        "labels": changes,
        "annotations": {(TAKEN): taken},
    }}))
}

/// Removes what a run created in a namespace, and the labels with which it took the namespace over.
pub(super) async fn release_one(
    client: &Client,
    name: &str,
    run: &str,
    has_config_maps: bool,
) -> Result<(), Error> {
    let selector = format!("{RUN}={run}");
    // Give the pods their own grace period, because the next pods may have the same names.
    let deleted = persistently(async || pods::delete_all(client, name, &selector, None).await).await;
    deleted.map_err(failed(format!("delete the pods of {name}")))?;
    delete_all::<NetworkPolicy>(client, name, &selector).await?;
    delete_all::<Service>(client, name, &selector).await?;
    if has_config_maps {
        delete_all::<ConfigMap>(client, name, &selector).await?;
    }
    pods::until_gone(client, name, &selector).await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let patched = persistently(async || {
        let found = namespaces.get(name).await?;
        match giving_back(&found.metadata, run) {
            Some(patch) => {
                let patch = Patch::Merge(&patch);
                namespaces.patch(name, &PatchParams::default(), &patch).await.map(drop)
            }
            None => Ok(()),
        }
    });
    patched.await.map_err(failed(format!("give namespace {name} back")))
}

/// Returns the merge patch that restores a prepared namespace after a run. `None` if the run does not have
/// it.
fn giving_back(found: &ObjectMeta, run: &str) -> Option<Value> {
    found.labels.as_ref()?.get(RUN).filter(|of| *of == run)?;
    let (managed_by, _) = MANAGED_BY;
    let unknown = || [RUN, managed_by].map(str::to_owned).into();
    let keys = taken(found).map_or_else(unknown, |taken| taken.labels);
    let labels: BTreeMap<String, Value> = keys.into_iter().map(|key| (key, Value::Null)).collect();
    Some(json!({"metadata": {
        "resourceVersion": found.resource_version,
        "labels": labels,
        "annotations": {(TAKEN): Value::Null},
    }}))
}

async fn delete_all<K: Namespaced>(client: &Client, namespace: &str, selector: &str) -> Result<(), Error> {
    let found = list::<K>(client, namespace, &ListParams::default().labels(selector)).await?;
    let found = found.iter().map(|object| Identity::new(namespace, &object.name_any()));
    bounded(found.map(async |object| delete::<K>(client, &object).await)).await.map(drop)
}

pub(super) async fn get(client: &Client, name: &str) -> Result<Namespace, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = persistently(async || namespaces.get(name).await).await;
    found.map_err(failed(format!("read the prepared namespace {name}")))
}

/// Returns whether a namespace existed before the run that took it over. It must not be deleted then.
pub(super) fn is_prepared(namespace: &Namespace) -> bool {
    namespace.annotations().contains_key(TAKEN)
}

fn refuse_taken(name: &str, found: &ObjectMeta) -> Result<(), Error> {
    match found.labels.as_ref().and_then(|labels| labels.get(RUN)) {
        Some(run) => Err(Error::Unavailable(format!(
            "the prepared namespace {name} is in use by run {run}, or was left by it: then remove what is in it with: \
             netproof cleanup --prepared-namespaces {name}"
        ))),
        None => Ok(()),
    }
}

/// Refuses a namespace without the Pod Security label. A run that sets the label must also remove it, and may
/// lack the permission to do so.
fn refuse_unlabelled(name: &str, found: &ObjectMeta, level: &str) -> Result<(), Error> {
    let (key, _) = POD_SECURITY;
    match found.labels.as_ref().and_then(|labels| labels.get(key)) {
        Some(found) if found == level => Ok(()),
        Some(_) | None => Err(Error::Unavailable(format!(
            "the prepared namespace {name} lacks the label {key}={level}: set it"
        ))),
    }
}

/// Refuses a namespace that has a label of the site with another value.
fn refuse_other_values(name: &str, found: &Labels, site: &Labels) -> Result<(), Error> {
    let differs = |(key, value): &(&String, &String)| found.get(*key).is_some_and(|other| other != *value);
    match site.iter().find(differs) {
        Some((key, value)) => Err(Error::Unavailable(format!(
            "--namespace-label {key}={value}: the prepared namespace {name} has the label {key} with another value: \
             leave out the option, or change the label"
        ))),
        None => Ok(()),
    }
}

/// Refuses a namespace with objects that would disturb a run or that a run would disturb.
async fn refuse_used<K: Namespaced>(client: &Client, namespace: &str) -> Result<(), Error> {
    match list::<K>(client, namespace, &ListParams::default()).await?.first() {
        Some(object) => Err(Error::Unavailable(format!(
            "the prepared namespace {namespace} is not empty: it has the {} {}: prepare namespaces for netproof \
             alone",
            K::kind(&()),
            object.name_any()
        ))),
        None => Ok(()),
    }
}

/// Returns the time since a run took a namespace over.
pub(super) fn taken_since(namespace: &ObjectMeta) -> Duration {
    taken(namespace).map_or(Duration::MAX, |taken| Duration::from_secs(seconds().saturating_sub(taken.since)))
}

/// Returns the annotation that a run wrote. `None` if there is none.
fn taken(metadata: &ObjectMeta) -> Option<Taken> {
    serde_json::from_str(metadata.annotations.as_ref()?.get(TAKEN)?).ok()
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn found(pairs: &[(&str, &str)], own: Option<&[&str]>) -> ObjectMeta {
        let taken =
            own.map(|own| Taken { labels: own.iter().map(|key| (*key).to_owned()).collect(), since: 7 });
        ObjectMeta {
            labels: Some(labels(pairs)),
            annotations: taken.map(|taken| [(TAKEN.to_owned(), json!(taken).to_string())].into()),
            resource_version: Some("5".to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn what_somebody_else_labelled_stays_theirs() {
        let before = found(&[("team", "a"), ("enforce", "restricted")], None);
        let wanted = labels(&[("enforce", "restricted"), ("env", "x"), (RUN, "r")]);
        let patch = taking_over("n", &before, "r", &wanted).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({"env": "x", (RUN): "r"}));
        assert_eq!(patch["metadata"]["resourceVersion"], "5", "nobody else may have changed it since");
        let taken: Taken =
            serde_json::from_str(patch["metadata"]["annotations"][TAKEN].as_str().unwrap()).unwrap();
        assert_eq!(taken.labels, BTreeSet::from(["env".to_owned(), RUN.to_owned()]));
    }

    #[test]
    fn labels_of_the_step_before_go() {
        let before =
            found(&[("team", "a"), ("env", "x"), ("tier", "y"), (RUN, "r")], Some(&["env", "tier", RUN]));
        let patch = taking_over("n", &before, "r", &labels(&[("env", "z"), (RUN, "r")])).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({"env": "z", "tier": null, (RUN): "r"}));
        assert!(patch["metadata"]["annotations"][TAKEN].as_str().unwrap().contains("\"since\":7"));
    }

    #[test]
    fn what_is_given_back_has_the_labels_that_it_had() {
        let taken = found(&[("team", "a"), ("env", "x"), (RUN, "r")], Some(&["env", RUN]));
        let patch = giving_back(&taken, "r").unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({"env": null, (RUN): null}));
        assert_eq!(patch["metadata"]["annotations"], json!({(TAKEN): null}));
        assert_eq!(giving_back(&taken, "other"), None, "another run has it by now");
        assert_eq!(giving_back(&found(&[("team", "a")], None), "r"), None);
        // Without the annotation, netproof removes its usual labels, so that the namespace is no longer in
        // use.
        let patch = giving_back(&found(&[("team", "a"), (RUN, "r")], None), "r").unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": null, (RUN): null}));
    }

    /// Labels that a user sets after a run belong to the user, even if an annotation of the run still lists
    /// them.
    #[test]
    fn an_annotation_counts_only_while_a_run_has_the_namespace() {
        let before = found(&[("env", "prod")], Some(&["env", RUN]));
        let refused = taking_over("n", &before, "r", &labels(&[("env", "x"), (RUN, "r")]));
        assert!(refused.unwrap_err().to_string().contains("label env to be `x`"));
    }

    #[test]
    fn a_label_that_a_scenario_needs_otherwise_is_named() {
        let refused = taking_over("n", &found(&[("env", "prod")], None), "r", &labels(&[("env", "x")]));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("label env to be `x`"), "{message}");
    }

    #[test]
    fn a_label_that_a_site_wants_otherwise_is_named_at_once() {
        let site = labels(&[("owner", "me"), ("env", "x")]);
        let refused = |found: &[(&str, &str)]| refuse_other_values("n", &labels(found), &site);
        assert!(refused(&[("owner", "me"), ("team", "a")]).is_ok());
        let message = refused(&[("owner", "you")]).unwrap_err().to_string();
        assert!(message.starts_with("--namespace-label owner=me: the prepared namespace n has"), "{message}");
    }

    #[test]
    fn what_another_run_took_is_refused() {
        let taken = found(&[(RUN, "other")], Some(&[RUN]));
        let message = taking_over("n", &taken, "r", &labels(&[(RUN, "r")])).unwrap_err().to_string();
        assert!(message.contains("in use by run other") && message.contains("netproof cleanup"), "{message}");
    }

    #[tokio::test]
    async fn scenarios_wait_for_namespaces_and_get_no_more_than_there_are() {
        let names = ["c", "1", "2", "3"].map(str::to_owned);
        let prepared = Prepared::new(&names, true);
        let message = prepared.borrow(4).await.err().unwrap().to_string();
        assert!(message.contains("name 1 more with --prepared-namespaces"), "{message}");
        let first = prepared.borrow(2).await.unwrap();
        assert_eq!(first.names.len(), 2);
        let waiting = tokio::time::timeout(Duration::from_millis(50), prepared.borrow(2)).await;
        assert!(waiting.is_err(), "only one is left");
        let other = prepared.borrow(1).await.unwrap();
        assert!(!first.names.contains(&other.names[0]) && other.names[0] != "c");
        // The scenario was stopped, and nothing of it was removed.
        drop(first);
        let message = prepared.borrow(2).await.err().unwrap().to_string();
        assert!(message.contains("not given back"), "{message}");
    }
}
