//! From objects to the state of a cluster.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::named::WrittenPolicy;
use super::object::{Identity, Item, Object, WrittenClusterPolicy, WrittenService, objects};
use super::service::Unshown;
use super::workload::{Owner, Template, WorkloadKind};
use crate::policy::{Cluster, Labels, Namespace, Pod};
use crate::source::{Document, Error, Place};

/// What a set of manifests describes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The cluster. A workload without pods of its own has one pod, named like it.
    pub cluster: Cluster,
    /// What the pods belong to, by namespace, name and kind. Every pod that has not ended belongs
    /// to one workload.
    pub workloads: Vec<Workload>,
    /// The kinds that netproof does not model and how many objects of each there were.
    pub ignored: BTreeMap<String, usize>,
    /// The Services that do something which the expected matrix does not show, by the reason.
    pub unshown: BTreeMap<Unshown, Vec<Identity>>,
}

/// A workload and its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub identity: Identity,
    /// Its pods, as positions in [`Cluster::pods`]. At least one.
    pub pods: Vec<usize>,
    /// How many pods the one in `pods` stands for, if it is not a pod of the input but made from
    /// the workload's template.
    pub replicas: Option<u32>,
}

impl Snapshot {
    /// Reads the objects of all documents.
    ///
    /// # Errors
    /// If a document holds something that is no object, that the API server would refuse, or that
    /// was in an earlier document already.
    pub fn from_documents<'a>(documents: impl IntoIterator<Item = &'a Document>) -> Result<Self, Error> {
        let mut builder = Builder::default();
        for document in documents {
            for item in objects(document)? {
                builder.add(item)?;
            }
        }
        Ok(builder.finish())
    }
}

#[derive(Default)]
struct Builder {
    snapshot: Snapshot,
    seen: HashMap<(&'static str, Identity), Place>,
    pods: Vec<(Pod, Option<Owner>)>,
    templates: Vec<Template>,
}

impl Builder {
    fn add(&mut self, item: Item) -> Result<(), Error> {
        let Item { object, place } = item;
        match object {
            Object::Namespace(namespace) => {
                self.once("Namespace", Identity::new("", &namespace.name), &place)?;
                self.snapshot.cluster.namespaces.push(namespace);
            }
            Object::Pod(pod, owner) => {
                self.once("Pod", Identity::of_pod(&pod), &place)?;
                self.pods.push((pod, owner));
            }
            Object::Template(template) => {
                self.once(template.kind.name(), Identity::of_pod(&template.pod), &place)?;
                self.templates.push(template);
            }
            Object::Service(WrittenService { service, unshown, .. }) => {
                self.once("Service", Identity::of_service(&service), &place)?;
                if let Some(why) = unshown {
                    self.snapshot.unshown.entry(why).or_default().push(Identity::of_service(&service));
                }
                self.snapshot.cluster.services.push(service);
            }
            Object::NetworkPolicy(WrittenPolicy { policy, .. }) => {
                self.once("NetworkPolicy", Identity::of_policy(&policy), &place)?;
                self.snapshot.cluster.policies.push(policy);
            }
            Object::ClusterPolicy(WrittenClusterPolicy { policy, .. }) => {
                self.once(policy.name.kind.name(), Identity::new("", &policy.name.name), &place)?;
                self.snapshot.cluster.cluster_policies.push(policy);
            }
            Object::Other(kind) => *self.snapshot.ignored.entry(kind).or_default() += 1,
        }
        Ok(())
    }

    fn once(&mut self, kind: &'static str, identity: Identity, place: &Place) -> Result<(), Error> {
        match self.seen.entry((kind, identity)) {
            Entry::Vacant(entry) => {
                entry.insert(place.clone());
                Ok(())
            }
            Entry::Occupied(entry) => {
                let ((kind, identity), first) = (entry.key(), entry.get());
                let message = format!("{kind} {identity} is there twice: first at {first}");
                Err(Error { place: place.clone(), message })
            }
        }
    }

    fn finish(mut self) -> Snapshot {
        self.attach_pods();
        self.add_namespaces();
        let by_name = |w: &Workload| (w.identity.clone(), w.kind);
        self.snapshot.workloads.sort_by_key(by_name);
        self.snapshot
    }

    /// Gives every pod to the workload at the end of its chain of owners, and every workload that
    /// nothing else makes at least one pod.
    fn attach_pods(&mut self) {
        type Key = (WorkloadKind, Identity);
        let key =
            |namespace: &str, owner: &Owner| -> Key { (owner.kind, Identity::new(namespace, &owner.name)) };
        let owners: HashMap<Key, Key> = self
            .templates
            .iter()
            .filter_map(|template| {
                Some((template.key(), key(&template.pod.namespace, template.owner.as_ref()?)))
            })
            .collect();
        let top = |mut key: Key| -> Key {
            // Owners in a circle cannot come from a cluster; the depth of a chain ends the search.
            for _ in 0..4 {
                match owners.get(&key) {
                    Some(owner) => key = owner.clone(),
                    None => break,
                }
            }
            key
        };

        let pods = &mut self.snapshot.cluster.pods;
        let mut members: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (pod, owner) in self.pods.drain(..) {
            let own = || (WorkloadKind::Pod, Identity::of_pod(&pod));
            let workload = owner.map_or_else(own, |owner| top(key(&pod.namespace, &owner)));
            if !pod.ended {
                members.entry(workload).or_default().push(pods.len());
            }
            pods.push(pod);
        }
        let mut replicas = HashMap::new();
        for template in self.templates.drain(..) {
            let key = template.key();
            let made_by_another = top(key.clone()) != key;
            if !made_by_another && !members.contains_key(&key) {
                replicas.insert(key.clone(), template.replicas);
                members.insert(key, vec![pods.len()]);
                pods.push(template.pod);
            }
        }
        self.snapshot.workloads.extend(members.into_iter().map(|(key, pods)| Workload {
            replicas: replicas.get(&key).copied(),
            kind: key.0,
            identity: key.1,
            pods,
        }));
    }

    /// Adds the namespaces that are only mentioned.
    fn add_namespaces(&mut self) {
        let Cluster { namespaces, pods, services, policies, .. } = &mut self.snapshot.cluster;
        let mentioned = (pods.iter().map(|pod| &pod.namespace))
            .chain(services.iter().map(|service| &service.namespace))
            .chain(policies.iter().map(|policy| &policy.namespace));
        let mut missing: Vec<_> = mentioned.cloned().collect();
        missing.sort_unstable();
        missing.dedup();
        let known: HashSet<&str> = namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
        missing.retain(|name| !known.contains(name.as_str()));
        namespaces.extend(missing.into_iter().map(|name| Namespace::new(name, Labels::new())));
    }
}

impl Template {
    fn key(&self) -> (WorkloadKind, Identity) {
        (self.kind, Identity::of_pod(&self.pod))
    }
}

/// `namespace/name`, or only the name of what has no namespace.
impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
