//! Reads the objects of a document.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::{core::v1 as core, networking::v1 as networking};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use super::cluster_policy::{self, ClusterPolicyObject, v1alpha1, v1alpha2};
use super::field::{Field, Problem};
use super::kind::{self, Kind, Mistake, Named};
use super::list;
use super::named::{Lookup, WrittenPolicy};
use super::node::ReadNode;
use super::other::OtherObject;
use super::scaler::{self, Scaler};
use super::service::{self, Unshown};
use super::workload::{self, Owner, Template, WorkloadKind};
use super::{node, pod, rules};
use crate::policy::{ClusterPolicy, ClusterPolicyKind, Namespace, NetworkPolicy, Pod, Service};
use crate::source::{
    Document, Error, Located, Location, Node, Place, UnknownField, decode, decode_live, quote,
};

/// The namespace of an object that names none.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// An object of a document, and its place.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// The object.
    pub object: Object,
    /// Where it begins.
    pub place: Place,
    /// Its part of the document.
    pub node: &'a Node,
    /// `Kind`, or `Kind.group` outside the core group.
    pub full_kind: String,
    /// Fields that its kind does not have, if an API server has written the object.
    pub unknown_fields: Vec<UnknownField>,
}

/// A converted object.
#[derive(Debug, Clone)]
pub enum Object {
    /// `v1 Namespace`
    Namespace(Namespace),
    /// `v1 Node`
    Node(ReadNode),
    /// `v1 Pod`
    Pod(Pod, Option<Owner>),
    /// A workload that makes pods.
    Template(Template),
    /// `v1 Service`
    Service(WrittenService),
    /// `networking.k8s.io/v1 NetworkPolicy`
    NetworkPolicy(WrittenPolicy),
    /// A kind of `policy.networking.k8s.io`.
    ClusterPolicy(WrittenClusterPolicy),
    /// An autoscaler, which changes the number of a workload's pods.
    Scaler(Scaler),
    /// Anything else.
    Other(OtherObject),
}

impl Object {
    /// Returns whether it decides about packets.
    pub(super) fn is_policy(&self) -> bool {
        match self {
            Self::NetworkPolicy(_) | Self::ClusterPolicy(_) => true,
            Self::Namespace(_)
            | Self::Node(_)
            | Self::Pod(..)
            | Self::Template(_)
            | Self::Service(_)
            | Self::Scaler(_)
            | Self::Other(_) => false,
        }
    }
}

/// A Service as netproof understands it, and what that leaves out.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenService {
    /// The value that the engine evaluates.
    pub service: Service,
    /// `spec.externalIPs` and `status.loadBalancer.ingress[].ip`: further addresses that nodes translate.
    pub external_addresses: Vec<IpAddr>,
    /// The manifest.
    pub object: Arc<core::Service>,
    /// Reasons why the expected matrix does not show everything that the Service does.
    pub unshown: Vec<Unshown>,
    /// The part that no scenario can test, with its location; `None` if everything can be tested.
    pub untestable: Option<Located<String>>,
}

/// A cluster-scoped policy as netproof understands it, and as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenClusterPolicy {
    /// The value that the engine evaluates.
    pub policy: ClusterPolicy,
    /// The manifest.
    pub object: Arc<ClusterPolicyObject>,
}

impl WrittenClusterPolicy {
    /// Converts a policy.
    ///
    /// # Errors
    /// If the API server would refuse it.
    pub fn new(object: ClusterPolicyObject) -> Result<Self, Problem> {
        Ok(Self { policy: cluster_policy::convert(&object)?, object: Arc::new(object) })
    }
}

/// The namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// `metadata.namespace`, or the default namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl Identity {
    /// Returns the identity of an object. `namespace` is empty for cluster-scoped objects.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Returns the identity of a pod.
    pub fn of_pod(pod: &Pod) -> Self {
        Self::new(&pod.namespace, &pod.name)
    }

    /// Returns the identity of a Service.
    pub fn of_service(service: &Service) -> Self {
        Self::new(&service.namespace, &service.name)
    }

    /// Returns the identity of a NetworkPolicy.
    pub fn of_policy(policy: &NetworkPolicy) -> Self {
        Self::new(&policy.namespace, &policy.name)
    }
}

