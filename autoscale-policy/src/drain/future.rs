use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONNECTION, HeaderValue};
use http::{Response, StatusCode};
use pin_project_lite::pin_project;

use super::{DrainBody, Guard, Stage};

type Cut = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

pin_project! {
    /// The answer of a [`DrainService`](crate::DrainService).
    pub struct DrainFuture<F, RB> {
        #[pin]
        inner: Option<F>,
        guard: Option<Guard>,
        // Only where the answer is not there at once.
        cut: Option<Cut>,
        http1: bool,
        body: PhantomData<fn() -> RB>,
    }
}

impl<F, RB> DrainFuture<F, RB> {
    pub(super) fn new(inner: F, guard: Guard, http1: bool) -> Self {
        Self { inner: Some(inner), guard: Some(guard), cut: None, http1, body: PhantomData }
    }

    pub(super) fn refused(guard: Guard, http1: bool) -> Self {
        Self { inner: None, guard: Some(guard), cut: None, http1, body: PhantomData }
    }
}

impl<F, RB, E> Future for DrainFuture<F, RB>
where
    F: Future<Output = Result<Response<RB>, E>>,
    RB: Default,
{
    type Output = Result<Response<DrainBody<RB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let guard = this.guard.as_ref().expect("it is not polled after its end");
        let shared = Arc::clone(guard.shared());
        let mut answer = match this.inner.as_mut().as_pin_mut().map(|inner| inner.poll(cx)) {
            Some(Poll::Ready(Ok(answer))) => answer,
            Some(Poll::Ready(Err(error))) => {
                // Not when the future is dropped, which may be much later.
                *this.guard = None;
                return Poll::Ready(Err(error));
            }
            Some(Poll::Pending) => {
                let cut = this.cut.get_or_insert_with(|| {
                    let shared = Arc::clone(&shared);
                    Box::pin(async move { shared.reached(Stage::Cut).await })
                });
                if cut.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                // Ends what it does: nobody waits for it any more.
                this.inner.set(None);
                unavailable()
            }
            None => unavailable(),
        };
        // An upgrade has its own `Connection`, and the connection is HTTP's no longer.
        if *this.http1
            && answer.status() != StatusCode::SWITCHING_PROTOCOLS
            && shared.stage() >= Stage::Propagating
            && !cfg!(broken = "no_connection_close")
        {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let guard = this.guard.take().expect("it was there above");
        Poll::Ready(Ok(answer.map(|body| DrainBody::new(body, guard))))
    }
}

fn unavailable<RB: Default>() -> Response<RB> {
    let mut answer = Response::new(RB::default());
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}

impl<F, RB> fmt::Debug for DrainFuture<F, RB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainFuture").finish_non_exhaustive()
    }
}
