use std::fmt;
use std::marker::PhantomData;

use tower_layer::Layer;

use crate::cache::CacheAside;
use crate::service::Cached;

/// Wraps services in a [`Cached`]; every service made shares one cache.
///
/// `F` finds the key of a request: a `Fn(&Request) -> Option<K>`. A request
/// without a key goes to the inner service and is not cached.
///
/// ```
/// use cache_aside::{CacheAside, CacheAsideLayer, Moka};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// struct GetUser { id: u64, fresh: bool }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let users: CacheAside<u64, String> =
///     CacheAside::builder("user").l1(Moka::entries(100_000)).build()?;
/// let service = ServiceBuilder::new()
///     // The closure's argument needs its type.
///     .layer(CacheAsideLayer::new(users, |get: &GetUser| (!get.fresh).then_some(get.id)))
///     .service_fn(|get: GetUser| async move {
///         Ok::<_, std::io::Error>((get.id == 7).then(|| "Ada".to_owned()))
///     });
///
/// let user = service.clone().oneshot(GetUser { id: 7, fresh: false }).await?;
/// assert_eq!(user.as_deref().map(String::as_str), Some("Ada"));
/// assert_eq!(service.oneshot(GetUser { id: 8, fresh: true }).await?, None);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct CacheAsideLayer<K, V, F, R> {
    cache: CacheAside<K, V>,
    key: F,
    request: PhantomData<fn(&R)>,
}

impl<K, V, F, R> CacheAsideLayer<K, V, F, R>
where
    F: Fn(&R) -> Option<K>,
{
    /// A layer that answers from `cache`, by the key that `key` finds.
    pub fn new(cache: CacheAside<K, V>, key: F) -> Self {
        Self { cache, key, request: PhantomData }
    }
}

impl<S, K, V, F: Clone, R> Layer<S> for CacheAsideLayer<K, V, F, R> {
    type Service = Cached<S, K, V, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Cached::new(inner, self.cache.clone(), self.key.clone())
    }
}

impl<K, V, F: Clone, R> Clone for CacheAsideLayer<K, V, F, R> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), key: self.key.clone(), request: PhantomData }
    }
}

impl<K, V, F, R> fmt::Debug for CacheAsideLayer<K, V, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheAsideLayer").field("cache", &self.cache).finish_non_exhaustive()
    }
}
