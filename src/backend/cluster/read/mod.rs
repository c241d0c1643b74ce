//! Reads the state of a live cluster: the objects that decide who may reach whom. Changes nothing.

mod enforcement;
mod list;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::Value;

use super::connect::{Target, connect};
use super::foreign::{self, Candidate, Candidates};
use super::request::{bounded, failed, persistently, say, status_code};
use super::{access, plugin};
use crate::backend::Error;
use crate::policy::ClusterPolicyKind;
use crate::snapshot::saved::SavedObjects;
use crate::snapshot::{Part, STAGED, Snapshot, SnapshotInfo, Unseen};

use list::Content;

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
    let candidates = foreign::candidates(client, &groups, |kind| read.part(kind)).await?;
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

/// A kind that the snapshot converts.
struct ReadKind {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    is_namespaced: bool,
    /// What it means if objects in the named namespaces, or in the cluster, could not be seen.
    effect: &'static str,
    /// Whether the answer about the named namespaces may be wrong without them.
    is_needed: bool,
    /// What it means if only objects in other namespaces could not be seen.
    elsewhere: &'static str,
}

const KINDS: [ReadKind; 6] = [
    ReadKind {
        group: "",
        kind: "Namespace",
        plural: "namespaces",
        is_namespaced: false,
        effect: "the labels of namespaces are not known",
        is_needed: false,
        elsewhere: "",
    },
    ReadKind {
        group: "",
        kind: "Node",
        plural: "nodes",
        is_namespaced: false,
        effect: "the addresses of nodes are not known",
        is_needed: false,
        elsewhere: "",
    },
    ReadKind {
        group: "",
        kind: "Pod",
        plural: "pods",
        is_namespaced: true,
        effect: "the pods and their connections are not known",
        is_needed: true,
        elsewhere: "nothing is said about these pods, and their addresses count as outside the cluster",
    },
    ReadKind {
        group: "",
        kind: "Service",
        plural: "services",
        is_namespaced: true,
        effect: "addresses that lead to pods are not known",
        is_needed: true,
        elsewhere: "their addresses count as outside the cluster",
    },
    ReadKind {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        is_namespaced: true,
        effect: "the endpoints of Services are not known",
        is_needed: false,
        elsewhere: "the endpoints of these Services are not known",
    },
    ReadKind {
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        is_namespaced: true,
        effect: "policies that decide about packets are not known",
        is_needed: true,
        elsewhere: "they decide only about pods that were not seen either",
    },
];

impl ReadKind {
    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, "v1", self.kind), self.plural)
    }

    fn rule(&self) -> access::Rule {
        access::rule(self.group, self.plural, &["list"])
    }
}

/// Returns `Kind`, or `Kind.group` outside the core group.
fn full_kind(resource: &ApiResource) -> String {
    match resource.group.as_str() {
        "" => resource.kind.clone(),
        group => format!("{}.{group}", resource.kind),
    }
}

/// Returns why objects cannot be listed, if the user may not list them. The server's answer is longer and says no more.
fn denied(error: &kube::Error) -> Option<String> {
    (status_code(error) == Some(403)).then(|| "this user may not list them".to_owned())
}

/// Returns why objects could not be read.
fn reason(error: &kube::Error) -> String {
    denied(error).unwrap_or_else(|| say(error))
}

