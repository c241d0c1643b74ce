//! Reads the objects of a document.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::{core::v1 as core, networking::v1 as networking};
use serde::de::DeserializeOwned;

use super::cluster_policy::{
    AdminNetworkPolicySpec, BaselineAdminNetworkPolicySpec, ClusterNetworkPolicySpec, ClusterPolicyObject,
    Manifest, Spec,
};
use super::endpoint_slice::{self, EndpointSlice};
use super::field::{Field, Problem};
use super::identity::{generated_identity, identity};
use super::kind::{self, Kind, Mistake};
use super::list;
use super::named::{Lookup, WrittenPolicy};
use super::node::ReadNode;
use super::other::OtherObject;
use super::scaler::{self, Scaler};
use super::service::{self, Unshown};
use super::workload::{self, Owner, Template};
use super::workload_kind::WorkloadKind;
use super::{group, node, pod, rules};
use crate::policy::{ClusterPolicy, ClusterPolicyKind, Namespace, Pod, Service};
use crate::source::{Document, Error, Located, Node, Place, UnknownField, Value, decode, decode_live, quote};

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
    /// `discovery.k8s.io/v1 EndpointSlice`
    EndpointSlice(EndpointSlice),
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
            | Self::EndpointSlice(_)
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
    objects_of(&document.name, &document.node, reading)
}

/// Returns the objects that a node of a file contains. For errors, see [`objects`].
pub(super) fn objects_of<'a>(
    file: &Arc<str>,
    node: &'a Node,
    reading: Reading<'_>,
) -> Result<Vec<Item<'a>>, Error> {
    let mut items = Vec::new();
    read(Context { file, reading }, node, None, &mut items)?;
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
    let file = context.file;
    let kind = type_field(file, node, "kind", inherited.map(|i| i.kind), kind::check_kind)?;
    let inherited_version = inherited.map(|i| i.api_version);
    let api_version = type_field(file, node, "apiVersion", inherited_version, kind::check_api_version)?;
    let failed = |error: Error| match node.get("metadata").and_then(|m| m.get("name")).and_then(Node::as_str)
    {
        Some(name) => error.about(format_args!("{kind} {}", quote(name))),
        None => error.about(&kind),
    };
    if let Some(list) = list::of(file, node, &api_version, &kind).map_err(failed)? {
        let inherited = list.kind.map(|kind| Inherited { api_version: &api_version, kind });
        for item in list.items.iter().filter(|item| !item.is_null()) {
            read(context, item, inherited, items)?;
        }
        return Ok(());
    }
    let full_kind = group::full_name(&api_version, &kind);
    let known = match kind::look_up(&api_version, &kind) {
        Ok(known) => known,
        // A newer server has kinds that netproof does not know.
        Err(Mistake::Misspelt { .. }) if is_live(node) => None,
        Err(mistake) => return Err(failed(mistake.within(file, node))),
    };
    let (object, unknown_fields) = if let Some(kind) = known {
        convert(Input { context, kind, node }).map_err(failed)?
    } else {
        let scaler = scaler::read(&full_kind, node, context.reading.namespace)
            .map_err(|problem| failed(problem.within(file, node)))?;
        let slice = endpoint_slice::read(&full_kind, node, context.reading.namespace, is_live(node))
            .map_err(|error| failed(error.within(file)))?;
        let other = || Object::Other(OtherObject::new(full_kind.clone(), node));
        let object = scaler.map(Object::Scaler).or_else(|| slice.map(Object::EndpointSlice));
        (object.unwrap_or_else(other), Vec::new())
    };
    let place = Place { name: Arc::clone(file), location: Some(node.at) };
    items.push(Item { object, place, node, full_kind, unknown_fields });
    Ok(())
}

