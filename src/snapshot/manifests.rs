//! Builds the state of a cluster from objects.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::attach::{Parts, Workload};
use super::endpoint_slice::{self, EndpointSlice};
use super::identity::{Identity, metadata};
use super::info::{NotEnforced, SnapshotInfo, Unseen};
use super::named::WrittenPolicy;
use super::node::ReadNode;
use super::notice::{UnknownFields, empty_fields};
use super::object::{Item, Object, Reading, WrittenClusterPolicy, WrittenService, objects, objects_of};
use super::other::{OtherKinds, OtherObject};
use super::ranges::{self, AddressRanges, OutOfRange};
use super::service::Unshown;
use super::unread::{Unread, unseen_kinds};
use crate::policy::{Cluster, Namespace, Pod};
use crate::source::{Document, Error, Node, Place};

/// The content of a set of manifests, or of a live cluster.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The cluster. If a workload has no pods in the input, one pod represents all of its pods that no selector
    /// distinguishes.
    pub cluster: Cluster,
    /// The workloads, sorted by namespace, name and kind. Every pod that has not ended belongs to one workload.
    pub workloads: Vec<Workload>,
    /// The addresses of each Service that nodes translate, in addition to those in the Service range.
    pub external_addresses: BTreeMap<Identity, Vec<IpAddr>>,
    /// The address ranges of the cluster that the user has named.
    pub ranges: AddressRanges,
    /// The kinds that netproof does not read.
    pub other: OtherKinds,
    /// Warnings about parts of the manifests that may not mean what their author thinks, with their places.
    pub warnings: Vec<String>,
    /// The Services that do something which the expected matrix does not show, by reason.
    pub unshown: BTreeMap<Unshown, Vec<Identity>>,
    /// Objects of a live cluster that could not be seen. Those that the answer needs are also in `other`, as kinds that
    /// are not modelled.
    pub unseen: Vec<Unseen>,
    /// Enforcers of a live cluster that do not enforce, and policies that are only staged.
    pub not_enforced: Vec<NotEnforced>,
}

impl Snapshot {
    /// Reads the objects of all documents. Objects that name no namespace are in `namespace`, or in `default`.
    ///
    /// The objects of a saved snapshot are read tolerantly, because nobody can correct what a cluster has: an object
    /// that cannot be read becomes a kind that is not modelled, which the user must accept by name.
    ///
    /// # Errors
    /// If a document of manifests contains something that is not an object, or that the API server would refuse. If an
    /// object occurs again with different content. If the templates make too many pods. If the notes of a saved
    /// snapshot cannot be read.
    pub fn read<'a>(
        documents: impl IntoIterator<Item = &'a Document>,
        namespace: Option<&str>,
    ) -> Result<Self, Error> {
        let reading = Reading { namespace, tolerates_newer_servers: true, ..Reading::default() };
        let mut builder = Builder::default();
        for document in documents {
            let items = document.node.get("items").map(Node::items).unwrap_or_default();
            if items.iter().any(SnapshotInfo::is) {
                items.iter().try_for_each(|item| builder.add_saved(&document.name, item, reading))?;
                continue;
            }
            for item in objects(document, reading)? {
                builder.add(item)?;
            }
        }
        builder.finish()
    }

    /// Returns what is not enforced, and what could not be seen although no answer needs it.
    pub fn notes(&self) -> Vec<String> {
        let not_enforced = self.not_enforced.iter().map(|what| format!("not enforced: {what}"));
        let unseen = self.unseen.iter().filter(|unseen| !unseen.is_needed);
        not_enforced.chain(unseen.map(|unseen| format!("not seen: {unseen}"))).collect()
    }

    /// Limits unknown addresses to these ranges. Addresses in the input take precedence.
    ///
    /// # Errors
    /// If an address of the input is in none of the ranges that it must be in.
    pub fn narrow(&mut self, ranges: AddressRanges) -> Result<(), OutOfRange> {
        ranges.apply(&mut self.cluster)?;
        self.ranges = ranges;
        Ok(())
    }
}

/// The place and content of an object, to compare its next occurrence with.
type Seen<'a> = (Place, &'a Node);