/// Result of listing objects of a kind.
enum Listed {
    Objects(Vec<Value>),
    /// The user may not list them.
    Denied(String),
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
            match listed {
                Listed::Objects(objects) => {
                    if kind.kind == "Node" {
                        nodes.extend(objects.iter().filter_map(metadata));
                    }
                    self.objects.extend(objects);
                }
                Listed::Denied(why) => denied.push((kind, why)),
            }
        }
        if self.scope.namespaces.is_empty() && denied.iter().any(|(kind, _)| kind.is_needed) {
            return Err(self.needs_rights().await);
        }
        for (kind, why) in denied {
            self.read_in_namespaces(kind, why).await?;
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
    async fn read_in_namespaces(&mut self, kind: &ReadKind, why: String) -> Result<(), Error> {
        let namespaces = &self.scope.namespaces;
        let (client, resource) = (self.client, kind.resource());
        let mut unseen = Unseen {
            kind: full_kind(&resource),
            namespace: None,
            outside: namespaces.clone(),
            effect: kind.elsewhere.to_owned(),
            why,
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
                Listed::Objects(objects) => self.objects.extend(objects),
                Listed::Denied(why) => self.unseen.push(Unseen {
                    namespace: Some(namespace.clone()),
                    outside: Vec::new(),
                    effect: kind.effect.to_owned(),
                    why,
                    is_needed: kind.is_needed,
                    ..unseen.clone()
                }),
            }
        }
        self.unseen.push(unseen);
        Ok(())
    }

    /// Reads the cluster-scoped policies.
    async fn read_cluster_policies(&mut self) -> Result<ClusterPolicies, Error> {
        let mut policies = ClusterPolicies::default();
        for kind in ClusterPolicyKind::ALL {
            let resource = super::cluster_policies::resource(kind);
            match list::list(self.client, &resource, None, Content::Read).await {
                Ok(objects) => {
                    self.objects.extend(objects);
                    policies.read.insert(kind);
                }
                // The cluster does not have the kind, or has it in another version.
                Err(error) if status_code(&error) == Some(404) => {}
                Err(error) if denied(&error).is_some() => {}
                Err(error) => return Err(failed(format!("list objects of kind {kind}"))(error)),
            }
        }
        Ok(policies)
    }

    /// Reads the names of objects that decide about packets and that the engine does not model.
    async fn read_candidates(&mut self, candidates: Candidates) -> Result<(), Error> {
        let Candidates { kinds, warning } = candidates;
        let (client, namespaces) = (self.client, &self.scope.namespaces);
        let listed =
            bounded(kinds.iter().map(async |kind| Ok(list_candidate(client, kind, namespaces).await)));
        for (candidate, listed) in kinds.iter().zip(listed.await?) {
            for (namespace, listed) in listed {
                match listed {
                    Ok(objects) => self.objects.extend(objects),
                    Err(why) => self.unseen.extend(unseen_candidate(candidate, namespace, why)),
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

/// Lists the objects of a kind, in one namespace or everywhere.
async fn list_kind(client: &Client, kind: &ReadKind, namespace: Option<&str>) -> Result<Listed, Error> {
    // The network plugin is recognized by the annotations of nodes.
    let content = if kind.kind == "Node" { Content::Whole } else { Content::Read };
    match list::list(client, &kind.resource(), namespace, content).await {
        Ok(objects) => Ok(Listed::Objects(objects)),
        Err(error) => match denied(&error) {
            Some(why) => Ok(Listed::Denied(why)),
            None => Err(failed(format!("list the {}", kind.plural))(error)),
        },
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
        Err(error) if denied(&error).is_some() => Ok(None),
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

/// The kinds of cluster-scoped policies that were read.
#[derive(Debug, Default)]
struct ClusterPolicies {
    read: BTreeSet<ClusterPolicyKind>,
}

impl ClusterPolicies {
    /// Returns how objects of a kind affect the answers, besides those that were read.
    fn part(&self, kind: ClusterPolicyKind) -> Option<Part> {
        let why = "decides about packets, and netproof cannot read it here: its version is another one, or this user may not";
        (!self.read.contains(&kind)).then(|| Part::Unmodelled(why.into()))
    }
}

/// The objects in a namespace, or everywhere. An error says why they could not be listed.
type Found<'a> = (Option<&'a str>, Result<Vec<Value>, String>);

/// Lists the names of objects of a kind that the engine does not model. If the user may not list them everywhere, lists
/// them in each of the namespaces.
async fn list_candidate<'a>(
    client: &Client,
    candidate: &Candidate,
    namespaces: &'a [String],
) -> Vec<Found<'a>> {
    let Some(served) = &candidate.served else {
        return vec![(None, Err("the cluster does not say whether it has this kind".to_owned()))];
    };
    let list = async |namespace| {
        let listed = list::list(client, &served.resource, namespace, Content::Names).await;
        listed.map_err(|error| reason(&error))
    };
    let everywhere = list(None).await;
    if everywhere.is_ok() || namespaces.is_empty() || !served.is_namespaced {
        return vec![(None, everywhere)];
    }
    let mut found = Vec::new();
    for namespace in namespaces {
        found.push((Some(namespace.as_str()), list(Some(namespace)).await));
    }
    found
}

/// Returns the note that objects of a kind could not be listed. `None` if that does not matter.
fn unseen_candidate(candidate: &Candidate, namespace: Option<&str>, why: String) -> Option<Unseen> {
    let (effect, is_needed) = match &candidate.part {
        Part::None => return None,
        Part::Unmodelled(effect) => (effect.to_string(), true),
        Part::Perhaps(effect) => (effect.to_string(), false),
        Part::Staged => (STAGED.to_owned(), false),
    };
    let namespace = namespace.map(str::to_owned);
    Some(Unseen { kind: candidate.name(), namespace, outside: Vec::new(), effect, why, is_needed })
}
