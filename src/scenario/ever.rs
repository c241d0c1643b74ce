//! What is ever there in the course of a scenario.

use super::model::Scenario;
use super::state::State;
use crate::policy::Cluster;

impl Scenario {
    /// A cluster with everything that is there in one step or another: namespaces and pods once for each set of labels
    /// that they have, and every version of every policy. Nothing can be evaluated in it: it shows what selects nothing
    /// at any time.
    pub fn ever(&self) -> Cluster {
        let mut state = State::new(&self.topology);
        let mut ever = state.cluster.clone();
        for step in &self.steps {
            for action in &step.actions {
                // The loader carried out the same actions before.
                let _done = state.apply(action);
            }
            let Cluster { namespaces, pods, policies, cluster_policies, .. } = &state.cluster;
            add(&mut ever.namespaces, namespaces);
            add(&mut ever.pods, pods);
            add(&mut ever.policies, policies);
            add(&mut ever.cluster_policies, cluster_policies);
        }
        ever
    }
}

fn add<T: Clone + PartialEq>(all: &mut Vec<T>, now: &[T]) {
    for item in now {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
}
