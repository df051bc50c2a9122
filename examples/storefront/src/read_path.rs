//! One way to read by key, with or without a cache before the database.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use cache_aside::{Batch, BuildError, CacheAside, CacheBuilder, CacheKey, Moka};

use crate::db::DbError;
use crate::error::Error;

/// Where reads of a kind go.
#[derive(Debug)]
pub(crate) enum ReadPath<K, V> {
    /// Each read asks the database.
    Database,
    /// Reads ask the cache, and the database for what is missing there.
    Cache(CacheAside<K, V>),
}

/// Room for every product of a seeded shop, and for a fifth more.
const ENTRIES: usize = 120_000;

impl<K: CacheKey, V: Send + Sync + 'static> ReadPath<K, V> {
    /// A cache called `name`, with the shop's settings.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other.
    pub(crate) fn cached(name: &str) -> Result<Self, BuildError> {
        let builder: CacheBuilder<K, V> = CacheAside::builder(name);
        let cache = builder
            .l1(Moka::entries(ENTRIES))
            .ttl(Duration::from_secs(300))
            .stale_while_revalidate(Duration::from_secs(30))
            .stale_if_error(Duration::from_secs(600))
            .negative_ttl(Duration::from_secs(5))
            .build()?;
        Ok(Self::Cache(cache))
    }

    /// The value of `key`, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// When it has to be loaded, and cannot be.
    pub(crate) async fn get<F>(
        &self,
        key: &K,
        load: impl FnOnce() -> F,
    ) -> Result<Option<Arc<V>>, Error>
    where
        F: Future<Output = Result<Option<V>, DbError>> + Send + 'static,
    {
        match self {
            Self::Database => Ok(load().await?.map(Arc::new)),
            Self::Cache(cache) => Ok(cache.get_or_load(key, |_| load()).await?),
        }
    }

    /// Makes sure that no read shows what `key` had before.
    ///
    /// # Errors
    ///
    /// When a tier of the cache did not acknowledge; in one process, never.
    pub(crate) async fn invalidate(&self, key: &K) -> Result<(), Error> {
        let Self::Cache(cache) = self else { return Ok(()) };
        cache.invalidate(key).await.map_err(|_| {
            Error::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_announced",
                "the change may be saved, but some pages may show the old state for minutes",
                "the server",
                "send the same change again",
            )
        })
    }

    /// Loads `keys` before somebody asks for them; returns how many there are now.
    ///
    /// # Errors
    ///
    /// When some could not be loaded.
    pub(crate) async fn warm<F>(
        &self,
        keys: impl IntoIterator<Item = K>,
        load: impl Fn(Batch<K>) -> F,
    ) -> Result<usize, Error>
    where
        F: Future<Output = Result<Vec<(K, V)>, DbError>> + Send + 'static,
    {
        let Self::Cache(cache) = self else { return Ok(0) };
        let report = cache.warm(keys, load).batch(500).concurrency(4).run().await;
        report.error.map_or(Ok(report.present), |e| Err(e.into()))
    }
}
