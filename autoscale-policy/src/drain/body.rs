use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Guard, Stage};

type Cut = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

pin_project! {
    /// A body that counts as under way until its end, and ends with an error at the
    /// deadline of a drain.
    pub struct DrainBody<B> {
        #[pin]
        inner: B,
        // Until its end.
        guard: Option<Guard>,
        cut: Option<Cut>,
    }
}

impl<B> DrainBody<B> {
    pub(super) fn new(inner: B, guard: Guard) -> Self {
        Self { inner, guard: Some(guard), cut: None }
    }
}

/// Why a body ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum DrainBodyError<E> {
    /// The inner body failed.
    Inner(E),
    /// The deadline of the drain has passed.
    CutOff,
}

impl<E: fmt::Display> fmt::Display for DrainBodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::CutOff => f.write_str("the instance has ended before the body"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for DrainBodyError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inner(error) => Some(error),
            Self::CutOff => None,
        }
    }
}

impl<B: Body> Body for DrainBody<B> {
    type Data = B::Data;
    type Error = DrainBodyError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let this = self.project();
        let Some(guard) = this.guard else { return Poll::Ready(None) };
        // Before the inner body, of which there may be more whenever it is asked.
        if guard.shared().stage() >= Stage::Cut && !cfg!(broken = "endless_body") {
            *this.guard = None;
            return Poll::Ready(Some(Err(DrainBodyError::CutOff)));
        }
        let frame = match this.inner.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => Some(Err(DrainBodyError::Inner(error))),
            Poll::Ready(None) => None,
            Poll::Pending => {
                let shared = guard.shared();
                let cut = this.cut.get_or_insert_with(|| {
                    let shared = Arc::clone(shared);
                    Box::pin(async move { shared.reached(Stage::Cut).await })
                });
                if cut.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                Some(Err(DrainBodyError::CutOff))
            }
        };
        *this.guard = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.guard.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for DrainBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainBody").finish_non_exhaustive()
    }
}
