//! The ends between which sets of connections are computed, and what they may send to each other.

use super::address::AtomId;
use super::arena::Id;
use super::class::ClassId;
use super::engine::Engine;
use super::port::Connections;
use super::unknown::UnknownFacts;

/// Ends that every policy treats alike: pods of one class, or a part of the address space (atom) outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Pods.
    Pods(ClassId),
    /// Addresses outside the cluster.
    External(AtomId),
}

impl Group {
    /// Returns the class, or `None` if the ends are not pods.
    pub(super) fn class(self) -> Option<ClassId> {
        match self {
            Self::Pods(class) => Some(class),
            Self::External(_) => None,
        }
    }
}

/// A value for each group of a cluster: for the classes, then for the atoms.
#[derive(Debug)]
pub(super) struct PerGroup<T> {
    values: Vec<T>,
    /// Count of classes.
    classes: usize,
}

impl<T> PerGroup<T> {
    pub(super) fn new(engine: &Engine, value: impl FnMut(Group) -> T) -> Self {
        let atoms = engine.space.atoms().ids().map(Group::External);
        let groups = engine.classes.ids().map(Group::Pods).chain(atoms);
        Self { values: groups.map(value).collect(), classes: engine.classes.len() }
    }

    fn index(&self, group: Group) -> usize {
        match group {
            Group::Pods(class) => class.index(),
            Group::External(atom) => self.classes + atom.index(),
        }
    }

    pub(super) fn get(&self, group: Group) -> Option<&T> {
        self.values.get(self.index(group))
    }

    pub(super) fn get_mut(&mut self, group: Group) -> Option<&mut T> {
        let index = self.index(group);
        self.values.get_mut(index)
    }

    pub(super) fn map<U>(self, map: impl FnMut(T) -> U) -> PerGroup<U> {
        PerGroup { values: self.values.into_iter().map(map).collect(), classes: self.classes }
    }

    /// Combines the values of each group.
    pub(super) fn zip<U>(&self, other: &Self, mut combine: impl FnMut(&T, &T) -> U) -> PerGroup<U> {
        let pairs = self.values.iter().zip(&other.values);
        PerGroup { values: pairs.map(|(a, b)| combine(a, b)).collect(), classes: self.classes }
    }
}

/// The connections that one end may open to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PairConnections {
    /// Connections that the policies allow.
    pub allowed: Connections,
    /// Connections that the specification leaves to the implementation, or that depend on unknown facts.
    pub undefined: Connections,
    /// Unknown facts on which `undefined` depends.
    pub assumptions: UnknownFacts,
}

impl PairConnections {
    /// Returns whether nothing is allowed and nothing is undefined.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.undefined.is_empty()
    }
}

/// Identifies the [`PairConnections`] of a pair in a [`Reach`](super::reach::Reach). Equal connections have equal ids.
pub type ConnectionsId = Id<PairConnections>;

/// The connections that addresses outside the cluster may open to a group.
#[derive(Debug)]
pub(super) struct FromAnywhere {
    /// Connections that are allowed from every address.
    pub(super) certain: Connections,
    /// For each set of addresses whose connections depend on unknown facts: the allowed connections, and these facts.
    pub(super) open: Vec<(Connections, UnknownFacts)>,
}

impl FromAnywhere {
    pub(super) fn new<'a>(from: impl Iterator<Item = &'a PairConnections>) -> Self {
        let mut all = Self { certain: Connections::all(), open: Vec::new() };
        for PairConnections { allowed, assumptions, .. } in from {
            all.certain = all.certain.intersection(allowed);
            if !assumptions.is_empty() {
                all.open.push((allowed.clone(), assumptions.clone()));
            }
        }
        all
    }
}
