//! Puts pods into their classes.

use super::arena::Id;
use super::class::{Class, ClassId, Cohort, CohortId, Kin, KinId};
use super::compile::{Compiler, Signature};
use super::engine::PodId;
use super::label::PartialLabels;
use super::matched::Selecting;
use super::model::{ContainerPort, Namespace, Pod};
use super::rule::Direction;
use super::scopes::{Counts, SubjectSet};

impl Compiler {
    /// Finds the kin and the cohort of a pod, and adds the pod as a user of both.
    pub(super) fn attach(&mut self, id: PodId) -> (KinId, CohortId) {
        let kin = self.acquire_kin(id);
        let Signature { subjects, peers } = self.signature(kin);
        let Self { engine, names, cuts, hosts, .. } = self;
        let pod = &engine.pods[id];
        let read = || read_ports(pod, names);
        let hash = engine.ports.hash(&HashOf(read));
        let is_it = |ports: &Vec<ContainerPort>| ports.iter().eq(read());
        let (ports, _) = engine.ports.acquire_by(hash, is_it, || read().cloned().collect());
        let [addresses, exact] = cuts.membership(pod, &engine.space, &mut engine.peers);
        let Kin { namespace, host_network, ended, .. } = self.kins[kin];
        let class = Class { namespace, subjects, peers, ports, host_network, ended, addresses };
        let (class, is_new) = engine.classes.acquire(class);
        if is_new {
            engine.subject_sets.retain(subjects);
            engine.peer_sets.retain(peers);
        } else {
            engine.ports.release(ports);
        }
        let cohort = match *hosts > 0 {
            true => Cohort { class, kin: Some(kin), ports: pod.ports.clone(), addresses: Some(exact) },
            false => Cohort { class, kin: None, ports: Vec::new(), addresses: None },
        };
        let (cohort, is_new) = engine.cohorts.pool.acquire(cohort);
        if !is_new {
            engine.classes.release(class);
        }
        if *hosts > 0 {
            engine.cohorts.place(cohort, pod);
        }
        (kin, cohort)
    }

    /// Removes a user of a kin and a cohort.
    pub(super) fn detach(&mut self, kin: KinId, cohort: CohortId) {
        let engine = &mut self.engine;
        let class = engine.cohorts.pool[cohort].class;
        if engine.cohorts.pool.release(cohort) {
            self.release_class(class);
        }
        if self.kins.release(kin) {
            self.release_signature(self.signature(kin));
        }
    }

    fn release_class(&mut self, id: ClassId) {
        let Class { subjects, peers, ports, .. } = self.engine.classes[id];
        if self.engine.classes.release(id) {
            self.release_subjects(subjects);
            self.engine.peer_sets.release(peers);
            self.engine.ports.release(ports);
        }
    }

    fn acquire_kin(&mut self, id: PodId) -> KinId {
        let namespace = self.namespace_of(id);
        let Self { engine, kins, keys, .. } = self;
        let pod = &engine.pods[id];
        let read = || pod.labels.iter().filter(|(key, _)| keys.contains(key));
        let unknown = &pod.unknown_labels;
        let parts = (namespace, pod.host_network, pod.ended, HashOf(read));
        let hash = kins.hash(&parts);
        let is_it = |kin: &Kin| {
            let labels = &kin.labels;
            kin.namespace == namespace
                && kin.host_network == pod.host_network
                && kin.ended == pod.ended
                && read().count() == labels.known.len()
                && read().all(|(key, value)| labels.known.get(key) == Some(value))
                && labels.unknown.others == unknown.others
                && labels.unknown.values.iter().eq(unknown.values.iter().filter(|key| keys.contains(key)))
                && labels.unknown.perhaps.iter().eq(unknown.perhaps.iter().filter(|key| keys.contains(key)))
        };
        let create = || Kin {
            namespace,
            labels: PartialLabels::restricted(&pod.labels, unknown, |key| keys.contains(key)),
            host_network: pod.host_network,
            ended: pod.ended,
        };
        let (kin, is_new) = kins.acquire_by(hash, is_it, create);
        if is_new {
            let signature = self.acquire_signature(namespace, id);
            match self.signatures.get_mut(kin.index()) {
                Some(slot) => *slot = signature,
                None => self.signatures.push(signature),
            }
        }
        kin
    }

