//! One way to read by key, with or without a cache before the database.
//!
//! A cache is filled by tasks of its own, which know of no session, from replicas that lag. So
//! a change is invalidated at its position in the database's log, and a load reads where that
//! position has been reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_aside::{
    Batch, BuildError, CacheAside, CacheBuilder, CacheKey, LoadContext, Loaded, Moka,
    RedisStore, VersionFloor,
};
use metrics::{Counter, Unit, counter, describe_counter};
use rw_split::WalPosition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::cluster::Cluster;
use crate::db::DbError;
use crate::error::Error;
use crate::unheard;

const UNANNOUNCED: &str = "storefront_unannounced_changes_total";

/// The version of the cached types' form, for Redis. Raise it whenever a field of theirs is
/// added, removed, moved or retyped.
pub(crate) const SCHEMA: u32 = 2;

/// For how long a process may show its own copy of what is in Redis, although another
/// process has changed it.
pub(crate) const COPIES: Duration = Duration::from_secs(1);

/// The version of a change that may still be committed, since its outcome is not known. For as
/// long as the cache remembers versions, what is loaded is fresh, and not kept.
const UNKNOWN: [u8; 16] = [0xFF; 16];

/// Room for every product of a seeded shop, and for a fifth more.
const ENTRIES: usize = 120_000;

/// What stands before the database.
#[derive(Clone, Debug)]
pub(crate) enum Caching {
    /// Nothing.
    Off,
    /// A cache in this process, which knows of this process's changes only.
    Local,
    /// A cache in Redis, for all processes of the shop.
    Shared {
        redis: RedisStore,
        /// How long a read waits for it before it asks the database.
        timeout: Duration,
    },
}

/// Where reads of a kind go.
#[derive(Debug)]
pub(crate) enum ReadPath<K, V> {
    /// Each read asks the database.
    Database,
    /// Reads ask the cache, and the database for what is missing there.
    Cache(Cached<K, V>),
}

/// A cache, and whether its Redis hears of changes.
#[derive(Debug)]
pub(crate) struct Cached<K, V> {
    name: &'static str,
    cache: CacheAside<K, V>,
    unheard: AtomicBool,
    unannounced: Counter,
}

