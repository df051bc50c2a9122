//! A content on its way to the origin, and an answer that is waited for from when it was sent.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, timeout_at};

/// When the last piece was sent.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    began: Instant,
    millis: Arc<AtomicU64>,
}

impl Progress {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), millis: Arc::default() }
    }

    fn note(&self) {
        let millis = self.began.elapsed().as_millis() as u64;
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    /// What comes of a call; nothing if for so long neither it has ended, nor anything was sent.
    pub(crate) async fn within<F: Future>(
        &self,
        limit: Duration,
        call: F,
    ) -> Option<F::Output> {
        let mut call = pin!(call);
        loop {
            let last = self.last();
            if let Ok(answer) = timeout_at(last + limit, call.as_mut()).await {
                return Some(answer);
            }
            if self.last() == last {
                return None;
            }
        }
    }
}

pin_project! {
    /// A body whose pieces are noted.
    #[derive(Debug)]
    pub(crate) struct Sent<B> {
        #[pin]
        body: B,
        progress: Progress,
    }
}

impl<B> Sent<B> {
    pub(crate) fn new(body: B, progress: Progress) -> Self {
        Self { body, progress }
    }
}

impl<B: Body> Body for Sent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = this.body.poll_frame(cx);
        if frame.is_ready() {
            this.progress.note();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_slowly_is_in_time_and_what_stalls_is_not() {
        let progress = Progress::begin();
        let noted = progress.clone();
        let upload = async move {
            for _ in 0..10 {
                sleep(2 * SECOND).await;
                let piece = Full::new(Bytes::from_static(b"x"));
                Sent::new(piece, noted.clone()).collect().await.unwrap();
            }
            sleep(2 * SECOND).await;
        };
        assert_eq!(progress.within(3 * SECOND, upload).await, Some(()));
        let (progress, began) = (Progress::begin(), Instant::now());
        assert_eq!(progress.within(3 * SECOND, std::future::pending::<()>()).await, None);
        assert_eq!(began.elapsed(), 3 * SECOND);
    }
}
