//! Changes of single pods of a compiled cluster.

use std::sync::OnceLock;

use super::compile::Compiler;
use super::engine::PodId;
use super::model::Pod;

impl Compiler {
    /// Adds a pod.
    pub(super) fn add_pod(&mut self, pod: Pod) -> PodId {
        let hosts = self.hosts;
        self.hosts += usize::from(pod.host_network);
        let id = self.engine.pods.push(pod);
        let (kin, cohort) = self.attach(id);
        self.kin_of.push(kin);
        self.engine.cohort_of.push(cohort);
        self.follow_hosts(hosts);
        id
    }

    /// Replaces a pod. Returns whether it is in another group than before.
    pub(super) fn replace_pod(&mut self, id: PodId, pod: Pod) -> bool {
        let hosts = self.hosts;
        self.leave_place(id);
        self.hosts += usize::from(pod.host_network);
        self.engine.pods.replace(id, pod);
        let (kin, cohort) = self.attach(id);
        let at = id.index();
        let (Some(old_kin), Some(old_cohort)) = (self.kin_of.get_mut(at), self.engine.cohort_of.get_mut(at))
        else {
            return false;
        };
        let old_kin = std::mem::replace(old_kin, kin);
        let old_cohort = std::mem::replace(old_cohort, cohort);
        self.detach(old_kin, old_cohort);
        self.follow_hosts(hosts);
        old_cohort != cohort
    }

    /// Removes a pod. The last pod takes its id.
    pub(super) fn delete_pod(&mut self, id: PodId) {
        let hosts = self.hosts;
        self.leave_place(id);
        let at = id.index();
        if at < self.kin_of.len() && at < self.engine.cohort_of.len() {
            let (kin, cohort) = (self.kin_of.swap_remove(at), self.engine.cohort_of.swap_remove(at));
            self.detach(kin, cohort);
        }
        self.engine.pods.swap_remove(id);
        self.follow_hosts(hosts);
    }

    /// Stops counting a pod, which is about to be replaced or removed.
    fn leave_place(&mut self, id: PodId) {
        let engine = &mut self.engine;
        self.hosts -= usize::from(engine.pods[id].host_network);
        if let Some(cohort) = engine.cohort_of.get(id.index()) {
            engine.cohorts.displace(*cohort, &engine.pods[id]);
        }
    }

    /// Forgets what was found about the pods before a change. If it is the first or the last pod with `hostNetwork` that
    /// came or went, finds the cohorts of all pods again. `before` is the count of such pods before the change.
    fn follow_hosts(&mut self, before: usize) {
        self.engine.index = OnceLock::new();
        if (before == 0) != (self.hosts == 0) {
            let all: Vec<_> = self.engine.pods.ids().collect();
            self.attach_again(&all);
        }
    }
}
