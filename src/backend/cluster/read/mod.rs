//! Reads the state of a live cluster: the objects that decide who may reach whom. Changes nothing.

mod enforcement;
mod kinds;
mod list;
mod unmodelled;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::ApiResource;
use serde::Deserialize;
use serde_json::Value;

use super::connect::{Target, connect};
use super::foreign::{self, Candidates};
use super::request::{bounded, failed, persistently, status_code};
use super::{access, plugin};
use crate::backend::Error;
use crate::policy::ClusterPolicyKind;
use crate::snapshot::saved::SavedObjects;
use crate::snapshot::{Part, Snapshot, SnapshotInfo, Unseen};
use kinds::{KINDS, ReadKind, full_kind};
use list::{Content, DENIED};

/// The part of a cluster that is read.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Namespaces that are read if the user may not list objects in all namespaces. If the list is empty, that is an
    /// error.
    pub namespaces: Vec<String>,
}

/// The state of a cluster, and the objects that it was read from.
#[derive(Debug, Clone)]
pub struct LiveSnapshot {
    /// The state. `unseen` and `not_enforced` say what could not be seen and what is not enforced.
    pub snapshot: Snapshot,
    /// The objects, to be saved. Their notes have the names of the cluster and of the network plugin.
    pub objects: SavedObjects,
}

/// Reads the state of a cluster.
///
/// # Errors
/// If the cluster cannot be reached or does not answer, or if the user may not list objects in all namespaces and the
/// scope names none.
pub async fn read_cluster(target: &Target, scope: &Scope) -> Result<LiveSnapshot, Error> {
    let connected = connect(target).await?;
    let info = SnapshotInfo::of_cluster(connected.name, connected.version);
    read(&connected.client, info, scope).await
}

/// Reads the state of the cluster of a client, and completes its notes.
pub(super) async fn read(
    client: &Client,
    mut info: SnapshotInfo,
    scope: &Scope,
) -> Result<LiveSnapshot, Error> {
    let groups = persistently(async || client.list_api_groups().await).await;
    let groups = groups.map_err(failed("list the kinds of objects".to_owned()))?.groups;
    let mut reader = Reader { client, scope, objects: Vec::new(), unseen: Vec::new() };
    let nodes = reader.read_kinds().await?;
    let read = reader.read_cluster_policies().await?;
    let unread = |kind| {
        let why = "decides about packets, and netproof cannot read it here: its version is another one, or this user may not";
        (!read.contains(&kind)).then(|| Part::Unmodelled(why.into()))
    };
    let candidates = foreign::candidates(client, &groups, unread).await?;
    reader.read_candidates(candidates).await?;
    let Reader { objects, unseen, .. } = reader;

    let plugin = plugin::find(client, &nodes.iter().collect::<Vec<_>>(), &groups).await;
    info.network_plugin = plugin.map(|plugin| plugin.name.to_owned());
    let enforcement = enforcement::find(client, &groups, plugin.map(|plugin| plugin.name)).await;
    info.not_enforced = enforcement.not_enforced;
    info.unseen = unseen;
    info.unseen.extend(enforcement.unseen);
    info.unseen.sort();

    let name =
        info.cluster.as_ref().map_or_else(|| "the cluster".to_owned(), |name| format!("cluster {name}"));
    let objects = SavedObjects::new(info, objects);
    let snapshot = objects.read(&name).map_err(|error| Error::Unavailable(error.to_string()))?;
    Ok(LiveSnapshot { snapshot, objects })
}

struct Reader<'a> {
    client: &'a Client,
    scope: &'a Scope,
    objects: Vec<Value>,
    unseen: Vec<Unseen>,
}

