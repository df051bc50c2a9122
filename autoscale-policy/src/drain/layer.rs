use tower_layer::Layer;

use super::{DrainService, Lifecycle};

/// Lets an HTTP service end without failing requests; see [`Lifecycle`].
///
/// Put it outermost. The body must have a `Default`, for answers of this layer's own:
/// `Full<Bytes>` and axum's `Body` do.
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
