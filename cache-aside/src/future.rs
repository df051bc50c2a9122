//! Future types.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::flight::Outcome;

/// The answer of a [`Cached`](crate::Cached).
///
/// # Cancel safety
///
/// Dropping it leaves a load that it started under way: others still get its
/// value, and it is stored. A request without a key is dropped with it.
///
/// # Panics
///
/// When it is polled after its end, and if it has to wait on a runtime that has
/// no timer (`enable_time`).
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<V> {
    state: State<V>,
}

enum State<V> {
    /// A hit: nothing was allocated for it.
    Ready(Option<Option<Arc<V>>>),
    Waiting(Pin<Box<dyn Future<Output = Outcome<V>> + Send>>),
}

impl<V> ResponseFuture<V> {
    pub(crate) fn ready(value: Option<Arc<V>>) -> Self {
        Self { state: State::Ready(Some(value)) }
    }

    pub(crate) fn waiting(work: impl Future<Output = Outcome<V>> + Send + 'static) -> Self {
        Self { state: State::Waiting(Box::pin(work)) }
    }
}

impl<V> Future for ResponseFuture<V> {
    type Output = Outcome<V>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Ready(value) => Poll::Ready(Ok(value.take().expect("polled after its end"))),
            State::Waiting(work) => work.as_mut().poll(cx),
        }
    }
}

impl<V> fmt::Debug for ResponseFuture<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
