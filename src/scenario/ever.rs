//! Everything that exists at some time in a scenario.

use super::model::Scenario;
use crate::policy::Cluster;

impl Scenario {
    /// Returns a cluster with everything that exists in any step: each namespace and pod once for each set of
    /// labels that it has, and every version of every policy. This cluster cannot be evaluated. It shows
    /// which selectors never match anything.
    pub fn ever(&self) -> Cluster {
        let mut world = self.world.clone();
        let mut ever = world.cluster.clone();
        for step in &self.steps {
            for action in &step.actions {
                // The loader has applied the same actions before, so there is no error.
                let _done = world.apply(action);
            }
            let Cluster { namespaces, pods, policies, cluster_policies, .. } = &world.cluster;
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
