//! Which pods belong to which workload.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::distinction::Distinctions;
use super::object::Identity;
use super::replicas::{Existing, Replicas};
use super::scaler::Scaler;
use super::workload::{MOST_PODS, Owner, Template, WorkloadKind};
use crate::policy::{Cluster, Pod};
use crate::source::{Error, Node, Place};

/// A workload and its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub identity: Identity,
    /// Its pods, as positions in [`Cluster::pods`]. At least one.
    pub pods: Vec<usize>,
    /// What those of the pods stand for that are not pods of the input but made from templates: the workload's own,
    /// and those of the ReplicaSets or Jobs that it has made.
    pub replicas: Vec<Replicas>,
    /// Whether an autoscaler names it, so that the number of its pods is not known.
    pub is_scaled: bool,
}

impl Workload {
    /// Whether the workload may have two pods at the same time, which then may exchange something.
    ///
    /// One replica is no promise: while a template changes or a pod ends, the next pod is there already, and
    /// policies hold for a pod until its end. Only the pods of a StatefulSet wait for each other.
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

/// The pods of an input, and what makes pods.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) pods: Vec<(Pod, Option<Owner>)>,
    /// Each with what is written, and its place.
    pub(super) templates: Vec<(Template, (Place, &'a Node))>,
    pub(super) scalers: Vec<Scaler>,
}

impl Parts<'_> {
    /// Gives every pod to the workload at the end of its chain of owners, and every workload the pods that its
    /// template makes and for which no other pod of it stands; at least one. Adds all pods to the cluster, whose
    /// policies and Services have to be there already.
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
        // An owner that is not in the input stands for nothing: its pods would be left out in silence.
        let owner_of = |template: &Template| {
            let (key, owner) = (template.key(), owners.top(template.key()));
            if keys.contains(&owner) { (owner != key, owner) } else { (false, key) }
        };
        // What a workload has made stands for its own template, so it comes first.
        let (made, own): (Vec<_>, Vec<_>) =
            templates.into_iter().partition(|(template, _)| owner_of(template).0);
        let mut total = 0;
        for (template, written) in made.into_iter().filter(|(made, _)| made.is_active).chain(own) {
            // Pods in the input may have an owner that is not: they are its, and so is what made them.
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
    /// The positions of all, each with the count of those for which it stands.
    existing: Vec<(usize, usize)>,
    /// Those that templates make.
    replicas: Vec<Replicas>,
}

impl Members {
    fn add(&mut self, replicas: Replicas, count: u32) {
        self.existing.extend(replicas.pods().into_iter().map(|pod| (pod, count as usize)));
        self.replicas.push(replicas);
    }
}

/// Adds the pods of one template to those of others. The limit is one for the whole input: a few lines can ask for
/// more pods than there is memory for, or than anyone reads a list of.
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
        Error { place: Place { location, ..place }, message }
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

/// Who made workloads.
struct Owners(HashMap<Key, Key>);

impl Owners {
    fn new<T>(templates: &[(Template, T)]) -> Self {
        let owned = templates.iter().filter_map(|(template, _)| {
            Some((template.key(), key(&template.pod.namespace, template.owner.as_ref()?)))
        });
        Self(owned.collect())
    }

    /// The workload at the end of a chain of owners.
    fn top(&self, mut key: Key) -> Key {
        // Owners in a circle cannot come from a cluster; the depth of a chain ends the search.
        for _ in 0..4 {
            match self.0.get(&key) {
                Some(owner) => key = owner.clone(),
                None => break,
            }
        }
        key
    }
}
