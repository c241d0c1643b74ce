//! Assigns pods to workloads.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::distinction::Distinctions;
use super::identity::Identity;
use super::replicas::{Existing, Replicas};
use super::scaler::Scaler;
use super::workload::{MOST_PODS, Owner, Template};
use super::workload_kind::WorkloadKind;
use crate::policy::{Cluster, Pod};
use crate::source::{Error, Node, Place};

/// A workload and its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub identity: Identity,
    /// Indices of its pods in [`Cluster::pods`]. At least one.
    pub pods: Vec<usize>,
    /// The pods that are made from templates, not read from the input: from the workload's own template, and from
    /// those of the ReplicaSets or Jobs that it has made.
    pub replicas: Vec<Replicas>,
    /// Whether an autoscaler names it. The number of its pods is then unknown.
    pub is_scaled: bool,
}

impl Workload {
    /// Returns whether the workload may have two pods at the same time, which may then communicate.
    ///
    /// `replicas: 1` does not prevent that. During a rollout, or while a pod terminates, the next pod already exists,
    /// and policies apply to a pod until its end. Only the pods of a StatefulSet wait for each other.
    pub fn may_have_several_pods(&self) -> bool {
        let made: usize = self.replicas.iter().map(|replicas| replicas.pods().len()).sum();
        let live = self.pods.len().saturating_sub(made);
        let count = live + self.replicas.iter().map(Replicas::count).sum::<usize>();
        match self.kind {
            WorkloadKind::Pod => false,
            WorkloadKind::StatefulSet => self.is_scaled || count > 1,
            WorkloadKind::Deployment
            | WorkloadKind::DaemonSet
            | WorkloadKind::ReplicaSet
            | WorkloadKind::ReplicationController
            | WorkloadKind::Job
            | WorkloadKind::CronJob => self.is_scaled || count > 0,
        }
    }
}

type Key = (WorkloadKind, Identity);

/// The pods of an input, the workloads that make pods, and autoscalers.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) pods: Vec<(Pod, Option<Owner>)>,
    /// Each with its part of the document, and its place.
    pub(super) templates: Vec<(Template, (Place, &'a Node))>,
    pub(super) scalers: Vec<Scaler>,
}

impl Parts<'_> {
    /// Assigns every pod to the workload at the end of its chain of owners. Makes the pods of each template that no
    /// other pod of the workload represents, and at least one pod for each workload. Adds all pods to the cluster,
    /// which must already have its policies and Services.
    ///
    /// # Errors
    /// If the templates make too many pods.
    pub(super) fn attach(self, cluster: &mut Cluster) -> Result<Vec<Workload>, Error> {
        let Self { pods, templates, scalers } = self;
        let owners = Owners::new(&templates);
        let scaled: HashSet<Key> =
            scalers.into_iter().map(|scaler| owners.top((scaler.kind, scaler.workload))).collect();
        let mut members: BTreeMap<Key, Members> = BTreeMap::new();
        for (pod, owner) in pods {
            let own = || (WorkloadKind::Pod, Identity::of_pod(&pod));
            let workload = owner.map_or_else(own, |owner| owners.top(key(&pod.namespace, &owner)));
            if !pod.ended {
                members.entry(workload).or_default().existing.push((cluster.pods.len(), 1));
            }
            cluster.pods.push(pod);
        }
        let distinctions = Distinctions::new(cluster);
        let keys: HashSet<Key> = templates.iter().map(|(template, _)| template.key()).collect();
        // If the owner is not in the input, the template is a workload of its own. Otherwise its pods would silently
        // be left out.
        let owner_of = |template: &Template| {
            let (key, owner) = (template.key(), owners.top(template.key()));
            if keys.contains(&owner) { (owner != key, owner) } else { (false, key) }
        };
        // The templates that a workload has made, such as ReplicaSets, represent its own template. So they come
        // first.
        let (made, own): (Vec<_>, Vec<_>) =
            templates.into_iter().partition(|(template, _)| owner_of(template).0);
        let mut total = 0;
        for (template, written) in made.into_iter().filter(|(made, _)| made.is_active).chain(own) {
            // Pods may belong to an owner that is not in the input. The template that made them then belongs to it,
            // too.
            let (_, owner) = owner_of(&template);
            let top = Some(owners.top(owner.clone())).filter(|top| members.contains_key(top));
            let owner = top.unwrap_or(owner);
            let of_owner = members.entry(owner.clone()).or_default();
            let is_scaled = scaled.contains(&owner);
            let existing = Existing { pods: &of_owner.existing, is_scaled, distinctions: &distinctions };
            let count = template.replicas;
            let Some(replicas) = Replicas::make(&template, existing, &mut cluster.pods) else { continue };
            total = add(total, &template, replicas.count(), written)?;
            of_owner.add(replicas, count);
        }
        let workload = |(key, Members { existing, replicas }): (Key, _)| {
            let is_scaled = scaled.contains(&key);
            let pods = existing.into_iter().map(|(pod, _)| pod).collect();
            Workload { kind: key.0, identity: key.1, pods, replicas, is_scaled }
        };
        Ok(members.into_iter().map(workload).collect())
    }
}

/// The pods of a workload so far.
#[derive(Default)]
struct Members {
    /// Indices of all pods, each with the number of pods that it represents.
    existing: Vec<(usize, usize)>,
    /// The pods that templates make.
    replicas: Vec<Replicas>,
}

impl Members {
    fn add(&mut self, replicas: Replicas, count: u32) {
        self.existing.extend(replicas.pods().into_iter().map(|pod| (pod, count as usize)));
        self.replicas.push(replicas);
    }
}

/// Adds the number of pods of one template to the total. The limit applies to the whole input: a few lines can
/// request more pods than fit into memory, or than anyone can read in a list.
fn add(total: u32, template: &Template, count: usize, (place, node): (Place, &Node)) -> Result<u32, Error> {
    let Template { kind, pod, .. } = template;
    let more = u32::try_from(count).ok();
    more.and_then(|more| total.checked_add(more)).filter(|total| *total <= MOST_PODS).ok_or_else(|| {
        let number = node.get("spec").and_then(|spec| spec.get("replicas").or_else(|| spec.get("parallelism")));
        let location = number.map(|number| number.at).or(place.location);
        let message = format!(
            "{kind} {}: {count} pods are too many: the templates before it make {total}, and all together may make {MOST_PODS}",
            Identity::of_pod(pod)
        );
        Error::new(Place { location, ..place }, message)
    })
}

fn key(namespace: &str, owner: &Owner) -> Key {
    (owner.kind, Identity::new(namespace, &owner.name))
}

impl Template {
    fn key(&self) -> Key {
        (self.kind, Identity::of_pod(&self.pod))
    }
}

/// The owner of each workload.
struct Owners(HashMap<Key, Key>);

impl Owners {
    fn new<T>(templates: &[(Template, T)]) -> Self {
        let owned = templates.iter().filter_map(|(template, _)| {
            Some((template.key(), key(&template.pod.namespace, template.owner.as_ref()?)))
        });
        Self(owned.collect())
    }

    /// Returns the workload at the end of a chain of owners.
    fn top(&self, mut key: Key) -> Key {
        // A loop of owners cannot come from a cluster. The maximum length of a chain ends the search.
        for _ in 0..4 {
            match self.0.get(&key) {
                Some(owner) => key = owner.clone(),
                None => break,
            }
        }
        key
    }
}