/// Options for reading objects.
#[derive(Clone, Copy, Default)]
pub struct Reading<'a> {
    /// Namespace of objects that name none; `None` means `default`.
    pub namespace: Option<&'a str>,
    /// Addresses of names; `None` if policies must not name addresses.
    pub lookup: Option<&'a Lookup<'a>>,
    /// Whether an object that an API server has written may have fields that its kind does not have, because a newer
    /// server has them. In a file that a user has written, they are mistakes.
    pub tolerates_newer_servers: bool,
}

/// Returns the objects of a document: the document itself, or the items of a list.
///
/// # Errors
/// If the document is not a Kubernetes object, has a field that its kind does not have, or contains something that
/// the API server would refuse. If a named address has no address.
pub fn objects<'a>(document: &'a Document, reading: Reading<'_>) -> Result<Vec<Item<'a>>, Error> {
    let mut items = Vec::new();
    read(Context { file: &document.name, reading }, &document.node, None, &mut items)?;
    Ok(items)
}

/// What reading an object needs besides the object.
#[derive(Clone, Copy)]
struct Context<'a> {
    file: &'a Arc<str>,
    reading: Reading<'a>,
}

/// The kind of the items of a typed list. The items need not repeat it.
#[derive(Clone, Copy)]
struct Inherited<'a> {
    api_version: &'a str,
    kind: &'a str,
}

fn read<'a>(
    context: Context<'_>,
    node: &'a Node,
    inherited: Option<Inherited<'_>>,
    items: &mut Vec<Item<'a>>,
) -> Result<(), Error> {
    let name = context.file;
    let kind = type_field(name, node, "kind", inherited.map(|i| i.kind), kind::check_kind)?;
    let inherited_version = inherited.map(|i| i.api_version);
    let api_version = type_field(name, node, "apiVersion", inherited_version, kind::check_api_version)?;
    let failed = |Failure { at, message }: Failure| {
        let what = match node.get("metadata").and_then(|m| m.get("name")).and_then(Node::as_str) {
            Some(object_name) => format!("{kind} {}", quote(object_name)),
            None => kind.clone(),
        };
        Error::at(name, at, format!("{what}: {message}"))
    };
    if let Some(list) = list::of(node, &api_version, &kind).map_err(failed)? {
        let inherited = list.kind.as_deref().map(|kind| Inherited { api_version: &api_version, kind });
        for item in list.items.iter().filter(|item| !item.is_null()) {
            read(context, item, inherited, items)?;
        }
        return Ok(());
    }
    let named = kind::look_up(&api_version, &kind).map_err(|mistake| failed(Failure::from(node, mistake)))?;
    let (object, unknown_fields) = match named {
        Named::Known(kind) => convert(context, kind, node).map_err(failed)?,
        Named::Other(kind) => {
            let scaler = scaler::read(&kind, node, context.reading.namespace)
                .map_err(|problem| failed(Failure::of(node, &problem)))?;
            let other = || Object::Other(OtherObject::new(kind, node));
            (scaler.map_or_else(other, Object::Scaler), Vec::new())
        }
    };
    let full_kind = kind::full_name(&api_version, &kind);
    let place = Place { name: Arc::clone(name), location: Some(node.at) };
    items.push(Item { object, place, node, full_kind, unknown_fields });
    Ok(())
}

