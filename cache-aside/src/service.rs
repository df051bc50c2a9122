use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::cache::CacheAside;
use crate::engine::Look;
use crate::error::{BoxError, Error};
use crate::future::ResponseFuture;
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::metrics::Request;

/// Answers from the cache, and asks the inner service on a miss. Made by
/// [`CacheAsideLayer`](crate::CacheAsideLayer).
///
/// It is for typed services: a client of another service, a repository. Answers
/// become `Option<Arc<V>>` and errors [`Error`]. The inner service is cloned, and
/// called in a task of its own. It does not cache HTTP responses.
///
/// # Readiness
///
/// *Deferred*: always ready, so that a hit never queues behind a busy inner
/// service. A load readies a clone of the inner service in its own task. Nothing
/// here bounds how many different keys are loaded at a time: put a limit on the
/// inner service for that, or above this one for all requests.
///
/// # Errors
///
/// [`Error::Load`] carries the inner service's error, from its readiness or its
/// call, and goes to every request that waited.
pub struct Cached<S, K, V, F> {
    inner: S,
    cache: CacheAside<K, V>,
    key: F,
}

impl<S, K, V, F> Cached<S, K, V, F> {
    pub(crate) fn new(inner: S, cache: CacheAside<K, V>, key: F) -> Self {
        Self { inner, cache, key }
    }
}

impl<S, K, V, F, R> Service<R> for Cached<S, K, V, F>
where
    S: Service<R> + Clone + Send + 'static,
    S::Response: Into<Loaded<V>>,
    S::Error: Into<BoxError>,
    S::Future: Send,
    K: CacheKey,
    V: Send + Sync + 'static,
    F: Fn(&R) -> Option<K>,
    R: Send + 'static,
{
    type Response = Option<Arc<V>>;
    type Error = Error;
    type Future = ResponseFuture<V>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let engine = self.cache.engine();
        let Some(key) = (self.key)(&request) else {
            engine.metrics.request(Request::Bypass);
            let answer = call(self.inner.clone(), request);
            return ResponseFuture::waiting(async move {
                answer
                    .await
                    .map(|loaded| loaded.value)
                    .map_err(|cause| Error::Load(cause.into()))
            });
        };
        match engine.look(&key) {
            Look::Hit(value) => ResponseFuture::ready(value),
            Look::Renew(seen, cause) => {
                engine.renew(&key, &seen, cause, |_| call(self.inner.clone(), request));
                ResponseFuture::ready(seen.value)
            }
            Look::Miss(aged) => {
                let (engine, inner) = (Arc::clone(engine), self.inner.clone());
                ResponseFuture::waiting(async move {
                    engine.load(&key, aged, |_| call(inner, request)).await
                })
            }
        }
    }
}

/// A clone has no readiness of its own yet, so it is made ready first.
async fn call<S, R, V>(mut inner: S, request: R) -> Result<Loaded<V>, BoxError>
where
    S: Service<R>,
    S::Response: Into<Loaded<V>>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| inner.poll_ready(cx)).await.map_err(Into::into)?;
    inner.call(request).await.map(Into::into).map_err(Into::into)
}

impl<S: Clone, K, V, F: Clone> Clone for Cached<S, K, V, F> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.cache.clone(), self.key.clone())
    }
}

impl<S: fmt::Debug, K, V, F> fmt::Debug for Cached<S, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("inner", &self.inner)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}
