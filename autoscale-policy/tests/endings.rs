//! Requests, bodies and connections that end early, late, or never.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use autoscale_policy::{
    DrainBodyError, DrainError, DrainLayer, DrainSettings, Drained, InFlight, InFlightLayer,
    Lifecycle,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

/// Ready; 1 s of propagation, 1 s of handover, 3 s in all.
fn lifecycle() -> Lifecycle {
    let settings =
        DrainSettings { propagation: SECOND, deadline: 3 * SECOND, ..DrainSettings::default() };
    let lifecycle = Lifecycle::new(settings).unwrap();
    lifecycle.ready();
    lifecycle
}

fn drain(lifecycle: &Lifecycle) -> tokio::task::JoinHandle<Drained> {
    let lifecycle = lifecycle.clone();
    tokio::spawn(async move { lifecycle.drain().await })
}

type Answer<B> = Result<Response<B>, Infallible>;

/// A body that has another frame whenever it is asked, or fails, or never has one.
#[derive(Clone, Copy, Default)]
enum Odd {
    #[default]
    Endless,
    Fails,
    Silent,
}

impl Body for Odd {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match *self {
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more"))))),
            Self::Fails => Poll::Ready(Some(Err(std::io::Error::other("broken")))),
            Self::Silent => Poll::Pending,
        }
    }
}

/// The body of an answer that passed the layer.
async fn body(
    lifecycle: &Lifecycle,
    odd: Odd,
) -> impl Body<Data = Bytes, Error = impl std::fmt::Debug> {
    let service = ServiceBuilder::new()
        .layer(DrainLayer::new(lifecycle.clone()))
        .service_fn(move |_: Request<()>| async move { Answer::Ok(Response::new(odd)) });
    service.oneshot(Request::new(())).await.unwrap().into_body()
}

