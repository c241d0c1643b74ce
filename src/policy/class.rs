//! Classes: groups of pods that every policy treats alike.

use std::collections::BTreeMap;

use super::address::IpFamily;
use super::arena::Id;
use super::bounds::Truth;
use super::label::PartialLabels;
use super::membership::{MatchedAtoms, Membership};
use super::model::{ContainerPort, Namespace, Pod};
use super::pool::Pool;
use super::scopes::{PeerSet, SubjectSet};

pub(super) type ClassId = Id<Class>;
pub(super) type CohortId = Id<Cohort>;
pub(super) type KinId = Id<Kin>;

/// Pods of one namespace that no policy can distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Class {
    pub(super) namespace: Id<Namespace>,
    pub(super) subjects: Id<SubjectSet>,
    pub(super) peers: Id<PeerSet>,
    /// The ports whose names some rule reads.
    pub(super) ports: Id<Vec<ContainerPort>>,
    pub(super) host_network: bool,
    pub(super) ended: bool,
    pub(super) addresses: [Membership; 2],
}

impl Class {
    /// Returns whether the class has an address of a family.
    pub(super) fn has_family(&self, family: IpFamily) -> Truth {
        self.membership(family).has_family()
    }

    pub(super) fn membership(&self, family: IpFamily) -> Membership {
        family.pick(self.addresses)
    }

    /// Returns how much a block contains of the atoms in which the address of the class may be.
    pub(super) fn coverage(&self, family: IpFamily, block: &MatchedAtoms) -> Truth {
        self.membership(family).coverage(block)
    }
}

/// Pods of one namespace with equal labels, as far as selectors read them. The same selectors match them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Kin {
    pub(super) namespace: Id<Namespace>,
    pub(super) labels: PartialLabels,
    pub(super) host_network: bool,
    pub(super) ended: bool,
}

/// Pods of one class whose nodes are counted together.
///
/// Only for pods with `hostNetwork`, it matters on which nodes other pods run. If there are none, a cohort is a class. If
/// there are some, pods of a class are told apart by labels and ports that no policy distinguishes: those of different
/// workloads usually differ there, and run on different nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cohort {
    pub(super) class: ClassId,
    pub(super) kin: Option<KinId>,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) addresses: Option<[Membership; 2]>,
}

/// All cohorts, and the nodes of their pods.
#[derive(Debug, Default)]
pub(super) struct Cohorts {
    pub(super) pool: Pool<Cohort>,
    /// By the index of the cohort.
    places: Vec<Places>,
}

/// Nodes on which the pods of a cohort run.
#[derive(Debug, Default, Clone)]
struct Places {
    /// Counts of pods, by the name of the node.
    nodes: BTreeMap<String, usize>,
    /// Count of pods whose node is unknown.
    unknown: usize,
}

impl Cohorts {
    /// Counts a pod as one of a cohort.
    pub(super) fn place(&mut self, cohort: CohortId, pod: &Pod) {
        self.places.resize_with(self.pool.bound().max(self.places.len()), Places::default);
        let Some(places) = self.places.get_mut(cohort.index()).filter(|_| !pod.ended) else { return };
        match &pod.node {
            Some(node) => match places.nodes.get_mut(node) {
                Some(count) => *count += 1,
                None => drop(places.nodes.insert(node.clone(), 1)),
            },
            None => places.unknown += 1,
        }
    }

    /// Stops counting a pod as one of a cohort.
    pub(super) fn displace(&mut self, cohort: CohortId, pod: &Pod) {
        let Some(places) = self.places.get_mut(cohort.index()).filter(|_| !pod.ended) else { return };
        let Some(node) = &pod.node else {
            places.unknown = places.unknown.saturating_sub(1);
            return;
        };
        if let Some(count) = places.nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                places.nodes.remove(node);
            }
        }
    }

    /// Returns whether any pods of two cohorts run on the same node.
    pub(super) fn share_node(&self, one: CohortId, other: CohortId) -> Truth {
        let places = |cohort: CohortId| self.places.get(cohort.index());
        let (Some(one), Some(other)) = (places(one), places(other)) else { return Truth::Perhaps };
        let (few, many) = match one.nodes.len() <= other.nodes.len() {
            true => (one, other),
            false => (other, one),
        };
        let share = few.nodes.keys().any(|node| many.nodes.contains_key(node));
        Truth::of(share, one.unknown > 0 || other.unknown > 0)
    }
}