impl Reader<'_> {
    /// Reads the objects of all kinds that every cluster has. Returns the metadata of the nodes.
    async fn read_kinds(&mut self) -> Result<Vec<ObjectMeta>, Error> {
        let listed = bounded(KINDS.iter().map(|kind| list_kind(self.client, kind, None))).await?;
        let mut nodes = Vec::new();
        let mut denied = Vec::new();
        for (kind, listed) in KINDS.iter().zip(listed) {
            let Some(objects) = listed else {
                denied.push(kind);
                continue;
            };
            if kind.kind == "Node" {
                nodes.extend(objects.iter().filter_map(metadata));
            }
            self.objects.extend(objects);
        }
        if self.scope.namespaces.is_empty() && denied.iter().any(|kind| kind.is_needed) {
            return Err(self.needs_rights().await);
        }
        for kind in denied {
            self.read_in_namespaces(kind).await?;
        }
        Ok(nodes)
    }

    /// Returns the error for a user who may not list objects in all namespaces, and names none.
    async fn needs_rights(&self) -> Error {
        let rules = KINDS.map(|kind| kind.rule());
        match access::check(self.client, None, &rules).await {
            Err(error) => Error::Unavailable(format!(
                "{error}\nOr name the namespaces that this user may read: --visible-namespaces NAME,..."
            )),
            Ok(()) => {
                Error::Unavailable("the API server does not let this user list what it grants".to_owned())
            }
        }
    }

    /// Reads the objects of a kind that the user may not list in all namespaces.
    async fn read_in_namespaces(&mut self, kind: &ReadKind) -> Result<(), Error> {
        let namespaces = &self.scope.namespaces;
        let (client, resource) = (self.client, kind.resource());
        let mut unseen = Unseen {
            kind: full_kind(&resource),
            namespace: None,
            outside: namespaces.clone(),
            effect: kind.elsewhere.to_owned(),
            why: DENIED.to_owned(),
            is_needed: false,
        };
        if !kind.is_namespaced {
            kind.effect.clone_into(&mut unseen.effect);
            if kind.kind == "Namespace" {
                let (names, found) = named_namespaces(client, &resource, namespaces).await?;
                self.objects.extend(found);
                unseen.outside = names;
            } else {
                unseen.outside.clear();
            }
            self.unseen.push(unseen);
            return Ok(());
        }
        let listed = bounded(namespaces.iter().map(|name| list_kind(client, kind, Some(name)))).await?;
        for (namespace, listed) in namespaces.iter().zip(listed) {
            match listed {
                Some(objects) => self.objects.extend(objects),
                None => self.unseen.push(Unseen {
                    namespace: Some(namespace.clone()),
                    outside: Vec::new(),
                    effect: kind.effect.to_owned(),
                    is_needed: kind.is_needed,
                    ..unseen.clone()
                }),
            }
        }
        self.unseen.push(unseen);
        Ok(())
    }

    /// Reads the cluster-scoped policies. Returns the kinds that could be read.
    async fn read_cluster_policies(&mut self) -> Result<BTreeSet<ClusterPolicyKind>, Error> {
        let mut read = BTreeSet::new();
        for kind in ClusterPolicyKind::ALL {
            let resource = super::cluster_policies::resource(kind);
            match list::list(self.client, &resource, None, Content::Read).await {
                Ok(objects) => {
                    self.objects.extend(objects);
                    read.insert(kind);
                }
                // The cluster does not have the kind, or has it in another version.
                Err(error) if status_code(&error) == Some(404) => {}
                Err(error) if list::is_denied(&error) => {}
                Err(error) => return Err(failed(format!("list objects of kind {kind}"))(error)),
            }
        }
        Ok(read)
    }

    /// Reads the names of objects that decide about packets and that the engine does not model.
    async fn read_candidates(&mut self, candidates: Candidates) -> Result<(), Error> {
        let Candidates { kinds, warning } = candidates;
        let (client, namespaces) = (self.client, &self.scope.namespaces);
        let listed =
            bounded(kinds.iter().map(async |kind| Ok(unmodelled::list(client, kind, namespaces).await)));
        for (candidate, listed) in kinds.iter().zip(listed.await?) {
            for (namespace, listed) in listed {
                match listed {
                    Ok(objects) => self.objects.extend(objects),
                    Err(why) => self.unseen.extend(unmodelled::unseen(candidate, namespace, why)),
                }
            }
        }
        self.unseen.extend(warning.map(|warning| Unseen {
            kind: "objects of other groups".to_owned(),
            namespace: None,
            outside: Vec::new(),
            effect: "whether they decide about packets is not known".to_owned(),
            why: warning,
            is_needed: false,
        }));
        Ok(())
    }
}

/// Lists the objects of a kind, in one namespace or everywhere. `None` if the user may not list them.
async fn list_kind(
    client: &Client,
    kind: &ReadKind,
    namespace: Option<&str>,
) -> Result<Option<Vec<Value>>, Error> {
    // The network plugin is recognized by the annotations of nodes.
    let content = if kind.kind == "Node" { Content::Whole } else { Content::Read };
    match list::list(client, &kind.resource(), namespace, content).await {
        Ok(objects) => Ok(Some(objects)),
        Err(error) if list::is_denied(&error) => Ok(None),
        Err(error) => Err(failed(format!("list the {}", kind.plural))(error)),
    }
}

/// Returns those of the namespaces that the user may read, with their names.
///
/// # Errors
/// If one of them does not exist.
async fn named_namespaces(
    client: &Client,
    resource: &ApiResource,
    names: &[String],
) -> Result<(Vec<String>, Vec<Value>), Error> {
    let found = bounded(names.iter().map(async |name| match list::get(client, resource, None, name).await {
        Ok(namespace) => Ok(Some((name.clone(), namespace))),
        Err(error) if list::is_denied(&error) => Ok(None),
        Err(error) if status_code(&error) == Some(404) => {
            Err(Error::Unavailable(format!("namespace {name}: the cluster has no such namespace")))
        }
        Err(error) => Err(failed(format!("get namespace {name}"))(error)),
    }));
    Ok(found.await?.into_iter().flatten().unzip())
}

fn metadata(object: &Value) -> Option<ObjectMeta> {
    ObjectMeta::deserialize(object.get("metadata")?).ok()
}
