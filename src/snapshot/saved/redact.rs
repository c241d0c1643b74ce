//! Replaces names, labels and addresses in live objects, so that policies still mean the same.
//!
//! Equal names become equal, and different ones stay different. So every selector matches what it matched, and every
//! answer is the same with other names. What stays: kinds, API groups, port numbers, protocols, the names of Kubernetes'
//! own namespaces, and the label keys of Kubernetes. A text in a field that this file does not know is removed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::SavedObjects;
use super::addresses::Addresses;
use crate::snapshot::controller_labels::{self, POD_TEMPLATE_HASH};
use crate::snapshot::group;
use crate::snapshot::info::SnapshotInfo;

/// What a name is a name of. Names of different categories are independent of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Category {
    Namespace,
    Node,
    Pod,
    Service,
    Policy,
    /// The workload that made a pod.
    Owner,
    /// An object that netproof does not read.
    Object,
    Container,
    /// A rule of a cluster-scoped policy.
    Rule,
    Port,
    DomainName,
    LabelKey,
    LabelValue,
}

impl Category {
    /// Returns the beginning of the replacements.
    fn prefix(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Policy => "policy",
            Self::Owner => "workload",
            Self::Object => "object",
            Self::Container => "container",
            Self::Rule => "rule",
            Self::Port => "port",
            Self::DomainName => "domain",
            Self::LabelKey => "key",
            Self::LabelValue => "value",
        }
    }

    /// Returns whether a name of this category stays as it is.
    fn keeps(self, name: &str) -> bool {
        match self {
            Self::Namespace => ["default", "kube-system", "kube-public", "kube-node-lease"].contains(&name),
            // The only BaselineAdminNetworkPolicy must have this name.
            Self::Policy => name == "default",
            Self::LabelKey => is_well_known(name),
            Self::LabelValue => name.is_empty(),
            Self::Node
            | Self::Pod
            | Self::Service
            | Self::Owner
            | Self::Object
            | Self::Container
            | Self::Rule
            | Self::Port
            | Self::DomainName => false,
        }
    }
}

/// Returns whether a label key is one of Kubernetes' own.
fn is_well_known(key: &str) -> bool {
    key.split_once('/').map_or_else(
        || controller_labels::KEYS.contains(&key),
        |(prefix, _)| prefix.contains('.') && group::is_own(prefix),
    )
}

/// Replacement of texts that netproof does not need.
const REMOVED: &str = "redacted";

/// Returns the objects with other names, labels and addresses. Who knows the key can find out the addresses.
pub(super) fn redacted(saved: &SavedObjects, key: &[u8]) -> SavedObjects {
    let mut names = Names::default();
    // The first pass finds the names, the second one replaces them.
    let collected = |category, name: &str| {
        names.0.entry(category).or_default().insert(name.to_owned());
        name.to_owned()
    };
    let mut unused = Addresses::new(key);
    all(&mut saved.clone(), &mut Redactor { name: collected, addresses: &mut unused });
    let replacements = names.replacements();
    let replaced = |category, name: &str| {
        replacements.get(&(category, name.to_owned())).cloned().unwrap_or_else(|| REMOVED.to_owned())
    };
    let mut saved = saved.clone();
    all(&mut saved, &mut Redactor { name: replaced, addresses: &mut Addresses::new(key) });
    SavedObjects::new(saved.info, saved.objects)
}

/// All names of the objects, by category.
#[derive(Default)]
struct Names(BTreeMap<Category, BTreeSet<String>>);

impl Names {
    /// Returns the replacement of each name. Replacements have the order of the names.
    fn replacements(&self) -> BTreeMap<(Category, String), String> {
        let mut replacements = BTreeMap::new();
        for (category, names) in &self.0 {
            let width = names.len().to_string().len();
            for (i, name) in names.iter().enumerate() {
                let replacement = match category.keeps(name) {
                    true => name.clone(),
                    false => format!("{}-{:0width$}", category.prefix(), i + 1),
                };
                replacements.insert((*category, name.clone()), replacement);
            }
        }
        replacements
    }
}

fn all<F: FnMut(Category, &str) -> String>(saved: &mut SavedObjects, redactor: &mut Redactor<'_, F>) {
    redactor.info(&mut saved.info);
    for object in saved.objects.iter_mut().filter_map(Value::as_object_mut) {
        redactor.object(object);
    }
}

