//! From a document to the objects in it.

use std::sync::Arc;

use k8s_openapi::api::{core::v1 as core, networking::v1 as networking};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use super::cluster_policy::{self, ClusterPolicyObject, v1alpha1, v1alpha2};
use super::field::{Field, Problem};
use super::named::{Lookup, WrittenPolicy};
use super::service::{self, Unshown};
use super::workload::{self, Owner, Template, WorkloadKind};
use super::{pod, rules};
use crate::policy::{ClusterPolicy, Namespace, NetworkPolicy, Pod, Service};
use crate::source::{Document, Error, Located, Location, Node, Place, decode, quote};

/// The namespace of an object that names none.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// An object of a document, and its place.
#[derive(Debug, Clone)]
pub struct Item {
    /// The object.
    pub object: Object,
    /// Where it begins.
    pub place: Place,
}

/// An object, converted.
#[derive(Debug, Clone)]
pub enum Object {
    /// `v1 Namespace`
    Namespace(Namespace),
    /// `v1 Pod`
    Pod(Pod, Option<Owner>),
    /// Something that makes pods.
    Template(Template),
    /// `v1 Service`
    Service(WrittenService),
    /// `networking.k8s.io/v1 NetworkPolicy`
    NetworkPolicy(WrittenPolicy),
    /// A kind of `policy.networking.k8s.io`.
    ClusterPolicy(WrittenClusterPolicy),
    /// Anything else, by `Kind` or, outside the core group, `Kind.group`.
    Other(String),
}

/// A Service as it was understood, and what that leaves out.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenService {
    /// What the engine evaluates.
    pub service: Service,
    /// What the manifest says.
    pub object: Arc<core::Service>,
    /// Why the expected matrix does not show what it does; `None` if nothing is left out.
    pub unshown: Option<Unshown>,
    /// What no scenario can test of it, and where that stands; `None` if everything can be tested.
    pub untestable: Option<Located<String>>,
}

/// A cluster-scoped policy as it was understood, and as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenClusterPolicy {
    /// What the engine evaluates.
    pub policy: ClusterPolicy,
    /// What the manifest says.
    pub object: Arc<ClusterPolicyObject>,
}

impl WrittenClusterPolicy {
    /// Understands a policy.
    ///
    /// # Errors
    /// If the API server would refuse it.
    pub fn new(object: ClusterPolicyObject) -> Result<Self, Problem> {
        Ok(Self { policy: cluster_policy::convert(&object)?, object: Arc::new(object) })
    }
}

/// The name of a namespaced object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// `metadata.namespace`, or the default namespace.
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl Identity {
    /// The name of an object in a namespace; one without has an empty one.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The name of a pod.
    pub fn of_pod(pod: &Pod) -> Self {
        Self::new(&pod.namespace, &pod.name)
    }

    /// The name of a Service.
    pub fn of_service(service: &Service) -> Self {
        Self::new(&service.namespace, &service.name)
    }

    /// The name of a NetworkPolicy.
    pub fn of_policy(policy: &NetworkPolicy) -> Self {
        Self::new(&policy.namespace, &policy.name)
    }
}

/// The objects of a document: itself, or the items of a list.
///
/// # Errors
/// If the document is no Kubernetes object, has a field that its kind does not know, or holds
/// something that the API server would refuse.
pub fn objects(document: &Document) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    read(Context { file: &document.name, lookup: None }, &document.node, None, &mut items)?;
    Ok(items)
}

/// The objects of a document in which policies may name addresses; `lookup` says what the names stand
/// for.
///
/// # Errors
/// As [`objects`], and if a name stands for nothing.
pub fn objects_by_name(document: &Document, lookup: &Lookup<'_>) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    read(Context { file: &document.name, lookup: Some(lookup) }, &document.node, None, &mut items)?;
    Ok(items)
}

/// What reading an object takes besides the object.
#[derive(Clone, Copy)]
struct Context<'a> {
    file: &'a Arc<str>,
    /// What names of addresses stand for; `None` where there may be none.
    lookup: Option<&'a Lookup<'a>>,
}

