//! Hash maps for keys that come from the input.

use foldhash::fast::RandomState;

/// Hashes quickly, and differently in each map, so that nobody can choose keys with equal hashes.
pub(super) type Hashes = RandomState;

/// A hash map. [`Default`] creates it.
pub(super) type HashMap<K, V> = hashbrown::HashMap<K, V, Hashes>;
