use std::fmt;
use std::hash::Hash;

use super::{Entry, Store};

/// The default store: [`moka::sync::Cache`](https://docs.rs/moka), which admits
/// and evicts by TinyLFU, so that a scan of rare keys does not push out the
/// busy ones.
pub struct Moka<K, V> {
    cache: moka::sync::Cache<K, Entry<V>>,
    capacity: usize,
}

impl<K, V> Moka<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Holds up to `capacity` entries.
    pub fn entries(capacity: usize) -> Self {
        Self { cache: moka::sync::Cache::new(capacity as u64), capacity }
    }

    /// Holds up to `capacity` bytes. `weigh` gives what a value owns on the heap,
    /// in bytes; the fixed size of key, value and entry is added to it.
    /// `expected` is about how many entries that will be.
    ///
    /// A value heavier than the whole store is served but not kept.
    pub fn bytes(
        capacity: u64,
        expected: usize,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(capacity)
            .weigher(move |key: &K, entry: &Entry<V>| {
                let own = entry.value().map_or(0, |value| weigh(key, value)) as u64;
                let bytes = Entry::<V>::overhead::<K>().saturating_add(own);
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .build();
        Self { cache, capacity: expected }
    }
}

impl<K, V> Store<K, V> for Moka<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
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
        self.cache.invalidate(key);
    }

    fn clear(&self) {
        self.cache.invalidate_all();
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<K, V> fmt::Debug for Moka<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moka").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
