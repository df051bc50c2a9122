use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::{Lifecycle, Readiness};

/// Answers the load balancer: 200 while the instance is ready, else the status that was
/// set. Mount it where the load balancer asks, outside of [`DrainLayer`](crate::DrainLayer).
///
/// # Readiness
///
/// Always ready.
#[derive(Clone, Debug)]
pub struct ReadinessService {
    lifecycle: Lifecycle,
}

impl ReadinessService {
    /// Answers for this instance.
    #[must_use]
    pub fn new(lifecycle: Lifecycle) -> Self {
        Self { lifecycle }
    }

    /// The answer of this moment.
    #[must_use]
    pub fn answer(&self) -> Response<String> {
        let (status, text) = match self.lifecycle.readiness() {
            Readiness::Ready => (StatusCode::OK, "ready\n"),
            Readiness::Starting => (self.lifecycle.shared().not_ready(), "starting\n"),
            Readiness::Warming => (self.lifecycle.shared().not_ready(), "warming\n"),
            Readiness::Draining => (self.lifecycle.shared().not_ready(), "draining\n"),
        };
        let status = if cfg!(broken = "always_ready") { StatusCode::OK } else { status };
        let mut answer = Response::new(text.to_owned());
        *answer.status_mut() = status;
        answer
    }
}

impl<B> Service<Request<B>> for ReadinessService {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(self.answer()))
    }
}
