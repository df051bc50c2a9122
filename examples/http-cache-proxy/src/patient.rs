//! A content whose next piece is waited for, but not for ever.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

pin_project! {
    /// A body that fails if it brings nothing for so long after it was asked: who reads it slowly
    /// takes none of that.
    #[derive(Debug)]
    pub(crate) struct Patient<B> {
        #[pin]
        body: B,
        // Not in here: it would make every answer larger, those from the store too.
        silence: Pin<Box<Sleep>>,
        limit: Duration,
        waits: bool,
    }
}

impl<B> Patient<B> {
    pub(crate) fn new(body: B, limit: Duration) -> Self {
        Self { body, silence: Box::pin(sleep(limit)), limit, waits: false }
    }
}

impl<B: Body> Body for Patient<B>
where
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let this = self.project();
        match this.body.poll_frame(cx) {
            Poll::Ready(frame) => {
                *this.waits = false;
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                if !*this.waits {
                    *this.waits = true;
                    this.silence.as_mut().reset(Instant::now() + *this.limit);
                }
                ready!(this.silence.as_mut().poll(cx));
                Poll::Ready(Some(Err(Box::new(Silent(*this.limit)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Nothing came for so long.
#[derive(Clone, Copy, Debug)]
struct Silent(Duration);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the origin has sent nothing for {:?}", self.0)
    }
}

impl Error for Silent {}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;

    struct Stalls;

    impl Body for Stalls {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_stalls_fails_and_what_flows_does_not() {
        let limit = Duration::from_secs(3);
        let began = Instant::now();
        assert!(Box::pin(Patient::new(Stalls, limit)).collect().await.is_err());
        assert_eq!(began.elapsed(), limit);
        let mut late = Box::pin(Patient::new(Stalls, limit));
        sleep(2 * limit).await;
        let began = Instant::now();
        assert!(late.frame().await.unwrap().is_err());
        assert_eq!(began.elapsed(), limit, "from when it was asked");
        let flows = Patient::new(Full::new(Bytes::from_static(b"hello")), limit);
        assert_eq!(flows.collect().await.unwrap().to_bytes(), "hello");
    }
}
