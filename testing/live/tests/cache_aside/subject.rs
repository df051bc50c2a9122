//! What the history is checked on: the crate in all its ways, and a plain cache.

use std::sync::Arc;
use std::time::Duration;

use cache_aside::{Batch, CacheAside, CacheAsideLayer, Lookup};
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};

use crate::history::OWNED;
use crate::source::{BoxError, Source};

/// The longest that a load may take, in every cache here.
pub(crate) const DEADLINE_OF_LOADS: Duration = Duration::from_millis(250);

/// A cache before a source.
pub(crate) trait Subject: Clone + Send + Sync + 'static {
    /// Reads both keys, or only the first, in the way that `draw` chooses.
    fn read(
        &self,
        keys: [i64; 2],
        draw: u8,
    ) -> impl Future<Output = Result<Vec<(i64, i64)>, BoxError>> + Send;

    fn invalidate(&self, key: i64) -> impl Future<Output = ()> + Send;

    /// What a writer calls that knows that it has committed `version`.
    fn written(&self, key: i64, version: i64, draw: u8) -> impl Future<Output = ()> + Send;
}

/// The crate.
#[derive(Clone)]
pub(crate) struct Ours {
    pub(crate) cache: CacheAside<i64, i64>,
    pub(crate) source: Arc<Source>,
}

impl Ours {
    pub(crate) async fn get_or_load(&self, key: i64) -> Result<i64, BoxError> {
        let source = Arc::clone(&self.source);
        let version = self.cache.get_or_load(&key, |cx| source.version(*cx.key())).await?;
        Ok(*version.ok_or("a row is gone")?)
    }

    pub(crate) async fn get_many(&self, keys: &[i64]) -> Result<Vec<(i64, i64)>, BoxError> {
        let source = Arc::clone(&self.source);
        let versions =
            self.cache.get_many(keys, |batch| Arc::clone(&source).versions(batch.into_keys()));
        let versions = versions.await;
        let versions = versions.into_iter().zip(keys);
        versions.map(|(version, key)| Ok((*key, *version?.ok_or("a row is gone")?))).collect()
    }

    pub(crate) async fn layer(&self, key: i64) -> Result<i64, BoxError> {
        let source = Arc::clone(&self.source);
        let layer = CacheAsideLayer::new(self.cache.clone(), |key: &i64| Some(*key));
        let service = layer.layer(service_fn(move |key| Arc::clone(&source).version(key)));
        Ok(*service.oneshot(key).await?.ok_or("a row is gone")?)
    }

    /// What a list does with the rows that it has read by itself. It shows what
    /// it read, and keeps it for those who come later.
    async fn reserve(&self, key: i64) -> Result<i64, BoxError> {
        let reservation = self.cache.reserve(&key).await;
        let version = timeout(DEADLINE_OF_LOADS, Arc::clone(&self.source).version(key)).await;
        let version = version??.ok_or("a row is gone")?;
        reservation.insert(version).await;
        Ok(version)
    }

    async fn warm(&self, keys: [i64; 2]) -> Result<Vec<(i64, i64)>, BoxError> {
        let source = Arc::clone(&self.source);
        let load = move |batch: Batch<i64>| Arc::clone(&source).versions(batch.into_keys());
        let report = self.cache.warm(keys, load).batch(1).run().await;
        report.error.map_or(Ok(Vec::new()), |error| Err(error.into()))
    }
}

impl Subject for Ours {
    async fn read(&self, keys: [i64; 2], draw: u8) -> Result<Vec<(i64, i64)>, BoxError> {
        let [key, _] = keys;
        match draw % 16 {
            0..3 => self.get_many(&keys).await,
            3..6 => Ok(vec![(key, self.layer(key).await?)]),
            6..8 => Ok(vec![(key, self.reserve(key).await?)]),
            8 => self.warm(keys).await,
            9..11 => match self.cache.get(&key).await {
                Lookup::Hit(version) => Ok(vec![(key, *version)]),
                Lookup::Miss => Ok(Vec::new()),
                Lookup::Absent => Err("a row is gone".into()),
            },
            _ => Ok(vec![(key, self.get_or_load(key).await?)]),
        }
    }

    async fn invalidate(&self, key: i64) {
        self.cache.invalidate(&key).await.unwrap();
    }

    async fn written(&self, key: i64, version: i64, draw: u8) {
        match draw {
            // Only a row with one writer may be inserted.
            _ if key == OWNED && draw.is_multiple_of(2) => {
                self.cache.insert(&key, version).await.unwrap();
            }
            0..8 => self.cache.clear().await.unwrap(),
            _ => self.invalidate(key).await,
        }
    }
}

/// A plain cache, used as its documents recommend.
#[derive(Clone)]
pub(crate) struct Plain {
    pub(crate) cache: moka::future::Cache<i64, i64>,
    pub(crate) source: Arc<Source>,
}

impl Subject for Plain {
    async fn read(&self, [key, _]: [i64; 2], _: u8) -> Result<Vec<(i64, i64)>, BoxError> {
        let source = Arc::clone(&self.source);
        let load = async move {
            let version = timeout(DEADLINE_OF_LOADS, source.version(key)).await;
            version??.ok_or_else(|| BoxError::from("a row is gone"))
        };
        let version = self.cache.try_get_with(key, load).await;
        Ok(vec![(key, version.map_err(|error| error.to_string())?)])
    }

    async fn invalidate(&self, key: i64) {
        self.cache.invalidate(&key).await;
    }

    async fn written(&self, key: i64, _: i64, _: u8) {
        self.invalidate(key).await;
    }
}
