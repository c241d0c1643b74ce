//! The policies of one state, without the policies that are not enforced according to a deviation.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::apply::Promised;
use super::model::PolicyPattern;
use crate::policy::{
    Cluster, ClusterPolicy, Decision, Direction, Endpoint, Engine, Expectation, NetworkPolicy, PolicyName,
};

/// The policies of one state, without any set of them. Each engine is compiled when it is first needed.
pub(super) struct Unenforced<'a> {
    cluster: &'a Cluster,
    by_pattern: RefCell<HashMap<PolicyPattern, Rc<Engine>>>,
}

impl<'a> Unenforced<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, by_pattern: RefCell::default() }
    }

    /// Returns whether the other policies deny one of the evaluated ends. The reasons of an expectation are not
    /// enough to decide that, because they end at the first tier that denies.
    pub(super) fn others_deny(&self, pattern: &PolicyPattern, promised: Promised<'_>) -> bool {
        let mut by_pattern = self.by_pattern.borrow_mut();
        let engine = by_pattern
            .entry(pattern.clone())
            .or_insert_with_key(|pattern| Rc::new(Engine::new(without(self.cluster, pattern))))
            .clone();
        drop(by_pattern);
        let denies = |(_, promised): &(Endpoint, Expectation)| promised.decision == Decision::Deny;
        promised.legs(&engine).any(|(_, ends)| ends.iter().any(denies))
    }
}

/// Returns the cluster without the rules of these policies for the pattern's direction.
fn without(cluster: &Cluster, pattern: &PolicyPattern) -> Cluster {
    let goes = |name: &PolicyName, direction| pattern.matches(name, direction);
    let policies = cluster.policies.iter().map(|policy| {
        let name = PolicyName::from(policy);
        let keep = |direction| policy.rules(direction).filter(|_| !goes(&name, direction)).map(<[_]>::to_vec);
        let (ingress, egress) = (keep(Direction::Ingress), keep(Direction::Egress));
        NetworkPolicy { ingress, egress, ..policy.clone() }
    });
    let cluster_policies = cluster.cluster_policies.iter().map(|policy| {
        let name = PolicyName::from(policy);
        let keep = |direction| {
            if goes(&name, direction) { Vec::new() } else { policy.rules(direction).to_vec() }
        };
        let (ingress, egress) = (keep(Direction::Ingress), keep(Direction::Egress));
        ClusterPolicy { ingress, egress, ..policy.clone() }
    });
    let (policies, cluster_policies) = (policies.collect(), cluster_policies.collect());
    Cluster { policies, cluster_policies, ..cluster.clone() }
}