/// The kind of an object in a typed list, which need not repeat it.
#[derive(Clone, Copy)]
struct Inherited<'a> {
    api_version: &'a str,
    kind: &'a str,
}

fn read(
    context: Context<'_>,
    node: &Node,
    inherited: Option<Inherited<'_>>,
    items: &mut Vec<Item>,
) -> Result<(), Error> {
    let name = context.file;
    let field = |field: &str, inherited: Option<&'_ str>| -> Result<String, Error> {
        let found = node.get(field).filter(|node| !node.is_null());
        match (found.map(|found| (found, found.as_str())), inherited) {
            (Some((_, Some(text))), _) => Ok(text.to_owned()),
            (Some((found, None)), _) => {
                let message = format!("{field}: expected a string, found {}", found.value.describe());
                Err(Error::at(name, found.at, message))
            }
            (None, Some(inherited)) => Ok(inherited.to_owned()),
            (None, None) => {
                let message = format!("not a Kubernetes object: it has no {field}");
                Err(Error::at(name, node.at, message))
            }
        }
    };
    let kind = field("kind", inherited.map(|i| i.kind))?;
    let api_version = field("apiVersion", inherited.map(|i| i.api_version))?;

    if let (Some(item_kind), Some(list)) = (kind.strip_suffix("List"), node.get("items")) {
        let inherited = Inherited { api_version: &api_version, kind: item_kind };
        let inherited = (!item_kind.is_empty()).then_some(inherited);
        for item in list.items().iter().filter(|item| !item.is_null()) {
            read(context, item, inherited, items)?;
        }
        return Ok(());
    }
    let object = convert(context, &kind, &api_version, node).map_err(|Failure { at, message }| {
        let what = match node.get("metadata").and_then(|m| m.get("name")).and_then(Node::as_str) {
            Some(object_name) => format!("{kind} {}", quote(object_name)),
            None => kind.clone(),
        };
        Error::at(name, at, format!("{what}: {message}"))
    })?;
    items.push(Item { object, place: Place { name: Arc::clone(name), location: Some(node.at) } });
    Ok(())
}

struct Failure {
    at: Location,
    message: String,
}

/// The API group and version in which netproof knows a kind.
fn api_of(kind: &str) -> Option<(&'static str, &'static str)> {
    match kind {
        "Namespace" | "Pod" | "Service" | "ReplicationController" => Some(("", "v1")),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => Some(("apps", "v1")),
        "Job" | "CronJob" => Some(("batch", "v1")),
        "NetworkPolicy" => Some(("networking.k8s.io", "v1")),
        "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy" => Some((cluster_policy::GROUP, "v1alpha1")),
        "ClusterNetworkPolicy" => Some((cluster_policy::GROUP, "v1alpha2")),
        _ => None,
    }
}

