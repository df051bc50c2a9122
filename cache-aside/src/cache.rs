use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::builder::CacheBuilder;
use crate::clock::Tick;
use crate::engine::{Engine, Explanation, Held, Look, Warm};
use crate::error::{BoxError, Error};
use crate::key::CacheKey;
use crate::loaded::{Batch, LoadContext, Loaded};
use crate::version::Version;

/// A cache in front of a source: looks in the cache, loads on a miss, keeps the
/// value with a TTL. Whoever writes to the source invalidates.
///
/// A handle is cheap to clone; all clones are one cache.
///
/// **The guarantee.** Once [`invalidate`](Self::invalidate) or
/// [`clear`](Self::clear) has returned, no read that starts in this process,
/// on any path, returns a value whose load began before. It rests on these
/// conditions:
/// - the write to the source is committed *before* `invalidate` is called, and
///   every writer in this process calls it;
/// - loaders read a source that shows committed writes (a lagging replica does
///   not);
/// - a plain [`insert`](Self::insert) is used only by the one writer that has just
///   committed the value; what was read goes in through [`reserve`](Self::reserve).
///
/// What another process writes is seen here once the entry's time is over: its
/// TTL, and for a value the longer stale window. With a [second
/// tier](CacheBuilder::l2) that is the only one, the guarantee holds between
/// processes too; the README has its conditions.
///
/// **Loads.** A load runs as a task of its own, with a deadline, on the runtime
/// of the caller who missed, or else on that where the cache was built. It ends
/// when it is done: neither its callers nor the cache's handles stop it when
/// they are dropped. The runtime needs its timer (`enable_time`). One load
/// serves all who ask for its key meanwhile (single-flight). It does not see its
/// caller's task-locals. A loader that asks for its own key waits for itself
/// until the deadline.
pub struct CacheAside<K, V> {
    engine: Arc<Engine<K, V>>,
}