#[derive(Default)]
struct Builder<'a> {
    snapshot: Snapshot,
    seen: HashMap<(&'static str, Identity), Seen<'a>>,
    parts: Parts<'a>,
    slices: Vec<EndpointSlice>,
    nodes: Vec<ReadNode>,
    /// Number of objects whose names the API server completes, by kind and incomplete name.
    generated: HashMap<(&'static str, Identity), usize>,
    others: BTreeMap<OtherObject, usize>,
    unknown: UnknownFields,
    unread: Unread,
}

impl<'a> Builder<'a> {
    /// Adds an object of a saved snapshot.
    fn add_saved(&mut self, file: &Arc<str>, node: &'a Node, reading: Reading<'_>) -> Result<(), Error> {
        if SnapshotInfo::is(node) {
            let info = SnapshotInfo::read(node).map_err(|error| error.within(file))?;
            self.snapshot.unseen.extend(info.unseen);
            self.snapshot.not_enforced.extend(info.not_enforced);
            return Ok(());
        }
        let items = objects_of(file, node, reading);
        let added = items.and_then(|items| items.into_iter().try_for_each(|item| self.add(item)));
        if let Err(error) = added {
            self.unread.add(node, &error);
        }
        Ok(())
    }

    fn add(&mut self, item: Item<'a>) -> Result<(), Error> {
        self.unknown.add(&item);
        let Item { object, place, node, .. } = item;
        match object {
            Object::Namespace(namespace) => {
                if self.is_new("Namespace", Identity::new("", &namespace.name), (place, node))? {
                    self.snapshot.cluster.namespaces.push(namespace);
                }
            }
            Object::Node(read) => {
                if self.is_new("Node", Identity::new("", &read.node.name), (place, node))? {
                    self.nodes.push(read);
                }
            }
            Object::Pod(mut pod, owner) => {
                self.complete_name("Pod", &mut pod, node);
                if self.is_new("Pod", Identity::of_pod(&pod), (place, node))? {
                    self.parts.pods.push((pod, owner));
                }
            }
            Object::Template(mut template) => {
                let kind = template.kind.name();
                self.complete_name(kind, &mut template.pod, node);
                if self.is_new(kind, Identity::of_pod(&template.pod), (place.clone(), node))? {
                    self.parts.templates.push((template, (place, node)));
                }
            }
            Object::Service(WrittenService { service, unshown, external_addresses, .. }) => {
                let identity = Identity::of_service(&service);
                if self.is_new("Service", identity.clone(), (place, node))? {
                    for why in unshown {
                        self.snapshot.unshown.entry(why).or_default().push(identity.clone());
                    }
                    self.snapshot.external_addresses.insert(identity, external_addresses);
                    self.snapshot.cluster.services.push(service);
                }
            }
            Object::NetworkPolicy(WrittenPolicy { policy, .. }) => {
                let identity = Identity::of_policy(&policy);
                if self.is_new("NetworkPolicy", identity.clone(), (place.clone(), node))? {
                    let called = format!("NetworkPolicy {identity}");
                    self.snapshot.warnings.extend(empty_fields(&called, &place.name, node));
                    self.snapshot.cluster.policies.push(policy);
                }
            }
            Object::ClusterPolicy(WrittenClusterPolicy { policy, .. }) => {
                let (kind, name) = (policy.name.kind.name(), &policy.name.name);
                if self.is_new(kind, Identity::new("", name), (place.clone(), node))? {
                    self.snapshot.warnings.extend(empty_fields(&format!("{kind} {name}"), &place.name, node));
                    self.snapshot.cluster.cluster_policies.push(policy);
                }
            }
            Object::Scaler(scaler) => self.parts.scalers.push(scaler),
            Object::EndpointSlice(slice) => self.slices.push(slice),
            Object::Other(object) => *self.others.entry(object).or_default() += 1,
        }
        Ok(())
    }

    /// Returns whether an object is new. Several dumps of a cluster may contain the same object.
    fn is_new(&mut self, kind: &'static str, identity: Identity, seen: Seen<'a>) -> Result<bool, Error> {
        match self.seen.entry((kind, identity)) {
            Entry::Vacant(entry) => {
                entry.insert(seen);
                Ok(true)
            }
            Entry::Occupied(entry) => {
                let ((kind, identity), (first, node)) = (entry.key(), entry.get());
                if node.has_same_content(seen.1) {
                    return Ok(false);
                }
                let message =
                    format!("{kind} {identity} is there twice with different content: first at {first}");
                Err(Error::new(seen.0, message))
            }
        }
    }

    /// Makes a name unique, if the API server completes the same name for several objects.
    fn complete_name(&mut self, kind: &'static str, pod: &mut Pod, node: &Node) {
        if metadata(node, "name").is_some() {
            return;
        }
        let number = self.generated.entry((kind, Identity::of_pod(pod))).or_default();
        *number += 1;
        if *number > 1 {
            pod.name = format!("{}-{number}", pod.name);
        }
    }

    fn finish(mut self) -> Result<Snapshot, Error> {
        let names = self.snapshot.unshown.get(&Unshown::ExternalName);
        let is_name = |service: &Identity| names.is_some_and(|names| names.contains(service));
        endpoint_slice::apply(&self.slices, &mut self.snapshot.cluster.services, is_name);
        self.snapshot.workloads = std::mem::take(&mut self.parts).attach(&mut self.snapshot.cluster)?;
        self.add_namespaces();
        let mut other = OtherKinds::new(&self.others);
        other.unmodelled.extend(self.unknown.unmodelled());
        other.unmodelled.extend(self.unread.unmodelled());
        other.unmodelled.extend(unseen_kinds(&self.snapshot.unseen));
        self.snapshot.not_enforced.append(&mut other.staged);
        self.snapshot.other = other;
        self.snapshot.warnings.extend(self.unknown.warnings());
        // If a node could not be read, the others are not all addresses that nodes have.
        let all_nodes = if self.unread.has_nodes() { &[] } else { self.nodes.as_slice() };
        ranges::from_nodes(&mut self.snapshot.cluster, all_nodes);
        self.snapshot.cluster.nodes = self.nodes.drain(..).map(|read| read.node).collect();
        let by_name = |w: &Workload| (w.identity.clone(), w.kind);
        self.snapshot.workloads.sort_by_key(by_name);
        Ok(self.snapshot)
    }

    /// Adds the namespaces that objects only mention.
    fn add_namespaces(&mut self) {
        let Cluster { namespaces, pods, services, policies, .. } = &mut self.snapshot.cluster;
        let mentioned = (pods.iter().map(|pod| &pod.namespace))
            .chain(services.iter().map(|service| &service.namespace))
            .chain(policies.iter().map(|policy| &policy.namespace))
            .chain(self.unread.namespaces());
        let mut missing: Vec<_> = mentioned.cloned().collect();
        missing.sort_unstable();
        missing.dedup();
        let known: HashSet<&str> = namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
        missing.retain(|name| !known.contains(name.as_str()));
        namespaces.extend(missing.into_iter().map(Namespace::mentioned));
    }
}
