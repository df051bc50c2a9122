//! Future types.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use crate::carrier::Parting;
use crate::layer::Settings;
use crate::scope::{ConsistencyScope, Scoped};

pin_project! {
    /// The answer of a [`Consistent`](crate::Consistent).
    ///
    /// # Cancel safety
    ///
    /// As far as the inner future is. What it has written by then is carried by
    /// no answer: the next request does not know of it.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Scoped<F>,
        scope: ConsistencyScope,
        settings: Arc<Settings>,
        secure: bool,
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn new(
        inner: Scoped<F>,
        scope: ConsistencyScope,
        settings: Arc<Settings>,
        secure: bool,
    ) -> Self {
        Self { inner, scope, settings, secure }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let parting = Parting {
            keys: &this.settings.keys,
            lifetime: this.settings.lifetime,
            slot: this.settings.slot,
            secure: *this.secure,
        };
        this.settings.carrier.write(response.headers_mut(), this.scope, &parting);
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
