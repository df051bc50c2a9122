use tower_layer::Layer;

use super::{DrainService, Lifecycle};

/// Lets an HTTP service end without failing requests; see [`Lifecycle`].
///
/// Put it outermost. The body must have a `Default`, for answers of this layer's own:
/// `Full<Bytes>` and axum's `Body` do.
///
/// A request counts as under way from its call to the end of its answer's body, or until
/// either is dropped. An upgraded connection (101) does not: let it keep a
/// [`Lifecycle::hold`]. Of HTTP/1 requests that a client has sent ahead, the one that is
/// answered with `Connection: close` is the last that is answered, as RFC 9112, section
/// 9.6, has it: the others were not processed.
#[derive(Clone, Debug)]
#[must_use]
pub struct DrainLayer {
    lifecycle: Lifecycle,
}

impl DrainLayer {
    /// Ends as `lifecycle` says.
    pub fn new(lifecycle: Lifecycle) -> Self {
        Self { lifecycle }
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = DrainService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DrainService::new(inner, self.lifecycle.clone())
    }
}
