//! Namespaces and names of objects.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::field::{Field, Problem};
use super::rules;
use crate::policy::{NetworkPolicy, Pod, Service};
use crate::source::Node;

/// The namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

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

    /// Returns the identity of the Service through which pods reach the API server.
    pub fn api_server() -> Self {
        Self::new(DEFAULT_NAMESPACE, "kubernetes")
    }
}

/// Writes `namespace/name`, or only the name of an object without a namespace.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Returns a text in the metadata of an object. `None` if it is missing or empty.
pub(super) fn metadata<'a>(object: &'a Node, field: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.as_str().filter(|text| !text.is_empty())
}

/// Returns the namespace of an object that names its `own` one or none.
pub(super) fn namespace_of<'a>(own: Option<&'a str>, namespace: Option<&'a str>) -> &'a str {
    own.filter(|name| !name.is_empty()).or(namespace).unwrap_or(DEFAULT_NAMESPACE)
}

/// Returns `metadata.name`, which an object must have.
pub(super) fn required_name(name: Option<&str>) -> Result<&str, Problem> {
    let is_missing = || Field::ROOT.field("metadata").field("name").problem("is missing");
    name.filter(|name| !name.is_empty()).ok_or_else(is_missing)
}

/// Returns the identity of an object. If it names no namespace, it is in `namespace`.
pub(super) fn identity(metadata: &ObjectMeta, namespace: Option<&str>) -> Result<Identity, Problem> {
    let at = Field::ROOT.field("metadata");
    let object_name = required_name(metadata.name.as_deref())?;
    let namespace = namespace_of(metadata.namespace.as_deref(), namespace);
    rules::dns_label(namespace, &at.field("namespace"))?;
    Ok(Identity::new(namespace, object_name))
}

/// Placeholder for the characters that the API server appends to a `generateName`.
const GENERATED: &str = "xxxxx";

/// Returns the identity of an object whose name the API server may complete.
pub(super) fn generated_identity(
    metadata: &ObjectMeta,
    namespace: Option<&str>,
) -> Result<Identity, Problem> {
    let has_name = metadata.name.as_ref().is_some_and(|name| !name.is_empty());
    let prefix = metadata.generate_name.as_deref().filter(|prefix| !prefix.is_empty() && !has_name);
    let name = prefix.map(|prefix| format!("{prefix}{GENERATED}")).or_else(|| metadata.name.clone());
    identity(&ObjectMeta { name, namespace: metadata.namespace.clone(), ..ObjectMeta::default() }, namespace)
}
