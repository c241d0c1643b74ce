//! Interning with reference counts: values that nothing uses any more make room for others.

use std::hash::{BuildHasher, Hash};
use std::ops::Index;

use hashbrown::HashTable;

use super::arena::Id;
use super::map::Hashes;

/// Values with typed [`Id`]s, each stored once. An id stays valid while the value has users.
#[derive(Debug)]
pub(super) struct Pool<T> {
    slots: Vec<Slot<T>>,
    /// Indices of the slots with users, by the hash of the value.
    table: HashTable<usize>,
    /// Indices of the slots without users.
    free: Vec<usize>,
    hasher: Hashes,
}

#[derive(Debug)]
struct Slot<T> {
    value: T,
    hash: u64,
    users: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), table: HashTable::new(), free: Vec::new(), hasher: Hashes::default() }
    }
}

impl<T> Pool<T> {
    /// Adds a user of the value with this hash for which `is_it` holds. If there is none yet, `create` makes it. Also
    /// returns whether the value is new.
    ///
    /// The hash must be the one that [`Pool::hash`] returns for everything that `is_it` compares.
    pub(super) fn acquire_by(
        &mut self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        create: impl FnOnce() -> T,
    ) -> (Id<T>, bool) {
        let Self { slots, table, free, .. } = self;
        let found = table.find(hash, |at| slots.get(*at).is_some_and(|slot| is_it(&slot.value))).copied();
        if let Some(slot) = found.and_then(|at| slots.get_mut(at)) {
            slot.users += 1;
            return (Id::new(found.unwrap_or_default()), false);
        }
        let slot = Slot { value: create(), hash, users: 1 };
        let at = match free.pop() {
            Some(at) => {
                if let Some(old) = slots.get_mut(at) {
                    *old = slot;
                }
                at
            }
            None => {
                slots.push(slot);
                slots.len() - 1
            }
        };
        table.insert_unique(hash, at, |at| slots.get(*at).map_or(0, |slot| slot.hash));
        (Id::new(at), true)
    }

    /// Returns the hash of a value, or of the parts by which it is found.
    pub(super) fn hash(&self, value: &impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }

    /// Adds a user of a value.
    pub(super) fn retain(&mut self, id: Id<T>) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.users += 1;
        }
    }

    /// Removes a user of a value. Returns whether this was the last one, so that the id may soon mean another value.
    pub(super) fn release(&mut self, id: Id<T>) -> bool {
        let at = id.index();
        let Some(slot) = self.slots.get_mut(at) else { return false };
        slot.users = slot.users.saturating_sub(1);
        let is_last = slot.users == 0;
        if is_last {
            if let Ok(entry) = self.table.find_entry(slot.hash, |other| *other == at) {
                entry.remove();
            }
            self.free.push(at);
        }
        is_last
    }

    /// Returns the values with users.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.users > 0);
        used.map(|(at, slot)| (Id::new(at), &slot.value))
    }

    /// Returns the upper bound of the indices of all ids.
    pub(super) fn bound(&self) -> usize {
        self.slots.len()
    }
}

impl<T: Hash + Eq> Pool<T> {
    /// Adds a user of a value. Also returns whether the value is new.
    pub(super) fn acquire(&mut self, value: T) -> (Id<T>, bool) {
        let hash = self.hash(&value);
        match self.find(&value) {
            Some(id) => {
                self.retain(id);
                (id, false)
            }
            None => self.acquire_by(hash, |_| false, || value),
        }
    }

    /// Returns the id of a value that has users.
    pub(super) fn find(&self, value: &T) -> Option<Id<T>> {
        let hash = self.hash(value);
        let found = self.table.find(hash, |at| self.slots.get(*at).is_some_and(|slot| slot.value == *value));
        found.map(|at| Id::new(*at))
    }
}

impl<T> Index<Id<T>> for Pool<T> {
    type Output = T;

    #[expect(clippy::indexing_slicing, reason = "ids are only made by the pool that they index")]
    fn index(&self, id: Id<T>) -> &T {
        &self.slots[id.index()].value
    }
}
