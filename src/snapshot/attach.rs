//! Which pods belong to which workload.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::object::Identity;
use super::replicas::{NamedNumbers, Replicas};
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
    /// What the pods stand for, if they are not pods of the input but made from the workload's template.
    pub replicas: Option<Replicas>,
    /// Whether an autoscaler names it, so that the number of its pods is not known.
    pub is_scaled: bool,
}

impl Workload {
    /// Whether the workload may have two pods at the same time, which then may exchange something.
    ///
    /// One replica is no promise: while a template changes or a pod ends, the next pod is there already, and
    /// policies hold for a pod until its end. Only the pods of a StatefulSet wait for each other.
    pub fn may_have_several_pods(&self) -> bool {
        let count = self.replicas.as_ref().map_or(self.pods.len(), Replicas::count);
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
    /// Gives every pod to the workload at the end of its chain of owners, and every workload that
    /// nothing else makes at least one pod. Adds all pods to the cluster, whose policies and Services have to be
    /// there already.
    ///
    /// # Errors
    /// If the templates make too many pods.
    pub(super) fn attach(self, cluster: &mut Cluster) -> Result<Vec<Workload>, Error> {
        let Self { pods, templates, scalers } = self;
        let owners = Owners::new(&templates);
        let scaled: HashSet<Key> =
            scalers.into_iter().map(|scaler| owners.top((scaler.kind, scaler.workload))).collect();
        let mut members: BTreeMap<Key, (Vec<usize>, Option<Replicas>)> = BTreeMap::new();
        for (pod, owner) in pods {
            let own = || (WorkloadKind::Pod, Identity::of_pod(&pod));
            let workload = owner.map_or_else(own, |owner| owners.top(key(&pod.namespace, &owner)));
            if !pod.ended {
                members.entry(workload).or_default().0.push(cluster.pods.len());
            }
            cluster.pods.push(pod);
        }
        let named = NamedNumbers::new(cluster);
        let keys: HashSet<Key> = templates.iter().map(|(template, _)| template.key()).collect();
        let mut total = 0;
        for (template, written) in templates {
            let key = template.key();
            let owner = owners.top(key.clone());
            // An owner that is not in the input stands for nothing: its pods would be left out in silence.
            let is_made_by_another = owner != key && keys.contains(&owner);
            if is_made_by_another || members.contains_key(&owner) {
                continue;
            }
            total = add(total, &template, written)?;
            let replicas = Replicas::make(template, scaled.contains(&key), &named, &mut cluster.pods);
            members.insert(key, (replicas.pods(), Some(replicas)));
        }
        let workload = |(key, (pods, replicas)): (Key, _)| {
            let is_scaled = scaled.contains(&key);
            Workload { kind: key.0, identity: key.1, pods, replicas, is_scaled }
        };
        Ok(members.into_iter().map(workload).collect())
    }
}

/// Adds the pods of one template to those of others. The limit is one for the whole input: a few lines can ask for
/// more pods than there is memory for, or than anyone reads a list of.
fn add(total: u32, template: &Template, (place, node): (Place, &Node)) -> Result<u32, Error> {
    let Template { kind, replicas, pod, .. } = template;
    total.checked_add(*replicas).filter(|total| *total <= MOST_PODS).ok_or_else(|| {
        let number = node.get("spec").and_then(|spec| spec.get("replicas").or_else(|| spec.get("parallelism")));
        let location = number.map(|number| number.at).or(place.location);
        let message = format!(
            "{kind} {}: {replicas} pods are too many: the templates before it make {total}, and all together may make {MOST_PODS}",
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
