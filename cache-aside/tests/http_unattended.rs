//! Requests to the inner service for which nobody waits: only so many go on.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_aside::Clock;
use cache_aside::http::{HttpCacheBuilder, HttpCacheLayer};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

type Get = Request<Empty<Bytes>>;

fn builder() -> HttpCacheBuilder {
    HttpCacheLayer::builder(1 << 20)
        .clock(Clock::tokio(), SystemTime::UNIX_EPOCH + 10_000 * SECOND)
}

fn get(path: &str) -> Get {
    Request::get(format!("http://h{path}")).body(Empty::new()).unwrap()
}

/// Counts how many of it there are.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn of_requests_that_nobody_waits_for_only_some_go_on() {
    let layer = builder().unattended(2).build().unwrap();
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    let service = layer.layer(service_fn(move |_: Get| {
        let held = UnderWay::begin(&counted);
        async move {
            let _held = held;
            pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        }
    }));
    let under_way = || count.load(Ordering::SeqCst);
    let ask = |n: usize| {
        let mut asked = task::spawn(service.clone().oneshot(get(&format!("/{n}"))));
        assert_pending!(asked.poll());
        asked
    };
    let asked: Vec<_> = (0..10).map(ask).collect();
    tokio::time::sleep(SECOND).await;
    assert_eq!(under_way(), 10, "those that are waited for are not counted");
    drop(asked);
    tokio::time::sleep(SECOND).await;
    assert_eq!(under_way(), 2);
    let mut joins = ask(0);
    let mut others = (1..10).map(ask).collect::<Vec<_>>();
    tokio::time::sleep(300 * SECOND).await;
    assert_pending!(joins.poll());
    assert!(others.iter_mut().all(|other| other.poll().is_pending()));
    assert_eq!(under_way(), 10, "one for each that waits");
    drop((joins, others));
    tokio::time::sleep(62 * SECOND).await;
    assert_eq!(under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_contents_that_nobody_reads_only_some_are_read_on() {
    struct Slow {
        _held: UnderWay,
    }
    impl http_body::Body for Slow {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    let service = builder().unattended(2).build().unwrap().layer(service_fn(move |_: Get| {
        let response = Response::builder().header("cache-control", "max-age=60");
        let slow = Slow { _held: UnderWay::begin(&counted) };
        async move { Ok::<_, Infallible>(response.body(slow).unwrap()) }
    }));
    let mut answers = Vec::new();
    for n in 0..10 {
        answers.push(service.clone().oneshot(get(&format!("/{n}"))).await.unwrap());
    }
    assert_eq!(count.load(Ordering::SeqCst), 10);
    drop(answers);
    tokio::time::sleep(SECOND).await;
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_served_and_not_renewed_while_too_much_is() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = builder().unattended(0).build().unwrap().layer(service_fn(move |_: Get| {
        counted.fetch_add(1, Ordering::SeqCst);
        let says = "max-age=60, stale-while-revalidate=60";
        let response = Response::builder().header("cache-control", says);
        async { Ok::<_, Infallible>(response.body(Full::<Bytes>::from("one")).unwrap()) }
    }));
    let ask = || async {
        let answer = service.clone().oneshot(get("/")).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    assert_eq!(ask().await, "one");
    tokio::time::advance(61 * SECOND).await;
    assert_eq!(ask().await, "one");
    tokio::time::sleep(SECOND).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