/// What [`get`](CacheAside::get) found.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<V> {
    /// A value.
    Hit(Arc<V>),
    /// The source is known not to have such a row.
    Absent,
    /// Nothing that may be served.
    Miss,
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheAside<K, V> {
    /// Starts to build a cache called `name`: the label of its metrics.
    pub fn builder(name: impl Into<String>) -> CacheBuilder<K, V> {
        CacheBuilder::new(name.into())
    }

    pub(crate) fn new(engine: Engine<K, V>) -> Self {
        Self { engine: Arc::new(engine) }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine<K, V>> {
        &self.engine
    }

    /// Serves `key` from the cache, or loads it. `None` means that the source
    /// has no such row.
    ///
    /// `loader` is called in the caller, and only if there is something to load;
    /// it may borrow. The future that it returns is spawned, so it must be
    /// `Send + 'static`: clone the pool or the `Arc` that it needs before, and
    /// use `async move`. It brings a `V`, an `Option<V>` or a [`Loaded<V>`], so the
    /// type of the cache must be named; its error is a `std::error::Error`, a
    /// string, or a boxed error, and `Send + Sync`.
    ///
    /// ```
    /// # use std::{io, sync::Arc};
    /// # use cache_aside::{CacheAside, Error, Moka};
    /// # #[derive(Clone)] struct Db;
    /// # impl Db {
    /// #     async fn find(&self, id: u64) -> Result<Option<String>, io::Error> {
    /// #         Ok(Some(format!("user {id}")))
    /// #     }
    /// # }
    /// struct Users {
    ///     db: Db, // a pool, or anything else that is cheap to clone
    ///     cache: CacheAside<u64, String>,
    /// }
    ///
    /// impl Users {
    ///     async fn get(&self, id: u64) -> Result<Option<Arc<String>>, Error> {
    ///         let db = self.db.clone();
    ///         self.cache.get_or_load(&id, |cx| async move { db.find(*cx.key()).await }).await
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = CacheAside::builder("user").l1(Moka::entries(10)).build()?;
    /// # assert!(Users { db: Db, cache }.get(7).await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the load, shared by all who waited for it, unless an aged value
    /// may be served in its place.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the load under way: others still get its value, and it
    /// is stored.
    ///
    /// # Panics
    ///
    /// If it has to wait on a runtime that has no timer (`enable_time`).
    pub async fn get_or_load<L, F, W, E>(
        &self,
        key: &K,
        loader: L,
    ) -> Result<Option<Arc<V>>, Error>
    where
        L: FnOnce(LoadContext<K>) -> F,
        F: Future<Output = Result<W, E>> + Send + 'static,
        W: Into<Loaded<V>> + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let make = |context| typed(loader(context));
        match self.engine.look(key) {
            Look::Hit(value) => Ok(value),
            Look::Renew(seen, cause) => {
                self.engine.renew(key, &seen, cause, make);
                Ok(seen.value)
            }
            Look::Miss(aged) => self.engine.load(key, aged, make).await,
        }
    }

    /// Serves all of `keys`, in their order, with one load for those that are
    /// missing and that nobody else is loading.
    ///
    /// A key that `loader` does not return is absent; what it returns unasked is
    /// ignored. A key that comes twice is loaded once. Keys that are cached or
    /// loaded by others do not depend on this load.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use cache_aside::{CacheAside, Moka};
    /// # async fn find_all(ids: Vec<u64>) -> Result<HashMap<u64, String>, std::io::Error> {
    /// #     Ok(ids.into_iter().map(|id| (id, format!("user {id}"))).collect())
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let users: CacheAside<u64, String> =
    /// #     CacheAside::builder("user").l1(Moka::entries(10)).build()?;
    /// let ids = [3, 1, 3];
    /// // The query brings a `HashMap<u64, String>`, or anything else of pairs.
    /// let found = users.get_many(&ids, |batch| find_all(batch.into_keys())).await;
    /// for (id, user) in ids.iter().zip(found) {
    ///     println!("{id}: {:?}", user?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Each key has its own result. If the load fails, each key that it was to
    /// bring gets that error.
    ///
    /// # Cancel safety
    ///
    /// As for [`get_or_load`](Self::get_or_load).
    ///
    /// # Panics
    ///
    /// If it has to wait on a runtime that has no timer (`enable_time`).
    pub async fn get_many<L, F, R, W, E>(
        &self,
        keys: &[K],
        loader: L,
    ) -> Vec<Result<Option<Arc<V>>, Error>>
    where
        L: Fn(Batch<K>) -> F,
        F: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoIterator<Item = (K, W)> + 'static,
        W: Into<Loaded<V>> + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let make = |batch| {
            let load = loader(batch);
            async move {
                let rows = load.await.map_err(Into::into)?;
                Ok::<HashMap<K, Loaded<V>>, BoxError>(
                    rows.into_iter().map(|(key, row)| (key, row.into())).collect(),
                )
            }
        };
        self.engine.load_many(keys, make).await
    }

    /// Looks in the cache only. It starts no load: a value that is stale, but may
    /// be served while it is renewed, is a hit, and stays stale.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn get(&self, key: &K) -> Lookup<V> {
        let value = match self.engine.look(key) {
            Look::Hit(value) => Some(value),
            Look::Renew(seen, _) => Some(seen.value),
            Look::Miss(_) => self.engine.get_shared(key).await,
        };
        value.map_or(Lookup::Miss, |value| value.map_or(Lookup::Absent, Lookup::Hit))
    }

    /// Puts a value under `key`: for the one writer that has just committed it.
    /// Loads under way do not overwrite it.
    ///
    /// Two writers that may commit in one order and insert in the other must
    /// [`invalidate`](Self::invalidate) or [`insert_at`](Self::insert_at) instead; to
    /// keep a value that was *read* from the source, take a [`reserve`](Self::reserve)
    /// first.
    ///
    /// # Errors
    ///
    /// [`Error::Unacknowledged`], as for [`invalidate`](Self::invalidate): the value
    /// is not cached, and what was there before may still be served by others.
    ///
    /// # Cancel safety
    ///
    /// In process, its first poll does all. A future that is never polled inserts
    /// nothing. With a second tier, dropped before its end, it is an invalidation.
    pub async fn insert(&self, key: &K, value: impl Into<Loaded<V>>) -> Result<(), Error> {
        self.engine.insert(key, &value.into()).await.map(drop)
    }

    /// [`insert`](Self::insert) for writers that race: nothing happens if a newer
    /// version is known, by an `insert_at`, an
    /// [`invalidate_at`](Self::invalidate_at) or a load that said its
    /// [`version`](Loaded::version). False if so.
    ///
    /// All who write that row must name its versions: a plain
    /// [`invalidate`](Self::invalidate) or [`clear`](Self::clear) names none, so an
    /// `insert_at` of what was before may come after it.
    ///
    /// # Errors
    ///
    /// As for [`insert`](Self::insert).
    ///
    /// # Cancel safety
    ///
    /// As for [`insert`](Self::insert).
    pub async fn insert_at(
        &self,
        key: &K,
        version: impl Into<Version>,
        value: impl Into<Loaded<V>>,
    ) -> Result<bool, Error> {
        self.engine.insert(key, &value.into().version(version)).await
    }

    /// Marks this moment for a value that is about to be read by other means
    /// than a loader (a join that brings a list of rows, say).
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, there is no reservation.
    pub async fn reserve(&self, key: &K) -> Reservation<K, V> {
        let hash = self.engine.hash(key);
        let began = self.engine.clock.now();
        let (engine, key) = (Arc::clone(&self.engine), key.clone());
        let stamp = engine.reserve(hash);
        let mut reservation =
            Reservation { engine, key, hash, stamp, began, held: Some(Held::Nothing) };
        let held = reservation.engine.hold(&reservation.key).await;
        reservation.held = Some(held);
        reservation
    }

    /// Makes sure that no value whose load began before is served again. Call it
    /// after the write is committed; a row that is created invalidates too,
    /// since its absence may be cached.
    ///
    /// # Errors
    ///
    /// [`Error::Unacknowledged`] if there is a second tier and it did not answer: it
    /// may have done it, or not. This process serves nothing older from now on, and
    /// goes on trying; others may serve what was there before until its time is over.
    /// Without a second tier there is no error.
    ///
    /// # Cancel safety
    ///
    /// In process, its first poll does all. A future that is never polled
    /// invalidates nothing. With a second tier, dropped before its end, it goes on
    /// in the background, as after an error.
    pub async fn invalidate(&self, key: &K) -> Result<(), Error> {
        self.engine.invalidate(key, None).await
    }

    /// [`invalidate`](Self::invalidate), for a source whose replicas lag: loads of
    /// this key are told, in every process, to read where `version` is visible
    /// ([`LoadContext::version_floor`]), and what is older is not kept.
    ///
    /// # Errors
    ///
    /// As for [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    ///
    /// As for [`invalidate`](Self::invalidate).
    pub async fn invalidate_at(
        &self,
        key: &K,
        version: impl Into<Version>,
    ) -> Result<(), Error> {
        self.engine.invalidate(key, Some(version.into())).await
    }

    /// [`invalidate`](Self::invalidate) for all keys.
    ///
    /// # Errors
    ///
    /// As for [`invalidate`](Self::invalidate), if a part of the second tier did not
    /// answer; the others are cleared.
    ///
    /// # Cancel safety
    ///
    /// As for [`invalidate`](Self::invalidate).
    pub async fn clear(&self) -> Result<(), Error> {
        self.engine.clear().await
    }

    /// Loads `keys` in batches before somebody asks for them. `loader` is that
    /// of [`get_many`](Self::get_many).
    ///
    /// ```
    /// # use cache_aside::{CacheAside, Moka};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let squares: CacheAside<u64, u64> =
    ///     CacheAside::builder("square").l1(Moka::entries(10_000)).build()?;
    /// let report = squares
    ///     .warm(0..1_000, |batch| async move {
    ///         Ok::<_, std::io::Error>(batch.into_iter().map(|n| (n, n * n)).collect::<Vec<_>>())
    ///     })
    ///     .batch(100)
    ///     .run()
    ///     .await;
    /// assert_eq!((report.present, report.failed), (1_000, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn warm<I, L, F>(&self, keys: I, loader: L) -> Warm<'_, K, V, I::IntoIter, L>
    where
        I: IntoIterator<Item = K>,
        L: Fn(Batch<K>) -> F,
        F: Future + Send + 'static,
    {
        Warm::new(self, keys.into_iter(), loader)
    }

    /// Says what the cache knows about `key`, and what a read of it would do.
    /// For people: it is slower than a read.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn explain(&self, key: &K) -> Explanation {
        self.engine.explain(key).await
    }
}