/// Visits every text of an object.
struct Redactor<'a, F> {
    /// Returns the replacement of a name.
    name: F,
    addresses: &'a mut Addresses,
}

impl<F: FnMut(Category, &str) -> String> Redactor<'_, F> {
    fn info(&mut self, info: &mut SnapshotInfo) {
        info.cluster = None;
        info.redacted = true;
        for unseen in &mut info.unseen {
            unseen.why.clear();
            for namespace in unseen.namespace.iter_mut().chain(&mut unseen.outside) {
                *namespace = (self.name)(Category::Namespace, namespace);
            }
        }
        info.not_enforced.iter_mut().for_each(|what| what.source.clear());
    }

    fn object(&mut self, object: &mut Map<String, Value>) {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let category = match (text("apiVersion"), text("kind")) {
            ("v1", "Namespace") => Category::Namespace,
            ("v1", "Node") => Category::Node,
            ("v1", "Pod") => Category::Pod,
            ("v1", "Service") => Category::Service,
            ("networking.k8s.io/v1", "NetworkPolicy") => Category::Policy,
            (version, _) if version.starts_with("policy.networking.k8s.io/") => Category::Policy,
            (_, _) => Category::Object,
        };
        for (field, value) in object {
            match (field.as_str(), value) {
                ("apiVersion" | "kind", _) => {}
                ("metadata", Value::Object(metadata)) => self.metadata(metadata, category),
                (field, value) => self.field("", field, value),
            }
        }
    }

    fn metadata(&mut self, metadata: &mut Map<String, Value>, category: Category) {
        let hash = metadata.get("labels").and_then(|labels| labels.get(POD_TEMPLATE_HASH)?.as_str());
        let hash = hash.map(str::to_owned);
        for (field, value) in metadata {
            match (field.as_str(), value) {
                ("name", Value::String(text)) => *text = (self.name)(category, text),
                ("namespace", Value::String(text)) => *text = (self.name)(Category::Namespace, text),
                ("labels", Value::Object(labels)) => self.labels(labels),
                ("ownerReferences", Value::Array(owners)) => {
                    owners
                        .retain(|owner| owner.get("apiVersion").and_then(Value::as_str).is_some_and(is_own));
                    for owner in owners.iter_mut().filter_map(|owner| owner.get_mut("name")) {
                        if let Value::String(name) = owner {
                            *name = self.owner(name, hash.as_deref());
                        }
                    }
                }
                // With these fields, an object is one that a server has written.
                ("creationTimestamp" | "deletionTimestamp", value) => *value = "1970-01-01T00:00:00Z".into(),
                ("resourceVersion" | "uid", value) => *value = REMOVED.into(),
                (_, value) => *value = Value::Null,
            }
        }
    }

    /// Returns the replacement of the name of an owner. A ReplicaSet has the name of its Deployment, and the hash of
    /// the template.
    fn owner(&mut self, name: &str, hash: Option<&str>) -> String {
        let deployment = hash.and_then(|hash| Some((name.strip_suffix(hash)?.strip_suffix('-')?, hash)));
        match deployment {
            Some((deployment, hash)) => {
                let deployment = (self.name)(Category::Owner, deployment);
                format!("{deployment}-{}", (self.name)(Category::LabelValue, hash))
            }
            None => (self.name)(Category::Owner, name),
        }
    }

    fn labels(&mut self, labels: &mut Map<String, Value>) {
        let replaced = std::mem::take(labels).into_iter().map(|(key, mut value)| {
            self.label_value(&key, &mut value);
            ((self.name)(Category::LabelKey, &key), value)
        });
        *labels = replaced.collect();
    }

    /// Replaces the value of a label, or all values of a list.
    fn label_value(&mut self, key: &str, value: &mut Value) {
        let category = match key {
            "kubernetes.io/metadata.name" => Category::Namespace,
            "kubernetes.io/hostname" => Category::Node,
            "kubernetes.io/service-name" => Category::Service,
            controller_labels::STATEFUL_SET_POD => Category::Pod,
            _ => Category::LabelValue,
        };
        match value {
            Value::String(text) => *text = (self.name)(category, text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.label_value(key, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }

    /// Replaces the value of a field. `parent` is the field around it.
    fn field(&mut self, parent: &str, field: &str, value: &mut Value) {
        match (field, value) {
            // Numbers and booleans name nothing.
            (_, Value::Null | Value::Bool(_) | Value::Number(_)) => {}
            ("matchLabels" | "selector", Value::Object(labels)) => self.labels(labels),
            ("matchExpressions", Value::Array(requirements)) => {
                for requirement in requirements.iter_mut().filter_map(Value::as_object_mut) {
                    self.requirement(requirement);
                }
            }
            (field, value) if ADDRESSES.contains(&field) => self.address(field, value),
            (field, Value::Object(fields)) if PARTS.contains(&field) => {
                for (name, value) in fields {
                    self.field(field, name, value);
                }
            }
            (field, Value::Array(items)) if PARTS.contains(&field) => {
                items.iter_mut().for_each(|item| self.field(parent, field, item));
            }
            (field, Value::Array(items)) if WORDS.contains(&field) => {
                items.retain(|item| matches!(item, Value::String(_)));
            }
            (field, Value::String(_)) if WORDS.contains(&field) => {}
            ("domainNames", Value::Array(items)) => {
                items.iter_mut().for_each(|item| self.field(parent, "domainName", item));
            }
            (field, Value::String(text)) => *text = self.text(parent, field, text),
            (_, value @ (Value::Array(_) | Value::Object(_))) => *value = Value::Null,
        }
    }

    fn requirement(&mut self, requirement: &mut Map<String, Value>) {
        let key = requirement.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        for (field, value) in requirement {
            match (field.as_str(), value) {
                ("key", Value::String(text)) => *text = (self.name)(Category::LabelKey, text),
                ("values", value) => self.label_value(&key, value),
                (field, value) => self.field("", field, value),
            }
        }
    }

    /// Replaces addresses and ranges. Anything else in their place is removed, such as the host name of a node.
    fn address(&mut self, parent: &str, value: &mut Value) {
        match value {
            Value::String(text) if text.is_empty() || text == "None" => {}
            Value::String(text) => {
                *text = self.addresses.replace(text).unwrap_or_else(|| REMOVED.to_owned());
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.address(parent, item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.field(parent, name, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Returns the replacement of a text.
    fn text(&mut self, parent: &str, field: &str, text: &str) -> String {
        let category = match (parent, field) {
            ("ports", "name") | (_, "port" | "targetPort" | "namedPort" | "destinationNamedPort") => {
                Category::Port
            }
            ("containers" | "initContainers", "name") => Category::Container,
            ("ingress" | "egress", "name") => Category::Rule,
            ("targetRef", "name") => Category::Pod,
            (_, "namespace") => Category::Namespace,
            (_, "nodeName") => Category::Node,
            (_, "domainName" | "externalName") => {
                let wildcard = if text.starts_with("*.") { "*." } else { "" };
                return format!("{wildcard}{}.example", (self.name)(Category::DomainName, text));
            }
            (_, _) => return REMOVED.to_owned(),
        };
        (self.name)(category, text)
    }
}

/// Returns whether an API version is one of Kubernetes' own.
fn is_own(api_version: &str) -> bool {
    group::is_own(group::of(api_version))
}

/// Fields with addresses, with ranges of addresses, or with lists of them.
const ADDRESSES: &[&str] = &[
    "address",
    "addresses",
    "cidr",
    "clusterIP",
    "clusterIPs",
    "except",
    "externalIPs",
    "hostIP",
    "ip",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "networks",
    "podCIDR",
    "podCIDRs",
    "podIP",
    "podIPs",
];

/// Fields with words of the API.
const WORDS: &[&str] = &[
    "action",
    "addressType",
    "externalTrafficPolicy",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "kind",
    "operator",
    "phase",
    "policyTypes",
    "protocol",
    "restartPolicy",
    "sessionAffinity",
    "tier",
    "trafficDistribution",
    "type",
];

/// Fields whose values have further fields.
const PARTS: &[&str] = &[
    "conditions",
    "containers",
    "destinationPort",
    "egress",
    "endpoints",
    "from",
    "ingress",
    "initContainers",
    "ipBlock",
    "loadBalancer",
    "namespaceSelector",
    "namespaces",
    "nodes",
    "podSelector",
    "pods",
    "portNumber",
    "portRange",
    "ports",
    "protocols",
    "range",
    "sctp",
    "spec",
    "status",
    "subject",
    "targetRef",
    "tcp",
    "to",
    "udp",
];
