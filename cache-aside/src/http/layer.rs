use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::builder::HttpCacheBuilder;
use super::core::Core;
use super::purge::Purge;
use super::service::HttpCache;

/// Makes a shared HTTP cache of any service from `http::Request` to `http::Response`: an
/// `axum::Router`, a client of an origin.
///
/// ```
/// use axum::{Router, routing::get};
/// use cache_aside::http::HttpCacheLayer;
///
/// let cache = HttpCacheLayer::in_memory(64 << 20); // bytes
/// let purge = cache.purge();
/// let app: Router = Router::new()
///     .route("/", get(|| async { ([("cache-control", "max-age=60")], "hello") }))
///     .layer(cache);
/// # drop((purge, app));
/// ```
///
/// It does what RFC 9111 says of shared caches, and what RFC 5861, 9211, 9213 and 9875 add;
/// `docs/rfc9111.md` beside the source has a row for each rule. Responses say by their own
/// fields whether they are stored, and `Cache-Status` tells what was done with each request.
///
/// - A GET goes to the inner service once, however many ask at the same time: all of them read
///   the response as it comes, where it may be shared. It runs in a Tokio task of its own,
///   which goes on when who asked has gone; it ends when nobody waits for it for a minute, when
///   too many [such](HttpCacheBuilder::unattended) go on already, or the content has come.
/// - Under stale-while-revalidate a stale response is revalidated in such a task, too.
/// - Every service made by the layer, or its clones, shares one store.
///
/// In a router that strips a prefix (axum's `nest`), put the layer around the outer router, or
/// say where the whole URI is by [`original_uri`](HttpCacheBuilder::original_uri): otherwise two
/// URIs would be one to it.
#[derive(Clone)]
#[must_use]
pub struct HttpCacheLayer {
    core: Arc<Core>,
}

impl HttpCacheLayer {
    /// A cache that holds up to so many bytes in this process, with the default settings.
    ///
    /// # Panics
    ///
    /// If that is zero.
    pub fn in_memory(bytes: u64) -> Self {
        Self::builder(bytes)
            .build()
            .expect("a cache holds something, and the defaults fit each other")
    }

    /// A cache that holds up to so many bytes in this process.
    pub fn builder(bytes: u64) -> HttpCacheBuilder {
        HttpCacheBuilder::new(bytes)
    }

    pub(super) fn new(core: Core) -> Self {
        let core = Arc::new(core);
        if let Some(fleet) = &core.fleet {
            fleet.follow(&core);
        }
        Self { core }
    }

    /// How many requests wait for another's answer at this moment.
    #[cfg(feature = "test-util")]
    pub fn waiting(&self) -> usize {
        self.core.flights.waiting()
    }

    /// A handle that takes responses out of this cache.
    pub fn purge(&self) -> Purge {
        Purge::new(Arc::clone(&self.core))
    }
}

impl<S> Layer<S> for HttpCacheLayer {
    type Service = HttpCache<S>;

    fn layer(&self, inner: S) -> HttpCache<S> {
        HttpCache::new(inner, Arc::clone(&self.core))
    }
}

impl fmt::Debug for HttpCacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCacheLayer").finish_non_exhaustive()
    }
}
