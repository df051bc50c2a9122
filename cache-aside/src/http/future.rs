use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;

use super::body::Body;

/// The answer of an [`HttpCache`](super::HttpCache).
///
/// # Cancel safety
///
/// Dropping it leaves a GET that it sent to the inner service under way: others wait for the
/// same, and it is stored. Any other request is dropped with it; one of an unsafe method then
/// invalidates its URI, since what it did is not known.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<R, E> {
    state: State<R, E>,
}

type Work<R, E> = Pin<Box<dyn Future<Output = Result<Response<Body<R>>, E>> + Send>>;

enum State<R, E> {
    /// A hit: nothing was allocated for the future.
    Ready(Option<Response<Body<R>>>),
    Waiting(Work<R, E>),
}

impl<R, E> ResponseFuture<R, E> {
    pub(super) fn ready(response: Response<Body<R>>) -> Self {
        Self { state: State::Ready(Some(response)) }
    }

    pub(super) fn waiting(
        work: impl Future<Output = Result<Response<Body<R>>, E>> + Send + 'static,
    ) -> Self {
        Self { state: State::Waiting(Box::pin(work)) }
    }
}

// The response in it is never pinned.
impl<R, E> Unpin for ResponseFuture<R, E> {}

impl<R, E> Future for ResponseFuture<R, E> {
    type Output = Result<Response<Body<R>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Ready(response) => {
                Poll::Ready(Ok(response.take().expect("polled after its end")))
            }
            State::Waiting(work) => work.as_mut().poll(cx),
        }
    }
}

impl<R, E> fmt::Debug for ResponseFuture<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