fn convert(context: Context<'_>, kind: &str, api_version: &str, node: &Node) -> Result<Object, Failure> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match api_of(kind) {
        // Removed from Kubernetes long ago, but the same thing: skipping it would lose it.
        Some((known, current)) if (group == known && version != current) || group == "extensions" => {
            let current = if known.is_empty() { current.to_owned() } else { format!("{known}/{current}") };
            let at = node.get("apiVersion").map_or(node.at, |node| node.at);
            return Err(Failure {
                at,
                message: format!("{} is not supported: write {current}", quote(api_version)),
            });
        }
        Some((known, _)) if group == known => {}
        Some(_) | None => {
            let other = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
            return Ok(Object::Other(other));
        }
    }
    match kind {
        "Namespace" => with(node, |namespace: &core::Namespace| {
            let root = Field::ROOT;
            let identity = identity(&namespace.metadata)?;
            let labels = namespace.metadata.labels.clone().unwrap_or_default();
            rules::dns_label(&identity.name, &root.field("metadata").field("name"))?;
            rules::labels(&labels, &root.field("metadata").field("labels"))?;
            Ok(Object::Namespace(Namespace::new(identity.name, labels)))
        }),
        "Pod" => with(node, |object: &core::Pod| {
            let owner = workload::owner(&object.metadata);
            Ok(Object::Pod(pod::convert(object, identity(&object.metadata)?)?, owner))
        }),
        "Service" => with(node, |object: &core::Service| {
            let locate = |problem: Problem| Located {
                at: node.locate(&problem.path),
                value: format!("{}: {}", crate::source::path_to_string(&problem.path), problem.message),
            };
            Ok(Object::Service(WrittenService {
                service: service::convert(object, identity(&object.metadata)?)?,
                object: Arc::new(object.clone()),
                unshown: service::unshown(object),
                untestable: service::untestable(object).map(locate),
            }))
        }),
        "NetworkPolicy" => with(node, |object: &networking::NetworkPolicy| {
            let Context { file, lookup } = context;
            let identity = identity(&object.metadata)?;
            WrittenPolicy::read(object, identity, file, node, lookup).map(Object::NetworkPolicy)
        }),
        "AdminNetworkPolicy" => with(node, |object: &v1alpha1::AdminNetworkPolicy| {
            for_cluster(ClusterPolicyObject::AdminNetworkPolicy(object.clone()))
        }),
        "BaselineAdminNetworkPolicy" => with(node, |object: &v1alpha1::BaselineAdminNetworkPolicy| {
            for_cluster(ClusterPolicyObject::BaselineAdminNetworkPolicy(object.clone()))
        }),
        "ClusterNetworkPolicy" => with(node, |object: &v1alpha2::ClusterNetworkPolicy| {
            for_cluster(ClusterPolicyObject::ClusterNetworkPolicy(object.clone()))
        }),
        "Deployment" => template(node, WorkloadKind::Deployment, workload::deployment),
        "StatefulSet" => template(node, WorkloadKind::StatefulSet, workload::stateful_set),
        "DaemonSet" => template(node, WorkloadKind::DaemonSet, workload::daemon_set),
        "ReplicaSet" => template(node, WorkloadKind::ReplicaSet, workload::replica_set),
        "ReplicationController" => {
            template(node, WorkloadKind::ReplicationController, workload::replication_controller)
        }
        "Job" => template(node, WorkloadKind::Job, workload::job),
        "CronJob" => template(node, WorkloadKind::CronJob, workload::cron_job),
        other => Ok(Object::Other(other.to_owned())),
    }
}

fn for_cluster(object: ClusterPolicyObject) -> Result<Object, Problem> {
    WrittenClusterPolicy::new(object).map(Object::ClusterPolicy)
}

fn template<T: DeserializeOwned>(
    node: &Node,
    kind: WorkloadKind,
    source: impl FnOnce(&T) -> workload::Source<'_>,
) -> Result<Object, Failure> {
    with(node, |object: &T| {
        let source = source(object);
        workload::convert(&source, kind, identity(source.metadata)?).map(Object::Template)
    })
}

fn with<T: DeserializeOwned>(
    node: &Node,
    convert: impl FnOnce(&T) -> Result<Object, Problem>,
) -> Result<Object, Failure> {
    let object = decode(node).map_err(|error| Failure { at: error.at(), message: error.to_string() })?;
    convert(&object).map_err(|problem| Failure {
        at: node.locate(&problem.path),
        message: format!("{}: {}", crate::source::path_to_string(&problem.path), problem.message),
    })
}

pub(super) fn identity(metadata: &ObjectMeta) -> Result<Identity, Problem> {
    let root = Field::ROOT;
    let at = root.field("metadata");
    let Some(object_name) = metadata.name.clone().filter(|name| !name.is_empty()) else {
        return Err(at.field("name").problem("is missing"));
    };
    let namespace = metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    rules::dns_label(&namespace, &at.field("namespace"))?;
    Ok(Identity { namespace, name: object_name })
}
