use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::Ticket;

pin_project! {
    /// The answer of an [`InFlightService`](crate::InFlightService). Dropped before its
    /// end, the request counts no longer.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        ticket: Option<Ticket>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, ticket: Ticket) -> Self {
        Self { inner, ticket: Some(ticket) }
    }
}

impl<F: Future> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        // Not when the future is dropped, which may be much later.
        drop(this.ticket.take());
        Poll::Ready(answer)
    }
}