/// Returns the `kind` or `apiVersion` of an object.
fn type_field(
    name: &Arc<str>,
    node: &Node,
    field: &str,
    inherited: Option<&str>,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Result<String, Error> {
    let found = node.get(field).filter(|node| !node.is_null());
    match (found.map(|found| (found, found.as_str())), inherited) {
        (Some((found, Some(text))), _) => {
            check(text).map_err(|message| Error::at(name, found.at, format!("{field}: {message}")))?;
            Ok(text.to_owned())
        }
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
}

/// What is wrong with an object, and where.
pub(super) struct Failure {
    pub(super) at: Location,
    pub(super) message: String,
}

impl Failure {
    /// Returns the failure for a wrong `kind` or `apiVersion`. In a typed list, the wrong value may be that of the
    /// list.
    pub(super) fn from(node: &Node, mistake: Mistake) -> Self {
        let Mistake { field, message } = mistake;
        Self { at: node.get(field).map_or(node.at, |field| field.at), message }
    }

    /// Returns the failure for a problem with a field.
    fn of(node: &Node, problem: &Problem) -> Self {
        let Problem { path, message } = problem;
        Self { at: node.locate(path), message: format!("{}: {message}", crate::source::path_to_string(path)) }
    }
}

type Converted = (Object, Vec<UnknownField>);

fn convert(context: Context<'_>, kind: Kind, node: &Node) -> Result<Converted, Failure> {
    let Context { file, reading } = context;
    match kind {
        Kind::Namespace => with(context, node, |namespace: &core::Namespace| {
            let root = Field::ROOT;
            let identity = identity(&namespace.metadata, None)?;
            let labels = namespace.metadata.labels.clone().unwrap_or_default();
            rules::dns_label(&identity.name, &root.field("metadata").field("name"))?;
            rules::labels(&labels, &root.field("metadata").field("labels"))?;
            Ok(Object::Namespace(Namespace::new(identity.name, labels)))
        }),
        Kind::Node => with(context, node, |object: &core::Node| node::convert(object).map(Object::Node)),
        Kind::Service => with(context, node, |object: &core::Service| {
            let identity = identity(&object.metadata, reading.namespace)?;
            let locate = |problem: Problem| Located {
                at: node.locate(&problem.path),
                value: format!("{}: {}", crate::source::path_to_string(&problem.path), problem.message),
            };
            let service = service::convert(object, identity)?;
            Ok(Object::Service(WrittenService {
                external_addresses: service::external_addresses(object)?,
                unshown: service::unshown(object, &service),
                service,
                object: Arc::new(object.clone()),
                untestable: service::untestable(object).map(locate),
            }))
        }),
        Kind::NetworkPolicy => policy(context, node, |object: &networking::NetworkPolicy| {
            let identity = identity(&object.metadata, reading.namespace)?;
            WrittenPolicy::read(object, identity, file, node, reading.lookup).map(Object::NetworkPolicy)
        }),
        Kind::ClusterPolicy(ClusterPolicyKind::AdminNetworkPolicy) => {
            policy(context, node, |object: &v1alpha1::AdminNetworkPolicy| {
                for_cluster(ClusterPolicyObject::AdminNetworkPolicy(object.clone()))
            })
        }
        Kind::ClusterPolicy(ClusterPolicyKind::BaselineAdminNetworkPolicy) => {
            policy(context, node, |object: &v1alpha1::BaselineAdminNetworkPolicy| {
                for_cluster(ClusterPolicyObject::BaselineAdminNetworkPolicy(object.clone()))
            })
        }
        Kind::ClusterPolicy(ClusterPolicyKind::ClusterNetworkPolicy) => {
            policy(context, node, |object: &v1alpha2::ClusterNetworkPolicy| {
                for_cluster(ClusterPolicyObject::ClusterNetworkPolicy(object.clone()))
            })
        }
        Kind::Workload(kind) => convert_workload(context, kind, node),
    }
}

fn convert_workload(context: Context<'_>, kind: WorkloadKind, node: &Node) -> Result<Converted, Failure> {
    match kind {
        WorkloadKind::Pod => with(context, node, |object: &core::Pod| {
            let owner = workload::owner(&object.metadata, kind);
            let identity = generated_identity(&object.metadata, context.reading.namespace)?;
            Ok(Object::Pod(pod::convert(object, identity)?, owner))
        }),
        WorkloadKind::Deployment => template(context, node, kind, workload::deployment),
        WorkloadKind::StatefulSet => template(context, node, kind, workload::stateful_set),
        WorkloadKind::DaemonSet => template(context, node, kind, workload::daemon_set),
        WorkloadKind::ReplicaSet => template(context, node, kind, workload::replica_set),
        WorkloadKind::ReplicationController => {
            template(context, node, kind, workload::replication_controller)
        }
        WorkloadKind::Job => template(context, node, kind, workload::job),
        WorkloadKind::CronJob => template(context, node, kind, workload::cron_job),
    }
}

fn for_cluster(object: ClusterPolicyObject) -> Result<Object, Problem> {
    WrittenClusterPolicy::new(object).map(Object::ClusterPolicy)
}

fn template<T: DeserializeOwned>(
    context: Context<'_>,
    node: &Node,
    kind: WorkloadKind,
    source: impl FnOnce(&T) -> workload::Source<'_>,
) -> Result<Converted, Failure> {
    with(context, node, |object: &T| {
        let source = source(object);
        let identity = generated_identity(source.metadata, context.reading.namespace)?;
        workload::convert(&source, kind, identity).map(Object::Template)
    })
}

fn with<T: DeserializeOwned>(
    context: Context<'_>,
    node: &Node,
    convert: impl FnOnce(&T) -> Result<Object, Problem>,
) -> Result<Converted, Failure> {
    let (object, unknown_fields) = decoded(context, node)?;
    Ok((converted(&object, node, convert)?, unknown_fields))
}

/// Converts a policy, as [`with`] converts other objects. A misspelt field is an error: without it, the policy might
/// select or allow everything.
fn policy<T: DeserializeOwned>(
    context: Context<'_>,
    node: &Node,
    convert: impl FnOnce(&T) -> Result<Object, Problem>,
) -> Result<Converted, Failure> {
    let (object, unknown_fields) = decoded(context, node)?;
    for UnknownField { path, at, meant } in &unknown_fields {
        if let Some(meant) = meant {
            let message = format!("unknown field {}: did you mean {meant}?", quote(path));
            return Err(Failure { at: *at, message });
        }
    }
    Ok((converted(&object, node, convert)?, unknown_fields))
}

fn decoded<T: DeserializeOwned>(
    context: Context<'_>,
    node: &Node,
) -> Result<(T, Vec<UnknownField>), Failure> {
    let decoded = if context.reading.tolerates_newer_servers && is_live(node) {
        decode_live(node)
    } else {
        decode(node).map(|object| (object, Vec::new()))
    };
    decoded.map_err(|error| Failure { at: error.at(), message: error.to_string() })
}

fn converted<T>(
    object: &T,
    node: &Node,
    convert: impl FnOnce(&T) -> Result<Object, Problem>,
) -> Result<Object, Failure> {
    convert(object).map_err(|problem| Failure::of(node, &problem))
}

/// Returns whether an API server has written an object. Only an API server sets these fields.
fn is_live(node: &Node) -> bool {
    let metadata = node.get("metadata");
    let has =
        |field: &str| metadata.and_then(|metadata| metadata.get(field)).is_some_and(|f| f.as_str().is_some());
    has("uid") && has("resourceVersion") && has("creationTimestamp")
}

/// Returns the identity of an object. If it names no namespace, it is in `namespace`.
pub(super) fn identity(metadata: &ObjectMeta, namespace: Option<&str>) -> Result<Identity, Problem> {
    let root = Field::ROOT;
    let at = root.field("metadata");
    let Some(object_name) = metadata.name.clone().filter(|name| !name.is_empty()) else {
        return Err(at.field("name").problem("is missing"));
    };
    let namespace = metadata.namespace.as_deref().filter(|name| !name.is_empty()).or(namespace);
    let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
    rules::dns_label(namespace, &at.field("namespace"))?;
    Ok(Identity::new(namespace, &object_name))
}

/// Placeholder for the characters that the API server appends to a `generateName`.
const GENERATED: &str = "xxxxx";

/// Returns the identity of an object whose name the API server may complete.
fn generated_identity(metadata: &ObjectMeta, namespace: Option<&str>) -> Result<Identity, Problem> {
    let prefix = metadata.generate_name.as_deref().filter(|prefix| !prefix.is_empty());
    match (metadata.name.as_deref().filter(|name| !name.is_empty()), prefix) {
        (None, Some(prefix)) => {
            let name = Some(format!("{prefix}{GENERATED}"));
            identity(
                &ObjectMeta { name, namespace: metadata.namespace.clone(), ..ObjectMeta::default() },
                namespace,
            )
        }
        (Some(_), _) | (None, None) => identity(metadata, namespace),
    }
}
