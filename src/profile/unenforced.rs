//! The policies of one state, without the policies that are not enforced according to a deviation.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::model::PolicyPattern;
use super::promised::Promised;
use crate::policy::{Cluster, Decision, Direction, Endpoint, Engine, Expectation, PolicyName};

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
            .or_insert_with_key(|pattern| {
                let others = with_rules(self.cluster, |name, direction| !pattern.matches(name, direction));
                Rc::new(Engine::new(others))
            })
            .clone();
        drop(by_pattern);
        let denies = |(_, promised): &(Endpoint, Expectation)| promised.decision == Decision::Deny;
        promised.legs(&engine).any(|(_, ends)| ends.iter().any(denies))
    }
}

/// Returns the cluster with only some rules of its policies, by policy and direction. A policy without rules for a
/// direction does not isolate for it.
pub(super) fn with_rules(cluster: &Cluster, keeps: impl Fn(&PolicyName, Direction) -> bool) -> Cluster {
    let mut cluster = cluster.clone();
    for policy in &mut cluster.policies {
        let name = PolicyName::from(&*policy);
        policy.ingress.take_if(|_| !keeps(&name, Direction::Ingress));
        policy.egress.take_if(|_| !keeps(&name, Direction::Egress));
    }
    for policy in &mut cluster.cluster_policies {
        let name = PolicyName::from(&*policy);
        policy.ingress.retain(|_| keeps(&name, Direction::Ingress));
        policy.egress.retain(|_| keeps(&name, Direction::Egress));
    }
    cluster
}

/// Returns the cluster with the rules of one direction only.
pub(crate) fn one_direction(cluster: &Cluster, direction: Direction) -> Cluster {
    with_rules(cluster, |_, own| own == direction)
}