#[tokio::test(start_paused = true)]
async fn a_body_of_which_there_is_always_more_ends_at_the_deadline() {
    let lifecycle = lifecycle();
    let mut body = Box::pin(body(&lifecycle, Odd::Endless).await);
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(drain(&lifecycle).await.unwrap(), Drained { cut_off: 1 });
    let cut = body.frame().await.unwrap().unwrap_err();
    assert_eq!(format!("{cut:?}"), format!("{:?}", DrainBodyError::<()>::CutOff));
    // That is its end.
    assert!(body.is_end_stream() && body.frame().await.is_none());
    assert_eq!(lifecycle.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_or_is_dropped_is_not_waited_for() {
    for odd in [Odd::Fails, Odd::Silent] {
        let lifecycle = lifecycle();
        let mut body = Box::pin(body(&lifecycle, odd).await);
        assert_eq!(lifecycle.under_way(), 1);
        let kept = if matches!(odd, Odd::Fails) {
            assert!(body.frame().await.unwrap().is_err());
            Some(body)
        } else {
            drop(body);
            None
        };
        assert_eq!(lifecycle.under_way(), 0);
        let began = Instant::now();
        assert_eq!(drain(&lifecycle).await.unwrap(), Drained { cut_off: 0 });
        assert_eq!(began.elapsed(), SECOND);
        drop(kept);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_ends_the_request_at_once() {
    let lifecycle = lifecycle();
    let mut service =
        DrainLayer::new(lifecycle.clone()).layer(tower::service_fn(|_: Request<()>| async {
            Err::<Response<Odd>, _>(std::io::Error::other("down"))
        }));
    let mut answer = task::spawn(service.call(Request::new(())));
    assert!(assert_ready!(answer.poll()).is_err());
    // Its future is still there.
    assert_eq!(lifecycle.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_is_not_waited_for() {
    let lifecycle = lifecycle();
    let service = ServiceBuilder::new()
        .layer(DrainLayer::new(lifecycle.clone()))
        .service_fn(|_: Request<()>| pending::<Answer<Odd>>());
    let mut answer = task::spawn(service.oneshot(Request::new(())));
    assert_pending!(answer.poll());
    let began = Instant::now();
    let drain = drain(&lifecycle);
    sleep(SECOND * 5 / 2).await;
    assert!(!drain.is_finished());
    drop(answer);
    assert_eq!(drain.await.unwrap(), Drained { cut_off: 0 });
    assert_eq!(began.elapsed(), SECOND * 5 / 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_waited_for_and_told() {
    let lifecycle = lifecycle();
    let socket = tokio::spawn({
        let (lifecycle, held) = (lifecycle.clone(), lifecycle.hold());
        async move {
            lifecycle.closing().await;
            // It says goodbye.
            sleep(SECOND / 2).await;
            drop(held);
        }
    });
    let began = Instant::now();
    assert_eq!(drain(&lifecycle).await.unwrap(), Drained { cut_off: 0 });
    assert_eq!(began.elapsed(), SECOND * 3 / 2);
    socket.await.unwrap();
    // One that does not listen is told at the deadline.
    let lifecycle = self::lifecycle();
    let held = lifecycle.hold();
    let told = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.cut_off().await }
    });
    assert_eq!(drain(&lifecycle).await.unwrap(), Drained { cut_off: 1 });
    told.await.unwrap();
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_keeps_its_connection_header() {
    let lifecycle = lifecycle();
    let service = ServiceBuilder::new().layer(DrainLayer::new(lifecycle.clone())).service_fn(
        |_: Request<()>| async {
            let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let answer = answer.header("connection", "upgrade").header("upgrade", "websocket");
            Answer::Ok(answer.body(Full::new(Bytes::new())).unwrap())
        },
    );
    let drain = drain(&lifecycle);
    tokio::task::yield_now().await;
    let answer = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(answer.headers()["connection"], "upgrade");
    drop(answer);
    drain.await.unwrap();
}

/// What a client reads that sends two requests ahead, while the instance drains.
#[tokio::test(start_paused = true)]
async fn of_requests_that_are_sent_ahead_the_one_that_closes_is_the_last() {
    let lifecycle = lifecycle();
    let service = ServiceBuilder::new().layer(DrainLayer::new(lifecycle.clone())).service_fn(
        |_: Request<hyper::body::Incoming>| async {
            sleep(SECOND / 10).await;
            Answer::Ok(Response::new(Full::new(Bytes::from_static(b"done"))))
        },
    );
    let (mut client, server) = tokio::io::duplex(4096);
    let serving = tokio::spawn(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), TowerToHyperService::new(service)),
    );
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut first = vec![0; 4096];
    let read = client.read(&mut first).await.unwrap();
    let text = String::from_utf8_lossy(&first[..read]).into_owned();
    assert!(text.starts_with("HTTP/1.1 200") && !text.contains("close"), "{text}");
    let drain = drain(&lifecycle);
    tokio::task::yield_now().await;
    client.write_all(&[&request[..], &request[..]].concat()).await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    // One answer, and a clean end: the other one was not processed, and may be sent again.
    assert_eq!(rest.matches("HTTP/1.1 200").count(), 1, "{rest}");
    assert!(rest.contains("connection: close") && rest.ends_with("done"), "{rest}");
    serving.await.unwrap().unwrap();
    assert_eq!(drain.await.unwrap(), Drained { cut_off: 0 });
}

#[test]
fn times_that_nobody_waits_for_are_refused() {
    let settings = DrainSettings { deadline: Duration::MAX, ..DrainSettings::default() };
    let error = Lifecycle::new(settings).unwrap_err();
    assert!(matches!(error, DrainError::DeadlineTooLong { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_handover_without_an_end_ends_at_the_deadline() {
    let settings = DrainSettings { handover: Duration::MAX, ..DrainSettings::default() };
    let lifecycle = Lifecycle::new(settings).unwrap();
    let held = lifecycle.hold();
    let began = Instant::now();
    assert_eq!(drain(&lifecycle).await.unwrap(), Drained { cut_off: 1 });
    assert_eq!(began.elapsed(), 25 * SECOND);
    drop(held);
}

/// A service that panics when it is called, or when its future is polled.
#[derive(Clone, Copy)]
struct Panics {
    at_once: bool,
}

impl<R> Service<R> for Panics {
    type Response = Response<Odd>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer<Odd>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        assert!(!self.at_once, "it panics");
        Box::pin(async { panic!("it panics") })
    }
}

#[tokio::test]
async fn a_request_that_panics_is_under_way_no_longer() {
    for at_once in [true, false] {
        let (load, lifecycle) = (InFlight::new(), lifecycle());
        let service = ServiceBuilder::new()
            .layer(DrainLayer::new(lifecycle.clone()))
            .layer(InFlightLayer::new(load.clone()))
            .service(Panics { at_once });
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut service = service.clone();
            let mut answer = task::spawn(service.call(Request::new(())));
            let _ = answer.poll();
        }));
        assert!(panicked.is_err());
        assert_eq!((load.now(), lifecycle.under_way()), (0, 0));
    }
}
