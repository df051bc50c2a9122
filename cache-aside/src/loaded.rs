use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::version::{Version, VersionFloor};

/// What a load found: a value or nothing, and how to keep it.
///
/// Made `From` a `V`, an `Arc<V>` or an `Option` of either, so that most
/// loaders return what they have. The rest say more:
///
/// ```
/// # use std::time::Duration;
/// # use cache_aside::Loaded;
/// let rate: Loaded<f64> = Loaded::value(1.08).ttl(Duration::from_secs(30));
/// let draft: Loaded<String> = Loaded::value("unfinished".to_owned()).do_not_store();
/// let gone: Loaded<String> = Loaded::absent();
/// ```
pub struct Loaded<V> {
    pub(crate) value: Option<Arc<V>>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) store: bool,
    pub(crate) version: Option<Version>,
}

impl<V> Loaded<V> {
    /// A value.
    pub fn value(value: impl Into<Arc<V>>) -> Self {
        Self { value: Some(value.into()), ..Self::absent() }
    }

    /// Nothing: the source has no such row. It is kept for the
    /// [`negative_ttl`](crate::CacheBuilder::negative_ttl), if there is one.
    pub fn absent() -> Self {
        Self { value: None, ttl: None, store: true, version: None }
    }

    /// Keeps it for `ttl` in place of the cache's own TTL; jitter applies. Zero
    /// is the same as [`do_not_store`](Self::do_not_store). On an absence it
    /// takes the place of the negative TTL.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Says which version of the row this is. Where
    /// [`invalidate_at`](crate::CacheAside::invalidate_at) has named a later one,
    /// or has named one and this is not said, it is not kept.
    #[must_use]
    pub fn version(mut self, version: impl Into<Version>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Answers those who wait for this load, and no one later. What was cached
    /// before under the key is dropped.
    #[must_use]
    pub fn do_not_store(mut self) -> Self {
        self.store = false;
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::value(value)
    }
}

impl<V> From<Arc<V>> for Loaded<V> {
    fn from(value: Arc<V>) -> Self {
        Self::value(value)
    }
}

impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        value.map_or_else(Self::absent, Self::value)
    }
}

impl<V> From<Option<Arc<V>>> for Loaded<V> {
    fn from(value: Option<Arc<V>>) -> Self {
        value.map_or_else(Self::absent, Self::value)
    }
}

impl<V> fmt::Debug for Loaded<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("absent", &self.value.is_none())
            .field("ttl", &self.ttl)
            .field("store", &self.store)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What a loader is told about its load.
#[derive(Clone, Debug)]
pub struct LoadContext<K> {
    key: K,
    cause: LoadCause,
    floor: Floor,
}

/// How new a load must be. It is learnt after the loader's closure was called, and
/// before its future runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floor(Arc<OnceLock<VersionFloor>>);

impl Floor {
    /// Set once; what is learnt later changes nothing.
    pub(crate) fn learn(&self, floor: VersionFloor) {
        self.0.get_or_init(|| floor);
    }

    fn get(&self) -> VersionFloor {
        self.0.get().copied().unwrap_or(VersionFloor::Unknown)
    }
}

/// Why a load was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadCause {
    /// Nothing could be served: somebody waits for this load.
    Miss,
    /// An aged value was served meanwhile.
    Revalidate,
    /// A fresh value was served; it is renewed before it expires.
    Early,
}

impl<K> LoadContext<K> {
    pub(crate) fn new(key: K, cause: LoadCause, floor: Floor) -> Self {
        Self { key, cause, floor }
    }

    /// How new the row must be: whether a replica that lags will do. Ask within the
    /// future, not in the closure that makes it: before the future runs it is
    /// [`VersionFloor::Unknown`].
    pub fn version_floor(&self) -> VersionFloor {
        self.floor.get()
    }

    /// The key to load.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Why it is loaded.
    pub fn cause(&self) -> LoadCause {
        self.cause
    }
}

/// The keys that one load is to bring. It is a slice of them, and iterates over
/// them by value.
#[derive(Clone, Debug)]
pub struct Batch<K> {
    keys: Vec<K>,
    cause: LoadCause,
    floor: Floor,
}

impl<K> Batch<K> {
    pub(crate) fn new(keys: Vec<K>, cause: LoadCause, floor: Floor) -> Self {
        Self { keys, cause, floor }
    }

    /// How new the rows must be, the strictest of theirs. Ask within the future, not
    /// in the closure that makes it.
    pub fn version_floor(&self) -> VersionFloor {
        self.floor.get()
    }

    /// Why they are loaded: where they differ, the most urgent of the causes.
    pub fn cause(&self) -> LoadCause {
        self.cause
    }

    /// The keys.
    pub fn into_keys(self) -> Vec<K> {
        self.keys
    }
}

impl<K> Deref for Batch<K> {
    type Target = [K];

    fn deref(&self) -> &[K] {
        &self.keys
    }
}

impl<K> IntoIterator for Batch<K> {
    type Item = K;
    type IntoIter = std::vec::IntoIter<K>;

    fn into_iter(self) -> Self::IntoIter {
        self.keys.into_iter()
    }
}