/// Fixes the types of a loader's answer.
async fn typed<F, W, E, V>(load: F) -> Result<Loaded<V>, BoxError>
where
    F: Future<Output = Result<W, E>>,
    W: Into<Loaded<V>> + 'static,
    E: Into<BoxError>,
{
    load.await.map(Into::into).map_err(Into::into)
}

impl<K, V> Clone for CacheAside<K, V> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine) }
    }
}

impl<V> Lookup<V> {
    /// The value, if there is one.
    pub fn into_value(self) -> Option<Arc<V>> {
        match self {
            Self::Hit(value) => Some(value),
            Self::Absent | Self::Miss => None,
        }
    }
}

impl<V> Clone for Lookup<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Hit(value) => Self::Hit(Arc::clone(value)),
            Self::Absent => Self::Absent,
            Self::Miss => Self::Miss,
        }
    }
}

impl<K, V> fmt::Debug for CacheAside<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheAside").field("name", &self.engine.name).finish_non_exhaustive()
    }
}

/// The right to store a value that is read after this moment, unless its key is
/// invalidated meanwhile. Made by [`CacheAside::reserve`].
///
/// ```
/// # use cache_aside::{CacheAside, Lookup, Moka};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache: CacheAside<u64, String> =
/// #     CacheAside::builder("user").l1(Moka::entries(100)).build()?;
/// let reservation = cache.reserve(&7).await;
/// let read = "read from the source before the write below".to_owned();
/// cache.invalidate(&7).await?; // a writer, meanwhile
/// assert!(!reservation.insert(read).await); // refused: it may be old
/// assert_eq!(cache.get(&7).await, Lookup::Miss);
/// # Ok(())
/// # }
/// ```
#[must_use = "take it before the source is read, then insert"]
pub struct Reservation<K: CacheKey, V: Send + Sync + 'static> {
    engine: Arc<Engine<K, V>>,
    key: K,
    hash: u64,
    stamp: u64,
    began: Tick,
    held: Option<Held>,
}

impl<K: CacheKey, V: Send + Sync + 'static> Reservation<K, V> {
    /// Stores `value`; false if it was overtaken by an invalidation or an
    /// insert, or is not to be kept; with a second tier also if another process
    /// is loading the key. Its TTL counts from the reservation.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, the value may be stored or not.
    pub async fn insert(mut self, value: impl Into<Loaded<V>>) -> bool {
        let stamp = if cfg!(broken = "no_reservation") {
            self.engine.epochs.stamp(self.hash)
        } else {
            self.stamp
        };
        let held = self.held.take().expect("it is there until this is called");
        let value = value.into();
        self.engine.redeem(&self.key, self.hash, stamp, self.began, held, &value).await
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Drop for Reservation<K, V> {
    fn drop(&mut self) {
        self.engine.end_reservation(self.hash);
        if let Some(Held::Lease(lease)) = self.held.take() {
            self.engine.forgo(&self.key, lease);
        }
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> fmt::Debug for Reservation<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("cache", &self.engine.name).finish_non_exhaustive()
    }
}