/// Returns the `kind` or `apiVersion` of an object.
fn type_field(
    name: &Arc<str>,
    node: &Node,
    field: &str,
    inherited: Option<&str>,
    check: impl FnOnce(&str) -> Result<(), Mistake>,
) -> Result<String, Error> {
    match (node.get(field).filter(|node| !node.is_null()), inherited) {
        (Some(Node { value: Value::String(text), .. }), _) => {
            check(text).map_err(|mistake| mistake.within(name, node).about(field))?;
            Ok(text.clone())
        }
        (Some(found), _) => {
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

/// An object that is to be converted.
#[derive(Clone, Copy)]
struct Input<'a> {
    context: Context<'a>,
    kind: Kind,
    node: &'a Node,
}

type Converted = (Object, Vec<UnknownField>);

fn convert(input: Input<'_>) -> Result<Converted, Error> {
    let Input { context: Context { file, reading }, kind, node } = input;
    match kind {
        Kind::Namespace => with(input, |namespace: core::Namespace| {
            let at = Field::ROOT.field("metadata");
            let identity = identity(&namespace.metadata, None)?;
            let labels = namespace.metadata.labels.unwrap_or_default();
            rules::dns_label(&identity.name, &at.field("name"))?;
            rules::labels(&labels, &at.field("labels"))?;
            Ok(Object::Namespace(Namespace::new(identity.name, labels)))
        }),
        Kind::Node => with(input, |object: core::Node| node::convert(object).map(Object::Node)),
        Kind::Service => with(input, |object: core::Service| {
            let identity = identity(&object.metadata, reading.namespace)?;
            let locate =
                |problem: Problem| Located { at: node.locate(&problem.path), value: problem.with_path() };
            let service = service::convert(&object, identity)?;
            Ok(Object::Service(WrittenService {
                external_addresses: service::external_addresses(&object)?,
                unshown: service::unshown(&object, &service),
                service,
                untestable: service::untestable(&object).map(locate),
                object: Arc::new(object),
            }))
        }),
        Kind::NetworkPolicy => with(input, |object: networking::NetworkPolicy| {
            let identity = identity(&object.metadata, reading.namespace)?;
            WrittenPolicy::read(object, identity, file, node, reading.lookup).map(Object::NetworkPolicy)
        }),
        Kind::ClusterPolicy(ClusterPolicyKind::AdminNetworkPolicy) => {
            cluster_policy::<AdminNetworkPolicySpec>(input)
        }
        Kind::ClusterPolicy(ClusterPolicyKind::BaselineAdminNetworkPolicy) => {
            cluster_policy::<BaselineAdminNetworkPolicySpec>(input)
        }
        Kind::ClusterPolicy(ClusterPolicyKind::ClusterNetworkPolicy) => {
            cluster_policy::<ClusterNetworkPolicySpec>(input)
        }
        Kind::Workload(WorkloadKind::Pod) => with(input, |object: core::Pod| {
            let owner = workload::owner(&object.metadata, WorkloadKind::Pod);
            let identity = generated_identity(&object.metadata, reading.namespace)?;
            Ok(Object::Pod(pod::convert(&object, identity)?, owner))
        }),
        Kind::Workload(kind @ WorkloadKind::Deployment) => template(input, kind, workload::deployment),
        Kind::Workload(kind @ WorkloadKind::StatefulSet) => template(input, kind, workload::stateful_set),
        Kind::Workload(kind @ WorkloadKind::DaemonSet) => template(input, kind, workload::daemon_set),
        Kind::Workload(kind @ WorkloadKind::ReplicaSet) => template(input, kind, workload::replica_set),
        Kind::Workload(kind @ WorkloadKind::ReplicationController) => {
            template(input, kind, workload::replication_controller)
        }
        Kind::Workload(kind @ WorkloadKind::Job) => template(input, kind, workload::job),
        Kind::Workload(kind @ WorkloadKind::CronJob) => template(input, kind, workload::cron_job),
    }
}

fn cluster_policy<S: Spec + DeserializeOwned>(input: Input<'_>) -> Result<Converted, Error> {
    with(input, |manifest: Manifest<S>| {
        let policy = manifest.spec.convert(manifest.metadata.name.as_deref())?;
        let object = Arc::new(ClusterPolicyObject::new(manifest.metadata, input.node));
        Ok(Object::ClusterPolicy(WrittenClusterPolicy { policy, object }))
    })
}

fn template<T: DeserializeOwned>(
    input: Input<'_>,
    kind: WorkloadKind,
    source: impl FnOnce(&T) -> workload::Source<'_>,
) -> Result<Converted, Error> {
    with(input, |object: T| {
        let source = source(&object);
        let identity = generated_identity(source.metadata, input.context.reading.namespace)?;
        workload::convert(&source, kind, identity).map(Object::Template)
    })
}

/// Decodes an object and converts it. In a policy, a misspelt field is an error: without it, the policy might select
/// or allow everything.
fn with<T: DeserializeOwned>(
    input: Input<'_>,
    convert: impl FnOnce(T) -> Result<Object, Problem>,
) -> Result<Converted, Error> {
    let Input { context: Context { file, reading }, kind, node } = input;
    let decoded = if reading.tolerates_newer_servers && is_live(node) {
        decode_live(node)
    } else {
        decode(node).map(|object| (object, Vec::new()))
    };
    let (object, unknown_fields) = decoded.map_err(|error| error.within(file))?;
    let is_policy = matches!(kind, Kind::NetworkPolicy | Kind::ClusterPolicy(_));
    for UnknownField { path, at, meant } in unknown_fields.iter().filter(|_| is_policy) {
        if let Some(meant) = meant {
            let message = format!("unknown field {}: did you mean {meant}?", quote(path));
            return Err(Error::at(file, *at, message));
        }
    }
    let object = convert(object).map_err(|problem| problem.within(file, node))?;
    Ok((object, unknown_fields))
}

/// Returns whether an API server has written an object. Only an API server sets these fields.
fn is_live(node: &Node) -> bool {
    let has = |field| node.get("metadata").and_then(|metadata| metadata.get(field)?.as_str()).is_some();
    has("uid") && has("resourceVersion") && has("creationTimestamp")
}