    fn namespace_of(&mut self, id: PodId) -> Id<Namespace> {
        match self.namespace(&self.engine.pods[id].namespace) {
            Some(namespace) => namespace,
            None => {
                let name = self.engine.pods[id].namespace.clone();
                self.ensure_namespace(&name)
            }
        }
    }

    /// Returns the selectors that match a pod of a namespace. The caller is a user of them.
    pub(super) fn acquire_signature(&mut self, namespace: Id<Namespace>, id: PodId) -> Signature {
        let Self { engine, scopes, areas, .. } = self;
        let pod = &engine.pods[id];
        // A pod that has ended is neither a subject nor a peer.
        let areas = areas.get(namespace.index()).filter(|_| !pod.ended).map_or(&[][..], Vec::as_slice);
        let (subjects, peers) = scopes.matching(areas, pod, &mut engine.facts);
        let (peers, _) = engine.peer_sets.acquire(peers);
        let (subjects, is_new) = engine.subject_sets.acquire(subjects);
        if is_new {
            self.list(subjects);
        }
        Signature { subjects, peers }
    }

    /// Finds the policies of a set of subject selectors.
    pub(super) fn list(&mut self, set: Id<SubjectSet>) {
        let lists = Direction::ALL.map(|direction| {
            let list = self.selecting(&self.engine.subject_sets[set], direction);
            self.engine.lists.acquire(list).0
        });
        let lists_of = &mut self.engine.lists_of;
        match lists_of.get_mut(set.index()) {
            Some(slot) => *slot = lists,
            None => lists_of.push(lists),
        }
    }

    pub(super) fn unlist(&mut self, set: Id<SubjectSet>) {
        for list in self.engine.lists_of.get(set.index()).into_iter().flatten() {
            self.engine.lists.release(*list);
        }
    }

    /// Returns the policies of some subject selectors that have a say about a direction, in their order.
    fn selecting(&self, set: &SubjectSet, direction: Direction) -> Vec<Selecting> {
        let mut all = Vec::new();
        for (subject, how) in set {
            let policies = self.policies_of.get(subject.index()).into_iter().flatten();
            let policies = policies.filter(|id| self.engine.policies[**id].rules(direction).is_some());
            all.extend(policies.map(|policy| Selecting { policy: *policy, how: *how }));
        }
        all.sort_unstable_by_key(|each| self.ranks.get(each.policy.index()));
        all
    }

    pub(super) fn release_signature(&mut self, Signature { subjects, peers }: Signature) {
        self.release_subjects(subjects);
        self.engine.peer_sets.release(peers);
    }

    fn release_subjects(&mut self, set: Id<SubjectSet>) {
        if self.engine.subject_sets.release(set) {
            self.unlist(set);
        }
    }

    pub(super) fn signature(&self, kin: KinId) -> Signature {
        #[expect(clippy::indexing_slicing, reason = "each kin has a signature from when it is created")]
        self.signatures[kin.index()]
    }
}

/// Returns the ports of a pod whose names some rule reads, in their order.
fn read_ports<'a>(pod: &'a Pod, names: &'a Counts) -> impl Iterator<Item = &'a ContainerPort> {
    pod.ports.iter().filter(|port| port.name.as_ref().is_some_and(|name| names.contains(name)))
}

/// The items of an iterator, to be hashed.
struct HashOf<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: std::hash::Hash>> std::hash::Hash for HashOf<F> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.0)().for_each(|item| item.hash(state));
    }
}
