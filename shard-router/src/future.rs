//! Response futures.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::Error;
use crate::service::ServiceError;

pin_project! {
    /// The answer of a [`ShardService`](crate::ShardService): the inner service of the key's
    /// shard is readied, and called.
    ///
    /// # Cancel safety
    ///
    /// As that of the inner service.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        state: State<S, R, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, R, F> {
        /// The request has no place.
        Misplaced { error: Option<Error> },
        /// Waiting for the inner service to be ready.
        Waiting { service: S, request: Option<R> },
        Calling { #[pin] future: F },
    }
}

impl<S: Service<R>, R> ResponseFuture<S, R> {
    pub(crate) fn misplaced(error: Error) -> Self {
        Self { state: State::Misplaced { error: Some(error) } }
    }

    pub(crate) fn new(service: S, request: R) -> Self {
        Self { state: State::Waiting { service, request: Some(request) } }
    }
}

impl<S: Service<R>, R> Future for ResponseFuture<S, R> {
    type Output = Result<S::Response, ServiceError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let future = match state.as_mut().project() {
                StateProjection::Misplaced { error } => {
                    let error = error.take().expect("it is not polled after its end");
                    return Poll::Ready(Err(ServiceError::Placement(error)));
                }
                StateProjection::Waiting { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(ServiceError::Inner)?;
                    service.call(request.take().expect("it is called once"))
                }
                StateProjection::Calling { future } => {
                    return future.poll(cx).map_err(ServiceError::Inner);
                }
            };
            state.set(State::Calling { future });
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
