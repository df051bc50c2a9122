use std::task::{Context, Poll};

use http::{Request, Response, Version};
use tower_service::Service;

use super::{DrainBody, DrainFuture, Lifecycle, Stage};

/// Serves until it drains. Made by [`DrainLayer`](crate::DrainLayer).
///
/// # Readiness
///
/// *Forwarded*: ready when the inner service is. What it refuses at the end needs a ready
/// inner service, too; nothing of it is used.
///
/// # Errors
///
/// Those of the inner service. A request that is refused or cut off is answered 503.
#[derive(Clone, Debug)]
pub struct DrainService<S> {
    inner: S,
    lifecycle: Lifecycle,
}

impl<S> DrainService<S> {
    pub(super) fn new(inner: S, lifecycle: Lifecycle) -> Self {
        Self { inner, lifecycle }
    }
}

impl<S, B, RB> Service<Request<B>> for DrainService<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Default,
{
    type Response = Response<DrainBody<RB>>;
    type Error = S::Error;
    type Future = DrainFuture<S::Future, RB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.lifecycle.shared();
        // Counted first: a drain that begins in between waits for it.
        let guard = shared.enter();
        // HTTP/2 says GOAWAY on the connection.
        let http1 = request.version() < Version::HTTP_2;
        let refuses =
            if cfg!(broken = "no_handover") { Stage::Closing } else { Stage::Refusing };
        if shared.stage() >= refuses {
            return DrainFuture::refused(guard, http1);
        }
        DrainFuture::new(self.inner.call(request), guard, http1)
    }
}
