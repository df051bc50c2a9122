//! The HTTP layer in a tower: readiness, errors, tasks, time. What it does on the wire is
//! tested through sockets, in `testing/live/tests/http_cache`.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_aside::Clock;
use cache_aside::http::{Body, HttpCacheBuilder, HttpCacheLayer};
use http::{Extensions, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::{Notify, Semaphore};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

type Get = Request<Empty<Bytes>>;

fn builder() -> HttpCacheBuilder {
    HttpCacheLayer::builder(1 << 20)
        .clock(Clock::tokio(), SystemTime::UNIX_EPOCH + 10_000 * SECOND)
}

fn get(path: &str) -> Get {
    Request::get(format!("http://h{path}")).body(Empty::new()).unwrap()
}

fn fresh(text: &'static str) -> Response<Full<Bytes>> {
    Response::builder().header("cache-control", "max-age=60").body(text.into()).unwrap()
}

async fn text<B>(response: Response<Body<B>>) -> String
where
    Body<B>: http_body::Body<Data = Bytes>,
    <Body<B> as http_body::Body>::Error: std::fmt::Debug,
{
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn readies_every_service_that_it_calls() {
    // ConcurrencyLimit panics when a clone that was never polled is called.
    let service = ServiceBuilder::new()
        .layer(builder().build().unwrap())
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(|_: Get| async { Ok::<_, Infallible>(fresh("one")) });
    for path in ["/a", "/b", "/a"] {
        let (a, b) = tokio::join!(
            service.clone().oneshot(get(path)),
            service.clone().oneshot(get(path))
        );
        assert_eq!(
            (text(a.unwrap()).await, text(b.unwrap()).await),
            ("one".into(), "one".into())
        );
    }
    for method in ["POST", "HEAD", "OPTIONS"] {
        let mut request = get("/c");
        *request.method_mut() = method.parse().unwrap();
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_does_not_queue_behind_a_busy_service() {
    let busy = Arc::new(Semaphore::new(1));
    let held = Arc::clone(&busy);
    let mut service = ServiceBuilder::new()
        .layer(builder().build().unwrap())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(busy))
        .service_fn(|_: Get| async { Ok::<_, Infallible>(fresh("one")) });
    text(service.call(get("/a")).await.unwrap()).await;
    let _held = held.acquire().await.unwrap();
    assert_ready_ok!(task::spawn(poll_ready(&mut service)).poll());
    assert_ready_ok!(task::spawn(service.call(get("/a"))).poll());
    assert_pending!(task::spawn(service.call(get("/b"))).poll());
}

#[tokio::test(start_paused = true)]
async fn a_reference_serves_as_well() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let layer = builder().build().unwrap();
    let service = layer.layer(service_fn(move |_: Get| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(fresh("one")) }
    }));
    let mut shared = &service;
    poll_ready(&mut shared).await.unwrap();
    for _ in 0..2 {
        assert_eq!(text(shared.call(get("/a")).await.unwrap()).await, "one");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

async fn poll_ready<S: Service<Get>>(service: &mut S) -> Result<(), S::Error> {
    std::future::poll_fn(|cx| service.poll_ready(cx)).await
}

#[tokio::test(start_paused = true)]
async fn an_error_is_the_inner_services() {
    #[derive(Debug, PartialEq)]
    struct Mine;
    let service = builder()
        .build()
        .unwrap()
        .layer(service_fn(|_: Get| async { Err::<Response<Full<Bytes>>, _>(Mine) }));
    assert_eq!(service.oneshot(get("/")).await.unwrap_err(), Mine);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_requests_that_met_it_and_no_other() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = builder().build().unwrap().layer(service_fn(move |_: Get| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            tokio::task::yield_now().await;
            assert!(!first, "as a handler may");
            Ok::<_, Infallible>(fresh("one"))
        }
    }));
    let (a, b) =
        tokio::join!(service.clone().oneshot(get("/")), service.clone().oneshot(get("/")));
    assert_eq!(a.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(b.unwrap().status(), StatusCode::BAD_GATEWAY);
    assert_eq!(text(service.oneshot(get("/")).await.unwrap()).await, "one");
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_goes_to_the_origin() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let layer = builder().collapse_wait(3 * SECOND).build().unwrap();
    let service = layer.layer(service_fn(move |_: Get| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                pending::<()>().await;
            }
            Ok::<_, Infallible>(fresh("one"))
        }
    }));
    let mut stuck = task::spawn(service.clone().oneshot(get("/")));
    assert_pending!(stuck.poll());
    let began = tokio::time::Instant::now();
    assert_eq!(text(service.oneshot(get("/")).await.unwrap()).await, "one");
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_waits_for_is_given_up() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&dropped);
    let service = builder().build().unwrap().layer(service_fn(move |_: Get| {
        let held = Held(Arc::clone(&seen));
        async move {
            let _held = held;
            pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        }
    }));
    let mut asked = task::spawn(service.oneshot(get("/")));
    assert_pending!(asked.poll());
    tokio::time::sleep(300 * SECOND).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 0, "somebody waits");
    drop(asked);
    tokio::time::sleep(121 * SECOND).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_nobody_saw_the_end_of_invalidates() {
    let service = builder().build().unwrap().layer(service_fn(|request: Get| async move {
        if request.method() == "POST" {
            pending::<()>().await;
        }
        Ok::<_, Infallible>(fresh("one"))
    }));
    text(service.clone().oneshot(get("/")).await.unwrap()).await;
    let mut post = get("/");
    *post.method_mut() = http::Method::POST;
    let mut change = task::spawn(service.clone().oneshot(post));
    assert_pending!(change.poll());
    let ask = || async {
        let mut request = get("/");
        request.headers_mut().insert("cache-control", "only-if-cached".parse().unwrap());
        service.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask().await, StatusCode::OK, "it is not known yet to have changed anything");
    drop(change);
    assert_eq!(ask().await, StatusCode::GATEWAY_TIMEOUT);
}