impl<K: CacheKey, V: Serialize + DeserializeOwned + Send + Sync + 'static> ReadPath<K, V> {
    /// The way to what is called `name`. Before a shared cache this process has copies of its
    /// own only if `copies` says how long they may be shown.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other.
    pub(crate) fn new(
        name: &'static str,
        caching: &Caching,
        copies: Option<Duration>,
    ) -> Result<Self, BuildError> {
        let builder: CacheBuilder<K, V> = CacheAside::builder(name)
            .ttl(Duration::from_secs(300))
            .stale_while_revalidate(Duration::from_secs(30))
            .stale_if_error(Duration::from_secs(600))
            .negative_ttl(Duration::from_secs(5));
        let local = || Moka::entries(ENTRIES);
        let builder = match caching {
            Caching::Off => return Ok(Self::Database),
            Caching::Local => builder.l1(local()),
            Caching::Shared { redis, timeout } => {
                let builder = builder.l2(redis.clone()).l2_timeout(*timeout);
                let builder = builder.schema_version(SCHEMA);
                match copies {
                    Some(copies) => builder.l1(local()).l1_ttl(copies),
                    None => builder,
                }
            }
        };
        describe_counter!(
            UNANNOUNCED,
            Unit::Count,
            "Changes that the shared cache did not acknowledge at once."
        );
        Ok(Self::Cache(Cached {
            name,
            cache: builder.build()?,
            unheard: AtomicBool::new(false),
            unannounced: counter!(UNANNOUNCED, "cache" => name),
        }))
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> ReadPath<K, V> {
    /// The value of `key`, or `None` if there is none. All that `load` brings is of `from`:
    /// what comes from two clusters has two floors, and is cached as two things.
    ///
    /// # Errors
    ///
    /// When it has to be loaded, and cannot be.
    pub(crate) async fn get<F>(
        &self,
        from: &Cluster,
        key: &K,
        load: impl FnOnce() -> F,
    ) -> Result<Option<Arc<V>>, Error>
    where
        F: Future<Output = Result<Option<V>, DbError>> + Send + 'static,
    {
        let cached = match self {
            Self::Cache(cached) if !unheard::is_past_the_caches() => cached,
            _ => return Ok(load().await?.map(Arc::new)),
        };
        let load = |cx: LoadContext<K>| {
            let (load, from) = (load(), from.clone());
            async move {
                // Within the future: the floor is not known before it runs.
                let (value, version) = fresh(&from, cx.version_floor(), load).await?;
                Ok::<_, DbError>(kept(value.into(), version))
            }
        };
        Ok(cached.cache.get_or_load(key, load).await?)
    }

    /// Makes sure that no read of this process shows what `key` had before, and with a shared
    /// cache that no other process's does, but for the copies it may have.
    ///
    /// It does not fail, for the change is saved, and to say otherwise would be wrong. Where
    /// Redis does not acknowledge, that is counted, and tried again in the background; until
    /// then other processes may show the old state, though not to who has made the change, and
    /// this one does not.
    pub(crate) async fn invalidate(&self, of: &Cluster, key: &K) {
        let Self::Cache(Cached { name, cache, unheard, unannounced }) = self else { return };
        let invalidated = if of.lags() {
            let version = of.written_at().map_or(UNKNOWN, <[u8; 16]>::from);
            cache.invalidate_at(key, version).await
        } else {
            cache.invalidate(key).await
        };
        match invalidated {
            Ok(()) => {
                if unheard.swap(false, Ordering::Relaxed) {
                    info!(cache = name, "Redis hears of changes again");
                }
            }
            Err(error) => {
                unheard::tell();
                unannounced.increment(1);
                // Once, and not for each of them: there is the counter.
                if !unheard.swap(true, Ordering::Relaxed) {
                    warn!(
                        cache = name,
                        error = &error as &dyn std::error::Error,
                        "changes are saved, but Redis does not hear of them: other processes \
                         may show the old state until it does"
                    );
                }
            }
        }
    }

    /// Forgets everything that is cached, in Redis for all processes.
    ///
    /// # Errors
    ///
    /// When Redis did not acknowledge.
    pub(crate) async fn clear(&self) -> Result<(), cache_aside::Error> {
        match self {
            Self::Database => Ok(()),
            Self::Cache(cached) => cached.cache.clear().await,
        }
    }

    /// Loads `keys` before somebody asks for them; returns how many there are now.
    ///
    /// # Errors
    ///
    /// When some could not be loaded.
    pub(crate) async fn warm<F>(
        &self,
        from: &Cluster,
        keys: impl IntoIterator<Item = K>,
        load: impl Fn(Vec<K>) -> F,
    ) -> Result<usize, Error>
    where
        F: Future<Output = Result<Vec<(K, V)>, DbError>> + Send + 'static,
    {
        let Self::Cache(Cached { cache, .. }) = self else { return Ok(0) };
        let load = |batch: Batch<K>| {
            let (load, from) = (load(batch.to_vec()), from.clone());
            async move {
                let (rows, version) = fresh(&from, batch.version_floor(), load).await?;
                let rows =
                    rows.into_iter().map(|(key, value)| (key, kept(value.into(), version)));
                Ok::<_, DbError>(rows.collect::<Vec<_>>())
            }
        };
        let report = cache.warm(keys, load).batch(500).concurrency(4).run().await;
        report.error.map_or(Ok(report.present), |e| Err(e.into()))
    }
}

/// Runs `load` on a server that has what `floor` asks for. Returns how new what it brings is
/// at least, if it had to be.
async fn fresh<T>(
    from: &Cluster,
    floor: VersionFloor,
    load: impl Future<Output = Result<T, DbError>>,
) -> Result<(T, Option<WalPosition>), DbError> {
    if !from.lags() || cfg!(broken = "no_version_floor") {
        return Ok((load.await?, None));
    }
    let position = match wanted(floor) {
        Wanted::Any => None,
        Wanted::AtLeast(position) => Some(position),
        Wanted::Latest => from.position_now().await?,
    };
    Ok((from.reading_from(position, load).await?, position))
}

/// How new a load has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    AtLeast(WalPosition),
    /// As new as what is committed by now.
    Latest,
}

fn wanted(floor: VersionFloor) -> Wanted {
    match floor {
        VersionFloor::None => Wanted::Any,
        VersionFloor::AtLeast(version) if *version.as_bytes() != UNKNOWN => {
            Wanted::AtLeast(WalPosition::from(*version.as_bytes()))
        }
        VersionFloor::AtLeast(_) | VersionFloor::Unknown => Wanted::Latest,
    }
}

fn kept<V>(value: Loaded<V>, version: Option<WalPosition>) -> Loaded<V> {
    match version {
        Some(version) => value.version(<[u8; 16]>::from(version)),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use cache_aside::Version;

    use super::*;

    #[test]
    fn a_load_is_as_new_as_what_was_invalidated() {
        let version = Version::from((1, 0x0300_0028));
        let position = WalPosition::from(*version.as_bytes());
        assert_eq!(wanted(VersionFloor::AtLeast(version)), Wanted::AtLeast(position));
        assert_eq!(wanted(VersionFloor::None), Wanted::Any);
        assert_eq!(wanted(VersionFloor::Unknown), Wanted::Latest);
    }

    /// No server has come that far, and the router would take it for a forged one.
    #[test]
    fn a_change_without_a_position_is_asked_for_at_the_primary_and_not_kept() {
        let unknown = Version::from(UNKNOWN);
        assert_eq!(wanted(VersionFloor::AtLeast(unknown)), Wanted::Latest);
        let furthest = Version::from((u64::from(u32::MAX), u64::MAX));
        assert!(furthest < unknown, "whatever a load brings is below it");
    }
}
