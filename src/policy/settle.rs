//! Brings a compiled cluster up to date after policies, namespaces or nodes changed.

use std::collections::BTreeSet;

use fixedbitset::FixedBitSet;
use ipnet::IpNet;

use super::arena::Id;
use super::compile::{Compiler, Touched};
use super::engine::PodId;
use super::label::UnknownLabels;
use super::model::{Namespace, Node, Pod};
use super::scopes::SubjectId;

/// What it took to bring a compiled cluster up to date.
#[derive(Debug)]
pub(super) struct Settled {
    /// The pods whose group has another id than before.
    pub(super) moved: Vec<PodId>,
    /// Whether the address space was divided again.
    pub(super) is_cut: bool,
    /// Whether the selectors of pods read other keys than before.
    pub(super) are_keys_others: bool,
}

impl Compiler {
    /// Repeats what the changes since the last call touch.
    pub(super) fn settle(&mut self) -> Settled {
        let Touched { keys, names, areas, scopes, mut namespaces, space, subjects } =
            std::mem::take(&mut self.touched);
        if areas {
            self.find_areas();
        }
        namespaces.extend(scopes.iter().flat_map(|scope| self.concerned(scope)));
        self.relist(&subjects);
        if space {
            self.cut();
        }
        let mut settled = Settled { is_cut: space, are_keys_others: !keys.is_empty(), moved: Vec::new() };
        // First of all, the pods of a kin must have the same labels, as far as selectors read them now.
        if !keys.is_empty() || !names.is_empty() {
            let is_touched = |pod: &Pod| {
                let UnknownLabels { values, perhaps, .. } = &pod.unknown_labels;
                let has = |key: &String| {
                    pod.labels.contains_key(key) || values.contains(key) || perhaps.contains(key)
                };
                let is_named = |name: &String| pod.ports.iter().any(|port| port.name.as_ref() == Some(name));
                keys.iter().any(has) || names.iter().any(is_named)
            };
            let touched = self.engine.pods.iter().filter(|(_, pod)| is_touched(pod));
            let touched: Vec<_> = touched.map(|(id, _)| id).collect();
            settled.moved = self.attach_again(&touched);
        }
        let changed = self.sign_again(&namespaces);
        if space || !changed.is_clear() {
            let kins = self.engine.pods.ids().zip(&self.kin_of);
            let touched = kins.filter(|(_, kin)| space || changed.contains(kin.index()));
            let touched: Vec<_> = touched.map(|(id, _)| id).collect();
            settled.moved.extend(self.attach_again(&touched));
        }
        settled
    }

    /// Sets a namespace, with its labels. Returns the pods whose group has another id than before.
    pub(super) fn set_namespace(&mut self, namespace: Namespace) -> Vec<PodId> {
        let Some(id) = self.namespace(&namespace.name) else {
            self.add_namespace(namespace);
            return Vec::new();
        };
        if let Some(areas) = self.areas.get_mut(id.index()) {
            *areas = self.scopes.areas_of(&namespace);
        }
        self.namespaces.replace(id, namespace);
        self.touched.namespaces.insert(id);
        self.settle().moved
    }

    /// Sets all nodes, and the ranges that contain all addresses of nodes.
    pub(super) fn set_nodes(&mut self, nodes: Vec<Node>, ranges: Vec<IpNet>) {
        self.engine.nodes = nodes.into();
        self.node_ranges = ranges;
        self.touched.space = true;
        self.settle();
    }

    /// Finds the areas of all namespaces.
    fn find_areas(&mut self) {
        let Self { namespaces, areas, scopes, .. } = self;
        *areas = namespaces.iter().map(|(_, namespace)| scopes.areas_of(namespace)).collect();
    }

    /// Finds the policies of the sets with these subject selectors.
    fn relist(&mut self, subjects: &BTreeSet<SubjectId>) {
        if subjects.is_empty() {
            return;
        }
        let sets = self.engine.subject_sets.iter();
        let touched = sets.filter(|(_, set)| set.iter().any(|(subject, _)| subjects.contains(subject)));
        let touched: Vec<_> = touched.map(|(id, _)| id).collect();
        for set in touched {
            self.unlist(set);
            self.list(set);
        }
    }

    /// Matches the pods of these namespaces with all selectors. Returns the kins that other selectors match than before.
    fn sign_again(&mut self, namespaces: &BTreeSet<Id<Namespace>>) -> FixedBitSet {
        let mut changed = FixedBitSet::with_capacity(self.kins.bound());
        if namespaces.is_empty() {
            return changed;
        }
        let mut seen = FixedBitSet::with_capacity(self.kins.bound());
        for (at, kin) in self.kin_of.clone().into_iter().enumerate() {
            let namespace = self.kins[kin].namespace;
            if seen.put(kin.index()) || !namespaces.contains(&namespace) {
                continue;
            }
            let signature = self.acquire_signature(namespace, Id::new(at));
            let before = self.signature(kin);
            self.release_signature(before);
            if let Some(slot) = self.signatures.get_mut(kin.index()).filter(|_| signature != before) {
                *slot = signature;
                changed.insert(kin.index());
            }
        }
        changed
    }

    /// Finds the kins and cohorts of pods again. Returns the pods that are in another cohort than before.
    pub(super) fn attach_again(&mut self, pods: &[PodId]) -> Vec<PodId> {
        let mut moved = Vec::new();
        for id in pods {
            let (kin, cohort) = self.attach(*id);
            let at = id.index();
            let (Some(old_kin), Some(old_cohort)) =
                (self.kin_of.get_mut(at), self.engine.cohort_of.get_mut(at))
            else {
                continue;
            };
            let old_kin = std::mem::replace(old_kin, kin);
            let old_cohort = std::mem::replace(old_cohort, cohort);
            self.engine.cohorts.displace(old_cohort, &self.engine.pods[*id]);
            self.detach(old_kin, old_cohort);
            if old_cohort != cohort {
                moved.push(*id);
            }
        }
        moved
    }
}