/// Answers its first request when it is told to, the others at once.
fn gated(
    first: Response<Full<Bytes>>,
    then: &'static str,
) -> (Arc<Notify>, Arc<AtomicUsize>, HttpCacheLayer, BoxCloneSyncService<Get, Answer, Infallible>)
{
    let (gate, calls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let first = Arc::new(Mutex::new(Some(first)));
    let layer = builder().build().unwrap();
    let (open, counted) = (Arc::clone(&gate), Arc::clone(&calls));
    let service = layer.layer(service_fn(move |_: Get| {
        let (first, open) = (first.lock().unwrap().take(), Arc::clone(&open));
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let Some(first) = first else { return Ok(fresh(then)) };
            open.notified().await;
            Ok::<_, Infallible>(first)
        }
    }));
    (gate, calls, layer, BoxCloneSyncService::new(service))
}

type Answer = Response<Body<Full<Bytes>>>;

#[tokio::test(start_paused = true)]
async fn a_purge_overtakes_a_response_on_its_way() {
    for purged in ["uri", "prefix", "all"] {
        let (gate, _, layer, service) = gated(fresh("old"), "new");
        let early = tokio::spawn(service.clone().oneshot(get("/a")));
        tokio::time::sleep(SECOND).await;
        let uri = "http://h/a".parse().unwrap();
        match purged {
            "uri" => layer.purge().uri(&uri).await.unwrap(),
            "prefix" => layer.purge().prefix(&uri).await.unwrap(),
            _ => layer.purge().all().await.unwrap(),
        }
        gate.notify_one();
        assert_eq!(text(early.await.unwrap().unwrap()).await, "old");
        let later = service.clone().oneshot(get("/a")).await.unwrap();
        assert_eq!(text(later).await, "new", "{purged}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_response_does_not_take_the_place_of_one_from_after_a_purge() {
    let (gate, calls, layer, service) = gated(fresh("old"), "new");
    let early = tokio::spawn(service.clone().oneshot(get("/a")));
    tokio::time::sleep(SECOND).await;
    layer.purge().prefix(&"http://h/".parse().unwrap()).await.unwrap();
    let later = || async { text(service.clone().oneshot(get("/a")).await.unwrap()).await };
    assert_eq!(later().await, "new");
    gate.notify_one();
    text(early.await.unwrap().unwrap()).await;
    assert_eq!((later().await, calls.load(Ordering::SeqCst)), ("new".into(), 2));
}

#[tokio::test(start_paused = true)]
async fn a_private_response_is_for_the_one_who_asked() {
    let private = Response::builder().header("cache-control", "private, max-age=60");
    let (gate, calls, layer, service) = gated(private.body("mine".into()).unwrap(), "yours");
    let mine = tokio::spawn(service.clone().oneshot(get("/")));
    tokio::time::sleep(SECOND).await;
    let yours = tokio::spawn(service.clone().oneshot(get("/")));
    tokio::time::sleep(SECOND).await;
    assert_eq!(layer.waiting(), 1);
    gate.notify_one();
    assert_eq!(text(mine.await.unwrap().unwrap()).await, "mine");
    assert_eq!(text(yours.await.unwrap().unwrap()).await, "yours");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn who_misses_at_the_same_time_waits_for_one_request() {
    let (gate, calls, layer, service) = gated(fresh("one"), "two");
    let asked: Vec<_> =
        (0..100).map(|_| tokio::spawn(service.clone().oneshot(get("/")))).collect();
    tokio::time::sleep(SECOND).await;
    assert_eq!(layer.waiting(), 99);
    gate.notify_one();
    for answer in asked {
        assert_eq!(text(answer.await.unwrap().unwrap()).await, "one");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_content_that_is_shorter_than_it_said_is_not_stored() {
    let short = Response::builder().header("cache-control", "max-age=60");
    let short = short.header("content-length", "9").body("one".into()).unwrap();
    let (gate, _, _, service) = gated(short, "two");
    gate.notify_one();
    let first = service.clone().oneshot(get("/")).await.unwrap();
    let error = first.into_body().collect().await.unwrap_err();
    assert_eq!(error.to_string(), "the origin's content is not as long as it said");
    assert_eq!(text(service.oneshot(get("/")).await.unwrap()).await, "two");
}

/// A content that waits for ever after its first chunk.
struct Stuck(Option<Bytes>);

impl http_body::Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |chunk| Poll::Ready(Some(Ok(Frame::data(chunk)))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_that_is_stuck_is_given_up_when_nobody_reads_it() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = builder().build().unwrap().layer(service_fn(move |_: Get| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().header("cache-control", "max-age=60");
        async { Ok::<_, Infallible>(response.body(Stuck(Some("one".into()))).unwrap()) }
    }));
    let mut first = service.clone().oneshot(get("/")).await.unwrap();
    assert_eq!(first.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    let mut second = service.clone().oneshot(get("/")).await.unwrap();
    assert_eq!(second.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    tokio::time::sleep(100 * SECOND).await;
    assert_pending!(task::spawn(second.body_mut().frame()).poll());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "it was read by both");
    drop((first, second));
    tokio::time::sleep(61 * SECOND).await;
    service.oneshot(get("/")).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2, "nothing was stored, and nobody joins it");
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_renewed_behind_the_back_of_who_got_it() {
    let bodies = Arc::new(Mutex::new(VecDeque::from(["one", "two"])));
    let service = builder().build().unwrap().layer(service_fn(move |_: Get| {
        let body = bodies.lock().unwrap().pop_front().unwrap();
        async move {
            let says = "max-age=60, stale-while-revalidate=60";
            let response = Response::builder().header("cache-control", says);
            Ok::<_, Infallible>(response.body(Full::<Bytes>::from(body)).unwrap())
        }
    }));
    let ask = || async { text(service.clone().oneshot(get("/")).await.unwrap()).await };
    assert_eq!(ask().await, "one");
    tokio::time::advance(61 * SECOND).await;
    assert!(matches!(task::spawn(service.clone().call(get("/"))).poll(), Poll::Ready(Ok(_))));
    tokio::time::sleep(SECOND).await;
    assert_eq!(ask().await, "two");
}

#[tokio::test(start_paused = true)]
async fn routers_that_strip_a_prefix_do_not_make_two_uris_one() {
    #[derive(Clone)]
    struct Whole(Uri);
    let find = |extensions: &Extensions| extensions.get::<Whole>().map(|uri| uri.0.clone());
    let layer = builder().original_uri(find).build().unwrap();
    let service = layer.layer(service_fn(|request: Get| async move {
        let whole = request.extensions().get::<Whole>().unwrap().0.to_string();
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::from(whole)).unwrap())
    }));
    for uri in ["http://h/a/x", "http://h/b/x", "http://h/a/x"] {
        let mut request = get("/x");
        request.extensions_mut().insert(Whole(uri.parse().unwrap()));
        assert_eq!(text(service.clone().oneshot(request).await.unwrap()).await, uri);
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_becomes_cached_by_one_line() {
    use axum::Router;
    use axum::routing::get;

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let page = move || {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move { ([("cache-control", "max-age=60")], call.to_string()) }
    };
    let inner = Router::new().route("/x", get(page).post(|| async { "done" }));
    let app: Router = Router::new()
        .nest("/a", inner.clone())
        .nest("/b", inner)
        .layer(builder().build().unwrap());
    let ask = |method: &'static str, path: &'static str| {
        let request = Request::builder().method(method).uri(path).header("host", "h");
        let answer = app.clone().oneshot(request.body(axum::body::Body::empty()).unwrap());
        async move {
            let body = answer.await.unwrap().into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        }
    };
    assert_eq!((ask("GET", "/a/x").await, ask("GET", "/b/x").await), ("0".into(), "1".into()));
    assert_eq!((ask("GET", "/a/x").await, ask("GET", "/b/x").await), ("0".into(), "1".into()));
    // Routes of one path and several methods are layered one by one, and share the cache.
    assert_eq!(ask("POST", "/a/x").await, "done");
    assert_eq!((ask("GET", "/a/x").await, ask("GET", "/b/x").await), ("2".into(), "1".into()));
    assert_eq!(ask("HEAD", "/a/x").await, "");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

/// RFC 9111, sections 5.2.1.5 and 5.2.2.5: what must not be stored leaves memory at once.
#[tokio::test(start_paused = true)]
async fn what_must_not_be_stored_is_gone_when_it_is_read() {
    /// A chunk, as long as anybody holds on to it.
    struct Held(Arc<AtomicUsize>);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            b"chunk"
        }
    }
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    struct Chunks(Arc<AtomicUsize>, usize);
    impl http_body::Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.1 == 0 {
                return Poll::Ready(None);
            }
            self.1 -= 1;
            self.0.fetch_add(1, Ordering::SeqCst);
            let chunk = Bytes::from_owner(Held(Arc::clone(&self.0)));
            Poll::Ready(Some(Ok(Frame::data(chunk))))
        }
    }
    for (asks, says) in [("no-store", "max-age=60"), ("x", "max-age=60, no-store")] {
        let held = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&held);
        let service = builder().build().unwrap().layer(service_fn(move |_: Get| {
            let response = Response::builder().header("cache-control", says);
            let chunks = Chunks(Arc::clone(&counted), 100);
            async move { Ok::<_, Infallible>(response.body(chunks).unwrap()) }
        }));
        let mut request = get("/");
        request.headers_mut().insert("cache-control", asks.parse().unwrap());
        let mut answer = service.oneshot(request).await.unwrap();
        for _ in 0..100 {
            drop(answer.body_mut().frame().await.unwrap().unwrap());
            assert_eq!(held.load(Ordering::SeqCst), 0, "asked {asks}, said {says}");
        }
        assert!(answer.body_mut().frame().await.is_none());
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let refused = |builder: HttpCacheBuilder| builder.build().unwrap_err().setting();
    assert_eq!(refused(builder().name("a b")), "name");
    assert_eq!(refused(builder().variants(0)), "variants");
    assert_eq!(refused(HttpCacheLayer::builder(0)), "builder");
    assert_eq!(refused(builder().collapse_wait(Duration::ZERO)), "collapse_wait");
    assert_eq!(refused(builder().keep_stale(Duration::MAX)), "keep_stale");
}
