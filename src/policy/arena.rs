//! Vectors with typed indices, and interning on top of them.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Index;

use super::map::HashMap;

/// Index of a `T` in a list of an engine.
pub struct Id<T> {
    index: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    pub(super) fn new(index: usize) -> Self {
        // INVARIANT: an arena has far fewer than 2^32 elements, because memory runs out first.
        Self { index: u32::try_from(index).unwrap_or(u32::MAX), of: PhantomData }
    }

    /// Returns the index of the element, counted from 0.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.index.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}

/// A vector that is indexed by typed [`Id`]s, so that an index cannot be used for a vector of another type.
#[derive(Debug, Clone)]
pub(crate) struct Arena<T> {
    items: Vec<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T> Arena<T> {
    pub(super) fn push(&mut self, item: T) -> Id<T> {
        self.items.push(item);
        Id::new(self.items.len() - 1)
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.items.iter().enumerate().map(|(index, item)| (Id::new(index), item))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id<T>> + use<T> {
        (0..self.items.len()).map(Id::new)
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.items
    }

    /// Returns the element that was there before.
    pub(super) fn replace(&mut self, id: Id<T>, item: T) -> Option<T> {
        self.items.get_mut(id.index()).map(|slot| std::mem::replace(slot, item))
    }

    /// Removes an element. The last one takes its id.
    pub(super) fn swap_remove(&mut self, id: Id<T>) -> Option<T> {
        (id.index() < self.items.len()).then(|| self.items.swap_remove(id.index()))
    }

    pub(super) fn partition_point(&self, holds: impl FnMut(&T) -> bool) -> usize {
        self.items.partition_point(holds)
    }
}

impl<T> From<Vec<T>> for Arena<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items }
    }
}

impl<T> Index<Id<T>> for Arena<T> {
    type Output = T;

    #[expect(clippy::indexing_slicing, reason = "ids are only made by the arena that they index")]
    fn index(&self, id: Id<T>) -> &T {
        &self.items[id.index()]
    }
}

/// An [`Arena`] that stores equal elements once.
#[derive(Debug)]
pub(super) struct Interner<T> {
    arena: Arena<T>,
    ids: HashMap<T, Id<T>>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { arena: Arena::default(), ids: HashMap::default() }
    }
}

impl<T: Eq + Hash + Clone> Interner<T> {
    pub(super) fn intern(&mut self, item: T) -> Id<T> {
        if let Some(id) = self.ids.get(&item) {
            return *id;
        }
        let id = self.arena.push(item.clone());
        self.ids.insert(item, id);
        id
    }

    pub(super) fn into_arena(self) -> Arena<T> {
        self.arena
    }

    pub(super) fn arena(&self) -> &Arena<T> {
        &self.arena
    }
}
