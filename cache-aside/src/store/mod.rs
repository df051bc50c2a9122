//! Where entries are kept in the process.

#[cfg(feature = "moka")]
mod moka;
#[cfg(feature = "quick")]
mod quick;

#[cfg(feature = "moka")]
pub use self::moka::Moka;
#[cfg(feature = "quick")]
pub use self::quick::Quick;

use std::fmt;
use std::sync::Arc;

use crate::policy::Life;

/// A bounded map of entries in this process.
///
/// It is synchronous, since nothing in it may wait. It need not know about
/// time or invalidation: the cache decides on every read whether the entry that
/// it got may be shown. It may forget any entry at any moment. No lock of the
/// cache is held while it runs, nor while it drops a value.
///
/// Entries cannot be written to bytes: a store is in this process. One of your own
/// is checked by the suite of the `conformance` feature, as a
/// `Store<u64, String>`.
pub trait Store<K, V>: Send + Sync + 'static {
    /// The entry last inserted under `key`, unless it was removed or forgotten.
    /// This is the hit path: it should not allocate or block.
    fn get(&self, key: &K) -> Option<Entry<V>>;

    /// Keeps `entry` under `key` in place of what was there. What is too large
    /// to be kept is forgotten, together with what was there.
    fn insert(&self, key: K, entry: Entry<V>);

    /// Forgets `key`.
    fn remove(&self, key: &K);

    /// Forgets everything.
    fn clear(&self);

    /// About how many entries it can hold, at least 1. The cache sizes its epochs
    /// by it.
    fn capacity(&self) -> usize;
}

/// A value, or the knowledge that there is none, with its dates.
pub struct Entry<V> {
    pub(crate) value: Option<Arc<V>>,
    pub(crate) life: Life,
}

impl<V> Entry<V> {
    /// The value; nothing for a negative entry.
    pub fn value(&self) -> Option<&Arc<V>> {
        self.value.as_ref()
    }

    /// Bytes in a store beside those of the value itself.
    #[cfg(any(feature = "moka", feature = "quick"))]
    pub(crate) const fn overhead<K>() -> u64 {
        (size_of::<K>() + size_of::<Self>() + size_of::<V>()) as u64
    }
}

/// The store of a cache that keeps nothing in this process.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl<K, V> Store<K, V> for Nowhere {
    fn get(&self, _: &K) -> Option<Entry<V>> {
        None
    }

    fn insert(&self, _: K, _: Entry<V>) {}

    fn remove(&self, _: &K) {}

    fn clear(&self) {}

    /// What a second tier holds is not known; this is for the epochs.
    fn capacity(&self) -> usize {
        1 << 16
    }
}

impl<V> Clone for Entry<V> {
    #[inline]
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), life: self.life }
    }
}

impl<V> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("life", &self.life).finish_non_exhaustive()
    }
}
