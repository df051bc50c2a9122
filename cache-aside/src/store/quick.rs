use std::fmt;
use std::hash::Hash;

use quick_cache::sync::Cache;

use super::{Entry, Store};

/// The faster store: [`quick_cache`](https://docs.rs/quick_cache), which evicts
/// by S3-FIFO and does no housekeeping on reads.
pub struct Quick<K, V> {
    cache: Cache<K, Entry<V>, Weigh<K, V>>,
    capacity: usize,
}

impl<K, V> Quick<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Holds up to `capacity` entries.
    pub fn entries(capacity: usize) -> Self {
        Self { cache: Cache::with_weighter(capacity, capacity as u64, Weigh(None)), capacity }
    }

    /// Holds up to `capacity` bytes. `weigh` gives what a value owns on the heap,
    /// in bytes; the fixed size of key, value and entry is added to it.
    /// `expected` is about how many entries that will be.
    ///
    /// `weigh` runs under a lock of the store: it must not use the cache.
    ///
    /// The store is split into parts of equal size, a few per core; a value
    /// heavier than its part is served but not kept.
    pub fn bytes(
        capacity: u64,
        expected: usize,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Self {
        let weigh = Weigh(Some(std::sync::Arc::new(weigh)));
        Self { cache: Cache::with_weighter(expected, capacity, weigh), capacity: expected }
    }
}

impl<K, V> Store<K, V> for Quick<K, V>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    #[inline]
    fn get(&self, key: &K) -> Option<Entry<V>> {
        self.cache.get(key)
    }

    fn insert(&self, key: K, entry: Entry<V>) {
        self.cache.insert(key, entry);
    }

    fn remove(&self, key: &K) {
        self.cache.remove(key);
    }

    fn clear(&self) {
        self.cache.clear();
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<K, V> fmt::Debug for Quick<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quick").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

type WeighFn<K, V> = dyn Fn(&K, &V) -> usize + Send + Sync;

/// Bytes, or one an entry.
struct Weigh<K, V>(Option<std::sync::Arc<WeighFn<K, V>>>);

impl<K, V> quick_cache::Weighter<K, Entry<V>> for Weigh<K, V> {
    fn weight(&self, key: &K, entry: &Entry<V>) -> u64 {
        let Some(weigh) = &self.0 else { return 1 };
        let own = entry.value().map_or(0, |value| weigh(key, value)) as u64;
        Entry::<V>::overhead::<K>().saturating_add(own)
    }
}

impl<K, V> Clone for Weigh<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
