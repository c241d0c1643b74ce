//! The ends between which sets of connections are computed, and values for each of them.

use super::address::AtomId;
use super::class::ClassId;
use super::engine::Engine;

/// Ends that every policy treats alike: pods of one class, or a part of the address space (atom) outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group(pub(super) GroupKind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum GroupKind {
    Pods(ClassId),
    External(AtomId),
}

/// A value for each group of a cluster.
#[derive(Debug)]
pub(super) struct PerGroup<T> {
    classes: Vec<T>,
    atoms: Vec<T>,
}

impl<T> PerGroup<T> {
    pub(super) fn new(engine: &Engine, mut value: impl FnMut(GroupKind) -> T) -> Self {
        let classes = engine.classes.ids().map(|class| value(GroupKind::Pods(class))).collect();
        let atoms = engine.space.atoms().ids().map(|atom| value(GroupKind::External(atom))).collect();
        Self { classes, atoms }
    }

    pub(super) fn get(&self, group: GroupKind) -> Option<&T> {
        match group {
            GroupKind::Pods(class) => self.classes.get(class.index()),
            GroupKind::External(atom) => self.atoms.get(atom.index()),
        }
    }

    pub(super) fn get_mut(&mut self, group: GroupKind) -> Option<&mut T> {
        match group {
            GroupKind::Pods(class) => self.classes.get_mut(class.index()),
            GroupKind::External(atom) => self.atoms.get_mut(atom.index()),
        }
    }

    pub(super) fn map<U>(self, mut map: impl FnMut(T) -> U) -> PerGroup<U> {
        PerGroup {
            classes: self.classes.into_iter().map(&mut map).collect(),
            atoms: self.atoms.into_iter().map(&mut map).collect(),
        }
    }

    /// Combines the values of each group.
    pub(super) fn zip<U>(&self, other: &Self, mut combine: impl FnMut(&T, &T) -> U) -> PerGroup<U> {
        let mut zip = |a: &[T], b: &[T]| a.iter().zip(b).map(|(a, b)| combine(a, b)).collect();
        PerGroup { classes: zip(&self.classes, &other.classes), atoms: zip(&self.atoms, &other.atoms) }
    }
}
