use std::task::{Context, Poll};

use tower_service::Service;

use super::{InFlight, ResponseFuture};

/// Counts the requests to the inner service. Made by [`InFlightLayer`](crate::InFlightLayer).
///
/// # Readiness
///
/// *Forwarded*: ready when the inner service is.
///
/// # Errors
///
/// Those of the inner service.
#[derive(Clone, Debug)]
pub struct InFlightService<S> {
    inner: S,
    load: InFlight,
}

impl<S> InFlightService<S> {
    pub(super) fn new(inner: S, load: InFlight) -> Self {
        Self { inner, load }
    }
}

impl<S: Service<R>, R> Service<R> for InFlightService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let ticket = self.load.enter();
        ResponseFuture::new(self.inner.call(request), ticket)
    }
}
